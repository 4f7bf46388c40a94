using System.Reflection;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using FsCheck;
using FsCheck.Fluent;
using Kvm.Interop;
using Kvm.Vmm.Scheduling;

namespace Kvm.Vmm.Tests.Scheduling;

public sealed class GateTableTests
{
    [Theory]
    [InlineData(nameof(GateHeader.Magic), 0)]
    [InlineData(nameof(GateHeader.Version), 8)]
    [InlineData(nameof(GateHeader.Slots), 12)]
    [InlineData(nameof(GateHeader.SlotBytes), 16)]
    [InlineData(nameof(GateHeader.DispatcherPid), 20)]
    [InlineData(nameof(GateHeader.Heartbeat), 24)]
    [InlineData(nameof(GateHeader.Closed), 32)]
    [InlineData(nameof(GateHeader.Policy), 64)]
    [InlineData(nameof(GateHeader.Bell), 128)]
    public void A_member_of_the_header_is_where_version_1_has_it(string member, int offset) => OffsetOf<GateHeader>(member).Should().Be(offset);

    [Theory]
    [InlineData(nameof(GateSlot.Control), 0)]
    [InlineData(nameof(GateSlot.Cpu), 4)]
    [InlineData(nameof(GateSlot.SliceEnd), 8)]
    [InlineData(nameof(GateSlot.Ran), 16)]
    [InlineData(nameof(GateSlot.Waited), 24)]
    [InlineData(nameof(GateSlot.Slices), 32)]
    [InlineData(nameof(GateSlot.Migrations), 40)]
    [InlineData(nameof(GateSlot.State), 48)]
    [InlineData(nameof(GateSlot.Reason), 52)]
    [InlineData(nameof(GateSlot.Index), 56)]
    [InlineData(nameof(GateSlot.MemoryTarget), 60)]
    [InlineData(nameof(GateSlot.ThreadId), 64)]
    [InlineData(nameof(GateSlot.Place), 68)]
    [InlineData(nameof(GateSlot.Answer), 72)]
    [InlineData(nameof(GateSlot.AffinityFailures), 76)]
    [InlineData(nameof(GateSlot.ParkedAt), 80)]
    [InlineData(nameof(GateSlot.ParkedTotal), 88)]
    [InlineData(nameof(GateSlot.CpuTime), 96)]
    [InlineData(nameof(GateSlot.DiskBytes), 104)]
    [InlineData(nameof(GateSlot.DiskOperations), 112)]
    [InlineData(nameof(GateSlot.DeviceParts), 120)]
    [InlineData(nameof(GateSlot.NetworkKib), 124)]
    public void A_member_of_a_slot_is_where_version_2_has_it(string member, int offset) => OffsetOf<GateSlot>(member).Should().Be(offset);

    [Fact]
    public void Header_and_slots_have_the_sizes_of_version_2()
    {
        Unsafe.SizeOf<GateHeader>().Should().Be(4096);
        Unsafe.SizeOf<GateSlot>().Should().Be(128);
        // What the dispatcher writes and what the thread writes never share a cache line.
        OffsetOf<GateSlot>(nameof(GateSlot.ThreadId)).Should().Be(64);
    }

    [Theory]
    [InlineData(0, 0, 0)]
    [InlineData(999, 1, 500)]
    [InlineData(1, 999, 999)]
    public void Parts_of_devices_come_out_of_the_table_as_they_went_in(int diskBytes, int diskOperations, int network)
    {
        using var table = GateTable.Create("rap", 1);
        var parts = new DeviceParts(diskBytes, diskOperations, network);
        table.SetDeviceParts(0, parts);
        table.DeviceParts(0).Should().Be(parts);
    }

    [Fact]
    public void What_the_network_did_is_right_when_its_counter_begins_anew()
    {
        using var table = GateTable.Create("rap", 1);
        table.NoteServed(0, new DeviceService(0, 0, (1L << 42) - 4096));
        var before = table.Served(0);
        table.NoteServed(0, new DeviceService(0, 0, (1L << 42) + 8192));
        table.Served(0).Since(before).NetworkBytes.Should().Be(4096 + 8192);
    }

