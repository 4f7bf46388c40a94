using FsCheck;
using FsCheck.Fluent;
using Kvm.X86.Interrupts;

namespace Kvm.X86.Tests.Interrupts.Time;

public sealed class GuestClockTests
{
    private sealed class FakeHost : TimeProvider
    {
        public long Ticks;

        public override long TimestampFrequency => 10_000_000;

        public override long GetTimestamp() => Ticks;
    }

    [Fact]
    public void One_gigahertz_counts_nanoseconds()
    {
        var clock = new ManualGuestClock();
        clock.Advance(12345);
        clock.Tsc.Should().Be(12345);
    }

    [Theory]
    [InlineData(2_596_126_000UL, 1_000_000_000UL, 2_596_126_000UL)]
    [InlineData(1_000_000UL, 5_000UL, 5UL)]
    [InlineData(3_000_000_000UL, 7UL, 21UL)]
    public void Ticks_follow_the_frequency(ulong frequency, ulong ns, ulong ticks)
    {
        var clock = new ManualGuestClock(frequency);
        clock.ToTsc(ns).Should().BeCloseTo(ticks, 1);
    }

    [Fact]
    public void The_time_of_a_tick_is_the_first_at_which_it_has_been_reached()
    {
        Prop.ForAll(ArbMap.Default.ArbFor<uint>(), ArbMap.Default.ArbFor<uint>(), (seed, tick) =>
        {
            var clock = new ManualGuestClock(GuestClock.MinimumTscFrequency + seed);
            ulong tsc = (ulong)tick << 8;
            ulong ns = clock.ToNanoseconds(tsc);
            return clock.ToTsc(ns) >= tsc && (ns == 0 || clock.ToTsc(ns - 1) < tsc);
        }).QuickCheckThrowOnFailure();
    }

    [Fact]
    public void Conversions_saturate()
    {
        new ManualGuestClock(GuestClock.MaximumTscFrequency).ToTsc(ulong.MaxValue).Should().Be(ulong.MaxValue);
        new ManualGuestClock(GuestClock.MinimumTscFrequency).ToNanoseconds(ulong.MaxValue).Should().Be(ulong.MaxValue);
    }

    [Theory]
    [InlineData(999_999UL)]
    [InlineData(100_000_000_001UL)]
    public void A_frequency_out_of_range_is_refused(ulong frequency) =>
        FluentActions.Invoking(() => new ManualGuestClock(frequency)).Should().Throw<ArgumentOutOfRangeException>();

    [Fact]
    public void A_manual_clock_never_runs_backwards_but_when_set()
    {
        var clock = new ManualGuestClock();
        clock.AdvanceTo(100);
        clock.AdvanceTo(50);
        clock.Now.Should().Be(100);
        clock.Advance(ulong.MaxValue);
        clock.Now.Should().Be(ulong.MaxValue);
        clock.Set(7);
        clock.Now.Should().Be(7);
    }

    [Fact]
    public void Time_stands_still_while_the_machine_is_stopped()
    {
        var host = new FakeHost { Ticks = 1000 };
        var clock = new HostGuestClock(host: host);
        clock.Now.Should().Be(0);
        clock.Start();
        host.Ticks += 10;
        clock.Now.Should().Be(1000);
        clock.Stop();
        host.Ticks += 500;
        clock.Now.Should().Be(1000);
        clock.Start();
        clock.Start();
        host.Ticks += 1;
        clock.Now.Should().Be(1100);
    }

    [Fact]
    public void A_stopped_clock_can_be_set_and_a_running_one_cannot()
    {
        var host = new FakeHost();
        var clock = new HostGuestClock(host: host);
        clock.Set(5_000);
        clock.Start();
        host.Ticks += 2;
        clock.Now.Should().Be(5_200);
        clock.Invoking(c => c.Set(1)).Should().Throw<InvalidOperationException>();
    }
}
