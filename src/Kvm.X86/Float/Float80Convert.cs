using System.Numerics;

namespace Kvm.X86.Float;

/// <summary>Conversions between x87 registers and memory operands (SDM vol. 1, 8.3.3 and 8.3.4).</summary>
internal static class Float80Convert
{
    /// <summary>Exact.</summary>
    internal static Float80 FromInteger(long value)
    {
        if (value == 0)
            return default;
        ulong magnitude = value < 0 ? (ulong)-value : (ulong)value;
        int shift = BitOperations.LeadingZeroCount(magnitude);
        return new Float80((ushort)((63 - shift + Float80.Bias) | (value < 0 ? 0x8000 : 0)), magnitude << shift);
    }

    /// <summary>
    /// A single or double as an extended number, without looking at exceptions: signaling NaNs stay signaling, so the operation
    /// that uses the operand raises what is due. <paramref name="denormal"/> tells that the source was denormal, which the
    /// result no longer shows.
    /// </summary>
    internal static Float80 Widen<TFrom>(ulong bits, out bool denormal)
        where TFrom : struct, IBinaryFormat
    {
        FloatEnvironment environment = default;
        Operand operand = SoftFloat<TFrom>.Unpack(bits, environment);
        denormal = operand.Denormal;
        bool negative = operand.Value.Negative;
        return operand.Kind switch
        {
            NumberKind.Zero => Float80.Zero(negative),
            NumberKind.Infinity => Float80.Infinity(negative),
            NumberKind.Finite => new Float80((ushort)((operand.Value.Exponent + Float80.Bias) | (negative ? 0x8000 : 0)), operand.Value.High),
            _ => new Float80(negative ? (ushort)0xFFFF : (ushort)0x7FFF,
                Float80.IntegerBit | ((bits & SoftFloat<TFrom>.FractionMask) << (63 - TFrom.FractionBits))),
        };
    }

    /// <summary>FLD m32fp / m64fp: as <see cref="Widen"/>, with the exceptions of a load.</summary>
    internal static Float80 Load<TFrom>(ulong bits, ref FloatEnvironment environment)
        where TFrom : struct, IBinaryFormat
    {
        Float80 value = Widen<TFrom>(bits, out bool denormal);
        if (denormal)
            environment.Flags |= FloatFlags.Denormal;
        if (value.Kind != NumberKind.SignalingNaN)
            return value;
        environment.Flags |= FloatFlags.Invalid;
        return value.Quieted();
    }

    /// <summary>FST m32fp / m64fp. With an unmasked invalid, overflow or underflow nothing may be stored.</summary>
    internal static ulong Store<TTo>(Float80 value, ref FloatEnvironment environment)
        where TTo : struct, IBinaryFormat
    {
        ulong sign = value.Negative ? SoftFloat<TTo>.SignMask : 0;
        int target = (1 << (TTo.ExponentBits - 1)) - 1;
        int exponent = value.ExponentField - Float80.Bias;
        // Away from both ends of the target's exponents rounding cannot leave its normal numbers.
        if (value.IsNormal && exponent > 1 - target && exponent < target)
        {
            ulong high = value.Significand;
            environment.Flags |= FiniteMath.Round(ref high, 0, ref exponent, value.Negative, 63 - TTo.FractionBits, environment.Rounding);
            return sign | ((ulong)(exponent + target) << TTo.FractionBits) | ((high >> (63 - TTo.FractionBits)) & SoftFloat<TTo>.FractionMask);
        }
        Operand operand = value.Unpack();
        switch (operand.Kind)
        {
            case NumberKind.Zero:
                return sign;
            case NumberKind.Infinity:
                return sign | SoftFloat<TTo>.ExponentMask;
            case NumberKind.Finite:
                return SoftFloat<TTo>.Round(operand.Value, ref environment);
            case NumberKind.Unsupported:
                environment.Flags |= FloatFlags.Invalid;
                return SoftFloat<TTo>.Indefinite;
            default:
                if (operand.Kind == NumberKind.SignalingNaN)
                    environment.Flags |= FloatFlags.Invalid;
                ulong fraction = (value.Significand << 1 >> 1) >> (63 - TTo.FractionBits);
                return sign | SoftFloat<TTo>.ExponentMask | SoftFloat<TTo>.QuietBit | fraction;
        }
    }

    /// <summary>FIST/FISTTP to 16, 32 or 64 bits; out of range gives the integer indefinite and invalid.</summary>
    internal static ulong ToInteger(Float80 value, int bits, uint mode, ref FloatEnvironment environment)
    {
        int exponent = value.ExponentField - Float80.Bias;
        if (value.IsNormal && exponent >= 0 && exponent < bits - 2)
        {
            // The fraction is dropped; one more for rounding still fits.
            ulong high = value.Significand;
            environment.Flags |= FiniteMath.Round(ref high, 0, ref exponent, value.Negative, 63 - exponent, mode);
            high >>= 63 - exponent;
            return value.Negative ? 0 - high : high;
        }
        Operand operand = value.Unpack();
        ulong indefinite = 1UL << (bits - 1);
        if (operand.Kind >= NumberKind.Infinity)
        {
            environment.Flags |= FloatFlags.Invalid;
            return indefinite;
        }
        ulong magnitude = Rounding.ToInteger(operand.Value, mode, out bool inexact, out bool up, out bool overflow);
        if (overflow || magnitude > (value.Negative ? indefinite : indefinite - 1))
        {
            environment.Flags |= FloatFlags.Invalid;
            return indefinite;
        }
        environment.Flags |= (inexact ? FloatFlags.Precision : 0) | (up ? FloatFlags.RoundedUp : 0);
        return value.Negative ? 0 - magnitude : magnitude;
    }

    /// <summary>FBLD: 18 decimal digits, two per byte, and a sign in the top bit of byte 9. Digits above 9 count as they are.</summary>
    internal static Float80 FromBcd(ulong low, ushort high)
    {
        ulong value = high & 0xFu;
        value += ((ulong)(high >> 4) & 0xF) * 10;
        for (int shift = 60; shift >= 0; shift -= 4)
            value = (value * 10) + ((low >> shift) & 0xF);
        return FromInteger((long)value).WithSign((high & 0x8000) != 0);
    }

    /// <summary>FBSTP: rounds by the control word; what does not fit 18 digits gives the packed BCD indefinite and invalid.</summary>
    internal static ulong ToBcd(Float80 value, out ushort high, ref FloatEnvironment environment)
    {
        Operand operand = value.Unpack();
        bool inexact = false, up = false, overflow = true;
        ulong magnitude = 0;
        if (operand.Kind < NumberKind.Infinity)
            magnitude = Rounding.ToInteger(operand.Value, environment.Rounding, out inexact, out up, out overflow);
        if (overflow || magnitude > 999_999_999_999_999_999)
        {
            environment.Flags |= FloatFlags.Invalid;
            high = 0xFFFF;
            return 0xC000_0000_0000_0000;
        }
        environment.Flags |= (inexact ? FloatFlags.Precision : 0) | (up ? FloatFlags.RoundedUp : 0);
        ulong low = 0;
        for (int shift = 0; shift < 64; shift += 4)
        {
            low |= magnitude % 10 << shift;
            magnitude /= 10;
        }
        high = (ushort)((magnitude % 10) | (magnitude / 10 << 4) | (value.Negative ? 0x8000u : 0));
        return low;
    }
}
