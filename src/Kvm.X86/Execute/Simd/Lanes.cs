// Invariants: as in Xmm.cs; pointers to locals do not outlive the call; lane and element numbers are masked.
using System.Runtime.Intrinsics;
using Kvm.X86.Decode;
using Kvm.X86.State;

namespace Kvm.X86.Execute.Simd;

/// <summary>AVX and AVX2 moves across 128-bit lanes: broadcasts, insertion and extraction of halves, full permutations.</summary>
internal static unsafe class Lanes
{
    public static bool BroadcastByte128(Cpu* cpu, Op* op) => Broadcast(cpu, op, 1, false);

    public static bool BroadcastWord128(Cpu* cpu, Op* op) => Broadcast(cpu, op, 2, false);

    public static bool BroadcastDoubleword128(Cpu* cpu, Op* op) => Broadcast(cpu, op, 4, false);

    public static bool BroadcastQuadword128(Cpu* cpu, Op* op) => Broadcast(cpu, op, 8, false);

    public static bool BroadcastByte256(Cpu* cpu, Op* op) => Broadcast(cpu, op, 1, true);

    public static bool BroadcastWord256(Cpu* cpu, Op* op) => Broadcast(cpu, op, 2, true);

    public static bool BroadcastDoubleword256(Cpu* cpu, Op* op) => Broadcast(cpu, op, 4, true);

    public static bool BroadcastQuadword256(Cpu* cpu, Op* op) => Broadcast(cpu, op, 8, true);

    private static bool Broadcast(Cpu* cpu, Op* op, int size, bool wide)
    {
        ulong value = 0;
        if (!Xmm.VexReady(cpu))
            return false;
        if (op->Rm != Op.Memory)
        {
            value = *(ulong*)Xmm.Low(cpu, op->Rm);
        }
        else
        {
            ulong address = Ea.Of(cpu, op);
            bool read = size switch
            {
                1 => Mem.TryRead(cpu, op, address, (byte*)&value),
                2 => Mem.TryRead(cpu, op, address, (ushort*)&value),
                4 => Mem.TryRead(cpu, op, address, (uint*)&value),
                _ => Mem.TryRead(cpu, op, address, &value),
            };
            if (!read)
                return false;
        }
        Vector128<byte> result = size switch
        {
            1 => Vector128.Create((byte)value),
            2 => Vector128.Create((ushort)value).AsByte(),
            4 => Vector128.Create((uint)value).AsByte(),
            _ => Vector128.Create(value).AsByte(),
        };
        *Xmm.Low(cpu, op->Reg) = result;
        *Xmm.High(cpu, op->Reg) = wide ? result : Vector128<byte>.Zero;
        return true;
    }

    /// <summary>VBROADCASTF128, VBROADCASTI128: memory only.</summary>
    public static bool BroadcastHalf(Cpu* cpu, Op* op)
    {
        Vector128<byte> value;
        if (!Xmm.VexReady(cpu) || !Mem.TryRead(cpu, op, Ea.Of(cpu, op), &value))
            return false;
        *Xmm.Low(cpu, op->Reg) = value;
        *Xmm.High(cpu, op->Reg) = value;
        return true;
    }

    public static bool InsertHalf(Cpu* cpu, Op* op)
    {
        Vector128<byte> value;
        if (!Xmm.VexReady(cpu) || !Xmm.Load128Unaligned(cpu, op, &value))
            return false;
        Vector128<byte> low = *Xmm.Low(cpu, op->V), high = *Xmm.High(cpu, op->V);
        bool upper = (op->Imm8 & 1) != 0;
        *Xmm.Low(cpu, op->Reg) = upper ? low : value;
        *Xmm.High(cpu, op->Reg) = upper ? value : high;
        return true;
    }

    public static bool ExtractHalf(Cpu* cpu, Op* op)
    {
        if (!Xmm.VexReady(cpu))
            return false;
        Vector128<byte> value = (op->Imm8 & 1) != 0 ? *Xmm.High(cpu, op->Reg) : *Xmm.Low(cpu, op->Reg);
        if (op->Rm == Op.Memory)
            return Mem.TryWrite(cpu, op, Ea.Of(cpu, op), value);
        Xmm.StoreVex128(cpu, op->Rm, value);
        return true;
    }

