// Invariants: Base and Index are below Slots.Count (the decoder's promise); a Cpu* is valid while its CpuContext is.
using System.Runtime.CompilerServices;
using Kvm.X86.Decode;
using Kvm.X86.State;

namespace Kvm.X86.Execute;

/// <summary>Addresses of memory operands.</summary>
internal static unsafe class Ea
{
    /// <summary>
    /// The linear address of the op's memory operand. Where segment bases, limits, address size or wrap-around matter, a
    /// micro-op before this one has already checked and computed it, and left it in a slot that is this op's base.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Of(Cpu* cpu, Op* op) =>
        ((ulong*)cpu)[op->Base] + (((ulong*)cpu)[op->Index] << op->Scale) + (ulong)(long)op->Disp;
}
