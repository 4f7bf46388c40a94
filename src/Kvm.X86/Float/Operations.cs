namespace Kvm.X86.Float;

/// <summary>
/// The special cases of IEEE 754 arithmetic as x86 defines them (SDM vol. 1, 4.9.1, 8.5 and 11.5.2), shared by all formats.
/// NaNs and unsupported encodings never come here: each instruction set has its own rules for them.
/// </summary>
internal static class Operations
{
    /// <summary>a + b, or a - b with <paramref name="negateB"/>.</summary>
    internal static Outcome Add(in Operand a, in Operand b, bool negateB, ref FloatEnvironment environment)
    {
        Wide right = b.Value;
        right.Negative ^= negateB;
        if (a.Kind == NumberKind.Infinity)
        {
            if (b.Kind == NumberKind.Infinity && a.Value.Negative != right.Negative)
                return Outcome.Indefinite(ref environment);
            NoteDenormal(b.Denormal, ref environment);
            return Outcome.Infinity(a.Value.Negative);
        }
        NoteDenormal(a.Denormal | b.Denormal, ref environment);
        if (b.Kind == NumberKind.Infinity)
            return Outcome.Infinity(right.Negative);
        return Sum(a.Value, right, ref environment);
    }

    /// <summary>Sum of two finite numbers with the sign rule of an exact zero (SDM vol. 1, 4.8.3.1).</summary>
    internal static Outcome Sum(in Wide a, in Wide b, ref FloatEnvironment environment)
    {
        if (a.IsZero && b.IsZero && a.Negative == b.Negative)
            return Outcome.Zero(a.Negative);
        Wide sum = WideArithmetic.Add(a, b);
        return sum.IsZero ? Outcome.Zero(environment.Rounding == FloatFlags.RoundDown) : Outcome.Finite(sum);
    }

    /// <summary>a · b.</summary>
    internal static Outcome Multiply(in Operand a, in Operand b, ref FloatEnvironment environment)
    {
        bool negative = a.Value.Negative ^ b.Value.Negative;
        bool infinite = a.Kind == NumberKind.Infinity || b.Kind == NumberKind.Infinity;
        bool zero = a.Kind == NumberKind.Zero || b.Kind == NumberKind.Zero;
        if (infinite && zero)
            return Outcome.Indefinite(ref environment);
        NoteDenormal(a.Denormal | b.Denormal, ref environment);
        if (infinite)
            return Outcome.Infinity(negative);
        return zero ? Outcome.Zero(negative) : Outcome.Finite(WideArithmetic.Multiply(a.Value, b.Value));
    }

    /// <summary>a / b.</summary>
    internal static Outcome Divide(in Operand a, in Operand b, ref FloatEnvironment environment)
    {
        bool negative = a.Value.Negative ^ b.Value.Negative;
        if (a.Kind == b.Kind && a.Kind != NumberKind.Finite)
            return Outcome.Indefinite(ref environment);
        if (b.Kind == NumberKind.Zero && a.Kind == NumberKind.Finite)
        {
            // Zero divide comes before denormal operand (SDM vol. 1, 4.9.2): a denormal dividend is not reported then.
            environment.Flags |= FloatFlags.ZeroDivide;
            return Outcome.Infinity(negative);
        }
        NoteDenormal(a.Denormal | b.Denormal, ref environment);
        if (a.Kind == NumberKind.Infinity)
            return Outcome.Infinity(negative);
        if (a.Kind == NumberKind.Zero || b.Kind == NumberKind.Infinity)
            return Outcome.Zero(negative);
        return Outcome.Finite(WideArithmetic.Divide(a.Value, b.Value));
    }

    /// <summary>Square root; that of -0 is -0.</summary>
    internal static Outcome SquareRoot(in Operand a, ref FloatEnvironment environment)
    {
        if (a.Kind == NumberKind.Zero)
            return Outcome.Zero(a.Value.Negative);
        if (a.Value.Negative)
            return Outcome.Indefinite(ref environment);
        NoteDenormal(a.Denormal, ref environment);
        return a.Kind == NumberKind.Infinity ? Outcome.Infinity(false) : Outcome.Finite(WideArithmetic.SquareRoot(a.Value));
    }

    /// <summary>a · b + c with one rounding (SDM vol. 1, 14.5.2).</summary>
    internal static Outcome MultiplyAdd(in Operand a, in Operand b, in Operand c, bool negateProduct, bool negateC, ref FloatEnvironment environment)
    {
        bool negative = a.Value.Negative ^ b.Value.Negative ^ negateProduct;
        bool infinite = a.Kind == NumberKind.Infinity || b.Kind == NumberKind.Infinity;
        bool zero = a.Kind == NumberKind.Zero || b.Kind == NumberKind.Zero;
        Wide addend = c.Value;
        addend.Negative ^= negateC;
        if ((infinite && zero) || (infinite && c.Kind == NumberKind.Infinity && negative != addend.Negative))
            return Outcome.Indefinite(ref environment);
        NoteDenormal(a.Denormal | b.Denormal | c.Denormal, ref environment);
        if (infinite)
            return Outcome.Infinity(negative);
        if (c.Kind == NumberKind.Infinity)
            return Outcome.Infinity(addend.Negative);
        Wide product = zero ? new Wide(negative, 0, 0, 0) : WideArithmetic.Multiply(a.Value, b.Value);
        product.Negative = negative;
        return Sum(product, addend, ref environment);
    }

    /// <summary>-1, 0 or 1 for numbers (infinities included).</summary>
    internal static int Compare(in Operand a, in Operand b)
    {
        bool zeroA = a.Kind == NumberKind.Zero, zeroB = b.Kind == NumberKind.Zero;
        if (zeroA && zeroB)
            return 0;
        if (zeroA)
            return b.Value.Negative ? 1 : -1;
        if (zeroB || a.Value.Negative != b.Value.Negative)
            return a.Value.Negative ? -1 : 1;
        int magnitude = CompareMagnitude(a, b);
        return a.Value.Negative ? -magnitude : magnitude;
    }

    private static int CompareMagnitude(in Operand a, in Operand b)
    {
        if (a.Kind == NumberKind.Infinity || b.Kind == NumberKind.Infinity)
            return (a.Kind == NumberKind.Infinity ? 1 : 0) - (b.Kind == NumberKind.Infinity ? 1 : 0);
        int order = a.Value.Exponent.CompareTo(b.Value.Exponent);
        return order != 0 ? order : a.Value.High.CompareTo(b.Value.High);
    }

    private static void NoteDenormal(bool denormal, ref FloatEnvironment environment)
    {
        if (denormal)
            environment.Flags |= FloatFlags.Denormal;
    }
}
