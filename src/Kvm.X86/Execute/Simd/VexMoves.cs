// Invariants: as in VectorMoves.cs.
using System.Runtime.Intrinsics;
using Kvm.X86.Decode;
using Kvm.X86.State;

namespace Kvm.X86.Execute.Simd;

/// <summary>Moves of AVX: a destination register is written whole, what the instruction does not define becomes zero.</summary>
internal static unsafe class VexMoves
{
    public static bool Load128(Cpu* cpu, Op* op)
    {
        Vector128<byte> value;
        if (!Xmm.VexReady(cpu) || !Xmm.Load128Unaligned(cpu, op, &value))
            return false;
        Xmm.StoreVex128(cpu, op->Reg, value);
        return true;
    }

    public static bool Load256(Cpu* cpu, Op* op)
    {
        Vector128<byte> low, high;
        if (!Xmm.VexReady(cpu) || !Xmm.Load256(cpu, op, &low, &high))
            return false;
        *Xmm.Low(cpu, op->Reg) = low;
        *Xmm.High(cpu, op->Reg) = high;
        return true;
    }

    public static bool LoadAligned128(Cpu* cpu, Op* op) => Aligned(cpu, op, 16) && Load128(cpu, op);

    public static bool LoadAligned256(Cpu* cpu, Op* op) => Aligned(cpu, op, 32) && Load256(cpu, op);

    public static bool Store128(Cpu* cpu, Op* op)
    {
        if (!Xmm.VexReady(cpu))
            return false;
        Vector128<byte> value = *Xmm.Low(cpu, op->Reg);
        if (op->Rm == Op.Memory)
            return Mem.TryWrite(cpu, op, Ea.Of(cpu, op), value);
        Xmm.StoreVex128(cpu, op->Rm, value);
        return true;
    }

    public static bool Store256(Cpu* cpu, Op* op)
    {
        if (!Xmm.VexReady(cpu))
            return false;
        Vector128<byte> low = *Xmm.Low(cpu, op->Reg), high = *Xmm.High(cpu, op->Reg);
        if (op->Rm == Op.Memory)
            return Mem.TryWrite(cpu, op, Ea.Of(cpu, op), Vector256.Create(low, high));
        *Xmm.Low(cpu, op->Rm) = low;
        *Xmm.High(cpu, op->Rm) = high;
        return true;
    }

    public static bool StoreAligned128(Cpu* cpu, Op* op) => Aligned(cpu, op, 16) && Store128(cpu, op);

    public static bool StoreAligned256(Cpu* cpu, Op* op) => Aligned(cpu, op, 32) && Store256(cpu, op);

    private static bool Aligned(Cpu* cpu, Op* op, uint alignment) =>
        Xmm.VexReady(cpu) && (op->Rm != Op.Memory || Mem.RequireAligned(cpu, Ea.Of(cpu, op), alignment));

    public static bool FromGeneral32(Cpu* cpu, Op* op)
    {
        uint value;
        if (!Xmm.VexReady(cpu) || !Xmm.LoadGeneral32(cpu, op, &value))
            return false;
        Xmm.StoreVex128(cpu, op->Reg, Vector128.CreateScalar(value).AsByte());
        return true;
    }

    public static bool FromGeneral64(Cpu* cpu, Op* op)
    {
        ulong value;
        if (!Xmm.VexReady(cpu) || !Xmm.LoadGeneral64(cpu, op, &value))
            return false;
        Xmm.StoreVex128(cpu, op->Reg, Vector128.CreateScalar(value).AsByte());
        return true;
    }

    public static bool ToGeneral32(Cpu* cpu, Op* op)
    {
        if (!Xmm.VexReady(cpu))
            return false;
        uint value = *(uint*)Xmm.Low(cpu, op->Reg);
        if (op->Rm == Op.Memory)
            return Mem.TryWrite(cpu, op, Ea.Of(cpu, op), value);
        ((ulong*)cpu)[op->Rm] = value;
        return true;
    }

    public static bool ToGeneral64(Cpu* cpu, Op* op)
    {
        if (!Xmm.VexReady(cpu))
            return false;
        ulong value = *(ulong*)Xmm.Low(cpu, op->Reg);
        if (op->Rm == Op.Memory)
            return Mem.TryWrite(cpu, op, Ea.Of(cpu, op), value);
        ((ulong*)cpu)[op->Rm] = value;
        return true;
    }

    public static bool LoadQuadword(Cpu* cpu, Op* op)
    {
        ulong value;
        if (!Xmm.VexReady(cpu) || !Xmm.Load64(cpu, op, &value))
            return false;
        Xmm.StoreVex128(cpu, op->Reg, Vector128.CreateScalar(value).AsByte());
        return true;
    }

