using Kvm.X86.Execute;
using Kvm.X86.State;

namespace Kvm.X86.Engine;

public sealed partial class SoftProcessor
{
    private DebugPlan? _plan;

    // Behind an iteration of a repeated string instruction: the breakpoint on it was reported when it began.
    private bool _insideRepeat;

    /// <summary>Why the last run or step ended, after <see cref="SoftExit.Debug"/>.</summary>
    public DebugHit Hit { get; private set; }

    /// <summary>
    /// Exceptions and interrupts delivered so far. Together with <see cref="Instructions"/> it tells every state of a processor that
    /// executes apart from the one before it. Exact between runs.
    /// </summary>
    public ulong Deliveries { get; private set; }

    /// <summary>
    /// Sets the points that end a run by <see cref="SoftExit.Debug"/>; none is how a processor begins, and then it looks for none. A run
    /// that begins at a breakpoint ends there; <see cref="DebugStep"/> leads on. While the processor does not run.
    /// </summary>
    public void SetDebugPoints(ReadOnlySpan<DebugPoint> points)
    {
        _plan = points.IsEmpty ? null : new DebugPlan(points);
        _context.Plan = _plan;
        _context.WatchHit = null;
        // Blocks stay: those of a page with a breakpoint are led to by the jump cache only, and by looking them up.
        _context.NewJumpGeneration(true);
        _context.RefreshWatches();
        RequestAttention();
    }

    /// <summary>
    /// Makes one step: executes one instruction (one iteration of a repeated one), or delivers one exception or interrupt.
    /// <see cref="SoftExit.Debug"/>: done, <see cref="Hit"/> says whether a watched byte was accessed. Breakpoints are not looked at.
    /// </summary>
    /// <param name="wait">Whether to wait for what wakes a halted processor; else that ends by <see cref="SoftExit.Halted"/>.</param>
    public SoftExit DebugStep(bool wait)
    {
        _bounded = !wait;
        ulong delivered = Deliveries;
        if (!Attend(out var exit))
            return exit;
        if (Deliveries == delivered)
        {
            ref var cpu = ref _context.State;
            if (!AfterRun(ref cpu, StepOne(ref cpu, 1), out exit))
                return exit;
        }

        if (!TakeWatch())
            Hit = new DebugHit(DebugCause.Step);
        return SoftExit.Debug;
    }

    /// <summary>Linear address of the next instruction. While the processor does not run.</summary>
    public ulong CodeAddress => NextCode(ref _context.State);

    /// <summary>Takes all that a run goes on from. While the processor does not run; of a deterministic machine.</summary>
    public void Save(ProcessorMoment moment)
    {
        ArgumentNullException.ThrowIfNull(moment);
        GetState(moment.State);
        (moment.Instructions, moment.Deliveries, moment.Halts) = (Instructions, Deliveries, _halts);
        (moment.Random, moment.Resting, moment.InsideRepeat) = (_random?.State ?? 0, _resting, _insideRepeat);
    }

    /// <summary>Goes back to what <see cref="Save"/> took.</summary>
    public void Restore(ProcessorMoment moment)
    {
        ArgumentNullException.ThrowIfNull(moment);
        SetState(moment.State);
        RunLoopAccess.SetRetired(_context, moment.Instructions);
        (Deliveries, _halts, _resting, _insideRepeat) = (moment.Deliveries, moment.Halts, moment.Resting, moment.InsideRepeat);
        _yield = false;
        if (_random != null)
            _random.State = moment.Random;
    }

    internal void TrackWrites(Paging.DirtyPages? pages)
    {
        _context.Physical.Dirty = pages;
        _context.FlushTlb(true);
    }

    /// <summary>At a breakpoint: the run ends before its instruction.</summary>
    private bool AtBreakpoint(ref Cpu cpu)
    {
        if (_insideRepeat)
            return false;
        ulong linear = NextCode(ref cpu);
        if (!_plan!.IsBreakpoint(linear))
            return false;
        Hit = new DebugHit(DebugCause.Breakpoint, new DebugPoint(DebugPointKind.Execute, linear));
        return true;
    }

    /// <summary>The run ends behind an instruction that accessed a watched byte.</summary>
    private bool TakeWatch()
    {
        if (_context.WatchHit is not { } point)
            return false;
        _context.WatchHit = null;
        Hit = new DebugHit(DebugCause.Watchpoint, point);
        return true;
    }

    private bool OnCodeWithBreakpoint(ref Cpu cpu) => _plan != null && _plan.HasCode(NextCode(ref cpu));
}
