// Invariants: as in Xmm.cs; general register numbers in an Op are 0-15 and Cpu begins with the general registers.
using System.Runtime.Intrinsics;
using Kvm.X86.Decode;
using Kvm.X86.Execute.Fpu;
using Kvm.X86.State;

namespace Kvm.X86.Execute.Simd;

/// <summary>Moves of legacy SSE (SDM vol. 2, MOVAPS … MOVQ). Loads by register keep what the manual says they keep.</summary>
internal static unsafe class VectorMoves
{
    public static bool LoadUnaligned(Cpu* cpu, Op* op)
    {
        Vector128<byte> value;
        if (!Xmm.Ready(cpu) || !Xmm.Load128Unaligned(cpu, op, &value))
            return false;
        *Xmm.Low(cpu, op->Reg) = value;
        return true;
    }

    public static bool LoadAligned(Cpu* cpu, Op* op)
    {
        Vector128<byte> value;
        if (!Xmm.Ready(cpu) || !Xmm.Load128(cpu, op, &value))
            return false;
        *Xmm.Low(cpu, op->Reg) = value;
        return true;
    }

    public static bool StoreUnaligned(Cpu* cpu, Op* op)
    {
        if (!Xmm.Ready(cpu))
            return false;
        Vector128<byte> value = *Xmm.Low(cpu, op->Reg);
        if (op->Rm == Op.Memory)
            return Mem.TryWrite(cpu, op, Ea.Of(cpu, op), value);
        *Xmm.Low(cpu, op->Rm) = value;
        return true;
    }

    /// <summary>Also the non-temporal stores: memory here is always write-back.</summary>
    public static bool StoreAligned(Cpu* cpu, Op* op)
    {
        if (!Xmm.Ready(cpu))
            return false;
        Vector128<byte> value = *Xmm.Low(cpu, op->Reg);
        if (op->Rm != Op.Memory)
        {
            *Xmm.Low(cpu, op->Rm) = value;
            return true;
        }
        ulong address = Ea.Of(cpu, op);
        return Mem.RequireAligned(cpu, address, 16) && Mem.TryWrite(cpu, op, address, value);
    }

    /// <summary>MOVSS load: from memory the rest becomes zero, from a register it stays.</summary>
    public static bool LoadSingle(Cpu* cpu, Op* op)
    {
        uint value;
        if (!Xmm.Ready(cpu) || !Xmm.Load32(cpu, op, &value))
            return false;
        if (op->Rm == Op.Memory)
            *Xmm.Low(cpu, op->Reg) = Vector128.CreateScalar(value).AsByte();
        else
            *(uint*)Xmm.Low(cpu, op->Reg) = value;
        return true;
    }

    /// <summary>MOVSD load.</summary>
    public static bool LoadDouble(Cpu* cpu, Op* op)
    {
        ulong value;
        if (!Xmm.Ready(cpu) || !Xmm.Load64(cpu, op, &value))
            return false;
        if (op->Rm == Op.Memory)
            *Xmm.Low(cpu, op->Reg) = Vector128.CreateScalar(value).AsByte();
        else
            *(ulong*)Xmm.Low(cpu, op->Reg) = value;
        return true;
    }

    public static bool StoreSingle(Cpu* cpu, Op* op)
    {
        if (!Xmm.Ready(cpu))
            return false;
        uint value = *(uint*)Xmm.Low(cpu, op->Reg);
        if (op->Rm == Op.Memory)
            return Mem.TryWrite(cpu, op, Ea.Of(cpu, op), value);
        *(uint*)Xmm.Low(cpu, op->Rm) = value;
        return true;
    }

    /// <summary>MOVSD, MOVLPS, MOVLPD stores: the low 64 bits.</summary>
    public static bool StoreDouble(Cpu* cpu, Op* op)
    {
        if (!Xmm.Ready(cpu))
            return false;
        ulong value = *(ulong*)Xmm.Low(cpu, op->Reg);
        if (op->Rm == Op.Memory)
            return Mem.TryWrite(cpu, op, Ea.Of(cpu, op), value);
        *(ulong*)Xmm.Low(cpu, op->Rm) = value;
        return true;
    }

