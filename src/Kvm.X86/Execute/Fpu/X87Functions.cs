// Invariants: as in X87.cs.
using Kvm.X86.Decode;
using Kvm.X86.Float;
using Kvm.X86.State;

namespace Kvm.X86.Execute.Fpu;

/// <summary>A function of ST(0) alone.</summary>
internal interface IX87Unary
{
    static abstract Float80 Apply(Float80 a, ref FloatEnvironment environment);
}

internal readonly struct X87SquareRoot : IX87Unary
{
    public static Float80 Apply(Float80 a, ref FloatEnvironment environment) => Float80Arithmetic.SquareRoot(a, ref environment);
}

internal readonly struct X87RoundToInteger : IX87Unary
{
    public static Float80 Apply(Float80 a, ref FloatEnvironment environment) => Float80Arithmetic.RoundToIntegral(a, ref environment);
}

internal readonly struct X87Negate : IX87Unary
{
    public static Float80 Apply(Float80 a, ref FloatEnvironment environment) => a.Negated();
}

internal readonly struct X87Absolute : IX87Unary
{
    public static Float80 Apply(Float80 a, ref FloatEnvironment environment) => a.WithSign(false);
}

internal readonly struct X87PowerMinusOne : IX87Unary
{
    public static Float80 Apply(Float80 a, ref FloatEnvironment environment) => Float80Transcendental.PowerMinusOne(a, ref environment);
}

internal readonly struct X87Sine : IX87Unary
{
    public static Float80 Apply(Float80 a, ref FloatEnvironment environment) => Float80Trigonometry.Sine(a, ref environment);
}

internal readonly struct X87Cosine : IX87Unary
{
    public static Float80 Apply(Float80 a, ref FloatEnvironment environment) => Float80Trigonometry.Cosine(a, ref environment);
}

/// <summary>A function of ST(1) and ST(0) whose result replaces ST(1), then pops.</summary>
internal interface IX87Pair
{
    static abstract Float80 Apply(Float80 st1, Float80 st0, ref FloatEnvironment environment);
}

internal readonly struct X87ArcTangent : IX87Pair
{
    public static Float80 Apply(Float80 st1, Float80 st0, ref FloatEnvironment environment) => Float80Trigonometry.ArcTangent(st1, st0, ref environment);
}

internal readonly struct X87YLog2X : IX87Pair
{
    public static Float80 Apply(Float80 st1, Float80 st0, ref FloatEnvironment environment) => Float80Transcendental.YLog2X(st1, st0, ref environment);
}

internal readonly struct X87YLog2XPlusOne : IX87Pair
{
    public static Float80 Apply(Float80 st1, Float80 st0, ref FloatEnvironment environment) => Float80Transcendental.YLog2XPlusOne(st1, st0, ref environment);
}

/// <summary>Encodings of functions.</summary>
internal static unsafe class X87Functions
{
    public static nint Unary<T>() where T : struct, IX87Unary => (nint)(delegate*<Cpu*, Op*, bool>)&RunUnary<T>;

    /// <summary>FSIN, FCOS: C2 and no change for operands out of range.</summary>
    public static nint Periodic<T>() where T : struct, IX87Unary => (nint)(delegate*<Cpu*, Op*, bool>)&RunPeriodic<T>;

    public static nint Pair<T>() where T : struct, IX87Pair => (nint)(delegate*<Cpu*, Op*, bool>)&RunPair<T>;

    private static bool RunUnary<T>(Cpu* cpu, Op* op) where T : struct, IX87Unary
    {
        if (!X87.Ready(cpu))
            return false;
        FloatEnvironment environment = FloatEnvironment.FromControlWord(cpu->X87Control);
        Float80 result = Float80.Indefinite;
        if (X87.IsEmpty(cpu, 0))
            environment.Flags = X87.Underflow;
        else
            result = T.Apply(X87.Get(cpu, 0), ref environment);
        if (X87.MayWrite(cpu, environment.Flags))
            X87.Set(cpu, 0, result);
        X87.Commit(cpu, op, environment.Flags);
        return true;
    }

    private static bool RunPeriodic<T>(Cpu* cpu, Op* op) where T : struct, IX87Unary
    {
        if (!X87.Ready(cpu))
            return false;
        if (OutOfRange(cpu, op))
            return true;
        if (!RunUnary<T>(cpu, op))
            return false;
        cpu->X87Status &= unchecked((ushort)~X87.C2);
        return true;
    }

    /// <summary>Sets C2 and leaves the operand when its magnitude is 2^63 or more.</summary>
    private static bool OutOfRange(Cpu* cpu, Op* op)
    {
        if (X87.IsEmpty(cpu, 0) || !Float80Trigonometry.OutOfRange(X87.Get(cpu, 0)))
            return false;
        X87.Commit(cpu, op, 0);
        cpu->X87Status |= X87.C2;
        return true;
    }

    private static bool RunPair<T>(Cpu* cpu, Op* op) where T : struct, IX87Pair
    {
        if (!X87.Ready(cpu))
            return false;
        FloatEnvironment environment = FloatEnvironment.FromControlWord(cpu->X87Control);
        Float80 result = Float80.Indefinite;
        if (X87.IsEmpty(cpu, 0) || X87.IsEmpty(cpu, 1))
            environment.Flags = X87.Underflow;
        else
            result = T.Apply(X87.Get(cpu, 1), X87.Get(cpu, 0), ref environment);
        if (X87.MayWrite(cpu, environment.Flags))
        {
            X87.Set(cpu, 1, result);
            X87.Pop(cpu);
        }
        X87.Commit(cpu, op, environment.Flags);
        return true;
    }

