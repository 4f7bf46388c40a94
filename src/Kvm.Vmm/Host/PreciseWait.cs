using Kvm.Interop;
using Kvm.X86.Interrupts;

namespace Kvm.Vmm.Host;

/// <summary>A wait that ends within microseconds of its time, by timerfd and eventfd: managed waits count whole milliseconds, and guests' sleeps would too.</summary>
/// <remarks>One thread waits; any wakes. Disposed once neither happens any more.</remarks>
internal sealed class PreciseWait : IHostWait, IDisposable
{
    private const ulong TimerReady = 0, WakeReady = 1;
    private readonly TimerFd _timer = new();
    private readonly EventFd _wake = new();
    private readonly Epoll _both = new();
    private readonly EpollEvent[] _ready = new EpollEvent[2];

    public PreciseWait()
    {
        _both.Add(_timer.Handle.Fd, EpollEvents.In, TimerReady);
        _both.Add(_wake.Handle.Fd, EpollEvents.In, WakeReady);
    }

    /// <inheritdoc/>
    public void Wait(ulong nanoseconds)
    {
        if (nanoseconds < long.MaxValue)
            _timer.Arm((long)nanoseconds);
        else
            _timer.Disarm();
        // An expiry of an earlier wait that was woken instead is gone: arming anew forgets it.
        _both.Wait(_ready, -1);
        _wake.Drain();
    }

    /// <inheritdoc/>
    public void Wake() => _wake.Signal();

    /// <inheritdoc/>
    public void Dispose()
    {
        _both.Dispose();
        _wake.Dispose();
        _timer.Dispose();
    }
}
