using Kvm.Devices.Interrupts;
using Kvm.Devices.Pci;
using Kvm.Devices.Tests.Support;
using Kvm.Devices.Tests.Virtio.Support;

namespace Kvm.Devices.Tests.Pci;

public sealed class MsixTableTests
{
    private readonly RecordingMsi _sink = new();

    private MsixTable Make(int vectors = 4)
    {
        var table = new MsixTable(vectors, _sink);
        table.SetControl(enabled: true, functionMasked: false);
        return table;
    }

    [Fact]
    public void All_vectors_are_masked_at_first()
    {
        var table = Make();
        for (ulong i = 0; i < 4; i++)
            table.In32(i * 16 + 12).Should().Be(1);
        table.Signal(0);
        _sink.Messages.Should().BeEmpty();
        table.In32(MsixTable.PendingOffset).Should().Be(1);
    }

    [Fact]
    public void Vector_sends_the_address_and_data_written_to_its_entry()
    {
        var table = Make();
        table.Out32(16, 0xfee0_1000);
        table.Out32(20, 0x1);
        table.Out32(24, 0x4041);
        table.Out32(28, 0);
        table.Signal(1);
        _sink.Messages.Should().Equal((0x1_fee0_1000UL, 0x4041u));
    }

    [Fact]
    public void Entry_may_be_written_by_any_width()
    {
        var table = Make();
        table.Write(0, BitConverter.GetBytes(0x0000_0000_fee0_2000UL));
        table.Write(8, BitConverter.GetBytes(0x0000_0000_0000_0055UL));
        table.Signal(0);
        _sink.Messages.Should().Equal((0xfee0_2000UL, 0x55u));
    }

    [Fact]
    public void Reserved_bits_of_the_vector_control_are_not_kept()
    {
        var table = Make();
        table.Out32(12, 0xffff_fffe);
        table.In32(12).Should().Be(0);
        table.Out32(12, 0xffff_ffff);
        table.In32(12).Should().Be(1);
    }

    [Fact]
    public void Pending_bits_and_what_is_past_the_table_cannot_be_written()
    {
        var table = Make();
        table.Out32(MsixTable.PendingOffset, 0xffff_ffff);
        table.In32(MsixTable.PendingOffset).Should().Be(0);
        table.Out32(4 * 16, 0xffff_ffff);
        table.In32(4 * 16).Should().Be(0);
        table.Write(4 * 16 - 4, [0, 0, 0, 0, 1, 1, 1, 1]);
        table.In32(4 * 16).Should().Be(0);
        table.In32(MsixTable.BarSize - 4).Should().Be(0);
        table.In32(MsixTable.BarSize + 100).Should().Be(0);
    }

    [Theory]
    [InlineData(-1)]
    [InlineData(4)]
    [InlineData(0xffff)]
    public void Vector_that_does_not_exist_sends_nothing(int vector)
    {
        var table = Make();
        table.Signal(vector);
        _sink.Messages.Should().BeEmpty();
        table.In32(MsixTable.PendingOffset).Should().Be(0);
    }

    [Fact]
    public void Nothing_is_sent_or_kept_while_switched_off()
    {
        var table = Make();
        table.Out32(12, 0);
        table.SetControl(enabled: false, functionMasked: false);
        table.Signal(0);
        table.SetControl(enabled: true, functionMasked: false);
        _sink.Messages.Should().BeEmpty();
    }

    [Fact]
    public void Last_vector_of_the_largest_table_works()
    {
        var table = Make(MsixTable.MaxVectors);
        table.Signal(127);
        table.In8(MsixTable.PendingOffset + 15).Should().Be(0x80);
        table.Out32(127 * 16 + 12, 0);
        _sink.Messages.Should().HaveCount(1);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(129)]
    public void Table_of_an_impossible_size_cannot_be_made(int vectors)
    {
        var make = () => new MsixTable(vectors, _sink);
        make.Should().Throw<ArgumentOutOfRangeException>();
    }

    [Fact]
    public void Vector_s_message_goes_by_its_route_which_is_set_anew_only_when_the_message_changes()
    {
        var sink = new RoutingSink();
        var table = new MsixTable(2, sink);
        table.SetControl(enabled: true, functionMasked: false);
        Write(table, 1, 0xfee0_0000, 0x41);
        sink.Log.Should().BeEmpty("nothing was sent");
        table.Signal(1);
        table.Signal(1);
        table.Out32(16 + 12, 1);
        Write(table, 1, 0xfee0_1000, 0x52, masked: true);
        table.Signal(1);
        sink.Log.Should().Equal("set fee00000 41", "signal", "signal");
        table.Out32(16 + 12, 0);
        sink.Log.Skip(3).Should().Equal("set fee01000 52", "signal");
        table.Signal(0);
        sink.Log.Should().HaveCount(5, "it is masked");
    }

    [Theory]
    [InlineData(0, int.MaxValue)]
    [InlineData(int.MaxValue, 0)]
    public void Message_without_a_route_is_sent_as_it_is(int routes, int settings)
    {
        var sink = new RoutingSink { Routes = routes, Settings = settings };
        var table = new MsixTable(1, sink);
        table.SetControl(enabled: true, functionMasked: false);
        Write(table, 0, 0xfee0_0000, 0x41);
        table.Signal(0);
        table.Signal(0);
        sink.Log.Where(l => l.StartsWith("send", StringComparison.Ordinal)).Should().Equal("send fee00000 41", "send fee00000 41");
        sink.Log.Count(l => l.StartsWith("set", StringComparison.Ordinal)).Should().BeLessThanOrEqualTo(1, "it is not tried again");
    }

    [Fact]
    public void Guest_that_rewrites_its_table_without_end_sets_a_bounded_number_of_routes_and_loses_no_message()
    {
        var sink = new RoutingSink();
        var table = new MsixTable(1, sink);
        table.SetControl(enabled: true, functionMasked: false);
        for (uint i = 0; i < 5000; i++)
        {
            Write(table, 0, 0xfee0_0000, i);
            table.Signal(0);
        }

        sink.Log.Count(l => l.StartsWith("set", StringComparison.Ordinal)).Should().BeLessThanOrEqualTo(1001);
        sink.Log.Count(l => l is "signal" || l.StartsWith("send", StringComparison.Ordinal)).Should().Be(5000);
        sink.Log[^1].Should().Be("send fee00000 1387");
    }

    private static void Write(MsixTable table, int vector, uint address, uint data, bool masked = false)
    {
        ulong entry = (ulong)vector * 16;
        table.Out32(entry, address);
        table.Out32(entry + 4, 0);
        table.Out32(entry + 8, data);
        table.Out32(entry + 12, masked ? 1u : 0);
    }

    /// <summary>Has routes, and writes down what becomes of them.</summary>
    private sealed class RoutingSink : IMsiSink, IMsiRoute
    {
        public List<string> Log { get; } = [];

        public int Routes { get; set; } = int.MaxValue;

        public int Settings { get; set; } = int.MaxValue;

        public void Send(ulong address, uint data) => Log.Add($"send {address:x} {data:x}");

        public IMsiRoute? TryRoute() => Routes-- > 0 ? this : null;

        public bool TrySet(ulong address, uint data)
        {
            Log.Add($"set {address:x} {data:x}");
            return Settings-- > 0;
        }

        public void Signal() => Log.Add("signal");
    }
}
