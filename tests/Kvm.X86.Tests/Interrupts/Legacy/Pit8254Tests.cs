using FsCheck;
using FsCheck.Fluent;
using Kvm.X86.Interrupts;

namespace Kvm.X86.Tests.Interrupts.Legacy;

/// <summary>8254 datasheet (231164-005). Times are in ticks of 1,193,182 Hz.</summary>
public sealed class Pit8254Tests
{
    private readonly PitRig _rig = new();

    [Fact]
    public void Mode_0_interrupts_once_at_terminal_count_and_goes_on_counting()
    {
        _rig.Out(0x43, 0x30);
        _rig.Out(0x40, 0xe8, 0x03);
        _rig.Status(0).Should().Be(0x30);
        _rig.To(999);
        _rig.Rises.Should().Be(0);
        _rig.Latched(0).Should().Be(1);
        _rig.To(1000);
        _rig.Rises.Should().Be(1);
        _rig.Status(0).Should().Be(0xb0);
        _rig.To(1001);
        _rig.Latched(0).Should().Be(0xffff);
        _rig.To(200_000);
        _rig.Rises.Should().Be(1);
        _rig.Timers.NextDeadline.Should().Be(TimerQueue.Never);
    }

    [Fact]
    public void Mode_0_stops_at_the_first_byte_of_a_new_count_and_starts_over_with_the_second()
    {
        _rig.Out(0x43, 0x30);
        _rig.Out(0x40, 0xe8, 0x03);
        _rig.To(600);
        _rig.Out(0x40, 0xe8);
        _rig.To(5000);
        _rig.Latched(0).Should().Be(400);
        _rig.Rises.Should().Be(0);
        _rig.Out(0x40, 0x03);
        _rig.To(5999);
        _rig.Rises.Should().Be(0);
        _rig.To(6000);
        _rig.Rises.Should().Be(1);
    }

    [Fact]
    public void Mode_2_interrupts_each_period_and_its_count_never_reaches_zero()
    {
        _rig.Out(0x43, 0x34);
        _rig.Out(0x40, 0xe8, 0x03);
        for (ulong period = 1; period <= 5; period++)
        {
            _rig.To((1000 * period) - 1);
            _rig.Latched(0).Should().Be(1);
            (_rig.Status(0) & 0x80).Should().Be(0, "the output is low for the last tick");
            _rig.To(1000 * period);
            _rig.Rises.Should().Be((int)period);
            _rig.Latched(0).Should().Be(1000);
        }
    }

    [Fact]
    public void Mode_2_missed_periods_are_one_interrupt_and_the_phase_is_kept()
    {
        _rig.Out(0x43, 0x34);
        _rig.Out(0x40, 0xe8, 0x03);
        _rig.To(3500);
        _rig.Rises.Should().Be(1);
        _rig.Timers.NextDeadline.Should().Be(Pit8254.ToNanoseconds(4000));
    }

    [Fact]
    public void Mode_3_is_high_for_half_a_period_and_counts_by_two()
    {
        _rig.Out(0x43, 0x36);
        _rig.Out(0x40, 0xe8, 0x03);
        _rig.To(100);
        _rig.Latched(0).Should().Be(800);
        (_rig.Status(0) & 0x80).Should().Be(0x80);
        _rig.To(500);
        _rig.Latched(0).Should().Be(1000);
        (_rig.Status(0) & 0x80).Should().Be(0);
        _rig.To(1000);
        _rig.Rises.Should().Be(1);
        (_rig.Status(0) & 0x80).Should().Be(0x80);
    }

    [Fact]
    public void A_count_of_zero_is_65536_and_in_BCD_10000()
    {
        _rig.Out(0x43, 0x34);
        _rig.Out(0x40, 0, 0);
        _rig.To(65_535);
        _rig.Rises.Should().Be(0);
        _rig.Latched(0).Should().Be(1);
        _rig.To(65_536);
        _rig.Rises.Should().Be(1);
        _rig.Latched(0).Should().Be(0, "65536 reads as 0");

        var bcd = new PitRig();
        bcd.Out(0x43, 0x35);
        bcd.Out(0x40, 0, 0);
        bcd.To(1);
        bcd.Latched(0).Should().Be(0x9999);
        bcd.To(10_000);
        bcd.Rises.Should().Be(1);
    }

