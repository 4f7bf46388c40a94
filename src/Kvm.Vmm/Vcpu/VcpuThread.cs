using Kvm.Interop;
using Kvm.Vmm.Debugging;
using Kvm.Vmm.Lifecycle;
using Kvm.Vmm.Reporting;
using Kvm.Vmm.Scheduling;

namespace Kvm.Vmm.Vcpu;

/// <summary>
/// One vCPU's own named thread. Others talk to it by a request word and a kick, never by calling its engine.
/// </summary>
internal sealed class VcpuThread : IDisposable
{
    [Flags]
    private enum Request
    {
        None = 0,
        Stop = 1,
        CheckStuck = 2,
        Sample = 4,
        Look = 8,
    }

    private readonly IVcpuEngine _engine;
    private readonly VirtualMachine _machine;
    private readonly Gate? _gate;
    private PauseGate _pause = null!;
    private readonly int[] _affinity;
    private readonly Thread _thread;
    private DebugHold? _hold;
    private X86.State.ArchitecturalState? _sample;
    private ulong _sampledRip;
    private int _sampled;
    private ulong _lookedAt;
    private ulong _lookedFlags;
    private int _looked;
    private int _requests;
    private int _threadId;
    private long _stolen;
    private volatile bool _stuck;
    private volatile bool _running;
    private readonly ManualResetEventSlim _stuckAnswered = new(initialState: true);

    public VcpuThread(VirtualMachine machine, IVcpuEngine engine, int index, Gate? gate = null, IReadOnlyList<int>? affinity = null)
    {
        _affinity = [.. affinity ?? []];
        _gate = gate;
        _machine = machine;
        _engine = engine;
        Index = index;
        _thread = new Thread(Main, maxStackSize: 1 << 20) { Name = $"vcpu{index}", IsBackground = true };
    }

    /// <summary>Number of the vCPU; 0 is the boot processor.</summary>
    public int Index { get; }

    /// <summary>Whether a scheduler of ours says when it may run.</summary>
    public bool IsScheduled => _gate is not null;

    /// <summary>The engine, for counters.</summary>
    public IVcpuEngine Engine => _engine;

    /// <summary>The answer to the last <see cref="RequestStuckCheck"/>: nothing can wake this vCPU.</summary>
    public bool IsStuck => _stuck;

    /// <summary>The kernel's id of the thread; 0 before it runs.</summary>
    public int ThreadId => Volatile.Read(ref _threadId);

    /// <summary>What the thread did, complete once it has ended.</summary>
    public VcpuReport Report { get; private set; } = new(0, default, 0, 0);

    /// <summary>CPU time of the thread so far, user and system.</summary>
    public TimeSpan CpuTime => TimeSpan.FromTicks(Host.ThreadInfo.SchedulerTime(_threadId) / 100);

    public void Start() => _thread.Start();

    /// <summary>Before each entry into the guest the thread passes this from now on.</summary>
    public void PassBy(DebugHold hold) => Volatile.Write(ref _hold, hold);

    /// <summary>Behind all else it passes this; said before it starts.</summary>
    public void PassBy(PauseGate pause) => _pause = pause;

    /// <summary>Has the thread leave the guest and look what is wanted of it.</summary>
    public void Nudge()
    {
        if (_running)
            _engine.Kick();
        _pause.Call();
    }

    public void RequestStop() => Ask(Request.Stop);

    /// <summary>Asks the thread to look whether its vCPU can ever wake again; <see cref="WaitForStuckCheck"/> waits for the answer.</summary>
    public void RequestStuckCheck()
    {
        _stuckAnswered.Reset();
        Ask(Request.CheckStuck);
    }

    /// <summary>True if the answer came within <paramref name="patience"/>.</summary>
    public bool WaitForStuckCheck(TimeSpan patience) => _stuckAnswered.Wait(patience);

    /// <summary>Asks the thread where its guest is; <see cref="TryTakeSample"/> tells soon after. By one thread.</summary>
    public void RequestSample()
    {
        if (!_engine.RunsOnOwnThread)
            return;
        _sample ??= new X86.State.ArchitecturalState();
        Ask(Request.Sample);
    }

    /// <summary>The answer to <see cref="RequestSample"/>, once.</summary>
    public bool TryTakeSample(out ulong rip)
    {
        bool taken = Interlocked.Exchange(ref _sampled, 0) != 0;
        rip = taken ? Volatile.Read(ref _sampledRip) : 0;
        return taken;
    }

    /// <summary>As <see cref="RequestSample"/>, for whoever looks for progress; <see cref="TryTakeLook"/> tells soon after. By one thread.</summary>
    public void RequestLook()
    {
        if (!_engine.RunsOnOwnThread)
            return;
        _sample ??= new X86.State.ArchitecturalState();
        Ask(Request.Look);
    }

