namespace Kvm.X86.Float;

/// <summary>
/// FSIN, FCOS, FSINCOS, FPTAN and FPATAN. Arguments are reduced with the 66-bit value of π the x87 uses (SDM vol. 1, 8.3.8), so results
/// agree with processors also where that differs from mathematics; everything else is exact to well below one unit in the last place.
/// </summary>
internal static class Float80Trigonometry
{
    /// <summary>The x87's π, times 2^64: 66 bits.</summary>
    private static UInt128 ScaledPi => new(3, 0x243F_6A88_85A3_08D3);

    /// <summary>True when FSIN and its kin leave the operand and set C2: magnitudes of 2^63 and above.</summary>
    internal static bool OutOfRange(Float80 a) => a.Kind == NumberKind.Finite && a.ExponentField >= Float80.Bias + 63;

    internal static Float80 Sine(Float80 a, ref FloatEnvironment environment)
    {
        if (Special(a, ref environment, out Float80 special))
            return special;
        if (a.Kind == NumberKind.Zero)
            return a;
        Wide reduced = Reduce(a.Unpack().Value, out uint quadrant);
        Wide value = (quadrant & 1) == 0 ? SineOf(reduced) : CosineOf(reduced);
        value.Negative ^= (quadrant & 2) != 0;
        return Finish(value, ref environment);
    }

    internal static Float80 Cosine(Float80 a, ref FloatEnvironment environment)
    {
        if (Special(a, ref environment, out Float80 special))
            return special;
        if (a.Kind == NumberKind.Zero)
            return Float80.One;
        Wide reduced = Reduce(a.Unpack().Value, out uint quadrant);
        Wide value = (quadrant & 1) == 0 ? CosineOf(reduced) : SineOf(reduced);
        value.Negative ^= ((quadrant + 1) & 2) != 0;
        return Finish(value, ref environment);
    }

    internal static Float80 Tangent(Float80 a, ref FloatEnvironment environment)
    {
        if (Special(a, ref environment, out Float80 special))
            return special;
        if (a.Kind == NumberKind.Zero)
            return a;
        Wide reduced = Reduce(a.Unpack().Value, out uint quadrant);
        Wide sine = SineOf(reduced), cosine = CosineOf(reduced);
        Wide value = (quadrant & 1) == 0 ? WideMath.Divide(sine, cosine) : WideMath.Divide(cosine, sine);
        value.Negative ^= (quadrant & 1) != 0;
        return Finish(value, ref environment);
    }

    /// <summary>FPATAN: the angle of the point (x, y), from -π to π (SDM vol. 2, table 3-30).</summary>
    internal static Float80 ArcTangent(Float80 y, Float80 x, ref FloatEnvironment environment)
    {
        Operand top = y.Unpack(), bottom = x.Unpack();
        if (top.IsNaN || bottom.IsNaN)
            return Float80Arithmetic.PropagateNaN(y, x, ref environment);
        if (top.Denormal || bottom.Denormal)
            environment.Flags |= FloatFlags.Denormal;
        if (environment.Unmasked(FloatFlags.PreComputation))
            return default;
        bool negative = y.Negative;
        bool left = x.Negative;
        if (top.Kind == NumberKind.Zero || (bottom.Kind == NumberKind.Infinity && top.Kind == NumberKind.Finite))
            return left ? Angle(4, negative, ref environment) : Float80.Zero(negative);
        if (top.Kind == NumberKind.Infinity)
            return Angle(bottom.Kind != NumberKind.Infinity ? 2UL : left ? 3UL : 1UL, negative, ref environment);
        if (bottom.Kind == NumberKind.Zero)
            return Angle(2, negative, ref environment);
        Wide opposite = top.Value, adjacent = bottom.Value;
        opposite.Negative = adjacent.Negative = false;
        bool steep = opposite.Exponent > adjacent.Exponent || (opposite.Exponent == adjacent.Exponent && opposite.High > adjacent.High);
        Wide ratio = steep ? WideMath.Divide(adjacent, opposite) : WideMath.Divide(opposite, adjacent);
        Wide angle = ArcTangentOf(ratio);
        if (steep)
            angle = Complement(angle, -1);
        if (left)
            angle = Complement(angle, 0);
        angle.Negative = negative;
        return Finish(angle, ref environment);
    }

    /// <summary>π/2 (<paramref name="scale"/> -1) or π (0) minus the angle.</summary>
    private static Wide Complement(Wide angle, int scale)
    {
        Wide pi = Float80Tables.Pi;
        pi.Exponent += scale;
        angle.Negative = true;
        return WideArithmetic.Add(pi, angle);
    }

