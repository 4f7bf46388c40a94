// Invariants: see Alu.cs.
using System.Numerics;
using System.Runtime.CompilerServices;
using Kvm.X86.Decode;
using Kvm.X86.State;

namespace Kvm.X86.Execute;

/// <summary>What BT, BTS, BTR, BTC do to the bit.</summary>
internal interface IBit
{
    static abstract bool Stores { get; }

    static abstract long Do(long value, long mask);
}

internal readonly struct BitTest : IBit
{
    public static bool Stores => false;

    public static long Do(long value, long mask) => value;
}

internal readonly struct BitSet : IBit
{
    public static bool Stores => true;

    public static long Do(long value, long mask) => value | mask;
}

internal readonly struct BitReset : IBit
{
    public static bool Stores => true;

    public static long Do(long value, long mask) => value & ~mask;
}

internal readonly struct BitFlip : IBit
{
    public static bool Stores => true;

    public static long Do(long value, long mask) => value ^ mask;
}

/// <summary>BT family on a register or slot Reg; the bit number is Rm's value or, if Rm is Op.Memory, Imm.</summary>
internal static unsafe class Bit<TBit, TSize> where TBit : IBit where TSize : ISize
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static nint RegReg(Cpu* cpu, Op* op)
    {
        Change(cpu, op, TSize.Get(cpu, op->Rm));
        return Hot.Next(cpu, op);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static nint RegImm(Cpu* cpu, Op* op)
    {
        Change(cpu, op, op->Imm);
        return Hot.Next(cpu, op);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Change(Cpu* cpu, Op* op, long number)
    {
        int bit = (int)number & ((TSize.Bytes * 8) - 1);
        long value = TSize.Get(cpu, op->Reg);
        if (TBit.Stores)
            TSize.Set(cpu, op->Reg, TBit.Do(value, 1L << bit));
        SetCarry(cpu, (value >> bit) & 1);
    }

    /// <summary>
    /// CF is the bit; ZF stays. Of the undefined flags SF and PF stay, OF and AF are cleared, whatever form the flags were in: what is
    /// undefined must not depend on how code was run before.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void SetCarry(Cpu* cpu, long carry)
    {
        if (cpu->FlagKind is FlagKind.Explicit)
            cpu->Rflags = (cpu->Rflags & ~(Bits.Cf | Bits.Af | Bits.Of)) | (uint)carry;
        else if (cpu->FlagKind is FlagKind.Host)
            cpu->HostFlags = (ushort)((cpu->HostFlags & ~0x1101) | (int)(carry << 8));
        else
            Flags.SetBits(cpu, cpu->FlagResult, carry);
    }

    /// <summary>lock BTS/BTR/BTC on memory.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static nint Locked(Cpu* cpu, Op* op)
    {
        ulong at = Ea.Of(cpu, op);
        var entry = Tlb.At(cpu->Tlb, at);
        return Tlb.Hits<TSize>(entry->WriteTag, at)
            ? LockedAt(cpu, op, entry->Addend + (nint)at)
            : Slow.Locked(cpu, op, at, TSize.Bytes);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static nint LockedAt(Cpu* cpu, Op* op, nint host)
    {
        int bit = (int)(op->V != 0 ? op->Imm : TSize.Get(cpu, op->Reg)) & ((TSize.Bytes * 8) - 1);
        for (long old = TSize.Load(host); ;)
        {
            long seen = TSize.CompareExchange(host, TBit.Do(old, 1L << bit), old);
            if (seen == old)
            {
                SetCarry(cpu, (old >> bit) & 1);
                return Hot.Next(cpu, op);
            }

            old = seen;
        }
    }
}

/// <summary>Bit scans and counts: Reg ← f(Rm).</summary>
internal static unsafe class Scan<TSize> where TSize : ISize
{
    /// <summary>
    /// Address micro-op of BT [mem], reg: slot Address ← operand address moved by the signed bit number in Reg, in whole
    /// operands. Reg may lie anywhere in the number's range: the address follows (SDM vol. 2, BT).
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static nint BitAddress(Cpu* cpu, Op* op)
    {
        int shift = TSize.Bytes == 8 ? 6 : TSize.Bytes == 4 ? 5 : 4;
        ((ulong*)cpu)[Slots.Address] = Ea.Of(cpu, op) + ((ulong)(TSize.Get(cpu, op->Reg) >> shift) * (ulong)TSize.Bytes);
        return Hot.Next(cpu, op);
    }

    /// <summary>BSF: a zero source leaves the destination and sets ZF.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static nint Bsf(Cpu* cpu, Op* op)
    {
        long value = TSize.Get(cpu, op->Rm);
        if (value != 0)
            TSize.Set(cpu, op->Reg, BitOperations.TrailingZeroCount(value));
        Flags.SetBits(cpu, value, 0);
        return Hot.Next(cpu, op);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static nint Bsr(Cpu* cpu, Op* op)
    {
        ulong value = ShiftMath.Unsigned<TSize>(TSize.Get(cpu, op->Rm));
        if (value != 0)
            TSize.Set(cpu, op->Reg, 63 - BitOperations.LeadingZeroCount(value));
        Flags.SetBits(cpu, (long)value, 0);
        return Hot.Next(cpu, op);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static nint Popcnt(Cpu* cpu, Op* op)
    {
        int count = BitOperations.PopCount(ShiftMath.Unsigned<TSize>(TSize.Get(cpu, op->Rm)));
        TSize.Set(cpu, op->Reg, count);
        Flags.SetStatus(cpu, count == 0 ? Bits.Zf : 0);
        return Hot.Next(cpu, op);
    }

    /// <summary>CF: the source is zero; ZF: the result is.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static nint Tzcnt(Cpu* cpu, Op* op)
    {
        ulong value = ShiftMath.Unsigned<TSize>(TSize.Get(cpu, op->Rm));
        int count = value == 0 ? TSize.Bytes * 8 : BitOperations.TrailingZeroCount(value);
        TSize.Set(cpu, op->Reg, count);
        Flags.SetStatus(cpu, (value == 0 ? Bits.Cf : 0) | (count == 0 ? Bits.Zf : 0));
        return Hot.Next(cpu, op);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static nint Lzcnt(Cpu* cpu, Op* op)
    {
        ulong value = ShiftMath.Unsigned<TSize>(TSize.Get(cpu, op->Rm));
        int count = BitOperations.LeadingZeroCount(value) - (64 - (TSize.Bytes * 8));
        TSize.Set(cpu, op->Reg, count);
        Flags.SetStatus(cpu, (value == 0 ? Bits.Cf : 0) | (count == 0 ? Bits.Zf : 0));
        return Hot.Next(cpu, op);
    }
}
