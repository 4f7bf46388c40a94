namespace Kvm.X86.Float;

/// <summary>Conversions of SSE between formats and integers, and rounding to an integral value.</summary>
internal static class SoftFloatConvert
{
    /// <summary>From one format to another (CVTSS2SD, CVTPD2PS, VCVTPS2PH …). NaNs keep the top bits of their payload.</summary>
    internal static ulong Convert<TFrom, TTo>(ulong bits, ref FloatEnvironment environment)
        where TFrom : struct, IBinaryFormat
        where TTo : struct, IBinaryFormat
    {
        ulong sign = (bits & SoftFloat<TFrom>.SignMask) != 0 ? SoftFloat<TTo>.SignMask : 0;
        if (SoftFloat<TFrom>.IsNaN(bits))
        {
            if (SoftFloat<TFrom>.IsSignaling(bits))
                environment.Flags |= FloatFlags.Invalid;
            ulong fraction = (bits & SoftFloat<TFrom>.FractionMask) << (63 - TFrom.FractionBits) >> (63 - TTo.FractionBits);
            return sign | SoftFloat<TTo>.ExponentMask | SoftFloat<TTo>.QuietBit | fraction;
        }
        Operand operand = SoftFloat<TFrom>.Unpack(bits, environment);
        if (operand.Denormal)
            environment.Flags |= FloatFlags.Denormal;
        return operand.Kind switch
        {
            NumberKind.Zero => sign,
            NumberKind.Infinity => sign | SoftFloat<TTo>.ExponentMask,
            _ => SoftFloat<TTo>.Round(operand.Value, ref environment),
        };
    }

    /// <summary>From a signed 64-bit integer.</summary>
    internal static ulong FromInteger<TTo>(long value, ref FloatEnvironment environment)
        where TTo : struct, IBinaryFormat
    {
        if (value == 0)
            return 0;
        Wide wide = Wide.FromInteger(value < 0, value < 0 ? (ulong)-value : (ulong)value);
        return SoftFloat<TTo>.Round(wide, ref environment);
    }

    /// <summary>
    /// To a signed integer of <paramref name="bits"/> (32 or 64) by <paramref name="mode"/>; out of range or NaN: invalid, and the
    /// integer indefinite 80…0. Denormals raise no DE here (SDM vol. 2, CVTSD2SI: invalid and precision only).
    /// </summary>
    internal static ulong ToInteger<TFrom>(ulong value, int bits, uint mode, ref FloatEnvironment environment)
        where TFrom : struct, IBinaryFormat
    {
        Operand operand = SoftFloat<TFrom>.Unpack(value, environment);
        ulong indefinite = 1UL << (bits - 1);
        if (operand.Kind >= NumberKind.Infinity)
        {
            environment.Flags |= FloatFlags.Invalid;
            return indefinite;
        }
        ulong magnitude = Rounding.ToInteger(operand.Value, mode, out bool inexact, out _, out bool overflow);
        if (overflow || magnitude > (operand.Value.Negative ? indefinite : indefinite - 1))
        {
            environment.Flags |= FloatFlags.Invalid;
            return indefinite;
        }
        if (inexact)
            environment.Flags |= FloatFlags.Precision;
        return operand.Value.Negative ? 0 - magnitude : magnitude;
    }

    /// <summary>ROUNDxx: to an integral value in the same format; <paramref name="quiet"/> suppresses the precision exception.</summary>
    internal static ulong RoundToIntegral<TFormat>(ulong bits, uint mode, bool quiet, ref FloatEnvironment environment)
        where TFormat : struct, IBinaryFormat
    {
        if (SoftFloat<TFormat>.IsNaN(bits))
            return SoftFloat<TFormat>.PropagateNaN(bits, bits, ref environment);
        Operand operand = SoftFloat<TFormat>.Unpack(bits, environment);
        ulong sign = bits & SoftFloat<TFormat>.SignMask;
        if (operand.Kind == NumberKind.Zero)
            return sign;
        if (operand.Kind == NumberKind.Infinity || operand.Value.Exponent >= TFormat.FractionBits)
            return bits;
        ulong magnitude = Rounding.ToInteger(operand.Value, mode, out bool inexact, out _, out _);
        if (inexact && !quiet)
            environment.Flags |= FloatFlags.Precision;
        if (magnitude == 0)
            return sign;
        Wide integral = Wide.FromInteger(operand.Value.Negative, magnitude);
        FloatEnvironment exact = default;
        exact.Masks = FloatFlags.All;
        return SoftFloat<TFormat>.Round(integral, ref exact);
    }
}
