namespace Kvm.X86.Interrupts;

/// <summary>Whoever waits for the <see cref="TimerQueue"/>'s next deadline: a host thread, or the engine's halt loop.</summary>
public interface ITimerDriver
{
    /// <summary>
    /// The earliest deadline became earlier than the driver knew: a sleeping driver must wake and look again.
    /// Called from any thread with chips' locks held: it must neither block nor call a chip or the queue.
    /// </summary>
    /// <param name="deadline">The new earliest deadline, guest time in ns.</param>
    void DeadlineMoved(ulong deadline);
}
