namespace Kvm.X86.Float;

/// <summary>
/// Arithmetic of the x87 (SDM vol. 1, 8.3.5 and 8.5): every function returns the value for the destination register and raises flags.
/// When a pre-computation exception is unmasked the result is meaningless and must not be stored; unmasked overflow and
/// underflow give the result with the exponent wrapped by 24,576, which register destinations do store (8.5.4, 8.5.5).
/// </summary>
internal static class Float80Arithmetic
{
    private const int ExponentWrap = 24576;

    /// <summary>
    /// a + b, or a - b. In this and the next three <paramref name="denormalSource"/> says that one operand was a denormal single or
    /// double in memory, which the extended format no longer shows.
    /// </summary>
    internal static Float80 Add(Float80 a, Float80 b, bool negateB, bool denormalSource, ref FloatEnvironment environment)
    {
        if (a.IsNormal && b.IsNormal && !denormalSource)
        {
            ulong high = a.Significand;
            int exponent = a.ExponentField;
            bool negative = a.Negative;
            if (FiniteMath.TryAdd(ref high, ref exponent, ref negative, b.Significand, b.ExponentField, b.Negative ^ negateB, out ulong low)
                && TryFinish(high, low, exponent, negative, ref environment, out Float80 sum))
                return sum;
        }
        Operand left = a.Unpack(), right = b.Unpack();
        if (left.IsNaN || right.IsNaN)
            return PropagateNaN(a, b, ref environment);
        right.Denormal |= denormalSource;
        return Pack(Operations.Add(left, right, negateB, ref environment), environment.Precision, ref environment);
    }

    internal static Float80 Multiply(Float80 a, Float80 b, bool denormalSource, ref FloatEnvironment environment)
    {
        if (a.IsNormal && b.IsNormal && !denormalSource)
        {
            ulong high = a.Significand;
            int exponent = a.ExponentField - Float80.Bias;
            FiniteMath.Multiply(ref high, ref exponent, b.Significand, b.ExponentField - Float80.Bias, out ulong low);
            if (TryFinish(high, low, exponent + Float80.Bias, a.Negative ^ b.Negative, ref environment, out Float80 result))
                return result;
        }
        Operand left = a.Unpack(), right = b.Unpack();
        if (left.IsNaN || right.IsNaN)
            return PropagateNaN(a, b, ref environment);
        right.Denormal |= denormalSource;
        return Pack(Operations.Multiply(left, right, ref environment), environment.Precision, ref environment);
    }

    internal static Float80 Divide(Float80 a, Float80 b, bool denormalSource, ref FloatEnvironment environment)
    {
        if (a.IsNormal && b.IsNormal && !denormalSource)
        {
            ulong high = a.Significand;
            int exponent = a.ExponentField - Float80.Bias;
            FiniteMath.Divide(ref high, ref exponent, b.Significand, b.ExponentField - Float80.Bias, out ulong low);
            if (TryFinish(high, low, exponent + Float80.Bias, a.Negative ^ b.Negative, ref environment, out Float80 result))
                return result;
        }
        Operand left = a.Unpack(), right = b.Unpack();
        if (left.IsNaN || right.IsNaN)
            return PropagateNaN(a, b, ref environment);
        right.Denormal |= denormalSource;
        return Pack(Operations.Divide(left, right, ref environment), environment.Precision, ref environment);
    }

    /// <summary>Rounds by the precision control where the result is normal. The exponent is biased.</summary>
    private static bool TryFinish(ulong high, ulong low, int exponent, bool negative, ref FloatEnvironment environment, out Float80 result)
    {
        uint flags = FiniteMath.Round(ref high, low, ref exponent, negative, 64 - environment.Precision, environment.Rounding);
        result = new Float80((ushort)(exponent | (negative ? 0x8000 : 0)), high);
        if ((uint)(exponent - 1) >= Float80.MaxExponentField - 1)
            return false;
        environment.Flags |= flags;
        return true;
    }

    internal static Float80 SquareRoot(Float80 a, ref FloatEnvironment environment)
    {
        Operand operand = a.Unpack();
        if (operand.IsNaN)
            return PropagateNaN(a, a, ref environment);
        return Pack(Operations.SquareRoot(operand, ref environment), environment.Precision, ref environment);
    }

