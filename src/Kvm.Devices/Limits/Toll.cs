namespace Kvm.Devices.Limits;

/// <summary>
/// The limit of a queue whose next request may have to wait for something else too, after it has paid: it pays once. Allocates nothing after construction;
/// used by whoever has the queue to itself, but for what says otherwise.
/// </summary>
internal sealed class Toll : IDisposable
{
    private readonly HeldQueue _queue;
    private long _paid = -1;

    private Toll(HeldQueue queue) => _queue = queue;

    /// <summary>Makes one; null where there is no limit.</summary>
    /// <param name="limiter">What decides; several queues may share it.</param>
    /// <param name="time">The clock of the timer.</param>
    /// <param name="wake">Has the queue processed; called on the timer's thread, or wherever the clock is.</param>
    public static Toll? Of(RateLimiter? limiter, TimeProvider time, Action wake) => limiter is null ? null : new Toll(new HeldQueue(limiter, time, wake));

    /// <summary>Requests that had to wait. Any thread.</summary>
    public long Held => _queue.Held;

    /// <summary>True if the queue's next request may go, now or when it is asked of again until <see cref="Passed"/>; else the queue is woken when it may.</summary>
    /// <param name="bytes">Bytes it transfers, at least 0. Who paid for fewer, and changed the request meanwhile, pays anew.</param>
    public bool TryPass(long bytes)
    {
        if (bytes <= _paid)
            return true;
        if (!_queue.TryPass(bytes))
            return false;
        _paid = bytes;
        return true;
    }

    /// <summary>The request is done with.</summary>
    public void Passed() => _paid = -1;

    /// <summary>Has the queue ask again at once, as the limits have changed. Any thread.</summary>
    public void AskAgain() => _queue.AskAgain();

    /// <summary>Afterwards the queue is not woken.</summary>
    public void Dispose() => _queue.Dispose();
}
