namespace Kvm.X86.Float;

/// <summary>Rounding of a <see cref="Wide"/> to a number of significant bits or to an integer (SDM vol. 1, 4.8.4).</summary>
internal static class Rounding
{
    /// <summary>
    /// Rounds in place so that only the top <paramref name="precision"/> bits (1 to 64) of the 128 remain. Works on values shifted
    /// right for a denormal result as well (bit 127 clear). Returns true when something was lost; <paramref name="up"/> when the magnitude grew.
    /// </summary>
    internal static bool ToPrecision(ref Wide value, int precision, uint mode, out bool up)
    {
        int drop = 64 - precision;
        ulong mask = drop == 0 ? 0 : (1UL << drop) - 1;
        ulong rest = value.High & mask;
        bool half, sticky;
        if (drop == 0)
        {
            half = (value.Low >> 63) != 0;
            sticky = (value.Low << 1) != 0;
        }
        else
        {
            half = (rest >> (drop - 1)) != 0;
            sticky = (rest & (mask >> 1)) != 0 || value.Low != 0;
        }
        value.High &= ~mask;
        value.Low = 0;
        up = Increments(half, sticky, ((value.High >> drop) & 1) != 0, value.Negative, mode);
        if (up)
        {
            value.High += mask + 1;
            if (value.High == 0)
            {
                value.High = 1UL << 63;
                value.Exponent++;
            }
        }
        return half | sticky;
    }

    /// <summary>
    /// The integer nearest by <paramref name="mode"/>: magnitude in the result, which is 2^64 or more when <paramref name="overflow"/>.
    /// </summary>
    internal static ulong ToInteger(in Wide value, uint mode, out bool inexact, out bool up, out bool overflow)
    {
        inexact = up = overflow = false;
        if (value.IsZero)
            return 0;
        if (value.Exponent > 63)
        {
            overflow = true;
            return 0;
        }
        ulong high = value.High, low = value.Low;
        Wide.ShiftRightSticky(ref high, ref low, 63 - value.Exponent);
        bool half = (low >> 63) != 0, sticky = (low << 1) != 0;
        inexact = half | sticky;
        up = Increments(half, sticky, (high & 1) != 0, value.Negative, mode);
        if (up && ++high == 0)
            overflow = true;
        return high;
    }

    /// <summary>True when an overflow under this mode gives infinity, false when the largest finite number.</summary>
    internal static bool OverflowsToInfinity(bool negative, uint mode) => mode switch
    {
        FloatFlags.RoundNearest => true,
        FloatFlags.RoundDown => negative,
        FloatFlags.RoundUp => !negative,
        _ => false,
    };

    private static bool Increments(bool half, bool sticky, bool odd, bool negative, uint mode) => mode switch
    {
        FloatFlags.RoundNearest => half && (sticky || odd),
        FloatFlags.RoundDown => negative && (half || sticky),
        FloatFlags.RoundUp => !negative && (half || sticky),
        _ => false,
    };
}
