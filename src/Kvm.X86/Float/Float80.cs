using System.Numerics;

namespace Kvm.X86.Float;

/// <summary>The x87 double-extended format (SDM vol. 1, 4.2.2 and 8.2): the ten bytes of a data register.</summary>
internal readonly struct Float80 : IEquatable<Float80>
{
    internal const int Bias = 16383;
    internal const int MaxExponentField = 0x7FFF;
    internal const ulong IntegerBit = 1UL << 63;
    internal const ulong QuietBit = 1UL << 62;

    /// <summary>Bits 63:0: integer bit and fraction.</summary>
    internal readonly ulong Significand;

    /// <summary>Bits 79:64: sign and biased exponent.</summary>
    internal readonly ushort SignExponent;

    internal Float80(ushort signExponent, ulong significand)
    {
        Significand = significand;
        SignExponent = signExponent;
    }

    internal static Float80 Indefinite => new(0xFFFF, IntegerBit | QuietBit);

    internal static Float80 One => new(Bias, IntegerBit);

    internal bool Negative => (SignExponent & 0x8000) != 0;

    internal int ExponentField => SignExponent & MaxExponentField;

    internal static Float80 Zero(bool negative) => new(negative ? (ushort)0x8000 : (ushort)0, 0);

    internal static Float80 Infinity(bool negative) => new(negative ? (ushort)0xFFFF : (ushort)0x7FFF, IntegerBit);

    internal NumberKind Kind
    {
        get
        {
            int exponent = ExponentField;
            if (exponent == 0)
                return Significand == 0 ? NumberKind.Zero : NumberKind.Finite;
            if ((Significand & IntegerBit) == 0)
                return NumberKind.Unsupported;
            if (exponent != MaxExponentField)
                return NumberKind.Finite;
            return Significand == IntegerBit ? NumberKind.Infinity
                : (Significand & QuietBit) != 0 ? NumberKind.QuietNaN : NumberKind.SignalingNaN;
        }
    }

    /// <summary>A normal finite number.</summary>
    internal bool IsNormal => (Significand & IntegerBit) != 0 && (uint)(ExponentField - 1) < MaxExponentField - 1;

    /// <summary>Denormal or pseudo-denormal: both raise DE.</summary>
    internal bool IsDenormal => ExponentField == 0 && Significand != 0;

    internal Operand Unpack()
    {
        Operand operand = default;
        operand.Kind = Kind;
        operand.Value.Negative = Negative;
        if (operand.Kind == NumberKind.Finite)
        {
            int exponent = ExponentField;
            operand.Denormal = exponent == 0;
            int shift = BitOperations.LeadingZeroCount(Significand);
            operand.Value.Exponent = (exponent == 0 ? 1 : exponent) - Bias - shift;
            operand.Value.High = Significand << shift;
        }
        return operand;
    }

    internal Float80 WithSign(bool negative) =>
        new((ushort)((SignExponent & 0x7FFF) | (negative ? 0x8000 : 0)), Significand);

    internal Float80 Negated() => new((ushort)(SignExponent ^ 0x8000), Significand);

    internal Float80 Quieted() => new(SignExponent, Significand | QuietBit);

    public bool Equals(Float80 other) => Significand == other.Significand && SignExponent == other.SignExponent;

    public override bool Equals(object? obj) => obj is Float80 other && Equals(other);

    public override int GetHashCode() => HashCode.Combine(Significand, SignExponent);

    public override string ToString() => $"{SignExponent:X4}:{Significand:X16}";
}