    /// <summary>MOVLPS, MOVLPD from memory: the low half, the high one stays.</summary>
    public static bool LoadLow(Cpu* cpu, Op* op)
    {
        ulong value;
        if (!Xmm.Ready(cpu) || !Mem.TryRead(cpu, op, Ea.Of(cpu, op), &value))
            return false;
        ((ulong*)Xmm.Low(cpu, op->Reg))[0] = value;
        return true;
    }

    /// <summary>MOVHPS, MOVHPD from memory.</summary>
    public static bool LoadHigh(Cpu* cpu, Op* op)
    {
        ulong value;
        if (!Xmm.Ready(cpu) || !Mem.TryRead(cpu, op, Ea.Of(cpu, op), &value))
            return false;
        ((ulong*)Xmm.Low(cpu, op->Reg))[1] = value;
        return true;
    }

    public static bool StoreHigh(Cpu* cpu, Op* op) =>
        Xmm.Ready(cpu) && Mem.TryWrite(cpu, op, Ea.Of(cpu, op), ((ulong*)Xmm.Low(cpu, op->Reg))[1]);

    public static bool HighToLow(Cpu* cpu, Op* op)
    {
        if (!Xmm.Ready(cpu))
            return false;
        ((ulong*)Xmm.Low(cpu, op->Reg))[0] = ((ulong*)Xmm.Low(cpu, op->Rm))[1];
        return true;
    }

    public static bool LowToHigh(Cpu* cpu, Op* op)
    {
        if (!Xmm.Ready(cpu))
            return false;
        ((ulong*)Xmm.Low(cpu, op->Reg))[1] = ((ulong*)Xmm.Low(cpu, op->Rm))[0];
        return true;
    }

    public static bool DuplicateDouble(Cpu* cpu, Op* op)
    {
        ulong value;
        if (!Xmm.Ready(cpu) || !Xmm.Load64(cpu, op, &value))
            return false;
        *Xmm.Low(cpu, op->Reg) = Vector128.Create(value).AsByte();
        return true;
    }

    public static bool FromGeneral32(Cpu* cpu, Op* op)
    {
        uint value;
        if (!Xmm.Ready(cpu) || !Xmm.LoadGeneral32(cpu, op, &value))
            return false;
        *Xmm.Low(cpu, op->Reg) = Vector128.CreateScalar(value).AsByte();
        return true;
    }

    public static bool FromGeneral64(Cpu* cpu, Op* op)
    {
        ulong value;
        if (!Xmm.Ready(cpu) || !Xmm.LoadGeneral64(cpu, op, &value))
            return false;
        *Xmm.Low(cpu, op->Reg) = Vector128.CreateScalar(value).AsByte();
        return true;
    }

    public static bool ToGeneral32(Cpu* cpu, Op* op)
    {
        if (!Xmm.Ready(cpu))
            return false;
        uint value = *(uint*)Xmm.Low(cpu, op->Reg);
        if (op->Rm == Op.Memory)
            return Mem.TryWrite(cpu, op, Ea.Of(cpu, op), value);
        ((ulong*)cpu)[op->Rm] = value;
        return true;
    }

    public static bool ToGeneral64(Cpu* cpu, Op* op)
    {
        if (!Xmm.Ready(cpu))
            return false;
        ulong value = *(ulong*)Xmm.Low(cpu, op->Reg);
        if (op->Rm == Op.Memory)
            return Mem.TryWrite(cpu, op, Ea.Of(cpu, op), value);
        ((ulong*)cpu)[op->Rm] = value;
        return true;
    }

