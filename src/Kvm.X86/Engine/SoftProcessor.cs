using Kvm.X86.Deterministic;
using Kvm.X86.Execute;
using Kvm.X86.Interrupts;
using Kvm.X86.State;
using Kvm.X86.Translate;

namespace Kvm.X86.Engine;

/// <summary>
/// One x86-64 processor in software. <see cref="Run()"/> belongs to one thread; state is read and written by that thread, or by
/// another while it is not running. <see cref="Kick"/> and <see cref="IInterruptTarget.Notify"/> are for any thread.
/// </summary>
public sealed partial class SoftProcessor : IInterruptTarget, IDisposable
{
    private readonly SoftMachine _machine;
    private readonly CpuContext _context;
    private readonly CodeCache _cache;
    private readonly StepRunner _runner;
    private readonly SeededRandom? _random;
    private readonly IInterruptSource? _chips;
    private readonly CodeNotices _notices = new();
    private readonly CodeNotice[] _taken = new CodeNotice[CodeNotices.MostNotices];
    private readonly ICodeMemory? _codeMemory;
    private readonly AutoResetEvent _wake = new(false);
    private int _kicked;
    private ulong _halts;

    internal SoftProcessor(SoftMachine machine, int index, IInterruptSource? chips)
    {
        _machine = machine;
        Index = index;
        _chips = chips;
        _context = new CpuContext(machine.Memory, machine.Pio, machine.Mmio)
        {
            Chips = chips,
            Cpuid = machine.Cpuid,
            ApicId = (uint)index,
            HostCode = machine.HostCode,
        };
        if (machine.Deterministic is { } seed)
        {
            _context.Exact = true;
            _random = new SeededRandom(seed, index);
            _context.RandomSource = _random.Fill;
        }

        _context.TakeFeatures(machine.Cpuid);
        _context.MakeJumpCache();
        _codeMemory = machine.CodeMemory?.Invoke();
        if (_codeMemory != null)
            _context.Tier = new Tier(_context, _codeMemory, machine.TranslateAfter, machine.KeepTranslations);
        _cache = new CodeCache(_context, machine.Code, index)
        {
            Decoded = page => _machine.Tell(ulong.MaxValue, new CodeNotice(CodeNoticeKind.Decoded, page, 0), Index),
            WrittenByUs = (owners, page, granules) => _machine.Tell(owners, new CodeNotice(CodeNoticeKind.Written, page, granules), Index),
        };
        _context.Code = _cache;
        if (machine.ShadowPaging)
            AddShadow();
        _runner = new StepRunner(_context);
        Reset(chips?.IsBootstrapProcessor ?? true);
    }

    /// <summary>Its number, which is its APIC id.</summary>
    public int Index { get; }

    /// <summary>After <see cref="SoftExit.Unsupported"/>: what the guest did, for people.</summary>
    public string? Failure { get; private set; }

    /// <summary>Told of every access to a device, on the processor's thread; set before it runs.</summary>
    public IAccessObserver? Observer
    {
        get => _context.Observer;
        set => _context.Observer = value;
    }

    /// <summary>Instructions retired so far; an iteration of a repeated string instruction is one. Exact between runs, a little late from other threads.</summary>
    public ulong Instructions => RunLoopAccess.Retired(_context);

    /// <summary>Times the processor halted.</summary>
    public ulong Halts => _halts;

    /// <summary>Blocks decoded, instructions decoded, pages of code dropped because they were written, and times the cache overflowed.</summary>
    public (long Blocks, long Instructions, long PagesDropped, long Resets) CodeStatistics =>
        (_cache.BlocksDecoded, _cache.InstructionsDecoded, _cache.PagesDropped, _cache.Resets);

    /// <summary>Blocks translated to host code so far; 0 where everything is interpreted.</summary>
    public ulong Translations => _context.Tier?.Translations ?? 0;

