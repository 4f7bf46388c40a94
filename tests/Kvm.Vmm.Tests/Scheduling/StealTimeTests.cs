using Kvm.Devices.Memory;
using Kvm.Interop;
using Kvm.Vmm.Scheduling;

namespace Kvm.Vmm.Tests.Scheduling;

public sealed class StealTimeTests : IDisposable
{
    private readonly HostMapping _ram = HostMapping.Anonymous(8192);
    private readonly GuestMemory _memory;

    public StealTimeTests() => _memory = new GuestMemory([new GuestRegion(0x1000, 8192, _ram.Address)]);

    public void Dispose() => _ram.Dispose();

    [Theory]
    [InlineData(0, 2)]
    [InlineData(6, 8)]
    [InlineData(7, 8)]
    [InlineData(uint.MaxValue, 0)]
    public void Time_is_added_and_the_version_even_and_another(uint before, uint after)
    {
        _memory.TryWrite(0x1040, 100UL);
        _memory.TryWrite(0x1048, before);

        StealTime.AddAt(_memory, 0x1040, 50).Should().BeTrue();

        _memory.TryRead(0x1040, out ulong steal);
        _memory.TryRead(0x1048, out uint version);
        steal.Should().Be(150);
        version.Should().Be(after);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(0x2fc1)]
    [InlineData(0x3000)]
    [InlineData(ulong.MaxValue - 63)]
    public void An_address_without_memory_is_left_alone(ulong address) => StealTime.AddAt(_memory, address, 50).Should().BeFalse();
}