    public static bool StoreQuadword(Cpu* cpu, Op* op)
    {
        if (!Xmm.VexReady(cpu))
            return false;
        ulong value = *(ulong*)Xmm.Low(cpu, op->Reg);
        if (op->Rm == Op.Memory)
            return Mem.TryWrite(cpu, op, Ea.Of(cpu, op), value);
        Xmm.StoreVex128(cpu, op->Rm, Vector128.CreateScalar(value).AsByte());
        return true;
    }

    public static bool LoadSingle(Cpu* cpu, Op* op)
    {
        uint value;
        if (!Xmm.VexReady(cpu) || !Mem.TryRead(cpu, op, Ea.Of(cpu, op), &value))
            return false;
        Xmm.StoreVex128(cpu, op->Reg, Vector128.CreateScalar(value).AsByte());
        return true;
    }

    public static bool LoadDouble(Cpu* cpu, Op* op) => LoadQuadword(cpu, op);

    public static bool StoreSingle(Cpu* cpu, Op* op) =>
        Xmm.VexReady(cpu) && Mem.TryWrite(cpu, op, Ea.Of(cpu, op), *(uint*)Xmm.Low(cpu, op->Reg));

    public static bool StoreDouble(Cpu* cpu, Op* op) =>
        Xmm.VexReady(cpu) && Mem.TryWrite(cpu, op, Ea.Of(cpu, op), *(ulong*)Xmm.Low(cpu, op->Reg));

    /// <summary>VMOVSS xmm1, xmm2, xmm3: low element of the third, the rest of the second.</summary>
    public static bool MergeSingle(Cpu* cpu, Op* op) => MergeSingle(cpu, op->Reg, op->V, op->Rm);

    /// <summary>The same by opcode 11, destination in ModRM.rm.</summary>
    public static bool MergeSingleStore(Cpu* cpu, Op* op) => MergeSingle(cpu, op->Rm, op->V, op->Reg);

    public static bool MergeDouble(Cpu* cpu, Op* op) => MergeDouble(cpu, op->Reg, op->V, op->Rm);

    public static bool MergeDoubleStore(Cpu* cpu, Op* op) => MergeDouble(cpu, op->Rm, op->V, op->Reg);

    private static bool MergeSingle(Cpu* cpu, int destination, int rest, int low)
    {
        if (!Xmm.VexReady(cpu))
            return false;
        uint element = *(uint*)Xmm.Low(cpu, low);
        Xmm.StoreVex128(cpu, destination, Xmm.Low(cpu, rest)->AsUInt32().WithElement(0, element).AsByte());
        return true;
    }

    private static bool MergeDouble(Cpu* cpu, int destination, int rest, int low)
    {
        if (!Xmm.VexReady(cpu))
            return false;
        ulong element = *(ulong*)Xmm.Low(cpu, low);
        Xmm.StoreVex128(cpu, destination, Xmm.Low(cpu, rest)->AsUInt64().WithElement(0, element).AsByte());
        return true;
    }

    public static bool LoadLow(Cpu* cpu, Op* op) => LoadHalf(cpu, op, 0);

    public static bool LoadHigh(Cpu* cpu, Op* op) => LoadHalf(cpu, op, 1);

    private static bool LoadHalf(Cpu* cpu, Op* op, int half)
    {
        ulong value;
        if (!Xmm.VexReady(cpu) || !Mem.TryRead(cpu, op, Ea.Of(cpu, op), &value))
            return false;
        Xmm.StoreVex128(cpu, op->Reg, Xmm.Low(cpu, op->V)->AsUInt64().WithElement(half, value).AsByte());
        return true;
    }

    public static bool StoreHigh(Cpu* cpu, Op* op) =>
        Xmm.VexReady(cpu) && Mem.TryWrite(cpu, op, Ea.Of(cpu, op), ((ulong*)Xmm.Low(cpu, op->Reg))[1]);

    public static bool HighToLow(Cpu* cpu, Op* op)
    {
        if (!Xmm.VexReady(cpu))
            return false;
        ulong low = ((ulong*)Xmm.Low(cpu, op->Rm))[1], high = ((ulong*)Xmm.Low(cpu, op->V))[1];
        Xmm.StoreVex128(cpu, op->Reg, Interleave.Join(low, high));
        return true;
    }

