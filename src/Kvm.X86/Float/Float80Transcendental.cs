namespace Kvm.X86.Float;

/// <summary>F2XM1, FYL2X and FYL2XP1, exact to well below one unit in the last place of 64 bits, and the constants of FLDPI and its kin.</summary>
internal static class Float80Transcendental
{
    /// <summary>F2XM1: 2^a - 1 for -1 ≤ a ≤ 1; outside that range the operand comes back (the manual leaves it undefined).</summary>
    internal static Float80 PowerMinusOne(Float80 a, ref FloatEnvironment environment)
    {
        Operand operand = a.Unpack();
        if (operand.IsNaN)
            return Float80Arithmetic.PropagateNaN(a, a, ref environment);
        if (operand.Kind == NumberKind.Infinity)
            return a.Negative ? Float80.One.Negated() : a;
        if (operand.Kind == NumberKind.Zero)
            return a;
        if (operand.Denormal)
            environment.Flags |= FloatFlags.Denormal;
        if (environment.Unmasked(FloatFlags.PreComputation))
            return default;
        if (operand.Value.Exponent >= 0)
        {
            bool one = operand.Value.Exponent == 0 && operand.Value.High == Float80.IntegerBit;
            return one && a.Negative ? new Float80(0xBFFE, Float80.IntegerBit) : a;
        }
        Wide y = WideMath.Multiply(operand.Value, Float80Tables.LogTwo);
        UInt128 fraction = WideMath.ToFraction(y);
        Wide factor = a.Negative
            ? WideMath.OneMinus(WideMath.Alternating(fraction, Float80Tables.ExponentialFactorials))
            : WideMath.OnePlus(WideMath.Growing(fraction, Float80Tables.ExponentialFactorials));
        return Float80Arithmetic.Round(WideMath.Multiply(y, factor), 64, ref environment);
    }

    /// <summary>FYL2X: y · log2(x) (SDM vol. 2, table 3-42).</summary>
    internal static Float80 YLog2X(Float80 y, Float80 x, ref FloatEnvironment environment)
    {
        Operand factor = y.Unpack(), operand = x.Unpack();
        if (factor.IsNaN || operand.IsNaN)
            return Float80Arithmetic.PropagateNaN(y, x, ref environment);
        if (operand.Kind != NumberKind.Zero && x.Negative)
            return Invalid(ref environment);
        if (operand.Kind == NumberKind.Zero)
            return LogOfZero(factor, ref environment);
        bool isOne = operand.Kind == NumberKind.Finite && operand.Value.Exponent == 0 && operand.Value.High == Float80.IntegerBit;
        if (factor.Kind == NumberKind.Infinity ? isOne : operand.Kind == NumberKind.Infinity && factor.Kind == NumberKind.Zero)
            return Invalid(ref environment);
        NoteDenormals(factor, operand, ref environment);
        bool negative = y.Negative ^ (operand.Kind == NumberKind.Finite && operand.Value.Exponent < 0);
        if (factor.Kind == NumberKind.Infinity || operand.Kind == NumberKind.Infinity)
            return Float80.Infinity(negative);
        if (factor.Kind == NumberKind.Zero || isOne)
            return Float80.Zero(negative);
        if (environment.Unmasked(FloatFlags.PreComputation))
            return default;
        return Float80Arithmetic.Round(WideMath.Multiply(factor.Value, Log2(operand.Value)), 64, ref environment);
    }

