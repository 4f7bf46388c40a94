using Kvm.X86.Decode;
using Kvm.X86.Execute;

namespace Kvm.X86.Engine;

public sealed partial class SoftProcessor
{
    private const int MostBarrenFaults = 4096;
    private bool _bounded;
    private bool _resting;
    private bool _yield;

    /// <summary>
    /// Runs until exactly <paramref name="instructions"/> are retired (<see cref="SoftExit.Limit"/>), the processor halts
    /// (<see cref="SoftExit.Halted"/>, where <see cref="Run()"/> would wait), or something ends the run. Where it stops depends on the
    /// guest's state alone: not on how its code was decoded, nor on whether it was translated.
    /// </summary>
    /// <remarks>A guest whose handlers fault at once retires nothing: after some thousand such faults the run ends as if at its limit.</remarks>
    /// <param name="instructions">From 1.</param>
    public SoftExit Run(ulong instructions)
    {
        ArgumentOutOfRangeException.ThrowIfZero(instructions);
        ulong end = Instructions + instructions, seen = 0;
        int barren = 0;
        _bounded = true;
        while (true)
        {
            // The state is looked at before the count: an interrupt that is due is taken at the end of this run, not in the next one's.
            if (!Attend(out var exit))
                return exit;
            long left = (long)(end - Instructions);
            if (left <= 0 || _yield || barren > MostBarrenFaults)
            {
                _yield = false;
                return SoftExit.Limit;
            }

            ref var cpu = ref _context.State;
            if (_plan != null && AtBreakpoint(ref cpu))
                return SoftExit.Debug;
            // Blocks are run whole, so the last instructions are run one by one.
            LoopResult result = NeedsStep(ref cpu) || left <= BlockBuilder.MaxInstructions
                ? StepOne(ref cpu, (int)Math.Min(left, int.MaxValue))
                : RunLoopAccess.RunBounded(_context, _cache, left - BlockBuilder.MaxInstructions);
            barren = result == LoopResult.Fault && Instructions == seen ? barren + 1 : 0;
            seen = Instructions;
            if (!AfterRun(ref cpu, result, out exit))
                return exit;
            if (_plan != null && TakeWatch())
                return SoftExit.Debug;
        }
    }

    /// <summary>
    /// Executes one instruction, or delivers what is pending and executes the first instruction behind: for debuggers and traces.
    /// <see cref="SoftExit.Limit"/>: done; <see cref="SoftExit.Halted"/>: there was nothing to execute.
    /// </summary>
    public SoftExit Step()
    {
        _bounded = true;
        if (!Attend(out var exit))
            return exit;
        ref var cpu = ref _context.State;
        return AfterRun(ref cpu, StepOne(ref cpu, 1), out exit) ? SoftExit.Limit : exit;
    }

    /// <summary>The instruction stepped last, with IP counted from its page.</summary>
    internal ref readonly Iced.Intel.Instruction Stepped => ref _runner.Builder.Last;

    /// <summary>What it runs on.</summary>
    internal CpuContext Context => _context;

    /// <summary>Ends <see cref="Run(ulong)"/> behind the instruction in hand. For what that instruction brings about, on the same thread.</summary>
    internal void Yield()
    {
        _yield = true;
        RequestAttention();
    }
}
