// Invariants: see Alu.cs.
using System.Runtime.CompilerServices;
using Kvm.X86.Decode;
using Kvm.X86.State;

namespace Kvm.X86.Execute;

/// <summary>Segmentation as memory operands meet it outside 64-bit mode (SDM vol. 3, 5.3–5.5).</summary>
internal static unsafe class SegmentAccess
{
    /// <summary>Bits of an AddressLegacy op's Imm: size of the access below, then these.</summary>
    public const long WriteBit = 1 << 16, Address16Bit = 1 << 17;

    /// <summary>Address micro-op: slot Address ← checked linear address of base + index + disp through the op's segment.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static nint AddressLegacy(Cpu* cpu, Op* op)
    {
        uint offset = (uint)Ea.Of(cpu, op);
        if ((op->Imm & Address16Bit) != 0)
            offset = (ushort)offset;
        if (Check(cpu, op->Segment, offset, (uint)(op->Imm & 0xffff), (op->Imm & WriteBit) != 0))
        {
            ((ulong*)cpu)[Slots.Address] = (uint)(cpu->Segments[op->Segment & 7].Base + offset);
            return Hot.Next(cpu, op);
        }

        return HelperCall.LeaveFaulted(cpu, op);
    }

    /// <summary>Checks rights and limit of an access of <paramref name="size"/> bytes (at least one) outside 64-bit mode.</summary>
    public static bool Check(Cpu* cpu, int segment, uint offset, uint size, bool write)
    {
        ref var s = ref cpu->Segments[segment & 7];
        int vector = segment == Seg.Ss ? Vector.StackFault : Vector.GeneralProtection;
        if ((cpu->Cr0 & Bits.Cr0Pe) != 0 && (cpu->Rflags & Bits.Vm) == 0 && (s.IsUnusable || !(write ? s.IsWritable : s.IsReadable)))
            return Fault.Raise(cpu, vector == Vector.StackFault && s.IsUnusable ? vector : Vector.GeneralProtection);
        uint last = offset + (size - 1);
        bool inside = s.IsExpandDown
            ? offset > s.Limit && last >= offset && (s.IsBig || last <= 0xffff)
            : last >= offset && last <= s.Limit;
        return inside || Fault.Raise(cpu, vector);
    }
}
