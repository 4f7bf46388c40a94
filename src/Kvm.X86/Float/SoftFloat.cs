using System.Numerics;
using System.Runtime.CompilerServices;

namespace Kvm.X86.Float;

/// <summary>
/// SSE arithmetic on one format, bit for bit: results, NaN propagation and flags (SDM vol. 1, 4.8 and 11.5). Values travel as the
/// low bits of a <see cref="ulong"/>. Unmasked exceptions: flags are raised as defined and the result is then meaningless,
/// the caller must not store it. <see cref="FloatFlags.RoundedUp"/> is raised for x87 stores; SSE callers drop it.
/// </summary>
internal static class SoftFloat<TFormat>
    where TFormat : struct, IBinaryFormat
{
    internal static ulong FractionMask => (1UL << TFormat.FractionBits) - 1;

    internal static ulong ExponentMask => ((1UL << TFormat.ExponentBits) - 1) << TFormat.FractionBits;

    internal static ulong SignMask => 1UL << (TFormat.FractionBits + TFormat.ExponentBits);

    internal static ulong QuietBit => 1UL << (TFormat.FractionBits - 1);

    /// <summary>The default NaN ("real indefinite").</summary>
    internal static ulong Indefinite => SignMask | ExponentMask | QuietBit;

    private static int Bias => (1 << (TFormat.ExponentBits - 1)) - 1;

    internal static bool IsNaN(ulong bits) => (bits & ~SignMask) > ExponentMask;

    internal static bool IsSignaling(ulong bits) => IsNaN(bits) && (bits & QuietBit) == 0;

    internal static bool IsDenormal(ulong bits) => (bits & ExponentMask) == 0 && (bits & FractionMask) != 0;

    /// <summary>A normal finite number.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static bool IsNormal(ulong bits)
    {
        ulong exponent = bits & ExponentMask;
        return exponent - 1 < ExponentMask - 1;
    }

    /// <summary>A normal finite number or a zero: an operand that raises nothing by itself.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static bool IsPlain(ulong bits) => IsNormal(bits) || (bits & ~SignMask) == 0;

    /// <summary>Significand of a normal number, its top bit at 63.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ulong Significand(ulong bits) => (bits << (63 - TFormat.FractionBits)) | (1UL << 63);

    /// <summary>Unbiased exponent of a normal number.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int Exponent(ulong bits) => (int)((bits & ExponentMask) >> TFormat.FractionBits) - Bias;

    /// <summary>Rounds where the result is normal, and not the least normal number, which may have been tiny before.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static bool TryFinish(ulong high, ulong low, int exponent, bool negative, ref FloatEnvironment environment, out ulong result)
    {
        uint flags = FiniteMath.Round(ref high, low, ref exponent, negative, 63 - TFormat.FractionBits, environment.Rounding);
        result = (negative ? SignMask : 0) | ((ulong)(exponent + Bias) << TFormat.FractionBits) | ((high >> (63 - TFormat.FractionBits)) & FractionMask);
        if (exponent <= 1 - Bias || exponent > Bias)
            return false;
        environment.Flags |= flags;
        return true;
    }

    internal static Operand Unpack(ulong bits, in FloatEnvironment environment)
    {
        Operand operand = default;
        operand.Value.Negative = (bits & SignMask) != 0;
        ulong fraction = bits & FractionMask;
        int exponent = (int)((bits & ExponentMask) >> TFormat.FractionBits);
        if (exponent == (1 << TFormat.ExponentBits) - 1)
        {
            operand.Kind = fraction == 0 ? NumberKind.Infinity
                : (fraction & QuietBit) != 0 ? NumberKind.QuietNaN : NumberKind.SignalingNaN;
        }
        else if (exponent != 0)
        {
            operand.Kind = NumberKind.Finite;
            operand.Value.Exponent = exponent - Bias;
            operand.Value.High = (fraction << (63 - TFormat.FractionBits)) | (1UL << 63);
        }
        else if (fraction != 0 && !environment.DenormalsAreZero)
        {
            int shift = BitOperations.LeadingZeroCount(fraction);
            operand.Kind = NumberKind.Finite;
            operand.Denormal = true;
            operand.Value.Exponent = 1 - Bias - (shift - (63 - TFormat.FractionBits));
            operand.Value.High = fraction << shift;
        }
        return operand;
    }

    /// <summary>The result in this format, rounded, with the flags of rounding.</summary>
    internal static ulong Pack(in Outcome outcome, ref FloatEnvironment environment)
    {
        ulong sign = outcome.Value.Negative ? SignMask : 0;
        return outcome.Kind switch
        {
            OutcomeKind.Finite => Round(outcome.Value, ref environment),
            OutcomeKind.Zero => sign,
            OutcomeKind.Infinity => sign | ExponentMask,
            _ => Indefinite,
        };
    }

    /// <summary>Rounds a nonzero finite number; tininess is detected after rounding (SDM vol. 1, 4.9.1.5).</summary>
    internal static ulong Round(in Wide exact, ref FloatEnvironment environment)
    {
        int precision = TFormat.FractionBits + 1;
        ulong sign = exact.Negative ? SignMask : 0;
        Wide value = exact;
        bool inexact = Rounding.ToPrecision(ref value, precision, environment.Rounding, out bool up);
        if (value.Exponent < 1 - Bias)
            return sign | RoundTiny(exact, inexact, up, ref environment);
        if (value.Exponent > Bias)
        {
            bool masked = environment.Masked(FloatFlags.Overflow);
            bool infinite = Rounding.OverflowsToInfinity(exact.Negative, environment.Rounding);
            environment.Flags |= FloatFlags.Overflow | (masked || inexact ? FloatFlags.Precision : 0) | (infinite ? FloatFlags.RoundedUp : 0);
            return sign | (infinite ? ExponentMask : ExponentMask - 1);
        }
        if (inexact)
            environment.Flags |= FloatFlags.Precision | (up ? FloatFlags.RoundedUp : 0);
        return sign | ((ulong)(value.Exponent + Bias) << TFormat.FractionBits) | ((value.High >> (64 - precision)) & FractionMask);
    }

    private static ulong RoundTiny(in Wide exact, bool inexact, bool up, ref FloatEnvironment environment)
    {
        if (!environment.Masked(FloatFlags.Underflow))
        {
            environment.Flags |= FloatFlags.Underflow | (inexact ? FloatFlags.Precision : 0) | (up ? FloatFlags.RoundedUp : 0);
            return 0;
        }
        if (environment.FlushToZero)
        {
            environment.Flags |= FloatFlags.Underflow | FloatFlags.Precision;
            return 0;
        }
        Wide value = exact;
        Wide.ShiftRightSticky(ref value.High, ref value.Low, 1 - Bias - exact.Exponent);
        if (Rounding.ToPrecision(ref value, TFormat.FractionBits + 1, environment.Rounding, out up))
            environment.Flags |= FloatFlags.Underflow | FloatFlags.Precision | (up ? FloatFlags.RoundedUp : 0);
        return value.High >> (63 - TFormat.FractionBits);
    }

    /// <summary>The NaN of two operands of which at least one is a NaN: the first one, made quiet, else the second (SDM vol. 1, table 4-7).</summary>
    internal static ulong PropagateNaN(ulong a, ulong b, ref FloatEnvironment environment)
    {
        if (IsSignaling(a) || IsSignaling(b))
            environment.Flags |= FloatFlags.Invalid;
        return (IsNaN(a) ? a : b) | QuietBit;
    }

    internal static ulong Add(ulong a, ulong b, ref FloatEnvironment environment) => AddOrSubtract(a, b, false, ref environment);

    internal static ulong Subtract(ulong a, ulong b, ref FloatEnvironment environment) => AddOrSubtract(a, b, true, ref environment);

    private static ulong AddOrSubtract(ulong a, ulong b, bool subtract, ref FloatEnvironment environment)
    {
        if (IsNormal(a) && IsNormal(b))
        {
            ulong high = Significand(a);
            int exponent = Exponent(a);
            bool negative = (a & SignMask) != 0;
            if (FiniteMath.TryAdd(ref high, ref exponent, ref negative, Significand(b), Exponent(b), (b & SignMask) != 0 != subtract, out ulong low)
                && TryFinish(high, low, exponent, negative, ref environment, out ulong sum))
                return sum;
        }
        if (IsNaN(a) || IsNaN(b))
            return PropagateNaN(a, b, ref environment);
        Operand left = Unpack(a, environment), right = Unpack(b, environment);
        return Pack(Operations.Add(left, right, subtract, ref environment), ref environment);
    }

    internal static ulong Multiply(ulong a, ulong b, ref FloatEnvironment environment)
    {
        if (IsNormal(a) && IsNormal(b))
        {
            ulong high = Significand(a);
            int exponent = Exponent(a);
            FiniteMath.Multiply(ref high, ref exponent, Significand(b), Exponent(b), out ulong low);
            if (TryFinish(high, low, exponent, ((a ^ b) & SignMask) != 0, ref environment, out ulong result))
                return result;
        }
        if (IsNaN(a) || IsNaN(b))
            return PropagateNaN(a, b, ref environment);
        Operand left = Unpack(a, environment), right = Unpack(b, environment);
        return Pack(Operations.Multiply(left, right, ref environment), ref environment);
    }

    internal static ulong Divide(ulong a, ulong b, ref FloatEnvironment environment)
    {
        if (IsNormal(a) && IsNormal(b))
        {
            ulong high = Significand(a);
            int exponent = Exponent(a);
            FiniteMath.Divide(ref high, ref exponent, Significand(b), Exponent(b), out ulong low);
            if (TryFinish(high, low, exponent, ((a ^ b) & SignMask) != 0, ref environment, out ulong result))
                return result;
        }
        if (IsNaN(a) || IsNaN(b))
            return PropagateNaN(a, b, ref environment);
        Operand left = Unpack(a, environment), right = Unpack(b, environment);
        return Pack(Operations.Divide(left, right, ref environment), ref environment);
    }

    internal static ulong SquareRoot(ulong a, ref FloatEnvironment environment)
    {
        if (IsNaN(a))
            return PropagateNaN(a, a, ref environment);
        Operand operand = Unpack(a, environment);
        return Pack(Operations.SquareRoot(operand, ref environment), ref environment);
    }

    /// <summary>Fused multiply-add. The NaN of several is chosen in the order a, b, c; infinity times zero beside a NaN addend is not invalid.</summary>
    internal static ulong MultiplyAdd(ulong a, ulong b, ulong c, bool negateProduct, bool negateC, ref FloatEnvironment environment)
    {
        if (IsNaN(a) || IsNaN(b) || IsNaN(c))
        {
            if (IsSignaling(a) || IsSignaling(b) || IsSignaling(c))
                environment.Flags |= FloatFlags.Invalid;
            return (IsNaN(a) ? a : IsNaN(b) ? b : c) | QuietBit;
        }
        Operand x = Unpack(a, environment), y = Unpack(b, environment), z = Unpack(c, environment);
        return Pack(Operations.MultiplyAdd(x, y, z, negateProduct, negateC, ref environment), ref environment);
    }
}
