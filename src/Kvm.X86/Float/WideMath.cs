namespace Kvm.X86.Float;

/// <summary>Arithmetic on full 128-bit significands, truncated: relative errors of a few 2^-127, far below what a 64-bit result shows.</summary>
internal static class WideMath
{
    /// <summary>The high half of a 256-bit product.</summary>
    internal static UInt128 MultiplyHigh(UInt128 a, UInt128 b)
    {
        ulong aHigh = (ulong)(a >> 64), aLow = (ulong)a, bHigh = (ulong)(b >> 64), bLow = (ulong)b;
        ulong highHigh = Math.BigMul(aHigh, bHigh, out ulong highLow);
        ulong crossHigh = Math.BigMul(aHigh, bLow, out ulong crossLow);
        ulong otherHigh = Math.BigMul(aLow, bHigh, out ulong otherLow);
        ulong lowHigh = Math.BigMul(aLow, bLow, out _);
        UInt128 middle = (UInt128)crossLow + otherLow + lowHigh;
        return new UInt128(highHigh, highLow) + crossHigh + otherHigh + (middle >> 64);
    }

    /// <summary>a · b.</summary>
    internal static Wide Multiply(in Wide a, in Wide b)
    {
        UInt128 product = MultiplyHigh(new UInt128(a.High, a.Low), new UInt128(b.High, b.Low));
        Wide result = new(a.Negative ^ b.Negative, a.Exponent + b.Exponent + 1, (ulong)(product >> 64), (ulong)product);
        return result.Normalized();
    }

    /// <summary>a / b: 128 quotient bits, the lowest one sticky.</summary>
    internal static Wide Divide(in Wide a, in Wide b)
    {
        UInt128 remainder = new(a.High, a.Low), divisor = new(b.High, b.Low);
        int exponent = a.Exponent - b.Exponent;
        // With the dividend below the divisor the quotient fills 128 bits but for at most one.
        bool halved = remainder >= divisor;
        ulong lost = halved ? (ulong)remainder & 1 : 0;
        remainder >>= halved ? 1 : 0;
        exponent -= halved ? 0 : 1;
        ulong high = Digit(ref remainder, divisor);
        ulong low = Digit(ref remainder, divisor);
        Wide result = new(a.Negative ^ b.Negative, exponent, high, low | (remainder != 0 || lost != 0 ? 1UL : 0));
        return result.Normalized();
    }

    /// <summary>One 64-bit digit of a quotient: floor(remainder · 2^64 / divisor) for remainder &lt; divisor, top bit of the divisor set (Knuth, algorithm D).</summary>
    private static ulong Digit(ref UInt128 remainder, UInt128 divisor)
    {
        ulong top = (ulong)(remainder >> 64), divisorTop = (ulong)(divisor >> 64);
        ulong digit = top >= divisorTop ? ulong.MaxValue : WideArithmetic.DivideWords(top, (ulong)remainder, divisorTop, out _);
        // The estimate is at most two too large: then the difference is negative, seen in the word above.
        UInt128 productLow = (UInt128)digit * (ulong)divisor;
        UInt128 productHigh = ((UInt128)digit * divisorTop) + (productLow >> 64);
        UInt128 high = remainder - productHigh;
        ulong low = 0 - (ulong)productLow;
        high -= low != 0 ? 1u : 0u;
        // (high:low) is the remainder times 2^64 minus the product, 192 bits of two's complement of which 128 are kept below.
        while ((high >> 127) != 0)
        {
            digit--;
            UInt128 sumLow = (UInt128)low + (ulong)divisor;
            low = (ulong)sumLow;
            high += divisorTop + (sumLow >> 64);
        }
        remainder = new UInt128((ulong)high, low);
        return digit;
    }

    /// <summary>The magnitude of a number below 1 as a fraction of 128 bits, truncated.</summary>
    internal static UInt128 ToFraction(in Wide value)
    {
        ulong high = value.High, low = value.Low;
        int shift = -1 - value.Exponent;
        return shift >= 128 ? UInt128.Zero : new UInt128(high, low) >> shift;
    }

    /// <summary>A fraction of 128 bits as a number.</summary>
    internal static Wide FromFraction(UInt128 fraction, bool negative = false) =>
        new Wide(negative, -1, (ulong)(fraction >> 64), (ulong)fraction).Normalized();

    /// <summary>x(c0 - x(c1 - x(c2 - …))) on fractions, where the sum stays below 1.</summary>
    internal static UInt128 Alternating(UInt128 x, ReadOnlySpan<ulong> coefficients)
    {
        UInt128 sum = 0;
        for (int i = coefficients.Length - 2; i >= 0; i -= 2)
            sum = MultiplyHigh(x, new UInt128(coefficients[i], coefficients[i + 1]) - sum);
        return sum;
    }

    /// <summary>x(c0 + x(c1 + x(c2 + …))) on fractions, where the sum stays below 1.</summary>
    internal static UInt128 Growing(UInt128 x, ReadOnlySpan<ulong> coefficients)
    {
        UInt128 sum = 0;
        for (int i = coefficients.Length - 2; i >= 0; i -= 2)
            sum = MultiplyHigh(x, new UInt128(coefficients[i], coefficients[i + 1]) + sum);
        return sum;
    }

    /// <summary>1 - fraction as a number; a fraction of zero stands for one too small to see and gives the number just below 1.</summary>
    internal static Wide OneMinus(UInt128 fraction) => FromFraction(fraction == 0 ? UInt128.MaxValue : UInt128.Zero - fraction);

    /// <summary>1 + fraction as a number; a fraction of zero gives the number just above 1.</summary>
    internal static Wide OnePlus(UInt128 fraction)
    {
        UInt128 half = (fraction >> 1) | 1;
        return new Wide(false, 0, (ulong)(half >> 64) | (1UL << 63), (ulong)half);
    }
}
