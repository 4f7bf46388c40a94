using Kvm.Devices.Bus;
using Kvm.Interop;
using Kvm.Vmm.Boot;
using Kvm.Vmm.Completion;
using Kvm.Vmm.Cpu;
using Kvm.Vmm.Observation;
using Kvm.X86.Engine;
using Kvm.X86.State;

namespace Kvm.Vmm.Vcpu;

/// <summary>A vCPU run by KVM: the loop around KVM_RUN.</summary>
internal sealed class KvmVcpuEngine : IVcpuEngine
{
    private readonly KvmVcpu _vcpu;
    private readonly KvmRunPage _page;
    private readonly IoBus _ports;
    private readonly IoBus _mmio;
    private readonly InstructionCompleter? _completer;
    private readonly SyscallRepair? _repair;
    private readonly TickSpacing? _ticks;
    private readonly Scheduling.StealTime? _steal;
    private readonly string _kernelPath;
    private readonly ExitCounts _exits;
    private readonly ExitObservatory _observatory;
    private readonly KvmVcpuDebug _debug;
    private readonly int _index;
    private int _threadId;
    private long _allocatedAtWarmUp = -1;

    public KvmVcpuEngine(KvmVcpu vcpu, IoBus ports, IoBus mmio, InstructionCompleter? completer, SyscallRepair? repair, TickSpacing? ticks, Scheduling.StealTime? steal, ExitObservatory observatory, KvmVcpuDebug debug, int index, string kernelPath)
    {
        _vcpu = vcpu;
        _page = vcpu.RunPage;
        _ports = ports;
        _mmio = mmio;
        _completer = completer;
        _repair = repair;
        _ticks = ticks;
        _steal = steal;
        _observatory = observatory;
        _exits = observatory.Counts;
        _debug = debug;
        _index = index;
        _kernelPath = kernelPath;
    }

    public string? Failure { get; private set; }

    public long TotalExits => _exits.Total;

    public ExitObservatory Observatory => _observatory;

    public long? Instructions => null;

    public long AllocatedBytes => _allocatedAtWarmUp < 0 ? 0 : GC.GetAllocatedBytesForCurrentThread() - _allocatedAtWarmUp;

    public void SetBootState(BootState state)
    {
        _vcpu.GetSregs(out var sregs);
        KvmBootState.Apply(state, ref sregs);
        _vcpu.SetSregs(sregs);
        _vcpu.SetRegs(KvmBootState.ToRegs(state));
    }

    public void EnterThread()
    {
        ThreadSignals.PrepareVcpuThread(_vcpu);
        Volatile.Write(ref _threadId, ThreadSignals.CurrentThreadId());
    }

    public (int Vcpu, DebugHit Hit) Hit => (_index, _debug.Hit);

    public string? WhyNot(in DebugPoint point) => _debug.WhyNot(point);

    public string? WhyNoStep() => _debug.WhyNoStep();

    public void SetDebugPoints(IReadOnlyList<DebugPoint> points) => _debug.SetPoints(points);

    public VcpuStop Step(int vcpu)
    {
        _debug.BeginStep();
        var stop = Run();
        _debug.EndStep();
        return stop;
    }

    public VcpuStop Run()
    {
        bool accessed = false;
        while (true)
        {
            int error = -_vcpu.Run();
            if (error == Errno.EINTR)
            {
                ThreadSignals.Drain();
                _page.ImmediateExit = false;
                return accessed ? VcpuStop.Debug : VcpuStop.Kicked;
            }

            // EAGAIN: an application processor was woken without being started; wait on.
            if (error == Errno.EAGAIN)
                continue;
            if (error != 0)
                return Fail($"KVM_RUN failed: {Errno.TextOf(error)}");
            Observe();
            _observatory.Tracer?.Begin(_page);
            bool goesOn = TryHandle(ref accessed, out var stop);
            _observatory.Tracer?.End(_page, goesOn);
            _observatory.End();
            if (!goesOn)
                return stop;
        }
    }

    /// <summary>Counts the exit, with what it went to.</summary>
    private void Observe()
    {
        var reason = _page.ExitReason;
        switch (reason)
        {
            case KvmExit.Io:
                _observatory.Begin(reason, _page.Io.Port, _page.Io.Direction == KvmConst.KVM_EXIT_IO_OUT);
                break;
            case KvmExit.Mmio:
                _observatory.Begin(reason, _page.Mmio.PhysAddr, _page.Mmio.IsWrite != 0);
                break;
            case KvmExit.X86Rdmsr:
            case KvmExit.X86Wrmsr:
                _observatory.Begin(reason, _page.Msr.Index, reason == KvmExit.X86Wrmsr);
                break;
            default:
                _observatory.Begin(reason);
                break;
        }
    }

