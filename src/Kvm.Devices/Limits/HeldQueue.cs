namespace Kvm.Devices.Limits;

/// <summary>
/// The timer of a queue whose next request a <see cref="RateLimiter"/> holds back: wakes the queue when the request may go. Allocates nothing
/// after construction.
/// </summary>
/// <remarks>
/// <see cref="TryPass"/> is called by whoever has the queue to itself. A wake-up that comes early finds the request held back again; none is
/// lost, as the timer forgets that it is armed before it wakes.
/// </remarks>
public sealed class HeldQueue : IDisposable
{
    private const long NanosecondsPerTick = 100;

    private readonly RateLimiter _limiter;
    private readonly Action _wake;
    private readonly ITimer _timer;
    private readonly Lock _gate = new();
    private volatile bool _armed;
    private bool _holds;
    private bool _over;
    private long _held;

    /// <summary>Makes one.</summary>
    /// <param name="limiter">What decides; several queues may share it.</param>
    /// <param name="time">The clock of the timer.</param>
    /// <param name="wake">Has the queue processed; called on the timer's thread, or wherever the clock is.</param>
    public HeldQueue(RateLimiter limiter, TimeProvider time, Action wake)
    {
        ArgumentNullException.ThrowIfNull(time);
        (_limiter, _wake) = (limiter, wake);
        _timer = time.CreateTimer(static queue => ((HeldQueue)queue!).Wake(), this, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
    }

    /// <summary>Requests that had to wait. Any thread.</summary>
    public long Held => Volatile.Read(ref _held);

    /// <summary>True if the queue's next request may go; else the queue is woken when it may.</summary>
    /// <param name="bytes">Bytes the request transfers.</param>
    public bool TryPass(long bytes)
    {
        long wait = _limiter.TryTake(bytes);
        if (wait == 0)
        {
            _holds = false;
            return true;
        }

        if (!_holds)
            Volatile.Write(ref _held, _held + 1);
        _holds = true;
        if (!_armed)
        {
            _armed = true;
            // Rounded up: a timer that comes early is for nothing. The longest timer there is takes 49 days, after which it is asked again.
            long milliseconds = Math.Min(wait / 1_000_000, uint.MaxValue - 2);
            _timer.Change(TimeSpan.FromTicks(Math.Min((wait + NanosecondsPerTick - 1) / NanosecondsPerTick, (milliseconds + 1) * TimeSpan.TicksPerMillisecond)), Timeout.InfiniteTimeSpan);
        }

        return false;
    }

    /// <summary>Has the queue ask again at once, as the limits have changed; nothing where it holds nothing back. Any thread.</summary>
    public void AskAgain()
    {
        if (_armed)
            Wake();
    }

    /// <summary>Afterwards the queue is not woken, and nobody is still waking it: its rings are in memory that may go away.</summary>
    public void Dispose()
    {
        _timer.Dispose();
        lock (_gate)
            _over = true;
    }

    private void Wake()
    {
        _armed = false;
        lock (_gate)
        {
            if (!_over)
                _wake();
        }
    }
}