    /// <summary>The answer to <see cref="RequestLook"/>, once: where the vCPU was and its flags.</summary>
    public bool TryTakeLook(out ulong address, out ulong flags)
    {
        bool taken = Interlocked.Exchange(ref _looked, 0) != 0;
        (address, flags) = taken ? (Volatile.Read(ref _lookedAt), Volatile.Read(ref _lookedFlags)) : (0, 0);
        return taken;
    }

    /// <summary>Waits until the thread has ended; at once if it never started.</summary>
    public void Join()
    {
        if (_thread.ThreadState.HasFlag(ThreadState.Unstarted))
            return;
        _thread.Join();
    }

    /// <summary>After <see cref="Join"/>.</summary>
    public void Dispose() => _stuckAnswered.Dispose();

    private void Ask(Request request)
    {
        Interlocked.Or(ref _requests, (int)request);
        _gate?.Interrupt();
        Volatile.Read(ref _hold)?.Wake();
        Nudge();
    }

    private void Main()
    {
        var stop = VcpuStop.Kicked;
        string? failure = null;
        try
        {
            HostThread.SetName(_thread.Name!); // the runtime does not tell the kernel when compiled ahead of time
            // A CPU that went away since the machine was built: the thread runs where it can.
            if (_affinity.Length > 0)
                _ = HostThread.SetAffinity(0, _affinity);
            _engine.EnterThread();
            _gate?.Enter();
            Volatile.Write(ref _threadId, ThreadSignals.CurrentThreadId());
            _running = true;
            _machine.NoteFirstRun();
            stop = Loop();
            failure = _engine.Failure;
        }
        // The last line of defence: an exception here would end the process with the terminal raw.
        catch (Exception e) when (e is not OutOfMemoryException)
        {
            stop = VcpuStop.Failed;
            failure = $"vcpu{Index}: {e}";
            _machine.EndWith(VmOutcome.Error, failure);
        }

        _running = false;
        _pause.Leave(Index);
        _gate?.Leave();
        _hold?.Leave(Index);
        _stuckAnswered.Set();
        long allocated = _engine.AllocatedBytes;
        Report = new VcpuReport(Index, CpuTime, _engine.TotalExits, allocated, _engine.Instructions)
        {
            Waited = _gate is null ? null : TimeSpan.FromMicroseconds(_gate.ParkedTotal / 1000.0),
        };
        _machine.OnVcpuEnded(this, stop, failure);
    }

    private VcpuStop Loop()
    {
        while (true)
        {
            var request = (Request)Interlocked.Exchange(ref _requests, 0);
            if (request.HasFlag(Request.Stop))
                return VcpuStop.Kicked;
            if (request.HasFlag(Request.CheckStuck))
            {
                _stuck = _engine.IsStuck();
                _stuckAnswered.Set();
            }

            if (request.HasFlag(Request.Sample))
                TakeSample(_sample!);
            if (request.HasFlag(Request.Look))
                TakeLook(_sample!);

            if (_gate is not null && !PassGate(_gate))
                continue;
            int step = -1;
            if (Volatile.Read(ref _hold) is { } hold && !hold.Pass(Index, ref _requests, out step))
                continue;
            if (!_pause.TryEnter(Index, ref _requests))
                continue;
            TellStolen();
            var stop = step < 0 ? _engine.Run() : _engine.Step(step);
            _pause.Leave(Index);
            if (stop == VcpuStop.Debug)
                _machine.OnDebugStop(_engine.Hit.Vcpu, _engine.Hit.Hit);
            else if (stop != VcpuStop.Kicked && !(stop is VcpuStop.TripleFault or VcpuStop.Failed && _machine.OnDebugFault(_engine.Hit.Vcpu)))
                return stop;
        }
    }

    private void TakeSample(X86.State.ArchitecturalState state)
    {
        _engine.SaveRegisters(state);
        Volatile.Write(ref _sampledRip, state.Rip);
        Volatile.Write(ref _sampled, 1);
    }

    private void TakeLook(X86.State.ArchitecturalState state)
    {
        _engine.SaveRegisters(state);
        Volatile.Write(ref _lookedAt, state.CodeAddress);
        Volatile.Write(ref _lookedFlags, state.Rflags);
        Volatile.Write(ref _looked, 1);
    }

    /// <summary>Waits for the scheduler's permit; false where the thread was asked for something instead.</summary>
    private bool PassGate(Gate gate)
    {
        long parked = gate.Pass(ref _requests);
        _stolen += Math.Max(0, parked);
        return parked >= 0;
    }

    /// <summary>Tells the guest of the time it waited, which writes its memory: not while the machine is paused.</summary>
    private void TellStolen()
    {
        if (_stolen == 0)
            return;
        _engine.AddStealTime(_stolen);
        _stolen = 0;
    }
}