    /// <summary>Order of two registers; <paramref name="signalQuiet"/> for FCOM and FTST, not for FUCOM.</summary>
    internal static FloatOrder Compare(Float80 a, Float80 b, bool signalQuiet, bool denormalSource, ref FloatEnvironment environment)
    {
        Operand left = a.Unpack(), right = b.Unpack();
        if (left.IsNaN || right.IsNaN)
        {
            if (signalQuiet || left.Kind > NumberKind.QuietNaN || right.Kind > NumberKind.QuietNaN)
                environment.Flags |= FloatFlags.Invalid;
            return FloatOrder.Unordered;
        }
        if (left.Denormal || right.Denormal || denormalSource)
            environment.Flags |= FloatFlags.Denormal;
        int order = Operations.Compare(left, right);
        return order < 0 ? FloatOrder.Less : order == 0 ? FloatOrder.Equal : FloatOrder.Greater;
    }

    /// <summary>FRNDINT.</summary>
    internal static Float80 RoundToIntegral(Float80 a, ref FloatEnvironment environment)
    {
        Operand operand = a.Unpack();
        if (operand.IsNaN)
            return PropagateNaN(a, a, ref environment);
        if (operand.Kind != NumberKind.Finite || operand.Value.Exponent >= 63)
            return a;
        if (operand.Denormal)
            environment.Flags |= FloatFlags.Denormal;
        if (environment.Unmasked(FloatFlags.PreComputation))
            return a;
        ulong magnitude = Rounding.ToInteger(operand.Value, environment.Rounding, out bool inexact, out bool up, out _);
        environment.Flags |= (inexact ? FloatFlags.Precision : 0) | (up ? FloatFlags.RoundedUp : 0);
        if (magnitude == 0)
            return Float80.Zero(a.Negative);
        int shift = System.Numerics.BitOperations.LeadingZeroCount(magnitude);
        return new Float80((ushort)((a.SignExponent & 0x8000) | (63 - shift + Float80.Bias)), magnitude << shift);
    }

    /// <summary>FSCALE: a · 2^trunc(b), rounded to 64 bits whatever the precision control says.</summary>
    internal static Float80 Scale(Float80 a, Float80 b, ref FloatEnvironment environment)
    {
        Operand value = a.Unpack(), scale = b.Unpack();
        if (value.IsNaN || scale.IsNaN)
            return PropagateNaN(a, b, ref environment);
        if (scale.Kind == NumberKind.Infinity)
            return ScaleByInfinity(value, scale.Value.Negative, ref environment);
        if (value.Denormal || scale.Denormal)
            environment.Flags |= FloatFlags.Denormal;
        if (value.Kind != NumberKind.Finite || scale.Kind == NumberKind.Zero)
        {
            return value.Denormal && !environment.Unmasked(FloatFlags.PreComputation)
                ? Round(value.Value, 64, ref environment) : a;
        }
        // 2^17 is beyond what any finite number can be scaled by.
        ulong magnitude = scale.Value.Exponent > 16 ? 1UL << 17
            : Rounding.ToInteger(scale.Value, FloatFlags.RoundToZero, out _, out _, out _);
        Wide result = value.Value;
        result.Exponent += scale.Value.Negative ? -(int)magnitude : (int)magnitude;
        return Pack(Outcome.Finite(result), 64, ref environment);
    }

    private static Float80 ScaleByInfinity(in Operand value, bool down, ref FloatEnvironment environment)
    {
        bool invalid = down ? value.Kind == NumberKind.Infinity : value.Kind == NumberKind.Zero;
        if (invalid)
        {
            environment.Flags |= FloatFlags.Invalid;
            return Float80.Indefinite;
        }
        if (value.Denormal)
            environment.Flags |= FloatFlags.Denormal;
        return down ? Float80.Zero(value.Value.Negative) : Float80.Infinity(value.Value.Negative);
    }

    /// <summary>FXTRACT: returns the significand as a number in [1, 2) and the unbiased exponent as a number.</summary>
    internal static Float80 Extract(Float80 a, out Float80 exponent, ref FloatEnvironment environment)
    {
        Operand operand = a.Unpack();
        if (operand.IsNaN)
            return exponent = PropagateNaN(a, a, ref environment);
        if (operand.Kind == NumberKind.Zero)
        {
            environment.Flags |= FloatFlags.ZeroDivide;
            exponent = Float80.Infinity(true);
            return a;
        }
        if (operand.Kind == NumberKind.Infinity)
        {
            exponent = Float80.Infinity(false);
            return a;
        }
        if (operand.Denormal)
            environment.Flags |= FloatFlags.Denormal;
        exponent = Float80Convert.FromInteger(operand.Value.Exponent);
        return new Float80((ushort)((a.SignExponent & 0x8000) | Float80.Bias), operand.Value.High);
    }