    /// <summary>MOVQ xmm, xmm/m64: the upper half becomes zero.</summary>
    public static bool LoadQuadword(Cpu* cpu, Op* op)
    {
        ulong value;
        if (!Xmm.Ready(cpu) || !Xmm.Load64(cpu, op, &value))
            return false;
        *Xmm.Low(cpu, op->Reg) = Vector128.CreateScalar(value).AsByte();
        return true;
    }

    /// <summary>MOVQ xmm/m64, xmm: in a register the upper half becomes zero.</summary>
    public static bool StoreQuadword(Cpu* cpu, Op* op)
    {
        if (!Xmm.Ready(cpu))
            return false;
        ulong value = *(ulong*)Xmm.Low(cpu, op->Reg);
        if (op->Rm == Op.Memory)
            return Mem.TryWrite(cpu, op, Ea.Of(cpu, op), value);
        *Xmm.Low(cpu, op->Rm) = Vector128.CreateScalar(value).AsByte();
        return true;
    }

    public static bool LoadNonTemporal(Cpu* cpu, Op* op)
    {
        Vector128<byte> value;
        ulong address = Ea.Of(cpu, op);
        if (!Xmm.Ready(cpu) || !Mem.RequireAligned(cpu, address, 16) || !Mem.TryRead(cpu, op, address, &value))
            return false;
        *Xmm.Low(cpu, op->Reg) = value;
        return true;
    }

    /// <summary>MOVMSKPS and, with wider elements, MOVMSKPD and PMOVMSKB.</summary>
    public static bool SignsOfSingles(Cpu* cpu, Op* op)
    {
        if (!Xmm.Ready(cpu))
            return false;
        ((ulong*)cpu)[op->Reg] = Xmm.Low(cpu, op->Rm)->AsUInt32().ExtractMostSignificantBits();
        return true;
    }

    public static bool SignsOfDoubles(Cpu* cpu, Op* op)
    {
        if (!Xmm.Ready(cpu))
            return false;
        ((ulong*)cpu)[op->Reg] = Xmm.Low(cpu, op->Rm)->AsUInt64().ExtractMostSignificantBits();
        return true;
    }

    public static bool SignsOfBytes(Cpu* cpu, Op* op)
    {
        if (!Xmm.Ready(cpu))
            return false;
        ((ulong*)cpu)[op->Reg] = Xmm.Low(cpu, op->Rm)->ExtractMostSignificantBits();
        return true;
    }

    /// <summary>MASKMOVDQU: bytes whose mask has its top bit set; the address is DS:rDI, which the decoder put into base and index.</summary>
    public static bool MaskedStore(Cpu* cpu, Op* op)
    {
        if (!Xmm.Ready(cpu))
            return false;
        Vector128<byte> value = *Xmm.Low(cpu, op->Reg);
        uint mask = Xmm.Low(cpu, op->Rm)->ExtractMostSignificantBits();
        return StoreBytes(cpu, op, value, mask, 16);
    }

    /// <summary>Writes the bytes chosen by <paramref name="mask"/>; all of them can be written or none is.</summary>
    public static bool StoreBytes(Cpu* cpu, Op* op, Vector128<byte> value, uint mask, int length)
    {
        ulong address = Ea.Of(cpu, op);
        byte* bytes = (byte*)&value;
        for (int i = 0; i < length; i++)
        {
            // The first byte of each page: the rest of the page has the same rights.
            bool first = i == 0 || ((address + (ulong)i) & 0xFFF) == 0;
            uint inPage = mask >> i;
            if (first && inPage != 0)
            {
                int next = i + System.Numerics.BitOperations.TrailingZeroCount(inPage);
                if (!Mem.TryProbe(cpu, op, address + (ulong)next, 1, write: true))
                    return false;
            }
        }
        for (int i = 0; i < length; i++)
        {
            if (((mask >> i) & 1) != 0 && !Mem.TryWrite(cpu, op, address + (ulong)i, bytes[i]))
                return false;
        }
        return true;
    }
}
