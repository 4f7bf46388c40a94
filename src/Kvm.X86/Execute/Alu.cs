// Invariants: see Sizes.cs. A handler's op is followed by another (a block ends with an op that returns); op->Imm, Reg, Rm are as the
// decoder's Emit methods say: in register forms Reg is the destination and Rm the source; in memory forms Reg is the register.
using System.Runtime.CompilerServices;
using Kvm.X86.Decode;
using Kvm.X86.State;

namespace Kvm.X86.Execute;

/// <summary>A two-operand arithmetic or logical operation as a type argument.</summary>
internal unsafe interface IAlu
{
    /// <summary>The result is stored (CMP and TEST only set flags).</summary>
    static abstract bool Stores { get; }

    /// <summary>Computes on sign-extended operands, sets the flags, returns the sign-extended result.</summary>
    static abstract long Do<TSize>(Cpu* cpu, long a, long b) where TSize : ISize;

    /// <summary>The same without flags.</summary>
    static abstract long Pure(Cpu* cpu, long a, long b);
}

internal unsafe readonly struct Add : IAlu
{
    public static bool Stores => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static long Do<TSize>(Cpu* cpu, long a, long b) where TSize : ISize
    {
        long r = TSize.Extend(a + b);
        Flags.SetAdd(cpu, a, b, r);
        return r;
    }

    public static long Pure(Cpu* cpu, long a, long b) => a + b;
}

internal unsafe readonly struct Sub : IAlu
{
    public static bool Stores => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static long Do<TSize>(Cpu* cpu, long a, long b) where TSize : ISize
    {
        long r = TSize.Extend(a - b);
        Flags.SetSub(cpu, a, b, r);
        return r;
    }

    public static long Pure(Cpu* cpu, long a, long b) => a - b;
}

internal unsafe readonly struct Cmp : IAlu
{
    public static bool Stores => false;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static long Do<TSize>(Cpu* cpu, long a, long b) where TSize : ISize => Sub.Do<TSize>(cpu, a, b);

    public static long Pure(Cpu* cpu, long a, long b) => 0;
}

internal unsafe readonly struct And : IAlu
{
    public static bool Stores => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static long Do<TSize>(Cpu* cpu, long a, long b) where TSize : ISize
    {
        long r = a & b;
        Flags.SetLogic(cpu, r);
        return r;
    }

    public static long Pure(Cpu* cpu, long a, long b) => a & b;
}

internal unsafe readonly struct Test : IAlu
{
    public static bool Stores => false;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static long Do<TSize>(Cpu* cpu, long a, long b) where TSize : ISize => And.Do<TSize>(cpu, a, b);

    public static long Pure(Cpu* cpu, long a, long b) => 0;
}

internal unsafe readonly struct Or : IAlu
{
    public static bool Stores => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static long Do<TSize>(Cpu* cpu, long a, long b) where TSize : ISize
    {
        long r = a | b;
        Flags.SetLogic(cpu, r);
        return r;
    }

    public static long Pure(Cpu* cpu, long a, long b) => a | b;
}

internal unsafe readonly struct Xor : IAlu
{
    public static bool Stores => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static long Do<TSize>(Cpu* cpu, long a, long b) where TSize : ISize
    {
        long r = a ^ b;
        Flags.SetLogic(cpu, r);
        return r;
    }

    public static long Pure(Cpu* cpu, long a, long b) => a ^ b;
}

internal unsafe readonly struct Adc : IAlu
{
    public static bool Stores => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static long Do<TSize>(Cpu* cpu, long a, long b) where TSize : ISize
    {
        long c = Flags.Carry(cpu);
        long r = TSize.Extend(a + b + c);
        // With a carry in, the sum wrapped if it is not above a; without, if it is below.
        long carry = (ulong)r < (ulong)a ? 1 : r == a ? c : 0;
        Flags.SetBits(cpu, r, carry | ((a ^ b ^ r) & Bits.Af) | ((((a ^ r) & (b ^ r)) >> 63) & Bits.Of));
        return r;
    }

    public static long Pure(Cpu* cpu, long a, long b) => a + b + Flags.Carry(cpu);
}

internal unsafe readonly struct Sbb : IAlu
{
    public static bool Stores => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static long Do<TSize>(Cpu* cpu, long a, long b) where TSize : ISize
    {
        long c = Flags.Carry(cpu);
        long r = TSize.Extend(a - b - c);
        long carry = (ulong)a < (ulong)b ? 1 : a == b ? c : 0;
        Flags.SetBits(cpu, r, carry | ((a ^ b ^ r) & Bits.Af) | ((((a ^ b) & (a ^ r)) >> 63) & Bits.Of));
        return r;
    }

    public static long Pure(Cpu* cpu, long a, long b) => a - b - Flags.Carry(cpu);
}