    /// <summary>Deals with the exit; false, and why, where the vCPU cannot go on.</summary>
    /// <param name="accessed">Set where a step's access is made and its instruction ends with the next entry.</param>
    /// <param name="stop">Why.</param>
    private bool TryHandle(ref bool accessed, out VcpuStop stop)
    {
        stop = VcpuStop.Failed;
        _repair?.ArmIfLate();
        if (_exits.Total == IVcpuEngine.WarmUpExits)
            _allocatedAtWarmUp = GC.GetAllocatedBytesForCurrentThread();
        switch (ExitDispatcher.Dispatch(_page, _ports, _mmio))
        {
            case ExitAction.EmulationFailure when _debug.TryTakePlanted():
            case ExitAction.EmulationFailure when _debug.IsStepping && _completer is not null && _completer.TryComplete():
            case ExitAction.Debug when _debug.IsStepping:
                stop = VcpuStop.Debug;
                return false;
            case ExitAction.Resume when _debug.IsStepping && _page.ExitReason is KvmExit.Io or KvmExit.Mmio:
                // The access is made, its instruction ends with the next entry, which is to go no further (api.rst, immediate_exit).
                accessed = _page.ImmediateExit = true;
                return true;
            case ExitAction.Resume:
            case ExitAction.EmulationFailure when _completer is not null && _completer.TryComplete():
            case ExitAction.Debug when _repair is not null && _repair.TryRepair():
                return true;
            case ExitAction.Debug when _debug.TryTake():
                stop = VcpuStop.Debug;
                return false;
            case ExitAction.Debug when _repair is not null && _repair.TryPassOn():
            case ExitAction.WriteMsr when _repair is not null && _repair.TryHandleWriteMsr():
            case ExitAction.WriteMsr when _ticks is not null && _ticks.TryHandleWriteMsr():
                return true;
            case ExitAction.TripleFault:
                Failure = RegisterDump.Describe("the guest triple-faulted", Save);
                stop = VcpuStop.TripleFault;
                return false;
            case ExitAction.EmulationFailure:
                Failure = FailedInstruction.Describe(_vcpu, _completer is null ? "completion is off (--no-complete)" : "completion does not know it either", _kernelPath);
                return false;
            default:
                Failure = RegisterDump.Describe(ExitDispatcher.Explain(_page), Save);
                return false;
        }
    }

    public void Save(ArchitecturalState state) => KvmVcpuState.Save(_vcpu, state);

    public void SaveRegisters(ArchitecturalState state)
    {
        _vcpu.GetRegs(out var regs);
        _vcpu.GetSregs(out var sregs);
        KvmArchitecturalState.Load(state, regs, sregs);
    }

    public void Restore(ArchitecturalState state)
    {
        KvmVcpuState.Restore(_vcpu, state);
        _repair?.Adopt(state.Msr.Lstar);
    }

    public void Inject(byte vector, uint? errorCode) => KvmVcpuState.Inject(_vcpu, vector, errorCode);

    public void InjectNmi() => _vcpu.Nmi();

    public void Kick()
    {
        _page.ImmediateExit = true;
        int thread = Volatile.Read(ref _threadId);
        if (thread != 0)
            ThreadSignals.Kick(thread);
    }

    public void AddStealTime(long nanoseconds) => _steal?.Add(nanoseconds);

    public bool IsStuck()
    {
        switch (_vcpu.GetMpState())
        {
            case KvmMpStateValue.Uninitialized or KvmMpStateValue.InitReceived:
                return true;
            case KvmMpStateValue.Halted:
                _vcpu.GetRegs(out var regs);
                return (regs.Rflags & X86Flags.Interrupt) == 0;
            default:
                return false;
        }
    }

    public void AddCounts(IDictionary<string, long> exits, IDictionary<string, long> completions)
    {
        _exits.AddTo(exits, static reason => ExitNames.Of((KvmExit)reason));
        _completer?.AddCounts(completions);
        if (_repair is { Repaired: > 0 } repair)
            completions["syscall"] = completions.TryGetValue("syscall", out long before) ? before + repair.Repaired : repair.Repaired;
    }

    public void Dispose()
    {
        _completer?.Dispose();
        _vcpu.Dispose();
    }

    private VcpuStop Fail(string why)
    {
        Failure = why;
        return VcpuStop.Failed;
    }
}
