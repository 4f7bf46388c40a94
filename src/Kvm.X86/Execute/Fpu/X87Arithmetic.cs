// Invariants: as in X87.cs; an Op's Rm is the number of ST(i), 0-7, or memory.
using Kvm.X86.Decode;
using Kvm.X86.Float;
using Kvm.X86.State;

namespace Kvm.X86.Execute.Fpu;

/// <summary>An x87 operation on two numbers.</summary>
internal interface IX87Binary
{
    static abstract Float80 Apply(Float80 a, Float80 b, bool denormalSource, ref FloatEnvironment environment);
}

internal readonly struct X87Add : IX87Binary
{
    public static Float80 Apply(Float80 a, Float80 b, bool denormalSource, ref FloatEnvironment environment) =>
        Float80Arithmetic.Add(a, b, false, denormalSource, ref environment);
}

internal readonly struct X87Subtract : IX87Binary
{
    public static Float80 Apply(Float80 a, Float80 b, bool denormalSource, ref FloatEnvironment environment) =>
        Float80Arithmetic.Add(a, b, true, denormalSource, ref environment);
}

internal readonly struct X87SubtractReversed : IX87Binary
{
    public static Float80 Apply(Float80 a, Float80 b, bool denormalSource, ref FloatEnvironment environment) =>
        Float80Arithmetic.Add(b, a, true, denormalSource, ref environment);
}

internal readonly struct X87Multiply : IX87Binary
{
    public static Float80 Apply(Float80 a, Float80 b, bool denormalSource, ref FloatEnvironment environment) =>
        Float80Arithmetic.Multiply(a, b, denormalSource, ref environment);
}

internal readonly struct X87Divide : IX87Binary
{
    public static Float80 Apply(Float80 a, Float80 b, bool denormalSource, ref FloatEnvironment environment) =>
        Float80Arithmetic.Divide(a, b, denormalSource, ref environment);
}

internal readonly struct X87DivideReversed : IX87Binary
{
    public static Float80 Apply(Float80 a, Float80 b, bool denormalSource, ref FloatEnvironment environment) =>
        Float80Arithmetic.Divide(b, a, denormalSource, ref environment);
}

/// <summary>Where the second operand comes from.</summary>
internal unsafe interface IX87Source
{
    /// <summary>False with a fault recorded. <paramref name="denormal"/> as Float80Arithmetic's denormalSource.</summary>
    static abstract bool TryLoad(Cpu* cpu, Op* op, out Float80 value, out bool denormal);
}

internal readonly unsafe struct SingleSource : IX87Source
{
    public static bool TryLoad(Cpu* cpu, Op* op, out Float80 value, out bool denormal)
    {
        uint bits = 0;
        bool ok = Mem.TryRead(cpu, op, Ea.Of(cpu, op), &bits);
        value = Float80Convert.Widen<SingleFormat>(bits, out denormal);
        return ok;
    }
}

internal readonly unsafe struct DoubleSource : IX87Source
{
    public static bool TryLoad(Cpu* cpu, Op* op, out Float80 value, out bool denormal)
    {
        ulong bits = 0;
        bool ok = Mem.TryRead(cpu, op, Ea.Of(cpu, op), &bits);
        value = Float80Convert.Widen<DoubleFormat>(bits, out denormal);
        return ok;
    }
}

internal readonly unsafe struct Integer16Source : IX87Source
{
    public static bool TryLoad(Cpu* cpu, Op* op, out Float80 value, out bool denormal)
    {
        short integer = 0;
        bool ok = Mem.TryRead(cpu, op, Ea.Of(cpu, op), &integer);
        value = Float80Convert.FromInteger(integer);
        denormal = false;
        return ok;
    }
}

internal readonly unsafe struct Integer32Source : IX87Source
{
    public static bool TryLoad(Cpu* cpu, Op* op, out Float80 value, out bool denormal)
    {
        int integer = 0;
        bool ok = Mem.TryRead(cpu, op, Ea.Of(cpu, op), &integer);
        value = Float80Convert.FromInteger(integer);
        denormal = false;
        return ok;
    }
}

