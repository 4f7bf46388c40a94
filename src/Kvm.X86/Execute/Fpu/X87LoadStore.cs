// Invariants: as in X87.cs; an Op's Rm is the number of ST(i), 0-7, or memory; pointers to locals do not outlive the call.
using Kvm.X86.Decode;
using Kvm.X86.Float;
using Kvm.X86.State;

namespace Kvm.X86.Execute.Fpu;

/// <summary>
/// Loads, stores and stack moves. Memory is touched before any state changes. A load onto a register that is not empty pushes the
/// indefinite, a store from an empty one stores it, while invalid operations are masked.
/// </summary>
internal static unsafe class X87LoadStore
{
    public static bool LoadSingle(Cpu* cpu, Op* op)
    {
        uint bits;
        if (!X87.Ready(cpu) || !Mem.TryRead(cpu, op, Ea.Of(cpu, op), &bits))
            return false;
        FloatEnvironment environment = FloatEnvironment.FromControlWord(cpu->X87Control);
        Float80 value = Float80Convert.Load<SingleFormat>(bits, ref environment);
        return Push(cpu, op, value, environment.Flags);
    }

    public static bool LoadDouble(Cpu* cpu, Op* op)
    {
        ulong bits;
        if (!X87.Ready(cpu) || !Mem.TryRead(cpu, op, Ea.Of(cpu, op), &bits))
            return false;
        FloatEnvironment environment = FloatEnvironment.FromControlWord(cpu->X87Control);
        Float80 value = Float80Convert.Load<DoubleFormat>(bits, ref environment);
        return Push(cpu, op, value, environment.Flags);
    }

    public static bool LoadExtended(Cpu* cpu, Op* op)
    {
        byte* bytes = stackalloc byte[10];
        if (!X87.Ready(cpu) || !Mem.TryReadBytes(cpu, op, Ea.Of(cpu, op), bytes, 10))
            return false;
        return Push(cpu, op, new Float80(*(ushort*)(bytes + 8), *(ulong*)bytes), 0);
    }

    public static bool LoadBcd(Cpu* cpu, Op* op)
    {
        byte* bytes = stackalloc byte[10];
        if (!X87.Ready(cpu) || !Mem.TryReadBytes(cpu, op, Ea.Of(cpu, op), bytes, 10))
            return false;
        return Push(cpu, op, Float80Convert.FromBcd(*(ulong*)bytes, *(ushort*)(bytes + 8)), 0);
    }

    public static bool LoadInteger16(Cpu* cpu, Op* op)
    {
        short value;
        return X87.Ready(cpu) && Mem.TryRead(cpu, op, Ea.Of(cpu, op), &value) && Push(cpu, op, Float80Convert.FromInteger(value), 0);
    }

    public static bool LoadInteger32(Cpu* cpu, Op* op)
    {
        int value;
        return X87.Ready(cpu) && Mem.TryRead(cpu, op, Ea.Of(cpu, op), &value) && Push(cpu, op, Float80Convert.FromInteger(value), 0);
    }

    public static bool LoadInteger64(Cpu* cpu, Op* op)
    {
        long value;
        return X87.Ready(cpu) && Mem.TryRead(cpu, op, Ea.Of(cpu, op), &value) && Push(cpu, op, Float80Convert.FromInteger(value), 0);
    }

    public static bool LoadRegister(Cpu* cpu, Op* op)
    {
        if (!X87.Ready(cpu))
            return false;
        if (!X87.IsEmpty(cpu, op->Rm))
            return Push(cpu, op, X87.Get(cpu, op->Rm), 0);
        // An empty source counts before a full stack.
        if (X87.MayWrite(cpu, X87.Underflow))
            X87.Push(cpu, Float80.Indefinite);
        X87.Commit(cpu, op, X87.Underflow);
        return true;
    }

    public static bool LoadOne(Cpu* cpu, Op* op) => X87.Ready(cpu) && Push(cpu, op, Float80.One, 0);

    public static bool LoadZero(Cpu* cpu, Op* op) => X87.Ready(cpu) && Push(cpu, op, default, 0);

    public static bool LoadPi(Cpu* cpu, Op* op) => Constant(cpu, op, Float80Tables.Pi);

    public static bool LoadLog2E(Cpu* cpu, Op* op) => Constant(cpu, op, Float80Tables.Log2E);

    public static bool LoadLog2Ten(Cpu* cpu, Op* op) => Constant(cpu, op, Float80Tables.Log2Ten);

    public static bool LoadLog10Two(Cpu* cpu, Op* op) => Constant(cpu, op, Float80Tables.Log10Two);

    public static bool LoadLogTwo(Cpu* cpu, Op* op) => Constant(cpu, op, Float80Tables.LogTwo);

    private static bool Constant(Cpu* cpu, Op* op, in Wide value) =>
        X87.Ready(cpu) && Push(cpu, op, Float80Transcendental.Constant(value, ((uint)cpu->X87Control >> 10) & 3), 0);

