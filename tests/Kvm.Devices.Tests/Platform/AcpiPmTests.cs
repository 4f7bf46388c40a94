using Kvm.Devices.Platform;
using Kvm.Devices.Tests.Support;

namespace Kvm.Devices.Tests.Platform;

public sealed class AcpiPmTests : IDisposable
{
    private const ulong Status = AcpiPm.EventOffset, Enable = AcpiPm.EventOffset + 2, Control = AcpiPm.ControlOffset;
    private const ulong GpeStatus = AcpiPm.Gpe0Offset, GpeEnable = AcpiPm.Gpe0Offset + 2;
    private const int PowerButton = 1 << 8;

    private readonly ManualTime _time = new();
    private readonly RecordingLine _sci = new();
    private readonly AcpiPm _pm;
    private int _offs, _resets;

    public AcpiPmTests() => _pm = Make();

    public void Dispose() => _pm.Dispose();

    private AcpiPm Make() => new("acpi-pm", _time, _sci, () => _offs++, () => _resets++);

    [Fact]
    public void Control_reads_as_acpi_mode_whatever_is_written()
    {
        _pm.In16(Control).Should().Be(1);
        _pm.Out16(Control, 0);
        _pm.In16(Control).Should().Be(1);
    }

    [Fact]
    public void Sleep_type_of_s5_with_sleep_enable_powers_off_once()
    {
        _pm.Out16(Control, AcpiPm.SoftOffSleepType << 10);
        _offs.Should().Be(0);
        _pm.Out16(Control, AcpiPm.SoftOffSleepType << 10 | 1 << 13);
        _offs.Should().Be(1);
        _pm.In16(Control).Should().Be(AcpiPm.SoftOffSleepType << 10 | 1, "SLP_EN reads as 0");
    }

    [Fact]
    public void Sleep_written_by_the_high_byte_alone_powers_off()
    {
        _pm.Out8(Control + 1, AcpiPm.SoftOffSleepType << 2 | 1 << 5);
        _offs.Should().Be(1);
    }

    [Fact]
    public void Sleep_of_another_type_is_ignored_and_counted()
    {
        _pm.Out16(Control, 1 << 10 | 1 << 13);
        _offs.Should().Be(0);
        _pm.UnsupportedSleeps.Should().Be(1);
    }

    [Fact]
    public void Reset_register_resets_on_its_value_only()
    {
        _pm.Out8(AcpiPm.ResetOffset, AcpiPm.ResetValue ^ 1);
        _resets.Should().Be(0);
        _pm.Out8(AcpiPm.ResetOffset, AcpiPm.ResetValue);
        _resets.Should().Be(1);
    }

    [Theory]
    [InlineData(1_000_000_000L)]
    [InlineData(10_000_000L)]
    [InlineData(1_000_000_000_000L)]
    [InlineData(3L)]
    public void Timer_counts_3579545_a_second_at_any_host_frequency(long frequency)
    {
        var time = new ManualTime { Frequency = frequency };
        using var pm = new AcpiPm("acpi-pm", time, _sci, () => { }, () => { });
        pm.In32(AcpiPm.TimerOffset).Should().Be(0);
        time.Advance(TimeSpan.FromSeconds(1));
        pm.In32(AcpiPm.TimerOffset).Should().Be(3_579_545);
        time.Advance(TimeSpan.FromSeconds(1999));
        pm.In32(AcpiPm.TimerOffset).Should().Be(unchecked((uint)(2000L * 3_579_545)), "it wraps at 32 bits");
    }

    [Fact]
    public void Timer_survives_a_hundred_years_of_uptime()
    {
        var time = new ManualTime { Frequency = 1_000_000_000 };
        using var pm = new AcpiPm("acpi-pm", time, _sci, () => { }, () => { });
        time.Timestamp = 100L * 365 * 86_400 * 1_000_000_000;
        pm.In32(AcpiPm.TimerOffset).Should().Be(unchecked((uint)(100L * 365 * 86_400 * 3_579_545)));
    }

    [Fact]
    public void Timer_status_is_set_when_the_top_bit_changes_and_cleared_by_writing_it()
    {
        _time.Advance(TimeSpan.FromSeconds(599));
        _pm.In16(Status).Should().Be(0);
        _time.Advance(TimeSpan.FromSeconds(1));
        _pm.In16(Status).Should().Be(1);
        _pm.Out16(Status, 1);
        _pm.In16(Status).Should().Be(0);
    }

