namespace Kvm.X86.Interrupts;

/// <summary>
/// A wait with a timeout finer than a millisecond, which the host supplies (futex or timerfd): managed waits round up to
/// whole milliseconds, and a guest's tick is late by as much.
/// </summary>
public interface IHostWait
{
    /// <summary>Waits until <see cref="Wake"/> or for so many nanoseconds; <see cref="ulong.MaxValue"/> is for ever. May return early without cause.</summary>
    void Wait(ulong nanoseconds);

    /// <summary>Ends a running wait, or the next one if none runs. Safe from any thread; must not block.</summary>
    void Wake();
}
