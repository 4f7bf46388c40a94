// Invariants: see Alu.cs.
using System.Runtime.CompilerServices;
using Kvm.X86.Decode;
using Kvm.X86.State;

namespace Kvm.X86.Execute;

/// <summary>A one-operand operation as a type argument.</summary>
internal unsafe interface IUnary
{
    static abstract long Do<TSize>(Cpu* cpu, long a) where TSize : ISize;

    /// <summary>The result without flags.</summary>
    static abstract long Pure(long a);
}

internal unsafe readonly struct Inc : IUnary
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static long Do<TSize>(Cpu* cpu, long a) where TSize : ISize
    {
        long r = TSize.Extend(a + 1);
        Flags.Set(cpu, FlagKind.Inc, Flags.Carry(cpu), -1L << ((TSize.Bytes * 8) - 1), r);
        return r;
    }

    public static long Pure(long a) => a + 1;
}

internal unsafe readonly struct Dec : IUnary
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static long Do<TSize>(Cpu* cpu, long a) where TSize : ISize
    {
        long r = TSize.Extend(a - 1);
        Flags.Set(cpu, FlagKind.Dec, Flags.Carry(cpu), ~(-1L << ((TSize.Bytes * 8) - 1)), r);
        return r;
    }

    public static long Pure(long a) => a - 1;
}

internal unsafe readonly struct Neg : IUnary
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static long Do<TSize>(Cpu* cpu, long a) where TSize : ISize => Sub.Do<TSize>(cpu, 0, a);

    public static long Pure(long a) => -a;
}

internal unsafe readonly struct Complement : IUnary
{
    public static long Do<TSize>(Cpu* cpu, long a) where TSize : ISize => ~a;

    public static long Pure(long a) => ~a;
}

/// <summary>INC, DEC, NEG, NOT by operand kind.</summary>
internal static unsafe class Unary<TUnary, TSize> where TUnary : IUnary where TSize : ISize
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static nint Register(Cpu* cpu, Op* op)
    {
        TSize.Set(cpu, op->Reg, TUnary.Do<TSize>(cpu, TSize.Get(cpu, op->Reg)));
        return Hot.Next(cpu, op);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static nint Quiet(Cpu* cpu, Op* op)
    {
        TSize.Set(cpu, op->Reg, TUnary.Pure(TSize.Get(cpu, op->Reg)));
        return Hot.Next(cpu, op);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static nint Memory<TAddress>(Cpu* cpu, Op* op) where TAddress : IAddress
    {
        ulong at = TAddress.Of(cpu, op);
        var entry = Tlb.At(cpu->Tlb, at);
        if (Tlb.Hits<TSize>(entry->WriteTag, at))
        {
            nint host = entry->Addend + (nint)at;
            TSize.Store(host, TUnary.Do<TSize>(cpu, TSize.Load(host)));
            return Hot.Next(cpu, op);
        }

        return Slow.ReadWrite(cpu, op, at, TSize.Bytes);
    }

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
        for (long old = TSize.Load(host); ;)
        {
            long seen = TSize.CompareExchange(host, TUnary.Pure(old), old);
            if (seen == old)
            {
                TUnary.Do<TSize>(cpu, old);
                return Hot.Next(cpu, op);
            }

            old = seen;
        }
    }
}
