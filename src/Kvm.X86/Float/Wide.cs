using System.Numerics;
using System.Runtime.CompilerServices;

namespace Kvm.X86.Float;

/// <summary>
/// A finite number with a 128-bit significand: ±(High:Low) · 2^(Exponent-127), normalized so that bit 127 is set unless it is zero.
/// The lowest bit may be sticky ("some bits further right were not zero"): every format here keeps at most 64 bits,
/// so a sticky bit at position 0 never changes a rounding decision.
/// </summary>
internal struct Wide
{
    internal bool Negative;
    internal int Exponent;
    internal ulong High;
    internal ulong Low;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal Wide(bool negative, int exponent, ulong high, ulong low)
    {
        Negative = negative;
        Exponent = exponent;
        High = high;
        Low = low;
    }

    internal readonly bool IsZero => (High | Low) == 0;

    /// <summary>The number <paramref name="value"/> · 2^<paramref name="scale"/>, normalized.</summary>
    internal static Wide FromInteger(bool negative, ulong value, int scale = 0)
    {
        if (value == 0)
            return new Wide(negative, 0, 0, 0);
        int shift = BitOperations.LeadingZeroCount(value);
        return new Wide(negative, 63 - shift + scale, value << shift, 0);
    }

    /// <summary>The same number with its top bit at 127; zero stays zero.</summary>
    internal readonly Wide Normalized()
    {
        if ((High >> 63) != 0 || IsZero)
            return this;
        ulong high = High, low = Low;
        int shift = 0;
        if (high == 0)
        {
            high = low;
            low = 0;
            shift = 64;
        }
        int rest = BitOperations.LeadingZeroCount(high);
        if (rest != 0)
        {
            high = (high << rest) | (low >> (64 - rest));
            low <<= rest;
        }
        return new Wide(Negative, Exponent - shift - rest, high, low);
    }

    /// <summary>Shifts a 128-bit value right by <paramref name="count"/> (any, at least 0), or-ing what falls out into bit 0.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static void ShiftRightSticky(ref ulong high, ref ulong low, int count)
    {
        if (count == 0)
            return;
        if (count < 64)
        {
            ulong lost = low << (64 - count);
            low = (low >> count) | (high << (64 - count)) | (lost != 0 ? 1UL : 0UL);
            high >>= count;
        }
        else if (count < 128)
        {
            int rest = count - 64;
            ulong lost = low | (rest == 0 ? 0 : high << (64 - rest));
            low = (high >> rest) | (lost != 0 ? 1UL : 0UL);
            high = 0;
        }
        else
        {
            low = (high | low) != 0 ? 1UL : 0UL;
            high = 0;
        }
    }
}
