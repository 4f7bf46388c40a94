// Invariants: see Alu.cs.
using System.Runtime.CompilerServices;
using Kvm.X86.Decode;
using Kvm.X86.State;

namespace Kvm.X86.Execute;

/// <summary>Operations on memory that other processors must see whole.</summary>
internal enum AtomicKind
{
    Exchange, ExchangeAdd, CompareExchange, RegisterExchangeAdd, RegisterCompareExchange,
}

/// <summary>XCHG, XADD and CMPXCHG. On memory they are atomic with or without LOCK: it costs little and cannot be told apart.</summary>
internal static unsafe class Atomic<TSize> where TSize : ISize
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static nint Exchange(Cpu* cpu, Op* op)
    {
        ulong at = Ea.Of(cpu, op);
        var entry = Tlb.At(cpu->Tlb, at);
        return Tlb.Hits<TSize>(entry->WriteTag, at)
            ? ExchangeAt(cpu, op, entry->Addend + (nint)at)
            : Slow.Locked(cpu, op, at, TSize.Bytes);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static nint ExchangeAt(Cpu* cpu, Op* op, nint host)
    {
        long value = TSize.Get(cpu, op->Reg);
        for (long old = TSize.Load(host); ;)
        {
            long seen = TSize.CompareExchange(host, value, old);
            if (seen == old)
            {
                TSize.Set(cpu, op->Reg, old);
                return Hot.Next(cpu, op);
            }

            old = seen;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static nint ExchangeAdd(Cpu* cpu, Op* op)
    {
        ulong at = Ea.Of(cpu, op);
        var entry = Tlb.At(cpu->Tlb, at);
        return Tlb.Hits<TSize>(entry->WriteTag, at)
            ? ExchangeAddAt(cpu, op, entry->Addend + (nint)at)
            : Slow.Locked(cpu, op, at, TSize.Bytes);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static nint ExchangeAddAt(Cpu* cpu, Op* op, nint host)
    {
        long value = TSize.Get(cpu, op->Reg);
        for (long old = TSize.Load(host); ;)
        {
            long seen = TSize.CompareExchange(host, old + value, old);
            if (seen == old)
            {
                Add.Do<TSize>(cpu, old, value);
                TSize.Set(cpu, op->Reg, old);
                return Hot.Next(cpu, op);
            }

            old = seen;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static nint CompareExchange(Cpu* cpu, Op* op)
    {
        ulong at = Ea.Of(cpu, op);
        var entry = Tlb.At(cpu->Tlb, at);
        return Tlb.Hits<TSize>(entry->WriteTag, at)
            ? CompareExchangeAt(cpu, op, entry->Addend + (nint)at)
            : Slow.Locked(cpu, op, at, TSize.Bytes);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static nint CompareExchangeAt(Cpu* cpu, Op* op, nint host)
    {
        long expected = TSize.Get(cpu, 0);
        long seen = TSize.CompareExchange(host, TSize.Get(cpu, op->Reg), expected);
        Sub.Do<TSize>(cpu, expected, seen);
        if (seen != expected)
            TSize.Set(cpu, 0, seen);
        return Hot.Next(cpu, op);
    }

    /// <summary>XADD of registers: Rm is the destination, Reg the source; the sum wins where they are the same.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static nint RegisterExchangeAdd(Cpu* cpu, Op* op)
    {
        long a = TSize.Get(cpu, op->Rm), b = TSize.Get(cpu, op->Reg);
        TSize.Set(cpu, op->Reg, a);
        TSize.Set(cpu, op->Rm, Add.Do<TSize>(cpu, a, b));
        return Hot.Next(cpu, op);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static nint RegisterCompareExchange(Cpu* cpu, Op* op)
    {
        long a = TSize.Get(cpu, 0), d = TSize.Get(cpu, op->Rm);
        Sub.Do<TSize>(cpu, a, d);
        if (a == d)
            TSize.Set(cpu, op->Rm, TSize.Get(cpu, op->Reg));
        else
            TSize.Set(cpu, 0, d);
        return Hot.Next(cpu, op);
    }
}

internal static unsafe partial class HotTable
{
    public static nint Atomic(AtomicKind kind, int size) => size switch
    {
        1 => AtomicOfKind<S8>(kind),
        2 => AtomicOfKind<S16>(kind),
        4 => AtomicOfKind<S32>(kind),
        _ => AtomicOfKind<S64>(kind),
    };

    private static nint AtomicOfKind<TSize>(AtomicKind kind) where TSize : ISize => kind switch
    {
        AtomicKind.Exchange => At(&Atomic<TSize>.Exchange),
        AtomicKind.ExchangeAdd => At(&Atomic<TSize>.ExchangeAdd),
        AtomicKind.CompareExchange => At(&Atomic<TSize>.CompareExchange),
        AtomicKind.RegisterExchangeAdd => At(&Atomic<TSize>.RegisterExchangeAdd),
        _ => At(&Atomic<TSize>.RegisterCompareExchange),
    };
}
