namespace Kvm.Vmm.Lifecycle;

/// <summary>
/// The time of a machine's devices: the host's, but its timestamp stands still while the machine is paused, and no timer fires then: what is due
/// fires when it goes on. The wall clock goes on always.
/// </summary>
/// <param name="host">The host's time.</param>
internal sealed class MachineTime(TimeProvider host) : TimeProvider
{
    private readonly Lock _lock = new();
    private readonly List<PausedTimer> _due = [];
    private long _stoppedAt;
    private long _lost;
    private bool _stopped;

    /// <inheritdoc/>
    public override long TimestampFrequency => host.TimestampFrequency;

    /// <inheritdoc/>
    public override TimeZoneInfo LocalTimeZone => host.LocalTimeZone;

    /// <inheritdoc/>
    public override DateTimeOffset GetUtcNow() => host.GetUtcNow();

    /// <inheritdoc/>
    public override long GetTimestamp()
    {
        lock (_lock)
            return (_stopped ? _stoppedAt : host.GetTimestamp()) - _lost;
    }

    /// <inheritdoc/>
    public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
    {
        var timer = new PausedTimer(this, callback, state);
        timer.Start(host, dueTime, period);
        return timer;
    }

    /// <summary>Makes time stand still; nothing happens if it does.</summary>
    public void Stop()
    {
        lock (_lock)
        {
            if (_stopped)
                return;
            (_stopped, _stoppedAt) = (true, host.GetTimestamp());
        }
    }

    /// <summary>Lets time go on from where it stopped, and fires what came due meanwhile.</summary>
    public void GoOn()
    {
        PausedTimer[] due;
        lock (_lock)
        {
            if (!_stopped)
                return;
            _stopped = false;
            _lost += host.GetTimestamp() - _stoppedAt;
            due = [.. _due];
            _due.Clear();
        }

        foreach (var timer in due)
            timer.Fire();
    }

    /// <summary>False where the timer has to wait for the machine.</summary>
    private bool MayFire(PausedTimer timer)
    {
        lock (_lock)
        {
            if (_stopped && !_due.Contains(timer))
                _due.Add(timer);
            return !_stopped;
        }
    }

    private void Forget(PausedTimer timer)
    {
        lock (_lock)
            _due.Remove(timer);
    }

    private sealed class PausedTimer(MachineTime time, TimerCallback callback, object? state) : ITimer
    {
        private ITimer? _inner;

        public void Start(TimeProvider host, TimeSpan dueTime, TimeSpan period) =>
            _inner = host.CreateTimer(static timer => ((PausedTimer)timer!).OnTimer(), this, dueTime, period);

        public void Fire() => callback(state);

        public bool Change(TimeSpan dueTime, TimeSpan period)
        {
            time.Forget(this);
            return _inner!.Change(dueTime, period);
        }

        public void Dispose()
        {
            time.Forget(this);
            _inner?.Dispose();
        }

        public ValueTask DisposeAsync()
        {
            Dispose();
            return ValueTask.CompletedTask;
        }

        private void OnTimer()
        {
            if (time.MayFire(this))
                Fire();
        }
    }
}