    /// <summary>The blocks whose translations were executed most, most often first, of those that are still valid; while not running.</summary>
    /// <param name="most">Blocks at most.</param>
    public IReadOnlyList<TranslatedCode> ReadTranslations(int most) =>
        _machine.KeepTranslations && _context.Tier is { } tier ? TranslationTable.Read(tier, _cache, _context.Memory, most) : [];

    /// <summary>Halted with interrupts off, or waiting to be started: nothing but NMI, INIT or a reset will move it.</summary>
    public bool IsStuck
    {
        get
        {
            ref var cpu = ref _context.State;
            return cpu.Activity == (int)ActivityState.WaitForSipi || cpu.Activity == (int)ActivityState.Shutdown
                || (cpu.Activity == (int)ActivityState.Halted && (cpu.Rflags & Bits.If) == 0);
        }
    }

    /// <summary>Copies the state out.</summary>
    public void GetState(ArchitecturalState state)
    {
        ArgumentNullException.ThrowIfNull(state);
        StateTransfer.Save(_context, state);
    }

    /// <summary>Replaces the state. The interrupt chips' own state is not part of it.</summary>
    public void SetState(ArchitecturalState state)
    {
        ArgumentNullException.ThrowIfNull(state);
        StateTransfer.Load(_context, state);
        RequestAttention();
    }

    /// <summary>Power-up state (SDM vol. 3, 10.1.1): the bootstrap processor begins at 0xfffffff0, others wait for a start-up IPI.</summary>
    public void Reset(bool bootstrap)
    {
        ResetState.Apply(ref _context.State, bootstrap);
        ref var cpu = ref _context.State;
        _context.InitializeExtended();
        Modes.Update(ref cpu, _context);
        _context.FlushTlb(true);
        RequestAttention();
    }

    /// <summary>Makes <see cref="Run()"/> return <see cref="SoftExit.Kicked"/> soon, or at once when it is next called. Any thread.</summary>
    public void Kick()
    {
        Volatile.Write(ref _kicked, 1);
        Notify();
    }

    /// <inheritdoc/>
    public void Notify()
    {
        RequestAttention();
        _wake.Set();
    }

    internal void Post(CodeNotice notice)
    {
        _notices.Post(notice);
        RequestAttention();
    }

    private void RequestAttention() => Volatile.Write(ref _context.State.Attention, -1);

    /// <summary>Runs the guest until something has to be decided outside. Halts wait inside, on an event.</summary>
    public SoftExit Run()
    {
        _bounded = false;
        while (true)
        {
            if (!Attend(out var exit))
                return exit;
            ref var cpu = ref _context.State;
            if (_plan != null && AtBreakpoint(ref cpu))
                return SoftExit.Debug;
            bool single = NeedsStep(ref cpu);
            LoopResult result = single ? StepOne(ref cpu, 0) : RunLoopAccess.Run(_context, _cache);
            if (!AfterRun(ref cpu, result, out exit))
                return exit;
            if (_plan != null && TakeWatch())
                return SoftExit.Debug;
        }
    }

    private bool AfterRun(ref Cpu cpu, LoopResult result, out SoftExit exit)
    {
        if (result == LoopResult.Fault && !DeliverFault(ref cpu, out exit))
            return false;
        exit = SoftExit.Kicked;
        return cpu.PendingDebug == 0 || cpu.InterruptShadow == 2 || DeliverDebugTrap(ref cpu, out exit);
    }

    /// <summary>Instruction by instruction: trap flag, an interrupt shadow to be counted off, or instruction breakpoints, the guest's or a debugger's.</summary>
    private bool NeedsStep(ref Cpu cpu) =>
        (cpu.Rflags & Bits.Tf) != 0 || cpu.InterruptShadow != 0 || DebugRegisters.HasInstructionBreakpoints(ref cpu) || OnCodeWithBreakpoint(ref cpu);

