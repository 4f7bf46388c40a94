namespace Kvm.X86.Float;

/// <summary>FPREM and FPREM1 (SDM vol. 2).</summary>
internal static class Float80Remainder
{
    /// <summary>
    /// One step of a partial remainder. <paramref name="quotient"/>: the low three bits of the quotient when complete;
    /// <paramref name="incomplete"/> is C2: the exponents were 64 or more apart and only part of the reduction was done.
    /// </summary>
    internal static Float80 Step(Float80 a, Float80 b, bool nearest, out uint quotient, out bool incomplete, ref FloatEnvironment environment)
    {
        quotient = 0;
        incomplete = false;
        Operand left = a.Unpack(), right = b.Unpack();
        if (left.IsNaN || right.IsNaN)
            return Float80Arithmetic.PropagateNaN(a, b, ref environment);
        if (left.Kind == NumberKind.Infinity || right.Kind == NumberKind.Zero)
        {
            environment.Flags |= FloatFlags.Invalid;
            return Float80.Indefinite;
        }
        if (left.Denormal || right.Denormal)
            environment.Flags |= FloatFlags.Denormal;
        if (left.Kind == NumberKind.Zero || environment.Unmasked(FloatFlags.PreComputation))
            return a;
        if (right.Kind == NumberKind.Infinity)
            return left.Denormal ? Float80Arithmetic.Round(left.Value, 64, ref environment) : a;
        int distance = left.Value.Exponent - right.Value.Exponent;
        if (distance < (nearest ? -1 : 0))
            return Float80Arithmetic.Round(left.Value, 64, ref environment);
        incomplete = distance >= 64;
        // Of the amounts the manual allows (32 to 63 bits), 32 + distance mod 32 leaves a whole number of 32-bit steps.
        int bits = incomplete ? 32 + (distance & 31) : distance;
        ulong remainder = Reduce(left.Value.High, right.Value.High, bits, out ulong count);
        int exponent = left.Value.Exponent - Math.Max(bits, 0);
        bool negative = a.Negative;
        if (!incomplete)
        {
            if (nearest)
                negative ^= Nearest(ref remainder, right.Value.High, distance, ref count);
            quotient = (uint)count & 7;
        }
        if (remainder == 0)
            return Float80.Zero(a.Negative);
        Wide result = Wide.FromInteger(negative, remainder, exponent - 63);
        return Float80Arithmetic.Round(result, 64, ref environment);
    }

    /// <summary>Remainder of a · 2^bits by b, both normalized; <paramref name="count"/> is the low part of the quotient.</summary>
    private static ulong Reduce(ulong a, ulong b, int bits, out ulong count)
    {
        count = 0;
        if (bits < 0)
            return a;
        ulong remainder = a;
        if (remainder >= b)
        {
            remainder -= b;
            count = 1;
        }
        for (int i = 0; i < bits; i++)
        {
            bool carry = (remainder >> 63) != 0;
            remainder <<= 1;
            count <<= 1;
            if (carry || remainder >= b)
            {
                remainder -= b;
                count |= 1;
            }
        }
        return remainder;
    }

    /// <summary>Turns a truncated quotient into the nearest even one; true when the remainder changes its sign.</summary>
    private static bool Nearest(ref ulong remainder, ulong divisor, int distance, ref ulong count)
    {
        if (distance < 0)
        {
            // The dividend is below the divisor by one exponent: its remainder counts in units half as large.
            if (remainder <= divisor)
                return false;
            count = 1;
            // 2 · divisor - remainder lies below the divisor, so the wrapped subtraction is exact.
            remainder = (divisor << 1) - remainder;
            return true;
        }
        ulong rest = divisor - remainder;
        if (remainder < rest || (remainder == rest && (count & 1) == 0))
            return false;
        count++;
        remainder = rest;
        return true;
    }
}
