using Kvm.Vmm.Lifecycle;

namespace Kvm.Vmm.Tests.Lifecycle;

public class MachineTimeTests
{
    private readonly HandTime _host = new();
    private readonly MachineTime _time;
    private int _fired;

    public MachineTimeTests() => _time = new MachineTime(_host);

    [Fact]
    public void Timestamp_stands_still_while_stopped_and_the_wall_clock_goes_on()
    {
        _host.Now = 1000;
        _time.Stop();
        _host.Now = 5000;
        _time.GetTimestamp().Should().Be(1000);
        _time.GetUtcNow().Should().Be(_host.GetUtcNow());
        _time.GoOn();
        _time.GetTimestamp().Should().Be(1000);
        _host.Now = 5500;
        _time.GetTimestamp().Should().Be(1500);
    }

    [Fact]
    public void Several_stops_add_up()
    {
        for (int i = 0; i < 3; i++)
        {
            _host.Now += 10;
            _time.Stop();
            _time.Stop();
            _host.Now += 100;
            _time.GoOn();
            _time.GoOn();
        }

        _time.GetTimestamp().Should().Be(30);
    }

    [Fact]
    public void Timer_fires_when_the_machine_goes_on_and_once_however_often_it_was_due()
    {
        using var timer = _time.CreateTimer(_ => _fired++, null, TimeSpan.Zero, TimeSpan.FromSeconds(1));
        _host.Fire();
        _fired.Should().Be(1);
        _time.Stop();
        _host.Fire();
        _host.Fire();
        _fired.Should().Be(1);
        _time.GoOn();
        _fired.Should().Be(2);
        _host.Fire();
        _fired.Should().Be(3);
    }

    [Fact]
    public void Timer_that_was_set_anew_or_disposed_while_stopped_does_not_fire()
    {
        var timer = _time.CreateTimer(_ => _fired++, null, TimeSpan.Zero, Timeout.InfiniteTimeSpan);
        _time.Stop();
        _host.Fire();
        timer.Change(Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan).Should().BeTrue();
        _time.GoOn();
        _time.Stop();
        _host.Fire();
        timer.Dispose();
        _time.GoOn();
        _fired.Should().Be(0);
    }

    /// <summary>A host whose time and timers are moved by hand.</summary>
    private sealed class HandTime : TimeProvider
    {
        private readonly List<Action> _timers = [];

        public long Now { get; set; }

        public override long TimestampFrequency => 1000;

        public override long GetTimestamp() => Now;

        public override DateTimeOffset GetUtcNow() => DateTimeOffset.UnixEpoch.AddMilliseconds(Now);

        public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
        {
            _timers.Add(() => callback(state));
            return new Nothing();
        }

        public void Fire() => _timers.ForEach(t => t());

        private sealed class Nothing : ITimer
        {
            public bool Change(TimeSpan dueTime, TimeSpan period) => true;

            public void Dispose()
            {
            }

            public ValueTask DisposeAsync() => ValueTask.CompletedTask;
        }
    }
}
