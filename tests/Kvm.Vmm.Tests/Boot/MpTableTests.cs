using System.Text;
using Kvm.Vmm.Boot;

namespace Kvm.Vmm.Tests.Boot;

public class MpTableTests
{
    [Theory]
    [InlineData(1, 0)]
    [InlineData(1, 1)]
    [InlineData(2, 32)]
    [InlineData(MpTable.MaxCpus, 32)]
    public void Pointer_and_table_sum_to_zero_and_every_entry_is_counted(int cpus, int pci)
    {
        using var m = new TestMemory(2 << 20);
        var range = MpTable.Write(m.Memory, cpus, pci);
        byte[] pointer = m.Bytes(MachineLayout.MpTable, 16);
        Encoding.ASCII.GetString(pointer, 0, 4).Should().Be("_MP_");
        (pointer.Sum(b => b) & 0xff).Should().Be(0);
        (MachineLayout.MpTable % 16).Should().Be(0);

        uint address = BitConverter.ToUInt32(pointer, 4);
        byte[] table = m.Bytes(address, m.U16(address + 4));
        Encoding.ASCII.GetString(table, 0, 4).Should().Be("PCMP");
        (table.Sum(b => b) & 0xff).Should().Be(0);
        (address + (ulong)table.Length).Should().Be(range.End);
        new AddressRange(MachineLayout.MpTable, MachineLayout.MpTableSize).Contains(range).Should().BeTrue();

        var entries = Entries(table);
        entries.Should().HaveCount(BitConverter.ToUInt16(table, 34));
        entries.Count(e => e[0] == 0).Should().Be(cpus);
        entries.Where(e => e[0] == 0).Count(e => (e[3] & 2) != 0).Should().Be(1, "there is one boot processor");
        entries.Count(e => e[0] == 1).Should().Be(pci > 0 ? 2 : 1);
        entries.Count(e => e[0] == 2).Should().Be(1);
        entries.Where(e => e[0] == 3 && e[4] == 0 && e[5] == 0).Single()[7].Should().Be((byte)MachineLayout.TimerGsi, "the timer is on pin 2");
        entries.Where(e => e[0] == 3 && e[4] == 0).Select(e => e[5]).Should().NotContain(2).And.HaveCount(15);
        entries.Count(e => e[0] == 3 && e[4] == 1).Should().Be(pci * 4);
        entries.Count(e => e[0] == 4).Should().Be(2);
    }

    [Fact]
    public void Wires_of_virtio_mmio_devices_are_pins_of_their_number_level_triggered_and_active_high()
    {
        using var m = new TestMemory(2 << 20);
        MpTable.Write(m.Memory, 1, 1, [20, 5]);
        uint address = BitConverter.ToUInt32(m.Bytes(MachineLayout.MpTable, 16), 4);
        var isa = Entries(m.Bytes(address, m.U16(address + 4))).Where(e => e[0] == 3 && e[4] == 0).ToList();
        isa.Should().HaveCount(16).And.OnlyContain(e => (e[2] == 0xd) == (e[5] == 20 || e[5] == 5));
        isa.Single(e => e[5] == 20)[7].Should().Be(20);
        isa.Single(e => e[5] == 5)[7].Should().Be(5);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(MpTable.MaxCpus + 1)]
    public void A_number_of_processors_out_of_range_is_refused(int cpus)
    {
        using var m = new TestMemory(2 << 20);
        FluentActions.Invoking(() => MpTable.Write(m.Memory, cpus, 0)).Should().Throw<ArgumentOutOfRangeException>();
    }

    [Fact]
    public void Memory_without_the_firmware_area_is_refused()
    {
        using var m = new TestMemory(0xf0000);
        FluentActions.Invoking(() => MpTable.Write(m.Memory, 1, 0)).Should().Throw<LoadException>();
    }

    private static List<byte[]> Entries(byte[] table)
    {
        var entries = new List<byte[]>();
        for (int at = 44; at < table.Length;)
        {
            int size = table[at] == 0 ? 20 : 8;
            entries.Add(table[at..(at + size)]);
            at += size;
        }

        return entries;
    }
}
