using Kvm.X86.Engine;

namespace Kvm.Vmm.Debugging;

/// <summary>
/// Where the vCPU threads of a debugged machine wait: each passes it before each entry into the guest. A stop is a stop of all; the first
/// reason of one is kept.
/// </summary>
/// <remarks>One lock, held for a few instructions; the threads wait on it.</remarks>
internal sealed class DebugHold(int vcpus, Action<bool, bool> hold)
{
    private readonly object _lock = new();
    private readonly VcpuResume[] _orders = new VcpuResume[vcpus];
    private readonly bool[] _parked = new bool[vcpus];
    private readonly bool[] _gone = new bool[vcpus];
    private int _stepped;
    private bool _started;
    private bool _stopped;
    private bool _faultShown;
    private DebugStop? _stop = new DebugStop(DebugStopReason.Requested);

    /// <summary>All vCPUs stand still; what holds also before the machine was started.</summary>
    public bool IsStopped
    {
        get
        {
            lock (_lock)
                return AllParked;
        }
    }

    /// <summary>The guest runs already: the hold begins open.</summary>
    public void BeginOpen()
    {
        lock (_lock)
        {
            _started = true;
            _stop = null;
            Array.Fill(_orders, VcpuResume.Run);
        }
    }

    /// <summary>The vCPU threads are about to begin.</summary>
    public void Start()
    {
        lock (_lock)
            _started = true;
    }

    /// <summary>
    /// On a vCPU's thread, before it enters the guest: waits for the order to. False where the thread was asked for something else meanwhile.
    /// </summary>
    /// <param name="index">The thread's vCPU.</param>
    /// <param name="requests">The thread's request word.</param>
    /// <param name="step">The vCPU that is to step, or −1 to run.</param>
    public bool Pass(int index, ref int requests, out int step)
    {
        lock (_lock)
        {
            while (_orders[index] == VcpuResume.Stay)
            {
                if (Volatile.Read(ref requests) != 0)
                {
                    step = -1;
                    return false;
                }

                Park(index);
                Monitor.Wait(_lock);
            }

            _parked[index] = false;
            step = _orders[index] != VcpuResume.Step ? -1 : _stepped < 0 ? index : _stepped;
            return true;
        }
    }

    /// <summary>On a vCPU's thread: the engine stopped for the debugger. The caller then makes the other threads look.</summary>
    public void Report(int vcpu, DebugHit hit)
    {
        var reason = hit.Cause switch
        {
            DebugCause.Breakpoint => DebugStopReason.Breakpoint,
            DebugCause.Watchpoint => DebugStopReason.Watchpoint,
            _ => DebugStopReason.Step,
        };
        Halt(new DebugStop(reason, vcpu, hit.Point));
    }

    /// <summary>On a vCPU's thread: it cannot go on. False if the debugger was shown that before, and let it go on.</summary>
    public bool TryShowFault(int vcpu)
    {
        lock (_lock)
        {
            if (_faultShown)
                return false;
            _faultShown = true;
            Halt(new DebugStop(DebugStopReason.Fault, vcpu));
            return true;
        }
    }

    /// <summary>The machine was changed: it may go on for longer now.</summary>
    public void ForgetFault()
    {
        lock (_lock)
            _faultShown = false;
    }

    /// <summary>Has all vCPUs stop; the caller then makes their threads look.</summary>
    public void Halt(DebugStop why)
    {
        lock (_lock)
        {
            _stop ??= why;
            Array.Fill(_orders, VcpuResume.Stay);
        }
    }

    /// <summary>A vCPU's thread has ended.</summary>
    public void Leave(int index)
    {
        lock (_lock)
        {
            _gone[index] = true;
            _stop = new DebugStop(DebugStopReason.Ended, index);
            Array.Fill(_orders, VcpuResume.Run);
            Park(index);
            Monitor.PulseAll(_lock);
        }
    }

    /// <summary>Wakes threads that wait, to look at their requests.</summary>
    public void Wake()
    {
        lock (_lock)
            Monitor.PulseAll(_lock);
    }

    /// <summary>Lets vCPUs go on. False if the machine does not stand still.</summary>
    /// <param name="orders">One for each thread.</param>
    /// <param name="stepped">Whose step a thread makes that is to step; −1: its own.</param>
    public bool TryResume(ReadOnlySpan<VcpuResume> orders, int stepped)
    {
        lock (_lock)
        {
            if (!AllParked || _gone.AsSpan().Contains(true))
                return false;
            _stop = null;
            _stopped = false;
            _stepped = stepped;
            orders.CopyTo(_orders);
            for (int i = 0; i < _orders.Length; i++)
                _parked[i] &= _orders[i] == VcpuResume.Stay;
            hold(false, Array.IndexOf(_orders, VcpuResume.Run) >= 0);
            Monitor.PulseAll(_lock);
            return true;
        }
    }

    /// <summary>Whether the machine stands still and may be moved by another thread than its vCPUs'.</summary>
    public bool TryBorrow()
    {
        lock (_lock)
            return AllParked && !_gone.AsSpan().Contains(true);
    }

    /// <summary>Waits until the machine stands still, or has ended. False if that took longer than <paramref name="patience"/>.</summary>
    public bool TryWait(TimeSpan patience, out DebugStop stop)
    {
        long end = patience == Timeout.InfiniteTimeSpan ? long.MaxValue : Environment.TickCount64 + (long)patience.TotalMilliseconds;
        lock (_lock)
        {
            while (!AllParked || _stop is null)
            {
                long left = end == long.MaxValue ? int.MaxValue : end - Environment.TickCount64;
                if (left <= 0)
                {
                    stop = default;
                    return false;
                }

                Monitor.Wait(_lock, (int)Math.Min(left, int.MaxValue));
            }

            stop = _stop.Value;
            return true;
        }
    }

    private bool AllParked => !_started || _stopped;

    private void Park(int index)
    {
        _parked[index] = true;
        for (int i = 0; i < _parked.Length; i++)
        {
            if (!_parked[i] && !_gone[i])
                return;
        }

        if (_stopped)
            return;
        _stopped = true;
        hold(true, false);
        Monitor.PulseAll(_lock);
    }
}
