// Invariants: MMX register numbers in an Op are 0-7, general and vector register numbers 0-15; Cpu begins with the general registers.
using System.Runtime.Intrinsics;
using Kvm.X86.Decode;
using Kvm.X86.Execute.Simd;
using Kvm.X86.State;

namespace Kvm.X86.Execute.Fpu;

/// <summary>Moves of MMX registers, and EMMS.</summary>
internal static unsafe class MmxMoves
{
    public static bool FromGeneral32(Cpu* cpu, Op* op)
    {
        uint value;
        if (!MmxState.Ready(cpu) || !Xmm.LoadGeneral32(cpu, op, &value))
            return false;
        MmxState.Write(cpu, op->Reg, value);
        return true;
    }

    public static bool FromGeneral64(Cpu* cpu, Op* op)
    {
        ulong value;
        if (!MmxState.Ready(cpu) || !Xmm.LoadGeneral64(cpu, op, &value))
            return false;
        MmxState.Write(cpu, op->Reg, value);
        return true;
    }

    public static bool ToGeneral32(Cpu* cpu, Op* op)
    {
        if (!MmxState.Ready(cpu))
            return false;
        uint value = (uint)cpu->X87[op->Reg].Significand;
        if (op->Rm != Op.Memory)
            ((ulong*)cpu)[op->Rm] = value;
        else if (!Mem.TryWrite(cpu, op, Ea.Of(cpu, op), value))
            return false;
        MmxState.Enter(cpu);
        return true;
    }

    public static bool ToGeneral64(Cpu* cpu, Op* op)
    {
        if (!MmxState.Ready(cpu))
            return false;
        ulong value = cpu->X87[op->Reg].Significand;
        if (op->Rm != Op.Memory)
            ((ulong*)cpu)[op->Rm] = value;
        else if (!Mem.TryWrite(cpu, op, Ea.Of(cpu, op), value))
            return false;
        MmxState.Enter(cpu);
        return true;
    }

    public static bool Load(Cpu* cpu, Op* op)
    {
        ulong value;
        if (!MmxState.Ready(cpu) || !MmxState.Load64(cpu, op, &value))
            return false;
        MmxState.Write(cpu, op->Reg, value);
        return true;
    }

    /// <summary>MOVQ mm/m64, mm and MOVNTQ.</summary>
    public static bool Store(Cpu* cpu, Op* op)
    {
        if (!MmxState.Ready(cpu))
            return false;
        ulong value = cpu->X87[op->Reg].Significand;
        if (op->Rm != Op.Memory)
        {
            MmxState.Write(cpu, op->Rm, value);
            return true;
        }
        if (!Mem.TryWrite(cpu, op, Ea.Of(cpu, op), value))
            return false;
        MmxState.Enter(cpu);
        return true;
    }

    public static bool ToXmm(Cpu* cpu, Op* op)
    {
        if (!Xmm.Ready(cpu) || !MmxState.Ready(cpu))
            return false;
        *Xmm.Low(cpu, op->Reg) = Vector128.CreateScalar(cpu->X87[op->Rm].Significand).AsByte();
        MmxState.Enter(cpu);
        return true;
    }

    public static bool FromXmm(Cpu* cpu, Op* op)
    {
        if (!Xmm.Ready(cpu) || !MmxState.Ready(cpu))
            return false;
        MmxState.Write(cpu, op->Reg, *(ulong*)Xmm.Low(cpu, op->Rm));
        return true;
    }

    public static bool SignsOfBytes(Cpu* cpu, Op* op)
    {
        if (!MmxState.Ready(cpu))
            return false;
        ((ulong*)cpu)[op->Reg] = Vector128.CreateScalar(cpu->X87[op->Rm].Significand).AsByte().ExtractMostSignificantBits();
        MmxState.Enter(cpu);
        return true;
    }

    public static bool ShuffleWords(Cpu* cpu, Op* op)
    {
        ulong value;
        if (!MmxState.Ready(cpu) || !MmxState.Load64(cpu, op, &value))
            return false;
        MmxState.Write(cpu, op->Reg, WordShuffle.Apply(value, op->Imm8));
        return true;
    }

    public static bool AlignRight(Cpu* cpu, Op* op)
    {
        ulong source;
        if (!MmxState.Ready(cpu) || !MmxState.Load64(cpu, op, &source))
            return false;
        ulong first = cpu->X87[op->Reg].Significand;
        int shift = op->Imm8 * 8;
        ulong result = op->Imm8 > 15 ? 0 : (ulong)(new UInt128(first, source) >> shift);
        MmxState.Write(cpu, op->Reg, result);
        return true;
    }

    public static bool ExtractWord(Cpu* cpu, Op* op)
    {
        if (!MmxState.Ready(cpu))
            return false;
        ((ulong*)cpu)[op->Reg] = (ushort)(cpu->X87[op->Rm].Significand >> ((op->Imm8 & 3) * 16));
        MmxState.Enter(cpu);
        return true;
    }

    public static bool InsertWord(Cpu* cpu, Op* op)
    {
        ushort value;
        if (!MmxState.Ready(cpu))
            return false;
        if (op->Rm != Op.Memory)
            value = (ushort)((ulong*)cpu)[op->Rm];
        else if (!Mem.TryRead(cpu, op, Ea.Of(cpu, op), &value))
            return false;
        int shift = (op->Imm8 & 3) * 16;
        MmxState.Write(cpu, op->Reg, (cpu->X87[op->Reg].Significand & ~(0xFFFFUL << shift)) | ((ulong)value << shift));
        return true;
    }

    /// <summary>PUNPCKLxx mm, mm/m32: the memory operand has 32 bits.</summary>
    public static nint UnpackLow<T>() where T : struct, IBinary => (nint)(delegate*<Cpu*, Op*, bool>)&RunUnpackLow<T>;

    private static bool RunUnpackLow<T>(Cpu* cpu, Op* op) where T : struct, IBinary
    {
        if (!MmxState.Ready(cpu))
            return false;
        uint value;
        if (op->Rm != Op.Memory)
            value = (uint)cpu->X87[op->Rm].Significand;
        else if (!Mem.TryRead(cpu, op, Ea.Of(cpu, op), &value))
            return false;
        Vector128<byte> first = Vector128.CreateScalar(cpu->X87[op->Reg].Significand).AsByte();
        MmxState.Write(cpu, op->Reg, Interleave.LowHalf(T.Apply(first, Vector128.CreateScalar(value).AsByte())));
        return true;
    }

    public static bool MaskedStore(Cpu* cpu, Op* op)
    {
        if (!MmxState.Ready(cpu))
            return false;
        Vector128<byte> value = Vector128.CreateScalar(cpu->X87[op->Reg].Significand).AsByte();
        uint mask = Vector128.CreateScalar(cpu->X87[op->Rm].Significand).AsByte().ExtractMostSignificantBits();
        if (!VectorMoves.StoreBytes(cpu, op, value, mask, 8))
            return false;
        MmxState.Enter(cpu);
        return true;
    }

    /// <summary>EMMS: all x87 registers become empty, TOP zero (SDM vol. 3, table 12-2).</summary>
    public static bool Empty(Cpu* cpu, Op* op)
    {
        if (!MmxState.Ready(cpu))
            return false;
        cpu->X87Top = 0;
        cpu->X87Valid = 0;
        return true;
    }
}
