using System.Runtime.CompilerServices;

namespace Kvm.X86.Float;

/// <summary>
/// Sum, product, quotient and square root of finite numbers, exact up to a sticky lowest bit: the input of one rounding.
/// Operands of <see cref="Multiply"/>, <see cref="Divide"/> and <see cref="SquareRoot"/> have at most 64 significant bits
/// (Low = 0) and are not zero.
/// </summary>
internal static class WideArithmetic
{
    /// <summary>a + b. Exact cancellation gives a zero whose sign the caller decides (it depends on the rounding mode).</summary>
    internal static Wide Add(in Wide a, in Wide b)
    {
        if (a.IsZero)
            return b;
        if (b.IsZero)
            return a;
        bool swap = b.Exponent > a.Exponent
            || (b.Exponent == a.Exponent && (b.High > a.High || (b.High == a.High && b.Low > a.Low)));
        Wide large = swap ? b : a;
        Wide small = swap ? a : b;
        ulong high = small.High, low = small.Low;
        Wide.ShiftRightSticky(ref high, ref low, large.Exponent - small.Exponent);
        if (large.Negative != small.Negative)
        {
            ulong differenceLow = large.Low - low;
            ulong differenceHigh = large.High - high - (large.Low < low ? 1UL : 0UL);
            return new Wide(large.Negative, large.Exponent, differenceHigh, differenceLow).Normalized();
        }
        ulong sumLow = large.Low + low;
        ulong carry = sumLow < low ? 1UL : 0UL;
        ulong sumHigh = large.High + high;
        bool overflow = sumHigh < high;
        sumHigh += carry;
        overflow |= carry != 0 && sumHigh == 0;
        if (!overflow)
            return new Wide(large.Negative, large.Exponent, sumHigh, sumLow);
        sumLow = (sumLow >> 1) | (sumHigh << 63) | (sumLow & 1);
        return new Wide(large.Negative, large.Exponent + 1, (sumHigh >> 1) | (1UL << 63), sumLow);
    }

    /// <summary>a · b, exact.</summary>
    internal static Wide Multiply(in Wide a, in Wide b)
    {
        ulong high = Math.BigMul(a.High, b.High, out ulong low);
        int exponent = a.Exponent + b.Exponent + 1;
        if ((high >> 63) == 0)
        {
            high = (high << 1) | (low >> 63);
            low <<= 1;
            exponent--;
        }
        return new Wide(a.Negative ^ b.Negative, exponent, high, low);
    }

    /// <summary>a / b: 64 quotient bits, the next bit, and a sticky bit.</summary>
    internal static Wide Divide(in Wide a, in Wide b)
    {
        ulong quotient, remainder;
        int exponent = a.Exponent - b.Exponent;
        if (a.High >= b.High)
        {
            quotient = DivideWords(a.High >> 1, a.High << 63, b.High, out remainder);
        }
        else
        {
            exponent--;
            quotient = DivideWords(a.High, 0, b.High, out remainder);
        }
        // The quotient's next bit is 1 when twice the remainder reaches the divisor.
        ulong low = 0;
        if (remainder != 0)
        {
            ulong rest = b.High - remainder;
            low = remainder < rest ? 1UL : remainder == rest ? 1UL << 63 : (1UL << 63) | 1;
        }
        return new Wide(a.Negative ^ b.Negative, exponent, quotient, low);
    }

    /// <summary>Square root of a positive number: 64 bits, the next bit, and a sticky bit.</summary>
    internal static Wide SquareRoot(in Wide a)
    {
        bool odd = (a.Exponent & 1) != 0;
        ulong high = odd ? a.High : a.High >> 1;
        ulong low = odd ? 0 : a.High << 63;
        ulong root = IntegerSquareRoot(high, low);
        ulong squareHigh = Math.BigMul(root, root, out ulong squareLow);
        // The remainder has at most 65 bits; the half-way point is root + 1/4, so a remainder above root means the next bit is 1.
        ulong remainderLow = low - squareLow;
        ulong remainderHigh = high - squareHigh - (low < squareLow ? 1UL : 0UL);
        ulong rest = (remainderHigh | remainderLow) == 0 ? 0
            : remainderHigh != 0 || remainderLow > root ? (1UL << 63) | 1 : 1;
        return new Wide(false, a.Exponent >> 1, root, rest);
    }

    /// <summary>floor(sqrt(high:low)) for high ≥ 2^62: one Newton step from the host's square root, then a correction by ones.</summary>
    private static ulong IntegerSquareRoot(ulong high, ulong low)
    {
        double estimate = Math.Sqrt((double)high) * 4294967296.0;
        ulong root = estimate >= 18446744073709551615.0 ? ulong.MaxValue : (ulong)estimate;
        if (root < 1UL << 63)
            root = 1UL << 63;
        ulong quotient = high >= root ? ulong.MaxValue : DivideWords(high, low, root, out _);
        root = (root >> 1) + (quotient >> 1) + (root & quotient & 1);
        while (SquareExceeds(root, high, low))
            root--;
        while (root != ulong.MaxValue && !SquareExceeds(root + 1, high, low))
            root++;
        return root;
    }

    private static bool SquareExceeds(ulong root, ulong high, ulong low)
    {
        ulong squareHigh = Math.BigMul(root, root, out ulong squareLow);
        return squareHigh > high || (squareHigh == high && squareLow > low);
    }

    /// <summary>(high:low) / divisor for high &lt; divisor and a divisor whose top bit is set: two 32-bit digits of schoolbook division.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal static ulong DivideWords(ulong high, ulong low, ulong divisor, out ulong remainder)
    {
        ulong divisorHigh = divisor >> 32;
        ulong divisorLow = divisor & 0xFFFF_FFFF;
        ulong upper = Digit(ref high, low >> 32, divisor, divisorHigh, divisorLow);
        ulong lower = Digit(ref high, low & 0xFFFF_FFFF, divisor, divisorHigh, divisorLow);
        remainder = high;
        return (upper << 32) | lower;
    }

    private static ulong Digit(ref ulong partial, ulong next, ulong divisor, ulong divisorHigh, ulong divisorLow)
    {
        ulong digit = partial / divisorHigh;
        ulong rest = partial - (digit * divisorHigh);
        while (digit > 0xFFFF_FFFF || digit * divisorLow > ((rest << 32) | next))
        {
            digit--;
            rest += divisorHigh;
            if (rest > 0xFFFF_FFFF)
                break;
        }
        partial = (partial << 32) + next - (digit * divisor);
        return digit;
    }
}
