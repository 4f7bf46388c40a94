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
        cpu->Rip = cpu->Gpr[Slots.CodeBase] + op->Offset + (cpu->FaultIsTrap != 0 ? (ulong)op->Length : 0);
        return Faulted;
    }

    /// <summary>Leaves the block after an instruction.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public static nint LeaveAfter(Cpu* cpu, Op* op)
    {
        cpu->LeaveBlock = 0;
        cpu->Rip = cpu->Gpr[Slots.CodeBase] + op->Offset + (ulong)op->Length;
        return Continue;
    }
}
