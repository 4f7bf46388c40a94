namespace Kvm.X86.Interrupts;

/// <summary>A chip with a timer in the <see cref="TimerQueue"/>.</summary>
public interface ITimerClient
{
    /// <summary>
    /// The deadline was reached: the timer is disarmed and its client may arm it again, for a time after <paramref name="now"/>.
    /// </summary>
    /// <param name="now">Guest time in ns, at or after the deadline.</param>
    /// <remarks>
    /// Called by whoever drives the queue, without the queue's lock. The chip may have armed the timer anew or disarmed
    /// it between the queue's decision and this call, so it compares its own deadline with <paramref name="now"/>.
    /// </remarks>
    void TimerExpired(ulong now);
}
