using Kvm.X86.Interrupts;

namespace Kvm.X86.Tests.Interrupts.Time;

public sealed class TimekeeperTests
{
    private readonly ManualGuestClock _clock = new();
    private readonly TimerQueue _queue;
    private readonly FakeWait[] _waits = [new(), new()];
    private readonly Timekeeper _keeper;
    private readonly Client _client = new();
    private readonly int _timer;

    public TimekeeperTests()
    {
        _queue = new TimerQueue(_clock);
        _keeper = new Timekeeper(_queue, _waits);
        _timer = _queue.Add(_client);
    }

    private sealed class Client : ITimerClient
    {
        public int Fired;

        public void TimerExpired(ulong now) => Interlocked.Increment(ref Fired);
    }

    /// <summary>Records what it is asked and lets a test act inside the wait.</summary>
    private sealed class FakeWait : IHostWait
    {
        public readonly List<ulong> Asked = [];
        public int Wakes;
        public Action? Inside;

        public void Wait(ulong nanoseconds)
        {
            Asked.Add(nanoseconds);
            Inside?.Invoke();
        }

        public void Wake() => Wakes++;
    }

    [Fact]
    public void A_running_processor_fires_what_is_due_and_nothing_before()
    {
        _queue.Arm(_timer, 100);
        _clock.AdvanceTo(99);
        _keeper.Check();
        _client.Fired.Should().Be(0);
        _clock.AdvanceTo(100);
        _keeper.Check();
        _client.Fired.Should().Be(1);
    }

    [Fact]
    public void The_first_to_halt_sleeps_until_the_deadline_and_fires_it()
    {
        _queue.Arm(_timer, 100);
        _clock.AdvanceTo(40);
        _waits[0].Inside = () => _clock.AdvanceTo(100);
        _keeper.Wait(0);
        _waits[0].Asked.Should().Equal(60);
        _client.Fired.Should().Be(1);
    }

    [Fact]
    public void A_second_sleeper_waits_for_ever_and_takes_over_when_the_first_is_gone()
    {
        _queue.Arm(_timer, 100);
        _waits[0].Inside = () =>
        {
            _keeper.Wait(1);
            _waits[1].Asked.Should().Equal(TimerQueue.Never);
        };
        _keeper.Wait(0);
        _keeper.Wait(1);
        _waits[1].Asked.Should().Equal(TimerQueue.Never, 100);
    }

    [Fact]
    public void An_earlier_deadline_wakes_the_keeper_only()
    {
        _waits[0].Inside = () => _queue.Arm(_timer, 50);
        _keeper.Wait(0);
        _waits[0].Asked.Should().Equal(TimerQueue.Never);
        _waits[0].Wakes.Should().Be(1);
        _waits[1].Wakes.Should().Be(0);
        _queue.Arm(_timer, 20);
        _waits[0].Wakes.Should().Be(1, "nobody keeps time by sleeping now");
    }

    [Fact]
    public void A_deadline_in_the_past_is_fired_without_sleeping()
    {
        _queue.Arm(_timer, 10);
        _clock.AdvanceTo(20);
        _keeper.Wait(0);
        _waits[0].Asked.Should().BeEmpty();
        _client.Fired.Should().Be(1);
    }

    [Fact]
    public void Leaving_wakes_the_sleepers()
    {
        _keeper.Leave();
        _waits.Should().OnlyContain(w => w.Wakes == 1);
    }

    [Fact]
    public void In_real_time_a_halted_processor_is_woken_by_its_deadline()
    {
        var clock = new HostGuestClock();
        clock.Start();
        var queue = new TimerQueue(clock);
        using var wait = new ManagedHostWait();
        var keeper = new Timekeeper(queue, [wait]);
        var client = new Client();
        queue.Arm(queue.Add(client), clock.Now + 2_000_000);
        var limit = System.Diagnostics.Stopwatch.StartNew();
        while (Volatile.Read(ref client.Fired) == 0 && limit.Elapsed < TimeSpan.FromSeconds(30))
            keeper.Wait(0);
        client.Fired.Should().Be(1);
        clock.Now.Should().BeGreaterThanOrEqualTo(2_000_000);
    }
}