    [Fact]
    public void BCD_counts_load_and_read_as_decimal_digits()
    {
        _rig.Out(0x43, 0x31);
        _rig.Out(0x40, 0x34, 0x12);
        _rig.To(35);
        _rig.Latched(0).Should().Be(0x1199);
        _rig.To(1234);
        _rig.Rises.Should().Be(1);
    }

    [Fact]
    public void A_tiny_period_interrupts_at_most_every_24_ticks_in_phase()
    {
        _rig.Out(0x43, 0x34);
        _rig.Out(0x40, 0x02, 0x00);
        _rig.Timers.NextDeadline.Should().Be(Pit8254.ToNanoseconds(24));
        _rig.To(24);
        _rig.Rises.Should().Be(1);
        _rig.Timers.NextDeadline.Should().Be(Pit8254.ToNanoseconds(48));
        _rig.Out(0x43, 0x34);
        _rig.Out(0x40, 0x01, 0x00);
        _rig.Timers.NextDeadline.Should().BeGreaterThan(_rig.Clock.Now, "a period of one tick is taken as two");
    }

    [Fact]
    public void Mode_1_is_a_one_shot_triggered_by_the_gate()
    {
        _rig.Out(0x43, 0xb2);
        _rig.Out(0x42, 0x64, 0x00);
        _rig.Speaker.Output.Should().BeTrue();
        _rig.To(50);
        _rig.Speaker.SetGate(true);
        _rig.Speaker.Output.Should().BeFalse();
        _rig.To(100);
        _rig.Speaker.SetGate(false);
        _rig.Speaker.SetGate(true);
        _rig.To(199);
        _rig.Speaker.Output.Should().BeFalse("it was triggered again");
        _rig.To(200);
        _rig.Speaker.Output.Should().BeTrue();
    }

    [Fact]
    public void Mode_4_strobes_one_tick_after_the_count_and_interrupts_at_its_end()
    {
        _rig.Out(0x43, 0x38);
        _rig.Out(0x40, 0x64, 0x00);
        (_rig.Status(0) & 0x80).Should().Be(0x80);
        _rig.To(100);
        (_rig.Status(0) & 0x80).Should().Be(0);
        _rig.Rises.Should().Be(0);
        _rig.To(101);
        (_rig.Status(0) & 0x80).Should().Be(0x80);
        _rig.Rises.Should().Be(1);
    }

    [Fact]
    public void Mode_5_strobes_after_a_rise_of_the_gate()
    {
        _rig.Out(0x43, 0xba);
        _rig.Out(0x42, 0x64, 0x00);
        _rig.To(200);
        _rig.Speaker.Output.Should().BeTrue();
        _rig.Speaker.SetGate(true);
        _rig.To(300);
        _rig.Speaker.Output.Should().BeFalse();
        _rig.To(301);
        _rig.Speaker.Output.Should().BeTrue();
    }

    [Fact]
    public void Modes_6_and_7_are_2_and_3()
    {
        _rig.Out(0x43, 0x3c);
        (_rig.Status(0) & 0x0e).Should().Be(0x04);
        _rig.Out(0x43, 0x3e);
        (_rig.Status(0) & 0x0e).Should().Be(0x06);
    }

    [Fact]
    public void The_gate_of_counter_2_halts_mode_0()
    {
        _rig.Out(0x43, 0xb0);
        _rig.Out(0x42, 0xe8, 0x03);
        _rig.To(500);
        _rig.Latched(2).Should().Be(1000, "the gate is closed");
        _rig.Speaker.SetGate(true);
        _rig.To(800);
        _rig.Speaker.SetGate(false);
        _rig.To(2000);
        _rig.Latched(2).Should().Be(700);
        _rig.Speaker.SetGate(true);
        _rig.To(2699);
        _rig.Speaker.Output.Should().BeFalse();
        _rig.To(2700);
        _rig.Speaker.Output.Should().BeTrue();
    }