    private static bool Push(Cpu* cpu, Op* op, Float80 value, uint flags)
    {
        if (!X87.IsEmpty(cpu, 7))
        {
            flags = X87.StackOverflow;
            value = Float80.Indefinite;
        }
        // A denormal is loaded even if the exception is unmasked.
        if (X87.MayWrite(cpu, flags & ~FloatFlags.Denormal))
            X87.Push(cpu, value);
        X87.Commit(cpu, op, flags);
        return true;
    }

    public static bool StoreSingle(Cpu* cpu, Op* op) => Store<SingleFormat>(cpu, op, false);

    public static bool StoreSinglePop(Cpu* cpu, Op* op) => Store<SingleFormat>(cpu, op, true);

    public static bool StoreDouble(Cpu* cpu, Op* op) => Store<DoubleFormat>(cpu, op, false);

    public static bool StoreDoublePop(Cpu* cpu, Op* op) => Store<DoubleFormat>(cpu, op, true);

    private static bool Store<TFormat>(Cpu* cpu, Op* op, bool pop) where TFormat : struct, IBinaryFormat
    {
        if (!X87.Ready(cpu))
            return false;
        FloatEnvironment environment = FloatEnvironment.FromControlWord(cpu->X87Control);
        ulong bits = SoftFloat<TFormat>.Indefinite;
        if (X87.IsEmpty(cpu, 0))
            environment.Flags = X87.Underflow;
        else
            bits = Float80Convert.Store<TFormat>(X87.Get(cpu, 0), ref environment);
        int length = typeof(TFormat) == typeof(DoubleFormat) ? 8 : 4;
        return StoreBytes(cpu, op, (byte*)&bits, length, environment.Flags, pop);
    }

    public static bool StoreInteger16(Cpu* cpu, Op* op) => StoreInteger(cpu, op, 16, false, false);

    public static bool StoreInteger32(Cpu* cpu, Op* op) => StoreInteger(cpu, op, 32, false, false);

    public static bool StoreInteger16Pop(Cpu* cpu, Op* op) => StoreInteger(cpu, op, 16, false, true);

    public static bool StoreInteger32Pop(Cpu* cpu, Op* op) => StoreInteger(cpu, op, 32, false, true);

    public static bool StoreInteger64Pop(Cpu* cpu, Op* op) => StoreInteger(cpu, op, 64, false, true);

    public static bool StoreTruncated16Pop(Cpu* cpu, Op* op) => StoreInteger(cpu, op, 16, true, true);

    public static bool StoreTruncated32Pop(Cpu* cpu, Op* op) => StoreInteger(cpu, op, 32, true, true);

    public static bool StoreTruncated64Pop(Cpu* cpu, Op* op) => StoreInteger(cpu, op, 64, true, true);

    private static bool StoreInteger(Cpu* cpu, Op* op, int bits, bool truncate, bool pop)
    {
        if (!X87.Ready(cpu))
            return false;
        FloatEnvironment environment = FloatEnvironment.FromControlWord(cpu->X87Control);
        ulong value = 1UL << (bits - 1);
        if (X87.IsEmpty(cpu, 0))
            environment.Flags = X87.Underflow;
        else
            value = Float80Convert.ToInteger(X87.Get(cpu, 0), bits, truncate ? FloatFlags.RoundToZero : environment.Rounding, ref environment);
        return StoreBytes(cpu, op, (byte*)&value, bits / 8, environment.Flags, pop);
    }

    public static bool StoreExtendedPop(Cpu* cpu, Op* op)
    {
        if (!X87.Ready(cpu))
            return false;
        bool empty = X87.IsEmpty(cpu, 0);
        Float80 value = empty ? Float80.Indefinite : X87.Get(cpu, 0);
        byte* bytes = stackalloc byte[10];
        *(ulong*)bytes = value.Significand;
        *(ushort*)(bytes + 8) = value.SignExponent;
        return StoreBytes(cpu, op, bytes, 10, empty ? X87.Underflow : 0, true);
    }

    public static bool StoreBcdPop(Cpu* cpu, Op* op)
    {
        if (!X87.Ready(cpu))
            return false;
        FloatEnvironment environment = FloatEnvironment.FromControlWord(cpu->X87Control);
        bool empty = X87.IsEmpty(cpu, 0);
        // An empty register stores the packed indefinite, which is what a NaN converts to.
        Float80 value = empty ? Float80.Indefinite : X87.Get(cpu, 0);
        byte* bytes = stackalloc byte[10];
        *(ulong*)bytes = Float80Convert.ToBcd(value, out ushort high, ref environment);
        *(ushort*)(bytes + 8) = high;
        return StoreBytes(cpu, op, bytes, 10, empty ? X87.Underflow : environment.Flags, true);
    }

