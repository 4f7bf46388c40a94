using Kvm.X86.Interrupts;
using static Kvm.X86.Tests.Interrupts.ApicRig;

namespace Kvm.X86.Tests.Interrupts.Apic;

/// <summary>SDM vol. 3, 11.5.4. The timer's clock is 1 GHz: a count is a nanosecond times the divider.</summary>
public sealed class LocalApicTimerTests
{
    private const uint By1 = 0b1011;
    private readonly ApicRig _rig = new();

    private void Start(uint lvt, uint count, uint divide = By1)
    {
        _rig.Write(Divide, divide);
        _rig.Write(LvtTimer, lvt);
        _rig.Write(InitialCount, count);
    }

    [Theory]
    [InlineData(0b0000u, 2u)]
    [InlineData(0b0001u, 4u)]
    [InlineData(0b0010u, 8u)]
    [InlineData(0b0011u, 16u)]
    [InlineData(0b1000u, 32u)]
    [InlineData(0b1001u, 64u)]
    [InlineData(0b1010u, 128u)]
    [InlineData(0b1011u, 1u)]
    public void SDM_figure_11_10_The_divider_slows_the_count(uint divide, uint by)
    {
        Start(0x41, 1000, divide);
        _rig.Advance((1000 * by) - 1);
        _rig.Apic.Pending.Should().Be(InterruptEvents.None);
        _rig.Advance(1);
        _rig.Apic.AcknowledgeInterrupt().Should().Be(0x41);
    }

    [Fact]
    public void One_shot_counts_down_fires_once_and_stays_at_zero()
    {
        Start(0x41, 1000);
        _rig.Read(CurrentCount).Should().Be(1000);
        _rig.Advance(400);
        _rig.Read(CurrentCount).Should().Be(600);
        _rig.Advance(600);
        _rig.Read(CurrentCount).Should().Be(0);
        _rig.Apic.AcknowledgeInterrupt().Should().Be(0x41);
        _rig.Write(Eoi, 0);
        _rig.Advance(10_000);
        _rig.Apic.Pending.Should().Be(InterruptEvents.None);
        _rig.Read(InitialCount).Should().Be(1000);
    }

    [Fact]
    public void A_one_shot_that_is_over_stays_over_when_the_mode_becomes_periodic()
    {
        Start(0x41, 100_000);
        _rig.Clock.Advance(100_001); // its queue has not come round to it
        _rig.Write(LvtTimer, 0x41 | Periodic);
        _rig.Read(CurrentCount).Should().Be(0);
        _rig.Apic.AcknowledgeInterrupt().Should().Be(0x41);
        _rig.Write(Eoi, 0);
        _rig.Advance(1_000_000);
        _rig.Apic.Pending.Should().Be(InterruptEvents.None);
    }

    [Fact]
    public void Periodic_fires_each_period_and_missed_periods_are_one_interrupt()
    {
        Start(0x41 | Periodic, 100_000);
        for (int i = 0; i < 3; i++)
        {
            _rig.Advance(100_000);
            _rig.Apic.AcknowledgeInterrupt().Should().Be(0x41);
            _rig.Write(Eoi, 0);
        }

        _rig.Advance(350_000);
        _rig.Apic.AcknowledgeInterrupt().Should().Be(0x41);
        _rig.Write(Eoi, 0);
        _rig.Apic.Pending.Should().Be(InterruptEvents.None);
        // The phase is kept: the next one is due half a period on.
        _rig.Timers.NextDeadline.Should().Be(700_000);
        _rig.Read(CurrentCount).Should().Be(50_000);
    }

    [Fact]
    public void A_periodic_timer_of_one_count_is_held_to_20_us()
    {
        Start(0x41 | Periodic, 1);
        _rig.Timers.NextDeadline.Should().Be(20_000);
        _rig.Advance(20_000);
        _rig.Timers.NextDeadline.Should().Be(40_000);
    }

    [Fact]
    public void A_count_of_zero_stops_the_timer()
    {
        Start(0x41 | Periodic, 100_000);
        _rig.Write(InitialCount, 0);
        _rig.Timers.NextDeadline.Should().Be(TimerQueue.Never);
        _rig.Read(CurrentCount).Should().Be(0);
    }

    [Fact]
    public void A_masked_timer_counts_without_interrupting()
    {
        Start(0x41 | Masked, 1000);
        _rig.Advance(1000);
        _rig.Apic.Pending.Should().Be(InterruptEvents.None);
        _rig.Read(CurrentCount).Should().Be(0);
    }