    [Fact]
    public void The_gate_of_counter_2_holds_mode_3_high_and_restarts_it()
    {
        _rig.Speaker.SetGate(true);
        _rig.Out(0x43, 0xb6);
        _rig.Out(0x42, 0xe8, 0x03);
        _rig.To(700);
        _rig.Speaker.Output.Should().BeFalse();
        _rig.Speaker.SetGate(false);
        _rig.Speaker.Output.Should().BeTrue();
        _rig.Speaker.SetGate(true);
        _rig.Latched(2).Should().Be(1000);
    }

    [Theory]
    [InlineData(0x14, 0x80)]
    [InlineData(0x24, 0x02)]
    public void One_byte_access_loads_and_reads_one_half(byte control, byte value)
    {
        _rig.Out(0x43, control);
        _rig.Out(0x40, value);
        _rig.In(0x40).Should().Be(value);
        _rig.In(0x40).Should().Be(value, "each read gives the same half");
    }

    [Fact]
    public void A_latched_count_stands_still_until_read_and_a_second_latch_is_ignored()
    {
        _rig.Out(0x43, 0x34);
        _rig.Out(0x40, 0xe8, 0x03);
        _rig.To(100);
        _rig.Out(0x43, 0x00);
        _rig.To(200);
        _rig.Out(0x43, 0x00);
        _rig.In(0x40).Should().Be(900 & 0xff);
        _rig.In(0x40).Should().Be(900 >> 8);
        _rig.In(0x40).Should().Be(800 & 0xff, "live again");
        _rig.In(0x40).Should().Be(800 >> 8);
    }

    [Fact]
    public void Read_back_latches_status_and_count_of_several_counters_status_first()
    {
        _rig.Out(0x43, 0x34);
        _rig.Status(0).Should().Be(0x80 | 0x40 | 0x34, "no count was written: null count, output high");
        _rig.Out(0x40, 0xe8, 0x03);
        _rig.Out(0x43, 0x74);
        _rig.Out(0x41, 0x10, 0x00);
        _rig.To(100);
        _rig.Out(0x43, 0xc6);
        _rig.In(0x40).Should().Be(0x80 | 0x34);
        _rig.In(0x40).Should().Be(900 & 0xff);
        _rig.In(0x40).Should().Be(900 >> 8);
        _rig.In(0x41).Should().Be(0x80 | 0x34);
        _rig.In(0x41).Should().Be(0x10 - (100 % 0x10));
    }

    [Fact]
    public void The_control_port_reads_as_nothing() => _rig.In(0x43).Should().Be(0xff);

    [Fact]
    public void A_new_control_word_stops_the_counter()
    {
        _rig.Out(0x43, 0x34);
        _rig.Out(0x40, 0xe8, 0x03);
        _rig.Out(0x43, 0x34);
        _rig.To(10_000);
        _rig.Rises.Should().Be(0);
    }

    [Fact]
    public void Any_sequence_of_ports_gates_and_times_never_throws()
    {
        Prop.ForAll(ArbMap.Default.ArbFor<(ushort, uint)[]>(), acts =>
        {
            var rig = new PitRig();
            byte[] data = new byte[8];
            foreach (var (act, value) in acts)
            {
                ushort port = (ushort)(0x40 + (act & 3));
                switch (act >> 8 & 3)
                {
                    case 0:
                        rig.Out(port, (byte)value);
                        break;
                    case 1:
                        rig.Ports.Read(port, data.AsSpan(0, 1 + (int)(value & 7)));
                        break;
                    case 2:
                        rig.Speaker.SetGate((value & 1) != 0);
                        break;
                    default:
                        rig.Clock.Advance(value);
                        rig.Timers.Advance();
                        break;
                }

                _ = rig.Speaker.Output;
            }

            return rig.Timers.NextDeadline > rig.Clock.Now || rig.Timers.Advance() > rig.Clock.Now;
        }).QuickCheckThrowOnFailure();
    }

    [Fact]
    public void A_tick_allocates_nothing()
    {
        _rig.Out(0x43, 0x34);
        _rig.Out(0x40, 0xe8, 0x03);
        ulong ticks = 1000;
        _rig.To(ticks);
        Allocation.Of(_ => _rig.To(ticks += 1000), 10_000).Should().Be(0);
        _rig.Rises.Should().Be((int)(ticks / 1000));
    }
}