    /// <summary>VPERM2F128, VPERM2I128: four bits a half; bit 3 of them gives zero.</summary>
    public static bool PermuteHalves(Cpu* cpu, Op* op)
    {
        Vector128<byte>* halves = stackalloc Vector128<byte>[4];
        if (!Xmm.VexReady(cpu) || !Xmm.Load256(cpu, op, &halves[2], &halves[3]))
            return false;
        halves[0] = *Xmm.Low(cpu, op->V);
        halves[1] = *Xmm.High(cpu, op->V);
        int imm = op->Imm8;
        *Xmm.Low(cpu, op->Reg) = (imm & 8) != 0 ? Vector128<byte>.Zero : halves[imm & 3];
        *Xmm.High(cpu, op->Reg) = (imm & 0x80) != 0 ? Vector128<byte>.Zero : halves[(imm >> 4) & 3];
        return true;
    }

    /// <summary>VPERMQ, VPERMPD: four quadwords by two bits each.</summary>
    public static bool PermuteQuadwords(Cpu* cpu, Op* op)
    {
        ulong* source = stackalloc ulong[4];
        if (!Xmm.VexReady(cpu) || !Xmm.Load256(cpu, op, (Vector128<byte>*)source, (Vector128<byte>*)(source + 2)))
            return false;
        int imm = op->Imm8;
        *Xmm.Low(cpu, op->Reg) = Interleave.Join(source[imm & 3], source[(imm >> 2) & 3]);
        *Xmm.High(cpu, op->Reg) = Interleave.Join(source[(imm >> 4) & 3], source[(imm >> 6) & 3]);
        return true;
    }

    /// <summary>VPERMD, VPERMPS: eight doublewords by the indexes in vvvv.</summary>
    public static bool PermuteDoublewords(Cpu* cpu, Op* op)
    {
        uint* source = stackalloc uint[8];
        uint* result = stackalloc uint[8];
        if (!Xmm.VexReady(cpu) || !Xmm.Load256(cpu, op, (Vector128<byte>*)source, (Vector128<byte>*)(source + 4)))
            return false;
        for (int i = 0; i < 8; i++)
        {
            uint index = i < 4 ? ((uint*)Xmm.Low(cpu, op->V))[i] : ((uint*)Xmm.High(cpu, op->V))[i - 4];
            result[i] = source[index & 7];
        }
        *Xmm.Low(cpu, op->Reg) = *(Vector128<byte>*)result;
        *Xmm.High(cpu, op->Reg) = *(Vector128<byte>*)(result + 4);
        return true;
    }

    public static bool TestSingles128(Cpu* cpu, Op* op) => Test(cpu, op, false, Vector128.Create(0x8000_0000u).AsByte());

    public static bool TestSingles256(Cpu* cpu, Op* op) => Test(cpu, op, true, Vector128.Create(0x8000_0000u).AsByte());

    public static bool TestDoubles128(Cpu* cpu, Op* op) => Test(cpu, op, false, Vector128.Create(0x8000_0000_0000_0000UL).AsByte());

    public static bool TestDoubles256(Cpu* cpu, Op* op) => Test(cpu, op, true, Vector128.Create(0x8000_0000_0000_0000UL).AsByte());

    /// <summary>VTESTPS, VTESTPD: PTEST of the sign bits.</summary>
    private static bool Test(Cpu* cpu, Op* op, bool wide, Vector128<byte> signs)
    {
        Vector128<byte> low, high = default;
        if (!Xmm.VexReady(cpu) || !(wide ? Xmm.Load256(cpu, op, &low, &high) : Xmm.Load128Unaligned(cpu, op, &low)))
            return false;
        Vector128<byte> a = *Xmm.Low(cpu, op->Reg), b = *Xmm.High(cpu, op->Reg);
        InsertExtract.SetTest(cpu, ((a & low) | (b & high)) & signs, ((~a & low) | (~b & high)) & signs);
        return true;
    }
}

/// <summary>VPERMILPS by immediate.</summary>
internal readonly struct PermuteSingles : IImmediateUnary
{
    public static Vector128<byte> Apply(Vector128<byte> a, int imm) => ShuffleDoublewords.Apply(a, imm);
}

