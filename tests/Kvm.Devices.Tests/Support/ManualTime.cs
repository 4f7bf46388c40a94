namespace Kvm.Devices.Tests.Support;

/// <summary>A clock that moves only when a test says so, and fires timers while it moves.</summary>
internal sealed class ManualTime : TimeProvider
{
    private readonly List<ManualTimer> _timers = [];

    public DateTimeOffset Utc { get; set; } = new(2024, 2, 28, 23, 59, 57, TimeSpan.Zero);

    public long Timestamp { get; set; }

    public long Frequency { get; init; } = TimeSpan.TicksPerSecond;

    /// <summary>Timers that will still fire.</summary>
    public int Armed => _timers.Count(t => t.Due is not null);

    /// <summary>Timers ever made and not disposed.</summary>
    public int Made => _timers.Count;

    public override long TimestampFrequency => Frequency;

    public override DateTimeOffset GetUtcNow() => Utc;

    public override long GetTimestamp() => Timestamp;

    public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
    {
        var timer = new ManualTimer(this, callback, state);
        _timers.Add(timer);
        timer.Change(dueTime, period);
        return timer;
    }

    public void Advance(TimeSpan by)
    {
        var end = Utc + by;
        while (_timers.Where(t => t.Due <= end).MinBy(t => t.Due) is { } next)
        {
            MoveTo(next.Due!.Value > Utc ? next.Due.Value : Utc);
            next.Fire();
        }

        MoveTo(end);
    }

    private void MoveTo(DateTimeOffset utc)
    {
        Timestamp += (long)((Int128)(utc - Utc).Ticks * Frequency / TimeSpan.TicksPerSecond);
        Utc = utc;
    }

    private sealed class ManualTimer(ManualTime time, TimerCallback callback, object? state) : ITimer
    {
        public DateTimeOffset? Due { get; private set; }

        public bool Change(TimeSpan dueTime, TimeSpan period)
        {
            Due = dueTime == Timeout.InfiniteTimeSpan ? null : time.Utc + dueTime;
            return true;
        }

        public void Fire()
        {
            Due = null;
            callback(state);
        }

        public void Dispose() => time._timers.Remove(this);

        public ValueTask DisposeAsync()
        {
            Dispose();
            return ValueTask.CompletedTask;
        }
    }
}