    private LoopResult StepOne(ref Cpu cpu, int most)
    {
        bool trap = (cpu.Rflags & Bits.Tf) != 0;
        int shadow = cpu.InterruptShadow;
        // Behind MOV SS too: Intel's processors hold these breakpoints off there, AMD's, of which this is one, do not.
        if (DebugRegisters.TryHitInstruction(ref cpu, NextCode(ref cpu)))
            return LoopResult.Fault;
        cpu.Rflags &= ~Bits.Rf;
        ulong rip = cpu.Rip;
        var result = RunLoopAccess.Step(_runner, _context, most);
        _insideRepeat = result != LoopResult.Fault && cpu.Rip == rip && _plan != null && Stepped.IsStringInstruction;
        if (result == LoopResult.Fault)
            return result;
        if (cpu.InterruptShadow == shadow)
            cpu.InterruptShadow = 0;
        // SYSCALL and SYSRET see to it themselves.
        if (trap && Stepped.Code is not (Iced.Intel.Code.Syscall or Iced.Intel.Code.Sysretd or Iced.Intel.Code.Sysretq))
            cpu.PendingDebug |= DebugRegisters.SingleStep;
        RequestAttention();
        return result;
    }

    private static ulong NextCode(ref Cpu cpu) =>
        Segmentation.Is64(ref cpu) ? cpu.Rip : (uint)(cpu.Segments[Seg.Cs].Base + cpu.Rip);

    private bool DeliverFault(ref Cpu cpu, out SoftExit exit)
    {
        exit = SoftExit.Unsupported;
        if (cpu.FaultVector == Fault.UnsupportedVector)
            return Unsupported(ref cpu);
        if (cpu.FaultVector == Fault.BreakpointPage)
        {
            cpu.FaultVector = -1; // the run loop steps on
            return true;
        }

        _context.WatchHit = null; // the instruction was not executed: it will access again
        // Traps that MOV SS held back are lost to an exception of the next instruction, but not to a software interrupt.
        if (cpu.FaultSource != (int)EventSource.Software)
            cpu.PendingDebug = 0;
        int vector = cpu.FaultVector;
        var source = (EventSource)cpu.FaultSource;
        bool hasError = source != EventSource.Software && Vector.HasErrorCode(vector) && (cpu.Cr0 & Bits.Cr0Pe) != 0;
        if (vector == Vector.Debug)
            DebugRegisters.Record(ref cpu, cpu.FaultAddress);
        ulong behind = cpu.Rip;
        bool alive = Events.Deliver(ref cpu, _context, vector, source, hasError, cpu.FaultError);
        return AfterDelivery(ref cpu, alive, behind, out exit);
    }

    private bool DeliverDebugTrap(ref Cpu cpu, out SoftExit exit)
    {
        ulong bits = cpu.PendingDebug, rip = cpu.Rip;
        cpu.PendingDebug = 0;
        DebugRegisters.Record(ref cpu, bits);
        cpu.Activity = (int)ActivityState.Running; // a HLT that was stepped over does not halt
        bool alive = Events.Deliver(ref cpu, _context, Vector.Debug, EventSource.Exception, false, 0);
        return AfterDelivery(ref cpu, alive, rip, out exit);
    }

    private bool AfterDelivery(ref Cpu cpu, bool alive, ulong rip, out SoftExit exit)
    {
        exit = SoftExit.Shutdown;
        Deliveries++;
        if (!alive)
        {
            Failure = $"triple fault; the last instruction was at {rip:x}";
            return false;
        }

        exit = SoftExit.Unsupported;
        return cpu.FaultVector != Fault.UnsupportedVector || Unsupported(ref cpu);
    }

    private bool Unsupported(ref Cpu cpu)
    {
        cpu.FaultVector = -1;
        Failure = $"task switch at {cpu.Rip:x} (CS {cpu.Segments[Seg.Cs].Selector:x}): this engine does not switch tasks in hardware";
        return false;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _context.Code = null;
        _context.Shadow?.DropAll();
        _cache.Dispose();
        _context.Tier?.Dispose();
        _codeMemory?.Dispose();
        _runner.Dispose();
        _context.Dispose();
        _wake.Dispose();
    }
}
