using Kvm.Vmm.Host;
using Kvm.Vmm.Reporting;
using Kvm.Vmm.Vcpu;

namespace Kvm.Vmm;

/// <summary>
/// Watches a running machine from a thread of its own: the time limit, and guests that can never wake again. KVM's
/// in-kernel interrupt chips keep a halted vCPU to themselves, so a dead guest looks like an idle one from outside; only
/// when every vCPU thread sleeps and has used no CPU time since the last look is each asked, once, whether it is stuck.
/// </summary>
internal sealed class MachineMonitor : IDisposable
{
    /// <summary>Twice this is how soon a guest that halted for ever is noticed.</summary>
    private static readonly TimeSpan s_period = TimeSpan.FromMilliseconds(200);

    private static readonly TimeSpan s_longest = TimeSpan.FromHours(1);

    private readonly VirtualMachine _machine;
    private readonly VcpuThread[] _vcpus;
    private readonly TimeSpan? _timeout;
    private readonly AutoResetEvent _bell = new(initialState: false);
    private readonly HangDetector? _hangs;
    private readonly ManualResetEventSlim _done = new(initialState: true);
    private readonly long[] _lastCpuTime;
    private TimeSpan? _panicGrace;
    private bool _answered;
    private volatile bool _stopped;

    public MachineMonitor(VirtualMachine machine, VcpuThread[] vcpus, TimeSpan? timeout, TimeSpan? hangAfter)
    {
        _machine = machine;
        _vcpus = vcpus;
        _timeout = timeout;
        _hangs = hangAfter is { } after ? new HangDetector(vcpus, after, machine.OnHang) : null;
        _lastCpuTime = new long[vcpus.Length];
    }

    public void Start()
    {
        _done.Reset();
        new Thread(Main, maxStackSize: 256 << 10) { Name = "vm-monitor", IsBackground = true }.Start();
    }

    /// <summary>Ends the thread soon; may be called from any thread, also from its own.</summary>
    public void Stop()
    {
        _stopped = true;
        _bell.Set();
    }

    /// <summary>The machine goes on that was paused: it is looked at again. Any thread, before <see cref="Dispose"/>.</summary>
    public void Wake() => _bell.Set();

    /// <summary>Ends a guest that told pvpanic it panicked after <paramref name="grace"/>, time enough to print the rest and reset by itself.</summary>
    public void EndAfterPanic(TimeSpan grace) => _panicGrace ??= ProcessClock.SinceProcessStart() + grace;

    public void Dispose()
    {
        Stop();
        _done.Wait();
        _bell.Dispose();
        _done.Dispose();
    }

    private void Main()
    {
        var deadline = _timeout is { } t ? ProcessClock.SinceProcessStart() + t : (TimeSpan?)null;
        while (true)
        {
            bool woken = _bell.WaitOne(Patience(deadline));
            if (_stopped)
                break;
            if (deadline <= ProcessClock.SinceProcessStart())
                _machine.EndWith(VmOutcome.Timeout, $"the guest still ran after {_timeout!.Value.TotalSeconds:0.###} s");
            else if (_panicGrace <= ProcessClock.SinceProcessStart())
                _machine.EndWith(VmOutcome.Panic, "the guest reported a panic");
            else if (woken || _machine.IsHeld)
            {
                _answered = false;
                _hangs?.Forget();
            }
            else
            {
                LookForStuckGuest();
                _hangs?.Look(Environment.TickCount64);
            }
        }

        _done.Set();
    }

    /// <summary>A paused machine costs nothing: it is looked at when its time is over, or when it goes on.</summary>
    private TimeSpan Patience(TimeSpan? deadline)
    {
        var wait = _machine.IsPaused && _panicGrace is null ? Timeout.InfiniteTimeSpan : s_period;
        if (deadline is not { } end)
            return wait;
        var left = end - ProcessClock.SinceProcessStart();
        return left <= TimeSpan.Zero ? TimeSpan.Zero : wait == Timeout.InfiniteTimeSpan || left < wait ? left < s_longest ? left : s_longest : wait;
    }

    private void LookForStuckGuest()
    {
        bool idle = true;
        for (int i = 0; i < _vcpus.Length; i++)
        {
            long time = ThreadInfo.SchedulerTime(_vcpus[i].ThreadId);
            idle &= time == _lastCpuTime[i] && time != 0;
            _lastCpuTime[i] = time;
        }

        if (!idle)
        {
            _answered = false;
            return;
        }

        if (!_answered)
        {
            foreach (var vcpu in _vcpus)
                vcpu.RequestStuckCheck();
            _answered = true;
            // Answering costs CPU time of the thread itself: take the new figures as the base of the next look.
            WaitForAnswers();
        }
    }

    private void WaitForAnswers()
    {
        foreach (var vcpu in _vcpus)
        {
            if (!vcpu.WaitForStuckCheck(s_period))
                return;
        }

        for (int i = 0; i < _vcpus.Length; i++)
            _lastCpuTime[i] = ThreadInfo.SchedulerTime(_vcpus[i].ThreadId);
        if (_vcpus.All(v => v.IsStuck))
            _machine.EndWith(VmOutcome.Halted, "every vCPU has halted with interrupts off: nothing can wake the guest");
    }
}
