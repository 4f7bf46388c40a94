using Iced.Intel;
using Kvm.Devices.Memory;
using Kvm.Interop;
using Kvm.Vmm.Boot;
using Kvm.Vmm.Completion;
using Kvm.Vmm.Vcpu;

namespace Kvm.Vmm.Bare;

/// <summary>One vCPU of <see cref="BareKvm"/>: the loop around KVM_RUN, with every exit told.</summary>
internal sealed class BareKvmVcpu : IDisposable
{
    private readonly BareKvm _machine;
    private readonly IBareBoard _board;
    private readonly InstructionCompleter? _completer;
    private readonly KvmRunPage _page;
    private readonly GuestMemory _memory;
    private readonly bool _hasChips;
    private int _threadId;
    private bool _stuck;

    public BareKvmVcpu(BareKvm machine, KvmVcpu vcpu, IBareBoard board, BareOptions options)
    {
        (_machine, Vcpu, _board) = (machine, vcpu, board);
        _page = vcpu.RunPage;
        (_memory, _hasChips) = (options.Memory, options.Chips);
        _completer = options.Complete ? new InstructionCompleter(vcpu, options.Memory, board.Ports, board.Mmio, ExtendedStateLayout.OfHost) : null;
    }

    public KvmVcpu Vcpu { get; }

    public int Index => (int)Vcpu.Id;

    /// <summary>Halted with interrupts off, or never started, when it was last looked at.</summary>
    public bool IsStuck => Volatile.Read(ref _stuck);

    public void Enter(BootState state)
    {
        Vcpu.GetSregs(out var sregs);
        KvmBootState.Apply(state, ref sregs);
        Vcpu.SetSregs(sregs);
        Vcpu.SetRegs(KvmBootState.ToRegs(state));
    }

    public void AddCompletions(IDictionary<string, long> counts) => _completer?.AddCounts(counts);

    /// <summary>Makes KVM_RUN return. Any thread.</summary>
    public void Kick()
    {
        _page.ImmediateExit = true;
        int thread = Volatile.Read(ref _threadId);
        if (thread != 0)
            ThreadSignals.Kick(thread);
    }

    /// <summary>Runs until the machine's run ends.</summary>
    public void Run()
    {
        EnterThread();
        while (_machine.Stop is null)
            RunOnce(out _);
        Leave();
    }

    /// <summary>One instruction.</summary>
    public BareStop Step()
    {
        EnterThread();
        const byte halt = 0xf4;
        ulong start = Rip();
        bool halts = !_hasChips && FetchByte() == halt;
        Vcpu.SetGuestDebug(new KvmGuestDebug { Control = KvmConst.KVM_GUESTDBG_ENABLE | KvmConst.KVM_GUESTDBG_SINGLESTEP });
        bool done = false;
        while (!done && _machine.Stop is null)
        {
            // Not every KVM traps behind an instruction that came out for an access.
            done = RunOnce(out bool accessed) || (accessed && Rip() != start);
        }

        Vcpu.SetGuestDebug(default);
        Leave();
        if (halts && _machine.Stop is null)
        {
            // The trap hid the halt.
            _board.Exited(new BareExit(BareExitKind.Halt, Index, Rip(), 0, 0, 0, 0));
            _machine.End(BareStop.Halted);
        }

        return _machine.Stop ?? BareStop.Stepped;
    }

    public void Dispose()
    {
        _completer?.Dispose();
        Vcpu.Dispose();
    }

    private void EnterThread()
    {
        int thread = ThreadSignals.CurrentThreadId();
        if (_threadId == thread)
            return;
        ThreadSignals.PrepareVcpuThread(Vcpu);
        Volatile.Write(ref _threadId, thread);
    }

    private void Leave()
    {
        Finish(out _);
        ThreadSignals.Drain();
        _page.ImmediateExit = false;
    }

    /// <summary>
    /// Finishes the access that the last exit was for, so that registers can be read: KVM does it when it is entered again. True if that
    /// led to the next exit, as of an instruction with many accesses.
    /// </summary>
    private bool Finish(out bool stepped)
    {
        _page.ImmediateExit = true;
        int result = Vcpu.Run();
        _page.ImmediateExit = false;
        stepped = result == 0 && _page.ExitReason == KvmExit.Debug;
        return result == 0 && !stepped;
    }

    /// <summary>Enters the guest once. True if an instruction was stepped over.</summary>
    /// <param name="accessed">True if the guest came out for something that was done outside.</param>
    private bool RunOnce(out bool accessed)
    {
        accessed = false;
        int error = -Vcpu.Run();
        if (error == Errno.EINTR)
        {
            ThreadSignals.Drain();
            _page.ImmediateExit = _machine.Stop is not null;
            LookAtHalt();
            return false;
        }

        Volatile.Write(ref _stuck, false);
        if (error == Errno.EAGAIN)
            return false;
        if (error != 0)
            return Fail($"KVM_RUN failed: {Errno.TextOf(error)}");
        if (_page.ExitReason == KvmExit.Debug)
            return true;
        accessed = true;
        lock (_machine.BoardLock)
            return Handle();
    }

    private bool Handle()
    {
        bool done, stepped = false;
        do
            done = Look();
        while (_machine.Stop is null && Finish(out stepped));
        if (_machine.Stop is null && _board.Between(_machine, Index))
            _machine.End(BareStop.Ended);
        return done || stepped;
    }

