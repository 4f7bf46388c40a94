// Invariants: every op but a block's last is followed by another op of the same block, whose Fn is a handler.
using System.Runtime.CompilerServices;
using Kvm.X86.Decode;
using Kvm.X86.State;

namespace Kvm.X86.Execute;

/// <summary>
/// What all hot handlers share. A handler keeps to few basic blocks, puts its fast path first and ends every path with a call in
/// tail position: the compilers then make jumps of them and need no frame.
/// </summary>
internal static unsafe class Hot
{
    /// <summary>Goes on to the next op. Must be in tail position: <c>return Hot.Next(cpu, op);</c>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static nint Next(Cpu* cpu, Op* op) => ((delegate*<Cpu*, Op*, nint>)op[1].Fn)(cpu, op + 1);

    /// <summary>Goes on at any op.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static nint Go(Cpu* cpu, Op* op) => ((delegate*<Cpu*, Op*, nint>)op->Fn)(cpu, op);
}
