// Invariants: an entry op is followed by the first op of its block and lives as long. Its Imm is executable: the block's code, or the
// arena's way to the interpreter.
using System.Runtime.CompilerServices;
using Kvm.X86.Decode;
using Kvm.X86.Execute;
using Kvm.X86.State;

namespace Kvm.X86.Translate;

/// <summary>
/// The op in front of every block where the second tier is on. It is what jumps, the jump cache and the run loop lead to, so a block
/// changes its tier in one place. Imm: host code. Disp: executions left until the block is translated. Offset: as the first op's.
/// </summary>
internal static unsafe class Entry
{
    /// <summary>A fresh entry op.</summary>
    /// <param name="offset">Offset in its page of the block's first instruction.</param>
    /// <param name="interpret">The arena's way to the interpreter.</param>
    /// <param name="threshold">Executions before the block is translated.</param>
    public static Op Create(ushort offset, nint interpret, int threshold) => new()
    {
        Fn = (nint)(delegate*<Cpu*, Op*, nint>)&Count,
        Imm = interpret,
        Disp = threshold,
        Offset = offset,
    };

    /// <summary>Whether the block behind it is translated.</summary>
    public static bool IsTranslated(Op* entry) => entry->Fn == (nint)(delegate*<Cpu*, Op*, nint>)&Enter;

    /// <summary>Gives a block its code.</summary>
    public static void SetCode(Op* entry, nint code)
    {
        entry->Imm = code;
        entry->Fn = (nint)(delegate*<Cpu*, Op*, nint>)&Enter;
    }

    /// <summary>Takes a block's code away; it may be translated again soon.</summary>
    public static void DropCode(Op* entry, nint interpret, int threshold)
    {
        entry->Imm = interpret;
        entry->Disp = threshold;
        entry->Fn = (nint)(delegate*<Cpu*, Op*, nint>)&Count;
    }

    /// <summary>Handler of a block that is interpreted.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static nint Count(Cpu* cpu, Op* op)
    {
        if (--op->Disp > 0)
            return Hot.Next(cpu, op);
        return Promote(cpu, op);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static nint Promote(Cpu* cpu, Op* op)
    {
        CpuContext.From(cpu).Tier!.Translate(op);
        return IsTranslated(op) ? Enter(cpu, op) : Hot.Next(cpu, op);
    }

    /// <summary>Handler of a translated block.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static nint Enter(Cpu* cpu, Op* op)
    {
        nint result = HostExits.Run(cpu, (nint)op->Imm);
        if (result < CodeArena.MaxStatus)
            return result;
        return Hot.Go(cpu, (Op*)result);
    }
}
