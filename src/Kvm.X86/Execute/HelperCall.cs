// Invariants: Op.Imm of a helper op is an address HelperTable.Resolve returned; a block's last op never falls through.
using System.Runtime.CompilerServices;
using Kvm.X86.Decode;
using Kvm.X86.State;

namespace Kvm.X86.Execute;

/// <summary>The hot handler of helper-form ops.</summary>
internal static unsafe class HelperCall
{
    /// <summary>What a handler returns to the run loop: go on at <see cref="Cpu.Rip"/>.</summary>
    public const nint Continue = 0;

    /// <summary>A fault is recorded; RIP is at (or, for traps, after) the instruction.</summary>
    public const nint Faulted = 1;

    /// <summary>Calls the helper, then the next op.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static nint Run(Cpu* cpu, Op* op)
    {
        if (!((delegate*<Cpu*, Op*, bool>)op->Imm)(cpu, op))
            return LeaveFaulted(cpu, op);
        if (cpu->LeaveBlock != 0)
            return LeaveAfter(cpu, op);
        return ((delegate*<Cpu*, Op*, nint>)op[1].Fn)(cpu, op + 1);
    }

    /// <summary>Leaves the block at an instruction that faulted.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public static nint LeaveFaulted(Cpu* cpu, Op* op)
    {
        cpu->Left -= Blocks.InstructionsBefore(op);
        cpu->Rip = RipOf(cpu, op, cpu->FaultIsTrap != 0 ? op->Length : 0);
        return Faulted;
    }

    /// <summary>Leaves the block after an instruction.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public static nint LeaveAfter(Cpu* cpu, Op* op)
    {
        cpu->Left -= Blocks.InstructionsBefore(op) + 1;
        cpu->LeaveBlock = 0;
        cpu->Rip = RipOf(cpu, op, op->Length);
        return Continue;
    }

    /// <summary>
    /// Calls the helper of an instruction that ends its block: RIP is already behind the instruction, and the helper may change it.
    /// V is the number of instructions up to and with this one.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static nint RunEnd(Cpu* cpu, Op* op)
    {
        cpu->Rip = RipOf(cpu, op, op->Length);
        // Counted first: where time comes from retired instructions, the helper may ask for it.
        cpu->Left -= op->V;
        if (!((delegate*<Cpu*, Op*, bool>)op->Imm)(cpu, op))
        {
            cpu->Left += op->V;
            return LeaveFaulted(cpu, op);
        }

        cpu->LeaveBlock = 0;
        if ((cpu->Left | cpu->Attention) >= 0)
            return Branch.Dispatch(cpu, cpu->Rip);
        return Continue;
    }

    /// <summary>
    /// Calls the helper of a string instruction: it may stop between iterations (Cpu.Unfinished), and the block is then left at
    /// the same instruction.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static nint RunRepeat(Cpu* cpu, Op* op)
    {
        if (!((delegate*<Cpu*, Op*, bool>)op->Imm)(cpu, op))
            return LeaveFaulted(cpu, op);
        if ((cpu->LeaveBlock | cpu->Unfinished) != 0)
            return LeaveRepeat(cpu, op);
        return ((delegate*<Cpu*, Op*, nint>)op[1].Fn)(cpu, op + 1);
    }

    private static nint LeaveRepeat(Cpu* cpu, Op* op)
    {
        bool unfinished = cpu->Unfinished != 0;
        cpu->Unfinished = 0;
        cpu->LeaveBlock = 0;
        cpu->Left -= Blocks.InstructionsBefore(op) + (unfinished ? 0 : 1);
        cpu->Rip = RipOf(cpu, op, unfinished ? 0 : op->Length);
        return Continue;
    }

    /// <summary>RIP of an op's instruction plus some bytes, wrapped as the code size has it.</summary>
    public static ulong RipOf(Cpu* cpu, Op* op, int plus)
    {
        return (((ulong*)cpu)[Slots.CodeBase] + op->Offset + (ulong)plus) & cpu->RipMask;
    }
}