/// <summary>Encodings of arithmetic and comparisons.</summary>
internal static unsafe class X87Arithmetic
{
    /// <summary>ST(0) = ST(0) op memory.</summary>
    public static nint Memory<T, TSource>() where T : struct, IX87Binary where TSource : struct, IX87Source =>
        (nint)(delegate*<Cpu*, Op*, bool>)&RunMemory<T, TSource>;

    /// <summary>ST(0) = ST(0) op ST(i).</summary>
    public static nint Top<T>() where T : struct, IX87Binary => (nint)(delegate*<Cpu*, Op*, bool>)&RunTop<T>;

    /// <summary>ST(i) = ST(i) op ST(0).</summary>
    public static nint Register<T>() where T : struct, IX87Binary => (nint)(delegate*<Cpu*, Op*, bool>)&RunRegister<T>;

    /// <summary>ST(i) = ST(i) op ST(0), then pop.</summary>
    public static nint RegisterPop<T>() where T : struct, IX87Binary => (nint)(delegate*<Cpu*, Op*, bool>)&RunRegisterPop<T>;

    private static bool RunMemory<T, TSource>(Cpu* cpu, Op* op) where T : struct, IX87Binary where TSource : struct, IX87Source
    {
        if (!X87.Ready(cpu) || !TSource.TryLoad(cpu, op, out Float80 source, out bool denormal))
            return false;
        FloatEnvironment environment = FloatEnvironment.FromControlWord(cpu->X87Control);
        Float80 result;
        if (X87.IsEmpty(cpu, 0))
        {
            environment.Flags = X87.Underflow;
            result = Float80.Indefinite;
        }
        else
        {
            result = T.Apply(X87.Get(cpu, 0), source, denormal, ref environment);
        }
        if (X87.MayWrite(cpu, environment.Flags))
            X87.Set(cpu, 0, result);
        X87.Commit(cpu, op, environment.Flags);
        return true;
    }

    private static bool RunTop<T>(Cpu* cpu, Op* op) where T : struct, IX87Binary
    {
        if (!X87.Ready(cpu))
            return false;
        uint flags = Combine<T>(cpu, 0, op->Rm, out Float80 result);
        if (X87.MayWrite(cpu, flags))
            X87.Set(cpu, 0, result);
        X87.Commit(cpu, op, flags);
        return true;
    }

    private static bool RunRegister<T>(Cpu* cpu, Op* op) where T : struct, IX87Binary
    {
        if (!X87.Ready(cpu))
            return false;
        uint flags = Combine<T>(cpu, op->Rm, 0, out Float80 result);
        if (X87.MayWrite(cpu, flags))
            X87.Set(cpu, op->Rm, result);
        X87.Commit(cpu, op, flags);
        return true;
    }

    private static bool RunRegisterPop<T>(Cpu* cpu, Op* op) where T : struct, IX87Binary
    {
        if (!X87.Ready(cpu))
            return false;
        uint flags = Combine<T>(cpu, op->Rm, 0, out Float80 result);
        if (X87.MayWrite(cpu, flags))
        {
            X87.Set(cpu, op->Rm, result);
            X87.Pop(cpu);
        }
        X87.Commit(cpu, op, flags);
        return true;
    }

    private static uint Combine<T>(Cpu* cpu, int first, int second, out Float80 result) where T : struct, IX87Binary
    {
        if (X87.IsEmpty(cpu, first) || X87.IsEmpty(cpu, second))
        {
            result = Float80.Indefinite;
            return X87.Underflow;
        }
        FloatEnvironment environment = FloatEnvironment.FromControlWord(cpu->X87Control);
        result = T.Apply(X87.Get(cpu, first), X87.Get(cpu, second), false, ref environment);
        return environment.Flags;
    }
}