/// <summary>VPERMILPD by immediate of one lane; see <see cref="PermuteDoubles256"/>.</summary>
internal readonly struct PermuteDoubles : IImmediateUnary
{
    public static Vector128<byte> Apply(Vector128<byte> a, int imm) => Interleave.Join(a.AsUInt64()[imm & 1], a.AsUInt64()[(imm >> 1) & 1]);
}

internal static unsafe class PermuteDoubles256
{
    public static bool Run(Cpu* cpu, Op* op)
    {
        Vector128<byte> low, high;
        if (!Xmm.VexReady(cpu) || !Xmm.Load256(cpu, op, &low, &high))
            return false;
        *Xmm.Low(cpu, op->Reg) = PermuteDoubles.Apply(low, op->Imm8);
        *Xmm.High(cpu, op->Reg) = PermuteDoubles.Apply(high, op->Imm8 >> 2);
        return true;
    }
}

/// <summary>VPERMILPS by a vector: bits 1:0 of each element.</summary>
internal readonly struct PermuteSinglesBy : IBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b)
    {
        Vector128<uint> x = a.AsUInt32(), y = b.AsUInt32();
        return Vector128.Create(x[(int)(y[0] & 3)], x[(int)(y[1] & 3)], x[(int)(y[2] & 3)], x[(int)(y[3] & 3)]).AsByte();
    }
}

/// <summary>VPERMILPD by a vector: bit 1 of each element.</summary>
internal readonly struct PermuteDoublesBy : IBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b)
    {
        Vector128<ulong> x = a.AsUInt64(), y = b.AsUInt64();
        return Interleave.Join(x[(int)(y[0] >> 1) & 1], x[(int)(y[1] >> 1) & 1]);
    }
}

/// <summary>VPSLLVx, VPSRLVx, VPSRAVD: every element by its own count.</summary>
internal static class VariableShift
{
    public static uint Left(uint a, uint count) => count > 31 ? 0 : a << (int)count;

    public static uint Right(uint a, uint count) => count > 31 ? 0 : a >> (int)count;

    public static uint RightSigned(uint a, uint count) => (uint)((int)a >> (int)Math.Min(count, 31));

    public static ulong Left(ulong a, ulong count) => count > 63 ? 0 : a << (int)count;

    public static ulong Right(ulong a, ulong count) => count > 63 ? 0 : a >> (int)count;
}

internal readonly struct ShiftLeftDoublewordsBy : IBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b)
    {
        Vector128<uint> x = a.AsUInt32(), y = b.AsUInt32();
        return Vector128.Create(VariableShift.Left(x[0], y[0]), VariableShift.Left(x[1], y[1]), VariableShift.Left(x[2], y[2]), VariableShift.Left(x[3], y[3])).AsByte();
    }
}

internal readonly struct ShiftRightDoublewordsBy : IBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b)
    {
        Vector128<uint> x = a.AsUInt32(), y = b.AsUInt32();
        return Vector128.Create(VariableShift.Right(x[0], y[0]), VariableShift.Right(x[1], y[1]), VariableShift.Right(x[2], y[2]), VariableShift.Right(x[3], y[3])).AsByte();
    }
}

internal readonly struct ShiftRightSignedDoublewordsBy : IBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b)
    {
        Vector128<uint> x = a.AsUInt32(), y = b.AsUInt32();
        return Vector128.Create(VariableShift.RightSigned(x[0], y[0]), VariableShift.RightSigned(x[1], y[1]),
            VariableShift.RightSigned(x[2], y[2]), VariableShift.RightSigned(x[3], y[3])).AsByte();
    }
}

internal readonly struct ShiftLeftQuadwordsBy : IBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b) => Interleave.Join(
        VariableShift.Left(a.AsUInt64()[0], b.AsUInt64()[0]), VariableShift.Left(a.AsUInt64()[1], b.AsUInt64()[1]));
}

internal readonly struct ShiftRightQuadwordsBy : IBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b) => Interleave.Join(
        VariableShift.Right(a.AsUInt64()[0], b.AsUInt64()[0]), VariableShift.Right(a.AsUInt64()[1], b.AsUInt64()[1]));
}
