// Invariants: run by the processor's thread alone. A handler returns to here with RIP set, or with a fault recorded and RIP at it.
using Kvm.X86.Decode;
using Kvm.X86.State;

namespace Kvm.X86.Execute;

/// <summary>Why the loop returned.</summary>
internal enum LoopResult
{
    /// <summary>Attention is set: something is to be looked at.</summary>
    Attention,

    /// <summary>A fault is recorded.</summary>
    Fault,
}

/// <summary>Finds blocks and lets them run until something else has to be done.</summary>
internal static unsafe class RunLoop
{
    /// <summary>
    /// Instructions a chain of blocks may run before it comes back for no reason: where calls in tail position are not turned into
    /// jumps (unoptimised builds; the first calls under a just-in-time compiler), the chain would eat the stack.
    /// </summary>
    public const int Slice =
#if DEBUG
        0;
#else
        4_000;
#endif

    /// <summary>Runs until attention is asked for or a fault is recorded.</summary>
    public static LoopResult Run(CpuContext context, CodeCache cache)
    {
        var cpu = context.Cpu;
        while (cpu->Attention >= 0)
        {
            Refill(cpu);
            if (!Turn(cpu, cache))
                return LoopResult.Fault;
        }

        return LoopResult.Attention;
    }

    /// <summary>
    /// As <see cref="Run"/>, but also ends once <paramref name="budget"/> instructions are retired; a block more may be, which has
    /// <see cref="Decode.BlockBuilder.MaxInstructions"/> at most.
    /// </summary>
    public static LoopResult RunBounded(CpuContext context, CodeCache cache, long budget)
    {
        var cpu = context.Cpu;
        while (cpu->Attention >= 0 && budget > 0)
        {
            int part = (int)Math.Min(budget, Math.Max(Slice, 1));
            HandOut(cpu, part);
            bool alive = Turn(cpu, cache);
            budget -= part - cpu->Left;
            if (!alive)
                return LoopResult.Fault;
        }

        return LoopResult.Attention;
    }

    private static bool Turn(Cpu* cpu, CodeCache cache)
    {
        Op* first = FromJumpCache(cpu);
        if (first == null && (first = cache.Find()) == null)
            return false;
        nint result = Hot.Go(cpu, first);
        if (result == HelperCall.Faulted)
            return false;
        if (result == Branch.Link && cpu->Attention >= 0)
            LinkTo(cpu, cache);
        return true;
    }

    /// <summary>Runs one instruction; of a repeated one at most so many iterations.</summary>
    public static LoopResult Step(StepRunner runner, Cpu* cpu, int most)
    {
        if (most > 0)
            HandOut(cpu, most);
        else
            Refill(cpu);
        return runner.Step() == HelperCall.Faulted ? LoopResult.Fault : LoopResult.Attention;
    }

    /// <summary>Instructions retired since the start: what has been handed out less what is left.</summary>
    public static ulong Retired(Cpu* cpu) => cpu->Retired - (ulong)cpu->Left;

    /// <summary>Goes on counting from another number.</summary>
    public static void SetRetired(Cpu* cpu, ulong instructions) => cpu->Retired = instructions + (ulong)cpu->Left;

    private static void Refill(Cpu* cpu)
    {
        if (cpu->Left > 0)
            return;
        HandOut(cpu, Slice);
    }

    private static void HandOut(Cpu* cpu, int instructions)
    {
        cpu->Retired += (ulong)(instructions - cpu->Left);
        cpu->Left = instructions;
    }

    private static Op* FromJumpCache(Cpu* cpu)
    {
        var entry = Branch.JumpEntry(cpu, cpu->Rip);
        ulong packed = entry->Packed ^ cpu->JumpKey;
        if (entry->Rip != cpu->Rip || packed >> 48 != 0)
            return null;
        Op* first = (Op*)packed;
        ((ulong*)cpu)[Slots.CodeBase] = cpu->Rip - first->Offset;
        return first;
    }

    /// <summary>
    /// Leads the jump whose stub has just returned straight to its target, the block at RIP. If that cannot be fetched, the next
    /// turn of the loop finds out. Finding the block may drop all blocks, the jump's too: then nothing is linked.
    /// </summary>
    private static void LinkTo(Cpu* cpu, CodeCache cache)
    {
        var jump = (Op*)cpu->LinkOp;
        ulong key = cpu->JumpKey;
        long resets = cache.Resets;
        Op* target = FromJumpCache(cpu);
        if (target == null)
            target = cache.Find();
        if (target == null)
        {
            cpu->FaultVector = -1;
            return;
        }

        if (cpu->JumpKey == key && cache.Resets == resets && (CodeCache.Header(target)->Flags & CodeCache.CrossesPage) == 0)
            jump->Imm = (long)target;
    }
}

/// <summary>The loop for safe code.</summary>
internal static unsafe class RunLoopAccess
{
    public static LoopResult Run(CpuContext context, CodeCache cache)
    {
        context.Cpu->Rflags &= ~Bits.Rf;
        return RunLoop.Run(context, cache);
    }

    public static LoopResult RunBounded(CpuContext context, CodeCache cache, long budget)
    {
        context.Cpu->Rflags &= ~Bits.Rf;
        return RunLoop.RunBounded(context, cache, budget);
    }

    public static LoopResult Step(StepRunner runner, CpuContext context, int most) => RunLoop.Step(runner, context.Cpu, most);

    public static void SetRetired(CpuContext context, ulong instructions) => RunLoop.SetRetired(context.Cpu, instructions);

    public static ulong Retired(CpuContext context) => RunLoop.Retired(context.Cpu);
}
