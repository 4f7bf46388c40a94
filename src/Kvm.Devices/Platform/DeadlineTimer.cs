namespace Kvm.Devices.Platform;

/// <summary>
/// One host timer of a device, made when first armed: most guests never use the interrupts that need it, and a machine
/// that needs no timer starts no timer thread. Not thread-safe: the device calls it under its own lock.
/// </summary>
/// <param name="time">The clock.</param>
/// <param name="fired">Called on a pool thread, without the device's lock. May come late, and once more after <see cref="Disarm"/>.</param>
internal sealed class DeadlineTimer(TimeProvider time, Action fired) : IDisposable
{
    private static readonly TimeSpan Longest = TimeSpan.FromDays(1);

    private ITimer? _timer;
    private bool _disposed;

    /// <summary>Fires once after <paramref name="due"/>, or after a day if that is less; the device then looks at its clock and arms again.</summary>
    public void Arm(TimeSpan due)
    {
        if (_disposed)
            return;
        // Host timers count whole milliseconds and round down, which would fire before the event.
        long milliseconds = (Math.Clamp(due.Ticks, 0, Longest.Ticks) + TimeSpan.TicksPerMillisecond - 1) / TimeSpan.TicksPerMillisecond;
        var rounded = TimeSpan.FromTicks(milliseconds * TimeSpan.TicksPerMillisecond);
        if (_timer is null)
            _timer = time.CreateTimer(static state => ((Action)state!)(), fired, rounded, Timeout.InfiniteTimeSpan);
        else
            _timer.Change(rounded, Timeout.InfiniteTimeSpan);
    }

    /// <summary>Fires no more until armed again.</summary>
    public void Disarm() => _timer?.Change(Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);

    /// <summary>Fires no more.</summary>
    public void Dispose()
    {
        _disposed = true;
        _timer?.Dispose();
        _timer = null;
    }
}