    [Fact]
    public void Timer_event_raises_sci_on_its_own_when_enabled()
    {
        _pm.Out16(Enable, 1);
        _time.Advance(TimeSpan.FromSeconds(599));
        _sci.Asserted.Should().BeFalse();
        _time.Advance(TimeSpan.FromSeconds(1));
        _sci.Asserted.Should().BeTrue();
        _pm.Out16(Status, 1);
        _sci.Asserted.Should().BeFalse();
        _time.Advance(TimeSpan.FromSeconds(600));
        _sci.Asserted.Should().BeTrue();
    }

    [Fact]
    public void Machine_whose_guest_ignores_the_timer_event_makes_no_timer()
    {
        _pm.Out16(Enable, PowerButton);
        _pm.In32(AcpiPm.TimerOffset);
        _pm.PressPowerButton();
        _time.Made.Should().Be(0);
    }

    [Fact]
    public void Power_button_raises_sci_if_enabled_until_its_status_is_cleared()
    {
        _pm.PressPowerButton().Should().BeFalse();
        _sci.Asserted.Should().BeFalse();
        _pm.Out16(Enable, PowerButton);
        _sci.Asserted.Should().BeTrue("the press is still waiting");
        _pm.In16(Status).Should().Be(PowerButton);
        _pm.Out16(Status, PowerButton);
        _sci.Asserted.Should().BeFalse();
        _pm.PressPowerButton().Should().BeTrue();
        _sci.Rises.Should().Be(2);
    }

    [Fact]
    public void Writing_zero_to_a_status_clears_nothing()
    {
        _pm.PressPowerButton();
        _pm.Out16(Status, 0);
        _pm.In16(Status).Should().Be(PowerButton);
    }

    [Fact]
    public void Enable_keeps_only_the_events_there_are()
    {
        _pm.Out16(Enable, 0xffff);
        _pm.In16(Enable).Should().Be(0x0721);
    }

    [Fact]
    public void General_purpose_events_raise_sci_each_by_its_own_bit()
    {
        for (int number = 0; number < 16; number++)
        {
            _pm.RaiseGpe(number).Should().BeFalse();
            _pm.Out16(GpeEnable, 1 << number);
            _sci.Asserted.Should().BeTrue();
            _pm.RaiseGpe(number).Should().BeTrue();
            _pm.Out16(GpeStatus, 1 << number);
            _sci.Asserted.Should().BeFalse();
            _pm.In16(GpeStatus).Should().Be(0);
        }
    }

    [Theory]
    [InlineData(-1)]
    [InlineData(16)]
    public void General_purpose_event_outside_the_block_throws(int number) =>
        FluentActions.Invoking(() => _pm.RaiseGpe(number)).Should().Throw<ArgumentOutOfRangeException>();

    [Fact]
    public void Wide_and_odd_accesses_see_the_same_registers()
    {
        _pm.Out32(Status, PowerButton << 16);
        _pm.PressPowerButton();
        _pm.In32(Status).Should().Be(PowerButton << 16 | PowerButton);
        _pm.In8(Status + 1).Should().Be(PowerButton >> 8);
        _pm.Out8(Enable + 1, 0);
        _pm.In16(Enable).Should().Be(0);
        _pm.In32(AcpiPm.Size - 1).Should().Be(0xffffff00);
        _pm.In8(AcpiPm.Size).Should().Be(0xff);
    }

    [Fact]
    public void Restored_block_goes_on_with_its_timer_and_its_pending_event()
    {
        _time.Advance(TimeSpan.FromSeconds(10));
        _pm.Out16(Enable, PowerButton);
        _pm.PressPowerButton();
        byte[] record = _pm.SaveState();
        var line = new RecordingLine();
        var later = new ManualTime();
        using var other = new AcpiPm("acpi-pm", later, line, () => { }, () => { });
        other.RestoreState(record).Should().BeTrue();

        line.Asserted.Should().BeTrue();
        other.In32(AcpiPm.TimerOffset).Should().Be(35_795_450);
        later.Advance(TimeSpan.FromSeconds(1));
        other.In32(AcpiPm.TimerOffset).Should().Be(39_374_995);
    }

    [Fact]
    public void Hostile_record_is_refused_and_changes_nothing()
    {
        byte[] good = _pm.SaveState();
        foreach (var (at, value) in new[] { (0, 2), (2, 2), (3, 0x80), (4, 0), (5, 0x20) })
        {
            byte[] bad = [.. good];
            bad[at] = (byte)value;
            _pm.RestoreState(bad).Should().BeFalse("byte {0} is {1}", at, value);
        }

        _pm.RestoreState(good.AsSpan(1)).Should().BeFalse();
        _pm.SaveState().Should().Equal(good);
    }
}
