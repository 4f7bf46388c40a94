using Kvm.Devices.Platform;
using Kvm.Devices.Tests.Support;

namespace Kvm.Devices.Tests.Platform;

public sealed class ReportPortsTests
{
    private readonly List<ulong> _exits = [];
    private readonly List<PvPanicEvents> _panics = [];
    private readonly DebugExitPort _exit;
    private readonly PvPanic _panic;

    public ReportPortsTests()
    {
        _exit = new DebugExitPort("debug-exit", _exits.Add);
        _panic = new PvPanic("pvpanic", _panics.Add);
    }

    [Theory]
    [InlineData(new byte[] { 7 }, 7)]
    [InlineData(new byte[] { 0x34, 0x12 }, 0x1234)]
    [InlineData(new byte[] { 0x78, 0x56, 0x34, 0x12 }, 0x12345678)]
    [InlineData(new byte[] { 1, 0, 0, 0, 0, 0, 0, 0x40 }, 0x4000000000000001)]
    public void Debug_exit_write_of_any_width_reports_the_whole_value(byte[] data, ulong value)
    {
        _exit.Write(0, data);
        _exits.Should().Equal(value);
        _exit.LastValue.Should().Be(value);
    }

    [Fact]
    public void Debug_exit_write_beside_offset_0_reports_nothing()
    {
        _exit.Out8(1, 5);
        _exits.Should().BeEmpty();
        _exit.LastValue.Should().BeNull();
    }

    [Fact]
    public void Debug_exit_reads_zero() => _exit.In32(0).Should().Be(0);

    [Fact]
    public void Debug_exit_restores_its_last_value_and_refuses_a_bad_record()
    {
        _exit.Out16(0, 0x102);
        var other = new DebugExitPort("debug-exit", _ => { });
        other.RestoreState(_exit.SaveState()).Should().BeTrue();
        other.LastValue.Should().Be(0x102);
        other.RestoreState([0, 1, 0, 0, 0, 0, 0, 0, 0]).Should().BeFalse("a value without a write cannot be");
        other.RestoreState([]).Should().BeFalse();
        other.LastValue.Should().Be(0x102);
    }

    [Fact]
    public void Pvpanic_read_offers_both_events() => _panic.In8(0).Should().Be(0x03);

    [Theory]
    [InlineData(0x01, PvPanicEvents.Panicked)]
    [InlineData(0x02, PvPanicEvents.CrashLoaded)]
    [InlineData(0xff, PvPanicEvents.Panicked | PvPanicEvents.CrashLoaded)]
    public void Pvpanic_write_reports_the_known_events(int value, PvPanicEvents events)
    {
        _panic.Out8(0, value);
        _panics.Should().Equal(events);
        _panic.Seen.Should().Be(events);
    }

    [Fact]
    public void Pvpanic_write_of_unknown_events_or_elsewhere_reports_nothing()
    {
        _panic.Out8(0, 0xfc);
        _panic.Out8(1, 0x01);
        _panics.Should().BeEmpty();
    }

    [Fact]
    public void Pvpanic_restores_what_it_saw_and_refuses_unknown_events()
    {
        _panic.Out8(0, 0x02);
        var other = new PvPanic("pvpanic", _ => { });
        other.RestoreState(_panic.SaveState()).Should().BeTrue();
        other.Seen.Should().Be(PvPanicEvents.CrashLoaded);
        other.RestoreState([0x04]).Should().BeFalse();
    }
}
