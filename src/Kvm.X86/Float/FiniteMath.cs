using System.Numerics;
using System.Runtime.CompilerServices;

namespace Kvm.X86.Float;

/// <summary>
/// The common case of <see cref="WideArithmetic"/> and <see cref="Rounding"/> on plain words: two normal numbers whose result is normal.
/// Inlined into the formats' operations, it keeps everything in registers; whatever is special goes the general way.
/// </summary>
internal static class FiniteMath
{
    /// <summary>
    /// Sum of two normal numbers with 64-bit significands (bit 63 set) and unbiased exponents. False when they cancel to zero.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static bool TryAdd(ref ulong high, ref int exponent, ref bool negative, ulong high2, int exponent2, bool negative2, out ulong low)
    {
        if (exponent2 > exponent || (exponent2 == exponent && high2 > high))
        {
            (high, high2) = (high2, high);
            (exponent, exponent2) = (exponent2, exponent);
            (negative, negative2) = (negative2, negative);
        }
        int distance = exponent - exponent2;
        if (distance == 0)
        {
            low = 0;
        }
        else if (distance < 64)
        {
            low = high2 << (64 - distance);
            high2 >>= distance;
        }
        else
        {
            // What falls out below leaves a sticky bit.
            int beyond = distance - 64;
            low = beyond == 0 ? high2 : beyond < 64 ? (high2 >> beyond) | (high2 << (64 - beyond) != 0 ? 1UL : 0) : 1;
            high2 = 0;
        }
        if (negative == negative2)
        {
            high += high2;
            if (high < high2)
            {
                low = (low >> 1) | (low & 1) | (high << 63);
                high = (high >> 1) | (1UL << 63);
                exponent++;
            }
            return true;
        }
        high = high - high2 - (low != 0 ? 1UL : 0);
        low = 0 - low;
        if (high == 0)
        {
            high = low;
            low = 0;
            exponent -= 64;
            if (high == 0)
                return false;
        }
        int shift = BitOperations.LeadingZeroCount(high);
        if (shift != 0)
        {
            high = (high << shift) | (low >> (64 - shift));
            low <<= shift;
            exponent -= shift;
        }
        return true;
    }

    /// <summary>Product: 128 bits with bit 127 set.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static void Multiply(ref ulong high, ref int exponent, ulong high2, int exponent2, out ulong low)
    {
        high = Math.BigMul(high, high2, out low);
        exponent += exponent2 + 1;
        if ((high >> 63) == 0)
        {
            high = (high << 1) | (low >> 63);
            low <<= 1;
            exponent--;
        }
    }

    /// <summary>Quotient: 64 bits, the next bit and a sticky bit.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static void Divide(ref ulong high, ref int exponent, ulong high2, int exponent2, out ulong low)
    {
        exponent -= exponent2;
        ulong remainder;
        if (high >= high2)
        {
            high = WideArithmetic.DivideWords(high >> 1, high << 63, high2, out remainder);
        }
        else
        {
            high = WideArithmetic.DivideWords(high, 0, high2, out remainder);
            exponent--;
        }
        ulong rest = high2 - remainder;
        low = remainder == 0 ? 0 : remainder < rest ? 1 : remainder == rest ? 1UL << 63 : (1UL << 63) | 1;
    }

    /// <summary>Rounds to the top 64 - <paramref name="drop"/> bits; returns the flags PE and C1 that follow.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static uint Round(ref ulong high, ulong low, ref int exponent, bool negative, int drop, uint mode)
    {
        ulong mask = drop == 0 ? 0 : ulong.MaxValue >> (64 - drop);
        // What falls away as a 64-bit fraction of the last place, the lowest bit sticky.
        ulong rest = drop == 0 ? low : (high << (64 - drop)) | (low != 0 ? 1UL : 0);
        high &= ~mask;
        if (rest == 0)
            return 0;
        bool up = mode switch
        {
            FloatFlags.RoundNearest => rest > 1UL << 63 || (rest == 1UL << 63 && (high & (mask + 1)) != 0),
            FloatFlags.RoundDown => negative,
            FloatFlags.RoundUp => !negative,
            _ => false,
        };
        if (!up)
            return FloatFlags.Precision;
        high += mask + 1;
        if (high == 0)
        {
            high = 1UL << 63;
            exponent++;
        }
        return FloatFlags.Precision | FloatFlags.RoundedUp;
    }
}
