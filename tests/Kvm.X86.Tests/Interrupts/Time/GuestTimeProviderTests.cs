using Kvm.X86.Interrupts;

namespace Kvm.X86.Tests.Interrupts.Time;

public sealed class GuestTimeProviderTests
{
    private static readonly DateTimeOffset Start = new(2026, 1, 1, 0, 0, 0, TimeSpan.Zero);
    private readonly ManualGuestClock _clock = new();
    private readonly TimerQueue _queue;
    private readonly GuestTimeProvider _time;
    private int _fired;

    public GuestTimeProviderTests()
    {
        _queue = new TimerQueue(_clock);
        _time = new GuestTimeProvider(_queue, Start);
    }

    private void Advance(double milliseconds)
    {
        _clock.Advance((ulong)(milliseconds * 1_000_000));
        _queue.Advance();
    }

    [Fact]
    public void Timestamps_and_wall_clock_follow_guest_time()
    {
        Advance(1500);
        _time.GetElapsedTime(0).Should().Be(TimeSpan.FromSeconds(1.5));
        _time.GetUtcNow().Should().Be(Start.AddSeconds(1.5));
        _clock.AdvanceTo(ulong.MaxValue);
        _time.Invoking(t => t.GetUtcNow()).Should().NotThrow();
        _time.GetTimestamp().Should().Be(long.MaxValue);
    }

    [Fact]
    public void A_timer_fires_once_in_guest_time()
    {
        using var timer = _time.CreateTimer(_ => _fired++, null, TimeSpan.FromMilliseconds(10), Timeout.InfiniteTimeSpan);
        Advance(9.9);
        _fired.Should().Be(0);
        Advance(0.1);
        Advance(100);
        _fired.Should().Be(1);
        timer.Change(TimeSpan.FromMilliseconds(5), Timeout.InfiniteTimeSpan).Should().BeTrue();
        Advance(5);
        _fired.Should().Be(2);
    }

    [Fact]
    public void A_periodic_timer_goes_on_until_changed()
    {
        using var timer = _time.CreateTimer(_ => _fired++, null, TimeSpan.Zero, TimeSpan.FromMilliseconds(10));
        Advance(0);
        Advance(10);
        Advance(10);
        _fired.Should().Be(3);
        timer.Change(Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
        Advance(100);
        _fired.Should().Be(3);
    }

    [Fact]
    public void A_disposed_timer_is_silent_and_its_place_is_used_again()
    {
        var timer = _time.CreateTimer(_ => _fired++, null, TimeSpan.FromMilliseconds(1), Timeout.InfiniteTimeSpan);
        timer.Dispose();
        timer.Dispose();
        timer.Change(TimeSpan.Zero, Timeout.InfiniteTimeSpan).Should().BeFalse();
        _queue.NextDeadline.Should().Be(TimerQueue.Never);
        using var next = _time.CreateTimer(_ => _fired += 10, null, TimeSpan.FromMilliseconds(1), Timeout.InfiniteTimeSpan);
        Advance(2);
        _fired.Should().Be(10);
    }
}