    /// <summary>A multiple of π/4.</summary>
    private static Float80 Angle(ulong quarters, bool negative, ref FloatEnvironment environment)
    {
        Wide angle = WideMath.Multiply(Float80Tables.Pi, Wide.FromInteger(negative, quarters, -2));
        return Finish(angle, ref environment);
    }

    /// <summary>atan of a ratio in (0, 1]: near a sixteenth k, atan(t) = atan(k/16) + atan((t - k/16)/(1 + t·k/16)).</summary>
    private static Wide ArcTangentOf(in Wide ratio)
    {
        uint step = (uint)Rounding.ToInteger(new Wide(false, ratio.Exponent + 4, ratio.High, ratio.Low), FloatFlags.RoundNearest, out _, out _, out _);
        if (step == 0)
            return SmallArcTangent(ratio);
        Wide centre = Wide.FromInteger(false, step, -4);
        Wide minus = centre;
        minus.Negative = true;
        Wide difference = WideArithmetic.Add(ratio, minus);
        ReadOnlySpan<ulong> table = Float80Tables.ArcTangents;
        Wide angle = WideMath.FromFraction(new UInt128(table[(int)step * 2], table[((int)step * 2) + 1]));
        if (difference.IsZero)
            return angle;
        Wide denominator = WideArithmetic.Add(Wide.FromInteger(false, 1), WideMath.Multiply(ratio, centre));
        return WideArithmetic.Add(angle, SmallArcTangent(WideMath.Divide(difference, denominator)));
    }

    /// <summary>atan of a number below 1/32 in magnitude by its series.</summary>
    private static Wide SmallArcTangent(in Wide t)
    {
        UInt128 fraction = WideMath.ToFraction(t);
        UInt128 square = WideMath.MultiplyHigh(fraction, fraction);
        return WideMath.Multiply(t, WideMath.OneMinus(WideMath.Alternating(square, Float80Tables.OddReciprocals)));
    }

    /// <summary>NaN, infinity (invalid); notes denormals. True when <paramref name="result"/> is the answer.</summary>
    private static bool Special(Float80 a, ref FloatEnvironment environment, out Float80 result)
    {
        NumberKind kind = a.Kind;
        result = default;
        if (kind >= NumberKind.QuietNaN)
        {
            result = Float80Arithmetic.PropagateNaN(a, a, ref environment);
            return true;
        }
        if (kind == NumberKind.Infinity)
        {
            environment.Flags |= FloatFlags.Invalid;
            result = Float80.Indefinite;
            return true;
        }
        if (a.IsDenormal)
            environment.Flags |= FloatFlags.Denormal;
        return environment.Unmasked(FloatFlags.PreComputation);
    }

    private static Float80 Finish(in Wide value, ref FloatEnvironment environment) =>
        Float80Arithmetic.Round(value, 64, ref environment);

    /// <summary>value - quadrant · π/2 in [-π/4, π/4], exact in the x87's π. The quadrant counts modulo 4.</summary>
    private static Wide Reduce(in Wide value, out uint quadrant)
    {
        quadrant = 0;
        // Below π/4 for sure: 1/2 has exponent -1.
        if (value.Exponent < -1)
            return value;
        // Everything in units of 2^-65: half of π is ScaledPi of them, the argument High · 2^(Exponent - 63 + 65).
        UInt128 unit = ScaledPi;
        UInt128 remainder = 0;
        int shift = value.Exponent + 2;
        ulong count = 0;
        for (int bit = 63; bit >= -shift; bit--)
        {
            remainder = (remainder << 1) | (bit >= 0 ? (value.High >> bit) & 1 : 0);
            count <<= 1;
            if (remainder >= unit)
            {
                remainder -= unit;
                count |= 1;
            }
        }
        bool negative = value.Negative;
        if (remainder > (unit >> 1))
        {
            remainder = unit - remainder;
            count++;
            negative = !negative;
        }
        quadrant = (uint)(value.Negative ? 0 - count : count) & 3;
        return new Wide(negative, 62, (ulong)(remainder >> 64), (ulong)remainder).Normalized();
    }

    private static Wide SineOf(in Wide reduced)
    {
        if (reduced.IsZero)
            return reduced;
        UInt128 fraction = WideMath.ToFraction(reduced);
        UInt128 square = WideMath.MultiplyHigh(fraction, fraction);
        return WideMath.Multiply(reduced, WideMath.OneMinus(WideMath.Alternating(square, Float80Tables.SineFactorials)));
    }

    private static Wide CosineOf(in Wide reduced)
    {
        UInt128 fraction = WideMath.ToFraction(reduced);
        UInt128 square = WideMath.MultiplyHigh(fraction, fraction);
        return WideMath.OneMinus(WideMath.Alternating(square, Float80Tables.CosineFactorials));
    }
}