    public static bool LowToHigh(Cpu* cpu, Op* op)
    {
        if (!Xmm.VexReady(cpu))
            return false;
        ulong low = *(ulong*)Xmm.Low(cpu, op->V), high = *(ulong*)Xmm.Low(cpu, op->Rm);
        Xmm.StoreVex128(cpu, op->Reg, Interleave.Join(low, high));
        return true;
    }

    public static bool DuplicateDouble(Cpu* cpu, Op* op)
    {
        ulong value;
        if (!Xmm.VexReady(cpu) || !Xmm.Load64(cpu, op, &value))
            return false;
        Xmm.StoreVex128(cpu, op->Reg, Vector128.Create(value).AsByte());
        return true;
    }

    public static bool SignsOfSingles128(Cpu* cpu, Op* op) =>
        Xmm.VexReady(cpu) && ToGeneral(cpu, op, Xmm.Low(cpu, op->Rm)->AsUInt32().ExtractMostSignificantBits());

    public static bool SignsOfDoubles128(Cpu* cpu, Op* op) =>
        Xmm.VexReady(cpu) && ToGeneral(cpu, op, Xmm.Low(cpu, op->Rm)->AsUInt64().ExtractMostSignificantBits());

    public static bool SignsOfBytes128(Cpu* cpu, Op* op) =>
        Xmm.VexReady(cpu) && ToGeneral(cpu, op, Xmm.Low(cpu, op->Rm)->ExtractMostSignificantBits());

    public static bool SignsOfSingles256(Cpu* cpu, Op* op) => Xmm.VexReady(cpu) && ToGeneral(cpu, op,
        Xmm.Low(cpu, op->Rm)->AsUInt32().ExtractMostSignificantBits() | (Xmm.High(cpu, op->Rm)->AsUInt32().ExtractMostSignificantBits() << 4));

    public static bool SignsOfDoubles256(Cpu* cpu, Op* op) => Xmm.VexReady(cpu) && ToGeneral(cpu, op,
        Xmm.Low(cpu, op->Rm)->AsUInt64().ExtractMostSignificantBits() | (Xmm.High(cpu, op->Rm)->AsUInt64().ExtractMostSignificantBits() << 2));

    public static bool SignsOfBytes256(Cpu* cpu, Op* op) => Xmm.VexReady(cpu) && ToGeneral(cpu, op,
        Xmm.Low(cpu, op->Rm)->ExtractMostSignificantBits() | (Xmm.High(cpu, op->Rm)->ExtractMostSignificantBits() << 16));

    private static bool ToGeneral(Cpu* cpu, Op* op, uint value)
    {
        ((ulong*)cpu)[op->Reg] = value;
        return true;
    }

    public static bool MaskedStore(Cpu* cpu, Op* op)
    {
        if (!Xmm.VexReady(cpu))
            return false;
        return VectorMoves.StoreBytes(cpu, op, *Xmm.Low(cpu, op->Reg), Xmm.Low(cpu, op->Rm)->ExtractMostSignificantBits(), 16);
    }

    /// <summary>VZEROUPPER: in 64-bit mode sixteen registers, else eight.</summary>
    public static bool ZeroUpper(Cpu* cpu, Op* op)
    {
        if (!Xmm.VexReady(cpu))
            return false;
        new Span<byte>((byte*)cpu->Extended + Xmm.HighOffset, Fpu.FxsaveHelpers.XmmBytes(cpu)).Clear();
        return true;
    }

    public static bool ZeroAll(Cpu* cpu, Op* op)
    {
        if (!ZeroUpper(cpu, op))
            return false;
        new Span<byte>((byte*)cpu->Extended + Xmm.LowOffset, Fpu.FxsaveHelpers.XmmBytes(cpu)).Clear();
        return true;
    }
}

/// <summary>MOVSLDUP.</summary>
internal readonly struct DuplicateEven : IUnary
{
    public static Vector128<byte> Apply(Vector128<byte> a)
    {
        Vector128<ulong> even = a.AsUInt64() & Vector128.Create(0xFFFF_FFFFUL);
        return (even | (even << 32)).AsByte();
    }
}

/// <summary>MOVSHDUP.</summary>
internal readonly struct DuplicateOdd : IUnary
{
    public static Vector128<byte> Apply(Vector128<byte> a)
    {
        Vector128<ulong> odd = a.AsUInt64() >> 32;
        return (odd | (odd << 32)).AsByte();
    }
}

/// <summary>VMOVDDUP of 256 bits, each half.</summary>
internal readonly struct DuplicateEvenDouble : IUnary
{
    public static Vector128<byte> Apply(Vector128<byte> a) => Vector128.Create(Interleave.LowHalf(a)).AsByte();
}