    /// <summary>
    /// The NaN of two operands of which at least one is a NaN or unsupported (SDM vol. 1, table 4-7): a quiet one before a
    /// signaling one, of two alike the larger significand, of equal significands the positive.
    /// </summary>
    internal static Float80 PropagateNaN(Float80 a, Float80 b, ref FloatEnvironment environment)
    {
        NumberKind left = a.Kind, right = b.Kind;
        if (left > NumberKind.QuietNaN || right > NumberKind.QuietNaN)
            environment.Flags |= FloatFlags.Invalid;
        if (left == NumberKind.Unsupported || right == NumberKind.Unsupported)
            return Float80.Indefinite;
        if (left < NumberKind.QuietNaN)
            return b.Quieted();
        if (right < NumberKind.QuietNaN)
            return a.Quieted();
        if (left != right)
            return left == NumberKind.QuietNaN ? a : b;
        if (a.Significand != b.Significand)
            return a.Significand > b.Significand ? a.Quieted() : b.Quieted();
        return a.Negative ? b.Quieted() : a.Quieted();
    }

    /// <summary>The destination's value for an outcome, rounded to <paramref name="precision"/> bits.</summary>
    internal static Float80 Pack(in Outcome outcome, int precision, ref FloatEnvironment environment)
    {
        switch (outcome.Kind)
        {
            case OutcomeKind.Zero:
                return Float80.Zero(outcome.Value.Negative);
            case OutcomeKind.Infinity:
                return Float80.Infinity(outcome.Value.Negative);
            case OutcomeKind.Indefinite:
                return Float80.Indefinite;
            default:
                return environment.Unmasked(FloatFlags.PreComputation) ? default : Round(outcome.Value, precision, ref environment);
        }
    }

    /// <summary>Rounds a nonzero finite number to <paramref name="precision"/> bits of significand with the full exponent range.</summary>
    internal static Float80 Round(in Wide exact, int precision, ref FloatEnvironment environment)
    {
        Wide value = exact;
        bool inexact = Rounding.ToPrecision(ref value, precision, environment.Rounding, out bool up);
        if (value.Exponent > Float80.Bias)
        {
            if (environment.Masked(FloatFlags.Overflow))
                return MaskedOverflow(exact.Negative, precision, ref environment);
            environment.Flags |= FloatFlags.Overflow;
            value.Exponent -= ExponentWrap;
            if (value.Exponent > Float80.Bias)
                return MaskedOverflow(exact.Negative, precision, ref environment);
        }
        else if (value.Exponent < 1 - Float80.Bias)
        {
            if (environment.Masked(FloatFlags.Underflow))
                return MaskedUnderflow(exact, precision, ref environment);
            environment.Flags |= FloatFlags.Underflow;
            value.Exponent += ExponentWrap;
            if (value.Exponent < 1 - Float80.Bias)
            {
                // Too small for the wrapped exponent as well (FSCALE): zero.
                environment.Flags |= FloatFlags.Precision;
                return Float80.Zero(exact.Negative);
            }
        }
        environment.Flags |= (inexact ? FloatFlags.Precision : 0) | (up ? FloatFlags.RoundedUp : 0);
        return new Float80((ushort)((value.Exponent + Float80.Bias) | (value.Negative ? 0x8000 : 0)), value.High);
    }

    private static Float80 MaskedOverflow(bool negative, int precision, ref FloatEnvironment environment)
    {
        environment.Flags |= FloatFlags.Overflow | FloatFlags.Precision;
        // Unmasked, we are here only when even the wrapped exponent does not fit (FSCALE): infinity then, whatever the mode.
        if (!environment.Masked(FloatFlags.Overflow) || Rounding.OverflowsToInfinity(negative, environment.Rounding))
        {
            environment.Flags |= FloatFlags.RoundedUp;
            return Float80.Infinity(negative);
        }
        return new Float80((ushort)(0x7FFE | (negative ? 0x8000 : 0)), ulong.MaxValue << (64 - precision));
    }

    private static Float80 MaskedUnderflow(in Wide exact, int precision, ref FloatEnvironment environment)
    {
        Wide value = exact;
        Wide.ShiftRightSticky(ref value.High, ref value.Low, 1 - Float80.Bias - exact.Exponent);
        bool inexact = Rounding.ToPrecision(ref value, precision, environment.Rounding, out bool up);
        if (inexact)
            environment.Flags |= FloatFlags.Underflow | FloatFlags.Precision | (up ? FloatFlags.RoundedUp : 0);
        int field = (value.High >> 63) != 0 ? 1 : 0;
        return new Float80((ushort)(field | (value.Negative ? 0x8000 : 0)), value.High);
    }
}