    private bool Look()
    {
        switch (_page.ExitReason)
        {
            case KvmExit.Io or KvmExit.Mmio:
                Access();
                return false;
            case KvmExit.X86Rdmsr or KvmExit.X86Wrmsr:
                AccessMsr(_page.ExitReason == KvmExit.X86Wrmsr);
                return false;
            case KvmExit.Hlt:
                _board.Exited(new BareExit(BareExitKind.Halt, Index, Rip(), 0, 0, 0, 0));
                _machine.End(BareStop.Halted);
                return true;
            case KvmExit.Shutdown:
                _board.Exited(new BareExit(BareExitKind.TripleFault, Index, Rip(), 0, 0, 0, 0));
                _machine.End(BareStop.TripleFault);
                return true;
            case KvmExit.Intr or KvmExit.IrqWindowOpen:
                return false;
            case KvmExit.InternalError when _page.Internal.Suberror == KvmConst.KVM_INTERNAL_ERROR_EMULATION:
                return Complete();
            default:
                return Fail(ExitDispatcher.Explain(_page));
        }
    }

    private void Access()
    {
        bool port = _page.ExitReason == KvmExit.Io;
        var io = _page.Io;
        var mmio = _page.Mmio;
        bool write = port ? io.Direction == KvmConst.KVM_EXIT_IO_OUT : mmio.IsWrite != 0;
        ulong rip = Rip();
        ExitDispatcher.Dispatch(_page, _board.Ports, _board.Mmio);
        var data = port ? _page.IoData : _page.MmioData;
        int size = port ? io.Size : data.Length;
        var kind = (port, write) switch
        {
            (true, true) => BareExitKind.PortWrite,
            (true, false) => BareExitKind.PortRead,
            (false, true) => BareExitKind.MmioWrite,
            _ => BareExitKind.MmioRead,
        };
        _board.Exited(new BareExit(kind, Index, rip, port ? io.Port : mmio.PhysAddr, size, port ? (int)io.Count : 1, Value(data, size)));
    }

    private void AccessMsr(bool write)
    {
        ref var msr = ref _page.Msr;
        ulong rip = Rip();
        bool good = write ? _board.TryWriteMsr(msr.Index, msr.Data) : _board.TryReadMsr(msr.Index, out msr.Data);
        // KVM raises #GP(0) in the guest for an error.
        msr.Error = good ? (byte)0 : (byte)1;
        _board.Exited(new BareExit(write ? BareExitKind.MsrWrite : BareExitKind.MsrRead, Index, rip, msr.Index, 8, 1, msr.Data) { Text = good ? null : "#GP" });
    }

    private bool Complete()
    {
        ulong rip = Rip();
        var bytes = _page.FailedInstruction.ToArray();
        Vcpu.GetSregs(out var sregs);
        if (_completer is null || !_completer.TryComplete())
            return Fail($"KVM gave up on {Name(bytes, sregs)}{(_completer is null ? ", and completion is off" : ", and completion does not know it either")}");
        _board.Exited(new BareExit(BareExitKind.Completed, Index, rip, 0, bytes.Length, 1, 0) { Text = Name(bytes, sregs) });
        return true;
    }

    private static string Name(byte[] bytes, in KvmSregs sregs)
    {
        if (bytes.Length == 0)
            return "an instruction it did not show";
        var decoder = Decoder.Create(sregs.Cs.L != 0 ? 64 : sregs.Cs.Db != 0 ? 32 : 16, bytes);
        return decoder.Decode().ToString();
    }

    private bool Fail(string why)
    {
        _board.Exited(new BareExit(BareExitKind.Failed, Index, Rip(), 0, 0, 0, 0) { Text = why });
        _machine.End(BareStop.Failed);
        return true;
    }

    /// <summary>Looks whether nothing will ever wake it, and ends the run where that holds for all. While it does not run.</summary>
    public void LookAtHalt()
    {
        bool stuck = Vcpu.GetMpState() switch
        {
            KvmMpStateValue.Uninitialized or KvmMpStateValue.InitReceived => true,
            KvmMpStateValue.Halted => (Flags() & Cpu.X86Flags.Interrupt) == 0,
            _ => false,
        };
        Volatile.Write(ref _stuck, stuck);
        if (stuck)
            _machine.EndIfAllAreStuck();
    }

    /// <summary>The first byte of the next instruction; 0 where there is no memory.</summary>
    private byte FetchByte()
    {
        Vcpu.GetSregs(out var sregs);
        var place = Vcpu.Translate(sregs.Cs.Base + Rip());
        return place.Valid != 0 && _memory.TryRead(place.PhysicalAddress, out byte first) ? first : (byte)0;
    }

    private ulong Flags()
    {
        Vcpu.GetRegs(out var regs);
        return regs.Rflags;
    }

    private ulong Rip()
    {
        Vcpu.GetRegs(out var regs);
        return regs.Rip;
    }

    private static ulong Value(ReadOnlySpan<byte> data, int size)
    {
        ulong value = 0;
        for (int i = Math.Min(Math.Min(size, data.Length), 8) - 1; i >= 0; i--)
            value = value << 8 | data[i];
        return value;
    }
}
