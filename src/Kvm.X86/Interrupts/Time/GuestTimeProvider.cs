namespace Kvm.X86.Interrupts;

/// <summary>
/// Guest time for devices that take a <see cref="TimeProvider"/>: its timestamps are the machine's, its timers are in the
/// machine's queue, its wall clock runs with guest time from a given start. In deterministic mode every device gets this one,
/// and two runs see the same times.
/// </summary>
/// <param name="timers">The machine's timers and clock.</param>
/// <param name="start">Wall-clock time at guest time 0.</param>
public sealed class GuestTimeProvider(TimerQueue timers, DateTimeOffset start) : TimeProvider
{
    private const ulong NanosecondsPerTick = 100;

    /// <inheritdoc/>
    public override long TimestampFrequency => (long)GuestClock.NanosecondsPerSecond;

    /// <inheritdoc/>
    public override TimeZoneInfo LocalTimeZone => TimeZoneInfo.Utc;

    /// <inheritdoc/>
    public override long GetTimestamp() => (long)Math.Min(timers.Clock.Now, long.MaxValue);

    /// <inheritdoc/>
    public override DateTimeOffset GetUtcNow()
    {
        // Saturates at the end of the calendar rather than throw on a device's thread.
        ulong ticks = timers.Clock.Now / NanosecondsPerTick;
        ulong left = (ulong)(DateTimeOffset.MaxValue.UtcTicks - start.UtcTicks);
        return new DateTimeOffset(start.UtcTicks + (long)Math.Min(ticks, left), TimeSpan.Zero);
    }

    /// <inheritdoc/>
    /// <remarks>The callback runs on the thread of whoever drives the queue: it must not block.</remarks>
    public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
    {
        ArgumentNullException.ThrowIfNull(callback);
        var timer = new GuestTimer(timers, callback, state);
        timer.Change(dueTime, period);
        return timer;
    }

    private sealed class GuestTimer : ITimer, ITimerClient
    {
        private readonly Lock _lock = new();
        private readonly TimerQueue _queue;
        private readonly TimerCallback _callback;
        private readonly object? _state;
        private readonly int _timer;
        private ulong _deadline = TimerQueue.Never;
        private ulong _period;
        private bool _disposed;

        public GuestTimer(TimerQueue queue, TimerCallback callback, object? state)
        {
            _queue = queue;
            _callback = callback;
            _state = state;
            _timer = queue.Add(this);
        }

        public bool Change(TimeSpan dueTime, TimeSpan period)
        {
            lock (_lock)
            {
                if (_disposed)
                    return false;
                _period = period <= TimeSpan.Zero ? 0 : Nanoseconds(period);
                ArmAt(dueTime < TimeSpan.Zero ? TimerQueue.Never : After(_queue.Clock.Now, Nanoseconds(dueTime)));
                return true;
            }
        }

        public void TimerExpired(ulong now)
        {
            lock (_lock)
            {
                if (_disposed || _deadline > now || _deadline == TimerQueue.Never)
                    return;
                ArmAt(_period == 0 ? TimerQueue.Never : After(now, _period));
            }

            _callback(_state);
        }

        public void Dispose()
        {
            lock (_lock)
            {
                if (_disposed)
                    return;
                _disposed = true;
                _queue.Remove(_timer);
            }
        }

        public ValueTask DisposeAsync()
        {
            Dispose();
            return default;
        }

        private void ArmAt(ulong deadline)
        {
            _deadline = deadline;
            _queue.Arm(_timer, deadline);
        }

        private static ulong Nanoseconds(TimeSpan time) => (ulong)time.Ticks * NanosecondsPerTick;

        private static ulong After(ulong now, ulong nanoseconds) => nanoseconds >= TimerQueue.Never - now ? TimerQueue.Never : now + nanoseconds;
    }
}