    public static bool SineCosine(Cpu* cpu, Op* op)
    {
        if (!X87.Ready(cpu))
            return false;
        if (StackFault(cpu, op))
        {
            cpu->X87Status &= unchecked((ushort)~X87.C2);
            return true;
        }
        if (OutOfRange(cpu, op))
            return true;
        FloatEnvironment environment = FloatEnvironment.FromControlWord(cpu->X87Control);
        Float80 value = X87.Get(cpu, 0);
        Float80 sine = Float80Trigonometry.Sine(value, ref environment);
        // C1 is about the cosine, the result on top.
        environment.Flags &= ~FloatFlags.RoundedUp;
        Float80 cosine = Float80Trigonometry.Cosine(value, ref environment);
        WriteTwo(cpu, op, sine, cosine, environment.Flags);
        return true;
    }

    public static bool Tangent(Cpu* cpu, Op* op)
    {
        if (!X87.Ready(cpu))
            return false;
        if (StackFault(cpu, op))
        {
            cpu->X87Status &= unchecked((ushort)~X87.C2);
            return true;
        }
        if (OutOfRange(cpu, op))
            return true;
        FloatEnvironment environment = FloatEnvironment.FromControlWord(cpu->X87Control);
        Float80 tangent = Float80Trigonometry.Tangent(X87.Get(cpu, 0), ref environment);
        WriteTwo(cpu, op, tangent, X87.Get(cpu, 0).Kind >= NumberKind.Infinity ? tangent : Float80.One, environment.Flags);
        return true;
    }

    public static bool Extract(Cpu* cpu, Op* op)
    {
        if (!X87.Ready(cpu))
            return false;
        if (StackFault(cpu, op))
            return true;
        FloatEnvironment environment = FloatEnvironment.FromControlWord(cpu->X87Control);
        Float80 significand = Float80Arithmetic.Extract(X87.Get(cpu, 0), out Float80 exponent, ref environment);
        if (X87.MayWrite(cpu, environment.Flags))
        {
            X87.Set(cpu, 0, exponent);
            X87.Push(cpu, significand);
        }
        X87.Commit(cpu, op, environment.Flags);
        return true;
    }

    /// <summary>Instructions that replace ST(0) and push: underflow before overflow; masked, both results are indefinite.</summary>
    private static bool StackFault(Cpu* cpu, Op* op)
    {
        bool empty = X87.IsEmpty(cpu, 0);
        if (!empty && X87.IsEmpty(cpu, 7))
            return false;
        uint flags = empty ? X87.Underflow : X87.StackOverflow;
        if (X87.MayWrite(cpu, flags))
        {
            X87.Set(cpu, 0, Float80.Indefinite);
            X87.Push(cpu, Float80.Indefinite);
        }
        X87.Commit(cpu, op, flags);
        return true;
    }

    private static void WriteTwo(Cpu* cpu, Op* op, Float80 below, Float80 top, uint flags)
    {
        if (X87.MayWrite(cpu, flags))
        {
            X87.Set(cpu, 0, below);
            X87.Push(cpu, top);
        }
        X87.Commit(cpu, op, flags);
        cpu->X87Status &= unchecked((ushort)~X87.C2);
    }

    public static bool Scale(Cpu* cpu, Op* op)
    {
        if (!X87.Ready(cpu))
            return false;
        FloatEnvironment environment = FloatEnvironment.FromControlWord(cpu->X87Control);
        Float80 result = Float80.Indefinite;
        if (X87.IsEmpty(cpu, 0) || X87.IsEmpty(cpu, 1))
            environment.Flags = X87.Underflow;
        else
            result = Float80Arithmetic.Scale(X87.Get(cpu, 0), X87.Get(cpu, 1), ref environment);
        if (X87.MayWrite(cpu, environment.Flags))
            X87.Set(cpu, 0, result);
        X87.Commit(cpu, op, environment.Flags);
        return true;
    }

    public static bool Remainder(Cpu* cpu, Op* op) => Remainder(cpu, op, nearest: false);

    public static bool RemainderNearest(Cpu* cpu, Op* op) => Remainder(cpu, op, nearest: true);

    /// <summary>Quotient bits 2, 1, 0 in C0, C3, C1; C2: go on.</summary>
    private static bool Remainder(Cpu* cpu, Op* op, bool nearest)
    {
        if (!X87.Ready(cpu))
            return false;
        FloatEnvironment environment = FloatEnvironment.FromControlWord(cpu->X87Control);
        Float80 result = Float80.Indefinite;
        uint quotient = 0;
        bool incomplete = false;
        if (X87.IsEmpty(cpu, 0) || X87.IsEmpty(cpu, 1))
            environment.Flags = X87.Underflow;
        else
            result = Float80Remainder.Step(X87.Get(cpu, 0), X87.Get(cpu, 1), nearest, out quotient, out incomplete, ref environment);
        if (X87.MayWrite(cpu, environment.Flags))
            X87.Set(cpu, 0, result);
        X87.Commit(cpu, op, environment.Flags & ~FloatFlags.RoundedUp);
        if (result.Kind >= NumberKind.QuietNaN || !X87.MayWrite(cpu, environment.Flags))
        {
            cpu->X87Status &= unchecked((ushort)~X87.C2);
        }
        else
        {
            X87.SetConditions(cpu, (incomplete ? X87.C2 : 0u) | ((quotient & 4) != 0 ? X87.C0 : 0u) | ((quotient & 2) != 0 ? X87.C3 : 0u));
            if ((quotient & 1) != 0)
                cpu->X87Status |= X87.C1;
        }
        return true;
    }
}