    /// <summary>FYL2XP1: y · log2(x + 1), defined for |x| below 1 - √½; computed for every x above -1.</summary>
    internal static Float80 YLog2XPlusOne(Float80 y, Float80 x, ref FloatEnvironment environment)
    {
        Operand factor = y.Unpack(), operand = x.Unpack();
        if (factor.IsNaN || operand.IsNaN)
            return Float80Arithmetic.PropagateNaN(y, x, ref environment);
        bool negative = y.Negative ^ x.Negative;
        bool infinite = factor.Kind == NumberKind.Infinity || operand.Kind == NumberKind.Infinity;
        bool zero = factor.Kind == NumberKind.Zero || operand.Kind == NumberKind.Zero;
        if ((infinite && zero) || (operand.Kind == NumberKind.Infinity && x.Negative))
            return Invalid(ref environment);
        NoteDenormals(factor, operand, ref environment);
        if (infinite)
            return Float80.Infinity(negative);
        if (zero)
            return Float80.Zero(negative);
        if (environment.Unmasked(FloatFlags.PreComputation))
            return default;
        if (x.Negative && operand.Value.Exponent >= 0)
            return x;
        Wide one = Wide.FromInteger(false, 1);
        Wide sum = WideArithmetic.Add(one, operand.Value);
        // Far from zero the logarithm of the sum is as precise; near it the sum would lose the low bits of x.
        bool near = operand.Value.Exponent < -2;
        Wide logarithm = near
            ? Series(WideMath.Divide(operand.Value, WideArithmetic.Add(one, sum)))
            : Log2(sum);
        return Float80Arithmetic.Round(WideMath.Multiply(factor.Value, logarithm), 64, ref environment);
    }

    /// <summary>A constant rounded as the control word asks (FLDPI, FLDL2E …); raises nothing (SDM vol. 1, 8.3.8).</summary>
    internal static Float80 Constant(in Wide value, uint rounding)
    {
        FloatEnvironment environment = default;
        environment.Rounding = rounding;
        environment.Masks = FloatFlags.All;
        return Float80Arithmetic.Round(value, 64, ref environment);
    }

    private static Float80 LogOfZero(in Operand factor, ref FloatEnvironment environment)
    {
        if (factor.Kind == NumberKind.Zero)
            return Invalid(ref environment);
        if (factor.Kind == NumberKind.Finite)
            environment.Flags |= FloatFlags.ZeroDivide;
        return Float80.Infinity(!factor.Value.Negative);
    }

    /// <summary>log2 of a positive number: the exponent plus 2·atanh((m-1)/(m+1))/ln 2 with m between √½ and √2.</summary>
    private static Wide Log2(in Wide value)
    {
        const ulong SquareRootOfTwo = 0xB504_F333_F9DE_6484;
        int exponent = value.Exponent;
        Wide mantissa = value;
        mantissa.Exponent = 0;
        if (mantissa.High >= SquareRootOfTwo)
        {
            mantissa.Exponent = -1;
            exponent++;
        }
        Wide one = Wide.FromInteger(false, 1), minusOne = Wide.FromInteger(true, 1);
        Wide numerator = WideArithmetic.Add(mantissa, minusOne);
        Wide whole = Wide.FromInteger(exponent < 0, (ulong)Math.Abs(exponent));
        if (numerator.IsZero)
            return whole;
        Wide part = Series(WideMath.Divide(numerator, WideArithmetic.Add(mantissa, one)));
        return WideArithmetic.Add(whole, part);
    }

    /// <summary>2·atanh(t)/ln 2 for |t| below 0.2.</summary>
    private static Wide Series(in Wide t)
    {
        UInt128 fraction = WideMath.ToFraction(t);
        UInt128 square = WideMath.MultiplyHigh(fraction, fraction);
        Wide result = WideMath.Multiply(t, WideMath.OnePlus(WideMath.Growing(square, Float80Tables.OddReciprocals)));
        result = WideMath.Multiply(result, Float80Tables.Log2E);
        result.Exponent++;
        return result;
    }

    private static Float80 Invalid(ref FloatEnvironment environment)
    {
        environment.Flags |= FloatFlags.Invalid;
        return Float80.Indefinite;
    }

    private static void NoteDenormals(in Operand a, in Operand b, ref FloatEnvironment environment)
    {
        if (a.Denormal || b.Denormal)
            environment.Flags |= FloatFlags.Denormal;
    }
}