/// <summary>The handlers of two-operand arithmetic, by operand kinds.</summary>
internal static unsafe class Alu<TAlu, TSize> where TAlu : IAlu where TSize : ISize
{
    /// <summary>reg ← reg ∘ reg.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static nint RegReg(Cpu* cpu, Op* op)
    {
        long r = TAlu.Do<TSize>(cpu, TSize.Get(cpu, op->Reg), TSize.Get(cpu, op->Rm));
        if (TAlu.Stores)
            TSize.Set(cpu, op->Reg, r);
        return Hot.Next(cpu, op);
    }

    /// <summary>reg ← reg ∘ imm.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static nint RegImm(Cpu* cpu, Op* op)
    {
        long r = TAlu.Do<TSize>(cpu, TSize.Get(cpu, op->Reg), op->Imm);
        if (TAlu.Stores)
            TSize.Set(cpu, op->Reg, r);
        return Hot.Next(cpu, op);
    }

    /// <summary>reg ← reg ∘ reg where nobody will see the flags.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static nint RegRegQuiet(Cpu* cpu, Op* op)
    {
        if (TAlu.Stores)
            TSize.Set(cpu, op->Reg, TAlu.Pure(cpu, TSize.Get(cpu, op->Reg), TSize.Get(cpu, op->Rm)));
        return Hot.Next(cpu, op);
    }

    /// <summary>reg ← reg ∘ imm where nobody will see the flags.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static nint RegImmQuiet(Cpu* cpu, Op* op)
    {
        if (TAlu.Stores)
            TSize.Set(cpu, op->Reg, TAlu.Pure(cpu, TSize.Get(cpu, op->Reg), op->Imm));
        return Hot.Next(cpu, op);
    }

    /// <summary>reg ← reg ∘ [mem].</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static nint RegMem<TAddress>(Cpu* cpu, Op* op) where TAddress : IAddress
    {
        ulong at = TAddress.Of(cpu, op);
        var entry = Tlb.At(cpu->Tlb, at);
        if (Tlb.Hits<TSize>(entry->ReadTag, at))
        {
            long r = TAlu.Do<TSize>(cpu, TSize.Get(cpu, op->Reg), TSize.Load(entry->Addend + (nint)at));
            if (TAlu.Stores)
                TSize.Set(cpu, op->Reg, r);
            return Hot.Next(cpu, op);
        }

        return Slow.Read(cpu, op, at, TSize.Bytes);
    }

    /// <summary>[mem] ← [mem] ∘ reg.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static nint MemReg<TAddress>(Cpu* cpu, Op* op) where TAddress : IAddress
    {
        ulong at = TAddress.Of(cpu, op);
        var entry = Tlb.At(cpu->Tlb, at);
        if (Tlb.Hits<TSize>(TAlu.Stores ? entry->WriteTag : entry->ReadTag, at))
        {
            nint host = entry->Addend + (nint)at;
            long r = TAlu.Do<TSize>(cpu, TSize.Load(host), TSize.Get(cpu, op->Reg));
            if (TAlu.Stores)
                TSize.Store(host, r);
            return Hot.Next(cpu, op);
        }

        return TAlu.Stores ? Slow.ReadWrite(cpu, op, at, TSize.Bytes) : Slow.Read(cpu, op, at, TSize.Bytes);
    }

    /// <summary>[mem] ← [mem] ∘ imm.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static nint MemImm<TAddress>(Cpu* cpu, Op* op) where TAddress : IAddress
    {
        ulong at = TAddress.Of(cpu, op);
        var entry = Tlb.At(cpu->Tlb, at);
        if (Tlb.Hits<TSize>(TAlu.Stores ? entry->WriteTag : entry->ReadTag, at))
        {
            nint host = entry->Addend + (nint)at;
            long r = TAlu.Do<TSize>(cpu, TSize.Load(host), op->Imm);
            if (TAlu.Stores)
                TSize.Store(host, r);
            return Hot.Next(cpu, op);
        }

        return TAlu.Stores ? Slow.ReadWrite(cpu, op, at, TSize.Bytes) : Slow.Read(cpu, op, at, TSize.Bytes);
    }

    /// <summary>lock [mem] ← [mem] ∘ reg (Rm is not memory) or imm (it is).</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static nint Locked(Cpu* cpu, Op* op)
    {
        ulong at = Ea.Of(cpu, op);
        var entry = Tlb.At(cpu->Tlb, at);
        return Tlb.Hits<TSize>(entry->WriteTag, at)
            ? LockedAt(cpu, op, entry->Addend + (nint)at)
            : Slow.Locked(cpu, op, at, TSize.Bytes);
    }

    private static nint LockedAt(Cpu* cpu, Op* op, nint host)
    {
        long b = op->V != 0 ? op->Imm : TSize.Get(cpu, op->Reg);
        for (long old = TSize.Load(host); ;)
        {
            long seen = TSize.CompareExchange(host, TAlu.Pure(cpu, old, b), old);
            if (seen == old)
            {
                TAlu.Do<TSize>(cpu, old, b);
                return Hot.Next(cpu, op);
            }

            old = seen;
        }
    }
}
