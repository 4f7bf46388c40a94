namespace Kvm.Vmm.Tests;

public class RamMappingTests
{
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Discarded_pages_are_the_hosts_again_and_read_as_zeros(bool shared)
    {
        const ulong size = 16 << 20, start = 4 << 20, length = 8 << 20;
        var config = new VmConfig { KernelPath = "k", MemoryBytes = size, SharedMemory = shared, HugePages = false };
        using var ram = new RamMapping(new MachineLayout(size), config);
        ram.Memory.TrySlice(0, (int)size, out var all).Should().BeTrue();
        all.Fill(0x55);
        long before = ram.ResidentBytes();
        ram.Discard(start, length).Should().BeTrue();
        (before - ram.ResidentBytes()).Should().Be((long)length);
        ram.Memory.TrySlice(start - 1, (int)length + 2, out var around).Should().BeTrue();
        (around[0], around[^1]).Should().Be(((byte)0x55, (byte)0x55));
        around[1..^1].ContainsAnyExcept((byte)0).Should().BeFalse();
    }

    [Theory]
    [InlineData(0xffff_f000UL, 4096UL)] // the reset ROM
    [InlineData(0xc000_0000UL, 4096UL)]
    [InlineData((16UL << 20) - 4096, 8192UL)]
    [InlineData(ulong.MaxValue - 4095, 4096UL)]
    public void What_is_not_ram_is_not_discarded(ulong address, ulong length)
    {
        using var ram = new RamMapping(new MachineLayout(16 << 20), new VmConfig { KernelPath = "k", MemoryBytes = 16 << 20 });
        ram.Discard(address, length).Should().BeFalse();
    }
}
