using Kvm.X86.Interrupts;

namespace Kvm.X86.Tests.Interrupts.Time;

public sealed class TimerQueueTests
{
    private readonly ManualGuestClock _clock = new();
    private readonly List<string> _fired = [];

    private sealed class Client(TimerQueueTests test, string name) : ITimerClient
    {
        public int Timer;
        public ulong Rearm;

        public void TimerExpired(ulong now)
        {
            test._fired.Add($"{name}@{now}");
            if (Rearm != 0)
                test._queue!.Arm(Timer, now + Rearm);
        }
    }

    private sealed class Driver : ITimerDriver
    {
        public readonly List<ulong> Moved = [];

        public void DeadlineMoved(ulong deadline) => Moved.Add(deadline);
    }

    private TimerQueue? _queue;

    private (TimerQueue, Client, Client) Two()
    {
        _queue = new TimerQueue(_clock);
        var a = new Client(this, "a");
        var b = new Client(this, "b");
        a.Timer = _queue.Add(a);
        b.Timer = _queue.Add(b);
        return (_queue, a, b);
    }

    [Fact]
    public void Timers_fire_in_order_of_deadline_and_once()
    {
        var (queue, a, b) = Two();
        queue.Arm(a.Timer, 20);
        queue.Arm(b.Timer, 10);
        queue.NextDeadline.Should().Be(10);
        queue.Advance(9).Should().Be(10);
        _fired.Should().BeEmpty();
        queue.Advance(30).Should().Be(TimerQueue.Never);
        queue.Advance(40);
        _fired.Should().Equal("b@30", "a@30");
    }

    [Fact]
    public void Moving_or_disarming_the_earliest_timer_finds_the_next()
    {
        var (queue, a, b) = Two();
        queue.Arm(a.Timer, 20);
        queue.Arm(b.Timer, 10);
        queue.Arm(b.Timer, 30);
        queue.NextDeadline.Should().Be(20);
        queue.Arm(a.Timer, TimerQueue.Never);
        queue.NextDeadline.Should().Be(30);
    }

    [Fact]
    public void The_driver_hears_only_of_earlier_deadlines()
    {
        var (queue, a, b) = Two();
        var driver = new Driver();
        queue.Driver = driver;
        queue.Arm(a.Timer, 20);
        queue.Arm(b.Timer, 30);
        queue.Arm(b.Timer, 10);
        driver.Moved.Should().Equal(20, 10);
    }

    [Fact]
    public void A_timer_rearmed_in_the_past_does_not_hold_the_driver_for_ever()
    {
        var (queue, a, b) = Two();
        b.Rearm = 1;
        a.Rearm = 1;
        queue.Arm(a.Timer, 1);
        queue.Arm(b.Timer, 2);
        queue.Advance(100).Should().Be(101);
        _fired.Should().HaveCount(2);
    }

    [Fact]
    public void Arming_and_firing_allocates_nothing()
    {
        var (queue, a, _) = Two();
        void Round(ulong i)
        {
            queue.Arm(a.Timer, i);
            queue.Arm(a.Timer, TimerQueue.Never);
        }

        Round(1);
        Allocation.Of(i => Round((ulong)i), 10_000).Should().Be(0);
    }

    [Fact]
    public void The_timer_thread_fires_a_deadline_armed_while_it_sleeps()
    {
        var clock = new HostGuestClock();
        clock.Start();
        var queue = new TimerQueue(clock);
        using var done = new ManualResetEventSlim();
        int timer = queue.Add(new Signal(done));
        using var thread = new TimerThread(queue);
        thread.Start();
        queue.Arm(timer, clock.Now + 1_000_000);
        done.Wait(TimeSpan.FromSeconds(30)).Should().BeTrue();
        thread.Stop();
        done.Reset();
        queue.Arm(timer, 0);
        done.IsSet.Should().BeFalse();
    }

    private sealed class Signal(ManualResetEventSlim done) : ITimerClient
    {
        public void TimerExpired(ulong now) => done.Set();
    }
}
