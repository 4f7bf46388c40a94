namespace Kvm.X86.Interrupts;

/// <summary>
/// Drives a <see cref="TimerQueue"/> from the processors' own threads: those that run look at the time between slices, and
/// one of those that halt sleeps until the next deadline. A machine needs no timer thread then, and an idle one wakes one
/// thread a tick instead of two.
/// </summary>
/// <remarks>
/// A processor's thread calls <see cref="Check"/> between slices of some ten thousand instructions, <see cref="Wait"/> while
/// it has nothing to do, and <see cref="Leave"/> when it stops taking part. The other members are safe from any thread.
/// </remarks>
public sealed class Timekeeper : ITimerDriver
{
    private const int Nobody = -1;
    private readonly TimerQueue _queue;
    private readonly IHostWait[] _waits;
    private int _keeper = Nobody;

    /// <summary>Becomes the driver of <paramref name="queue"/>.</summary>
    /// <param name="queue">The machine's timers.</param>
    /// <param name="waits">One wait for each processor, from the host; see <see cref="ManagedHostWait"/> where it has none.</param>
    public Timekeeper(TimerQueue queue, IReadOnlyList<IHostWait> waits)
    {
        ArgumentNullException.ThrowIfNull(queue);
        ArgumentNullException.ThrowIfNull(waits);
        _queue = queue;
        _waits = [.. waits];
        queue.Driver = this;
    }

    /// <summary>Fires what is due. Cheap when nothing is: two reads and one of the clock.</summary>
    public void Check()
    {
        ulong next = _queue.NextDeadline;
        if (next != TimerQueue.Never && next <= _queue.Clock.Now)
            _queue.Advance();
    }

    /// <summary>
    /// Sleeps until <see cref="Wake"/>, or until the next deadline if no other sleeping processor watches it, and fires
    /// what is due. Returns early without cause: the caller looks for work and comes back.
    /// </summary>
    public void Wait(int processor)
    {
        if (Interlocked.CompareExchange(ref _keeper, processor, Nobody) != Nobody)
        {
            _waits[processor].Wait(TimerQueue.Never);
            return;
        }

        // Keeper from here on: a deadline that moves now wakes this wait, so read it after.
        ulong next = _queue.NextDeadline;
        ulong now = _queue.Clock.Now;
        if (next > now)
            _waits[processor].Wait(next == TimerQueue.Never ? TimerQueue.Never : next - now);
        Volatile.Write(ref _keeper, Nobody);
        Check();
    }

    /// <summary>Ends a processor's wait, or its next one if it does not wait.</summary>
    public void Wake(int processor) => _waits[processor].Wake();

    /// <summary>The calling processor's thread will neither run nor wait for a while (paused, stopped): those that sleep choose a keeper among them.</summary>
    public void Leave()
    {
        foreach (var wait in _waits)
            wait.Wake();
    }

    /// <inheritdoc/>
    public void DeadlineMoved(ulong deadline)
    {
        // The deadline is published before the keeper is read, as the keeper publishes itself before it reads the deadline.
        Interlocked.MemoryBarrier();
        int keeper = Volatile.Read(ref _keeper);
        if (keeper != Nobody)
            _waits[keeper].Wake();
    }
}