    private static bool StoreBytes(Cpu* cpu, Op* op, byte* bytes, int length, uint flags, bool pop)
    {
        bool store = X87.MayStore(cpu, flags);
        ulong address = Ea.Of(cpu, op);
        bool written = !store || length switch
        {
            2 => Mem.TryWrite(cpu, op, address, *(ushort*)bytes),
            4 => Mem.TryWrite(cpu, op, address, *(uint*)bytes),
            8 => Mem.TryWrite(cpu, op, address, *(ulong*)bytes),
            _ => Mem.TryWriteBytes(cpu, op, address, bytes, length),
        };
        if (!written)
            return false;
        // What is kept back is neither inexact nor rounded.
        if (!store && (flags & X87.StackFault) == 0)
            flags &= ~(FloatFlags.Precision | FloatFlags.RoundedUp);
        if (store && pop)
            X87.Pop(cpu);
        X87.Commit(cpu, op, flags);
        return true;
    }

    public static bool StoreRegister(Cpu* cpu, Op* op) => StoreRegister(cpu, op, false);

    public static bool StoreRegisterPop(Cpu* cpu, Op* op) => StoreRegister(cpu, op, true);

    private static bool StoreRegister(Cpu* cpu, Op* op, bool pop)
    {
        if (!X87.Ready(cpu))
            return false;
        bool empty = X87.IsEmpty(cpu, 0);
        uint flags = empty ? X87.Underflow : 0;
        if (X87.MayWrite(cpu, flags))
        {
            X87.Set(cpu, op->Rm, empty ? Float80.Indefinite : X87.Get(cpu, 0));
            if (pop)
                X87.Pop(cpu);
        }
        X87.Commit(cpu, op, flags);
        return true;
    }

    public static bool Exchange(Cpu* cpu, Op* op)
    {
        if (!X87.Ready(cpu))
            return false;
        bool emptyTop = X87.IsEmpty(cpu, 0), emptyOther = X87.IsEmpty(cpu, op->Rm);
        uint flags = emptyTop || emptyOther ? X87.Underflow : 0;
        if (X87.MayWrite(cpu, flags))
        {
            Float80 top = emptyTop ? Float80.Indefinite : X87.Get(cpu, 0);
            X87.Set(cpu, 0, emptyOther ? Float80.Indefinite : X87.Get(cpu, op->Rm));
            X87.Set(cpu, op->Rm, top);
        }
        X87.Commit(cpu, op, flags);
        return true;
    }

    public static bool MoveIfBelow(Cpu* cpu, Op* op) => MoveIf(cpu, op, Bits.Cf, true);

    public static bool MoveIfEqual(Cpu* cpu, Op* op) => MoveIf(cpu, op, Bits.Zf, true);

    public static bool MoveIfBelowOrEqual(Cpu* cpu, Op* op) => MoveIf(cpu, op, Bits.Cf | Bits.Zf, true);

    public static bool MoveIfUnordered(Cpu* cpu, Op* op) => MoveIf(cpu, op, Bits.Pf, true);

    public static bool MoveIfNotBelow(Cpu* cpu, Op* op) => MoveIf(cpu, op, Bits.Cf, false);

    public static bool MoveIfNotEqual(Cpu* cpu, Op* op) => MoveIf(cpu, op, Bits.Zf, false);

    public static bool MoveIfNotBelowOrEqual(Cpu* cpu, Op* op) => MoveIf(cpu, op, Bits.Cf | Bits.Zf, false);

    public static bool MoveIfNotUnordered(Cpu* cpu, Op* op) => MoveIf(cpu, op, Bits.Pf, false);

    /// <summary>FCMOVcc: an empty register is a fault whether or not the condition holds.</summary>
    private static bool MoveIf(Cpu* cpu, Op* op, uint mask, bool set)
    {
        if (!X87.Ready(cpu))
            return false;
        bool holds = (Flags.Status(cpu) & mask) != 0 == set;
        bool empty = X87.IsEmpty(cpu, 0) || X87.IsEmpty(cpu, op->Rm);
        // C1 is touched by a stack fault only.
        uint flags = empty ? X87.Underflow : cpu->X87Status & (uint)X87.C1;
        if (empty && X87.MayWrite(cpu, flags))
            X87.Set(cpu, 0, Float80.Indefinite);
        else if (!empty && holds)
            X87.Set(cpu, 0, X87.Get(cpu, op->Rm));
        X87.Commit(cpu, op, flags);
        return true;
    }

    public static bool Free(Cpu* cpu, Op* op)
    {
        if (!X87.Ready(cpu))
            return false;
        cpu->X87Valid &= (byte)~(1 << X87.Physical(cpu, op->Rm));
        X87.Commit(cpu, op, 0);
        return true;
    }

    /// <summary>FFREEP, undocumented but everywhere.</summary>
    public static bool FreePop(Cpu* cpu, Op* op)
    {
        if (!Free(cpu, op))
            return false;
        X87.Pop(cpu);
        return true;
    }

    public static bool IncrementTop(Cpu* cpu, Op* op) => MoveTop(cpu, op, 1);

    public static bool DecrementTop(Cpu* cpu, Op* op) => MoveTop(cpu, op, -1);

    private static bool MoveTop(Cpu* cpu, Op* op, int by)
    {
        if (!X87.Ready(cpu))
            return false;
        cpu->X87Top = (byte)((cpu->X87Top + by) & 7);
        X87.Commit(cpu, op, 0);
        return true;
    }
}