    [Fact]
    public void A_table_is_the_same_to_another_process()
    {
        using var table = GateTable.Create("rr", 10);
        using var other = GateTable.TryOpen(Copy(table))!;

        other.Slots.Should().Be(10);
        other.Policy.Should().Be("rr");
        other.IsAlive(HostClock.Monotonic()).Should().BeTrue();
        table.Open(9, 3, long.MaxValue);
        other.CpuOf(9).Should().Be(3);
        GateControl.IsOpen(other.Control(9)).Should().BeTrue();
    }

    [Fact]
    public void Each_order_has_a_number_of_its_own_and_attention_changes_the_word_only()
    {
        using var table = GateTable.Create("rr", 1);
        int first = table.Control(0);

        table.Open(0, 0, 1);
        int open = table.Control(0);
        table.Attend(0);
        int attended = table.Control(0);
        table.Close(0);

        GateControl.OrderOf(open).Should().NotBe(GateControl.OrderOf(first));
        attended.Should().NotBe(open);
        GateControl.OrderOf(attended).Should().Be(GateControl.OrderOf(open));
        GateControl.IsOpen(attended).Should().BeTrue();
        GateControl.IsOpen(table.Control(0)).Should().BeFalse();
    }

    [Fact]
    public void Attention_that_wraps_touches_neither_the_order_nor_the_permit()
    {
        using var table = GateTable.Create("rr", 1);
        table.Open(0, 0, 1);
        int before = table.Control(0);

        for (int i = 0; i < 1 << 14; i++)
            table.Attend(0);

        table.Control(0).Should().Be(before);
    }

    [Theory]
    [InlineData(-1)]
    [InlineData(10)]
    [InlineData(int.MaxValue)]
    public void A_slot_that_is_not_there_is_refused(int slot)
    {
        using var table = GateTable.Create("rr", 10);

        table.Invoking(t => t.Read(slot)).Should().Throw<ArgumentOutOfRangeException>();
    }

    [Fact]
    public void Memory_that_is_no_table_is_not_opened()
    {
        using var memory = HostMapping.Shared(8192, "no-table");

        GateTable.TryOpen(Copy(memory.File!)).Should().BeNull();
    }

    [Fact]
    public void A_table_that_says_more_slots_than_it_holds_is_not_opened()
    {
        using var table = GateTable.Create("rr", 10);
        table.Scribble(bytes => MemoryMarshal.Write(bytes[12..], int.MaxValue));

        GateTable.TryOpen(Copy(table)).Should().BeNull();
    }

    [Fact]
    public void Whatever_is_in_a_table_is_read_without_an_exception()
    {
        using var table = GateTable.Create("rr", 4);
        Prop.ForAll<byte[], int>((noise, shift) =>
        {
            if (noise.Length > 0)
            {
                table.Scribble(bytes =>
                {
                    for (int i = 0; i < bytes.Length; i++)
                        bytes[i] = noise[(i + (shift & 0xff)) % noise.Length];
                });
            }

            using var opened = GateTable.TryOpen(Copy(table));
            _ = table.Policy;
            _ = table.IsAlive(shift);
            for (int slot = 0; slot < 4; slot++)
            {
                var answer = table.Read(slot);
                if (!Enum.IsDefined(answer.Place) || answer.ThreadId < 0 || table.ParkedTotal(slot) < 0)
                    return false;
                table.Open(slot, 1, 2);
                table.Close(slot);
            }

            return true;
        }).QuickCheckThrowOnFailure();
    }

    [Fact]
    public void Orders_and_answers_allocate_nothing()
    {
        using var table = GateTable.Create("rr", 1);

        Allocation.Of(_ =>
        {
            table.Open(0, 1, 2);
            table.Answer(0, GatePlace.Inside, 3);
            table.Close(0);
            table.Ring();
            table.Read(0);
        }).Should().Be(0);
    }

    private static int OffsetOf<T>(string member) => typeof(T).GetField(member)!.GetCustomAttribute<FieldOffsetAttribute>()!.Value;

    private static FdHandle Copy(GateTable table) => Copy(table.Descriptor);

    private static FdHandle Copy(FdHandle file) => file.Duplicate();
}