    [Fact]
    public void A_new_divider_keeps_the_count()
    {
        Start(0x41, 1000);
        _rig.Advance(500);
        _rig.Write(Divide, 0);
        _rig.Read(CurrentCount).Should().Be(500);
        _rig.Advance(999);
        _rig.Apic.Pending.Should().Be(InterruptEvents.None);
        _rig.Advance(1);
        _rig.Apic.AcknowledgeInterrupt().Should().Be(0x41);
    }

    [Fact]
    public void SDM_11_5_4_1_The_TSC_deadline_fires_when_the_counter_reaches_it_and_reads_zero_then()
    {
        var rig = new ApicRig(tscFrequency: 2_000_000_000);
        rig.Write(LvtTimer, 0x41 | Deadline);
        rig.Apic.WriteTscDeadline(3000);
        rig.Apic.TscDeadline.Should().Be(3000);
        rig.Advance(1499);
        rig.Apic.Pending.Should().Be(InterruptEvents.None);
        rig.Advance(1);
        rig.Apic.AcknowledgeInterrupt().Should().Be(0x41);
        rig.Apic.TscDeadline.Should().Be(0);
        rig.Timers.NextDeadline.Should().Be(TimerQueue.Never);
    }

    [Fact]
    public void A_deadline_in_the_past_fires_at_once()
    {
        _rig.Advance(5000);
        _rig.Write(LvtTimer, 0x41 | Deadline);
        _rig.Apic.WriteTscDeadline(4000);
        _rig.Apic.AcknowledgeInterrupt().Should().Be(0x41);
        _rig.Apic.TscDeadline.Should().Be(0);
    }

    [Fact]
    public void SDM_11_5_4_1_A_deadline_of_zero_disarms()
    {
        _rig.Write(LvtTimer, 0x41 | Deadline);
        _rig.Apic.WriteTscDeadline(4000);
        _rig.Apic.WriteTscDeadline(0);
        _rig.Advance(10_000);
        _rig.Apic.Pending.Should().Be(InterruptEvents.None);
    }

    [Fact]
    public void SDM_11_5_4_1_The_deadline_is_ignored_in_other_modes_and_the_count_in_deadline_mode()
    {
        _rig.Write(LvtTimer, 0x41);
        _rig.Apic.WriteTscDeadline(4000);
        _rig.Apic.TscDeadline.Should().Be(0);
        _rig.Write(LvtTimer, 0x41 | Deadline);
        _rig.Write(InitialCount, 1000);
        _rig.Read(InitialCount).Should().Be(0);
        _rig.Read(CurrentCount).Should().Be(0);
        _rig.Timers.NextDeadline.Should().Be(TimerQueue.Never);
    }

    [Theory]
    [InlineData(Deadline, 0u)]
    [InlineData(0u, Deadline)]
    [InlineData(Periodic, Deadline)]
    public void SDM_11_5_4_1_Changing_to_or_from_deadline_mode_disarms(uint from, uint to)
    {
        _rig.Write(LvtTimer, 0x41 | from);
        _rig.Write(InitialCount, 50_000);
        _rig.Apic.WriteTscDeadline(50_000);
        _rig.Timers.NextDeadline.Should().BeLessThanOrEqualTo(100_000);
        _rig.Write(LvtTimer, 0x41 | to);
        _rig.Timers.NextDeadline.Should().Be(TimerQueue.Never);
    }

    [Fact]
    public void The_deadline_at_the_end_of_time_neither_wraps_nor_fires()
    {
        _rig.Advance(1000);
        _rig.Write(LvtTimer, 0x41 | Deadline);
        _rig.Apic.WriteTscDeadline(ulong.MaxValue);
        _rig.Apic.Pending.Should().Be(InterruptEvents.None);
        _rig.Apic.TscDeadline.Should().Be(ulong.MaxValue);
        _rig.Advance(1 << 30);
        _rig.Apic.Pending.Should().Be(InterruptEvents.None);
    }

    [Fact]
    public void A_timer_interrupt_allocates_nothing()
    {
        _rig.Write(LvtTimer, 0x41 | Deadline);
        void Round()
        {
            _rig.Apic.WriteTscDeadline(_rig.Clock.Tsc + 100);
            _rig.Advance(100);
            _rig.Apic.AcknowledgeInterrupt();
            _rig.Write(Eoi, 0);
        }

        Round();
        Allocation.Of(_ => Round(), 10_000).Should().Be(0);
    }
}
