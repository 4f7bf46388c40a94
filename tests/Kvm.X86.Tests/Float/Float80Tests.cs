using System.Numerics;
using Kvm.X86.Float;

namespace Kvm.X86.Tests.Float;

/// <summary>Extended arithmetic against big integers.</summary>
public class Float80Tests
{
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void RemainderIteratedToTheEndIsExact(bool nearest)
    {
        Random random = new(11);
        for (int i = 0; i < 3000; i++)
        {
            // Exponents up to 300 apart: several partial steps.
            int distance = random.Next(-3, 300);
            ulong a = (ulong)random.NextInt64() | (1UL << 63), b = (ulong)random.NextInt64() | (1UL << 63);
            if (random.Next(8) == 0)
                b = a;
            Float80 value = new((ushort)(0x3FFF + distance), a), divisor = new(0x3FFF, b);
            uint quotient = 0;
            bool incomplete = true;
            for (int step = 0; incomplete && step < 20; step++)
            {
                FloatEnvironment environment = FloatEnvironment.FromControlWord(0x37F);
                value = Float80Remainder.Step(value, divisor, nearest, out quotient, out incomplete, ref environment);
                environment.Flags.Should().Be(0);
            }
            incomplete.Should().BeFalse();
            // In units of 2^-3 of the divisor's last place.
            BigInteger dividend = new BigInteger(a) << (distance + 3), unit = new BigInteger(b) << 3;
            BigInteger whole = BigInteger.DivRem(dividend, unit, out BigInteger rest);
            if (nearest && (rest * 2 > unit || (rest * 2 == unit && !whole.IsEven)))
            {
                whole += 1;
                rest -= unit;
            }
            Scaled(value, 66).Should().Be(rest);
            quotient.Should().Be((uint)(whole & 7));
        }
    }

    [Fact]
    public void ArithmeticRoundsLikeExactFractions()
    {
        Random random = new(12);
        for (int i = 0; i < 4000; i++)
        {
            ushort control = (ushort)(0x37F | (random.Next(4) << 10));
            Float80 a = Number(random), b = Number(random);
            FloatEnvironment environment = FloatEnvironment.FromControlWord(control);
            Float80 sum = Float80Arithmetic.Add(a, b, false, false, ref environment);
            CheckRounding(Scaled(a, 400) + Scaled(b, 400), BigInteger.One << 400, sum, environment);
            environment = FloatEnvironment.FromControlWord(control);
            Float80 product = Float80Arithmetic.Multiply(a, b, false, ref environment);
            CheckRounding(Scaled(a, 400) * Scaled(b, 400), BigInteger.One << 800, product, environment);
            environment = FloatEnvironment.FromControlWord(control);
            Float80 quotient = Float80Arithmetic.Divide(a, b, false, ref environment);
            BigInteger divisor = Scaled(b, 400);
            CheckRounding(Scaled(a, 400) * divisor.Sign, BigInteger.Abs(divisor), quotient, environment);
        }
    }

    [Fact]
    public void BcdRoundTripsEighteenDigits()
    {
        Random random = new(13);
        for (int i = 0; i < 1000; i++)
        {
            long number = random.NextInt64(1_000_000_000_000_000_000) * (random.Next(2) == 0 ? 1 : -1);
            FloatEnvironment environment = FloatEnvironment.FromControlWord(0x37F);
            ulong low = Float80Convert.ToBcd(Float80Convert.FromInteger(number), out ushort high, ref environment);
            environment.Flags.Should().Be(0);
            $"{high & 0x7FFF:x2}{low:x16}".TrimStart('0').PadLeft(1, '0').Should().Be(Math.Abs(number).ToString(System.Globalization.CultureInfo.InvariantCulture));
            Float80Convert.FromBcd(low, high).Should().Be(Float80Convert.FromInteger(number));
        }
    }

    private static Float80 Number(Random random) =>
        new((ushort)(0x3FFF + random.Next(-80, 80) + (0x8000 * random.Next(2))), (random.Next(3) == 0 ? 0 : (ulong)random.NextInt64()) | (1UL << 63));

    /// <summary>The value times 2^scale, which must be whole.</summary>
    private static BigInteger Scaled(Float80 value, int scale)
    {
        int shift = (value.ExponentField == 0 ? 1 : value.ExponentField) - Float80.Bias - 63 + scale;
        BigInteger magnitude = shift >= 0 ? new BigInteger(value.Significand) << shift : new BigInteger(value.Significand) >> -shift;
        return value.Negative ? -magnitude : magnitude;
    }

    /// <summary>The result is the number of 64 bits next to numerator/denominator in the direction of the mode; PE and C1 tell the truth.</summary>
    private static void CheckRounding(BigInteger numerator, BigInteger denominator, Float80 result, FloatEnvironment environment)
    {
        if (numerator.IsZero)
        {
            result.Significand.Should().Be(0);
            result.Negative.Should().Be(environment.Rounding == FloatFlags.RoundDown);
            return;
        }
        bool negative = numerator.Sign < 0;
        numerator = BigInteger.Abs(numerator);
        // Scale so that the quotient has 64 bits.
        int shift = 64 - (int)(numerator.GetBitLength() - denominator.GetBitLength());
        BigInteger whole = BigInteger.DivRem(numerator << Math.Max(shift, 0), denominator << Math.Max(-shift, 0), out BigInteger rest);
        if (whole.GetBitLength() == 65)
        {
            shift--;
            whole = BigInteger.DivRem(numerator << Math.Max(shift, 0), denominator << Math.Max(-shift, 0), out rest);
        }
        BigInteger divisor = denominator << Math.Max(-shift, 0);
        bool up = environment.Rounding switch
        {
            FloatFlags.RoundNearest => rest * 2 > divisor || (rest * 2 == divisor && !whole.IsEven),
            FloatFlags.RoundDown => negative && !rest.IsZero,
            FloatFlags.RoundUp => !negative && !rest.IsZero,
            _ => false,
        };
        whole += up ? 1 : 0;
        if (whole.GetBitLength() == 65)
        {
            whole >>= 1;
            shift--;
        }
        result.Should().Be(new Float80((ushort)((63 - shift + Float80.Bias) | (negative ? 0x8000 : 0)), (ulong)whole));
        ((environment.Flags & FloatFlags.Precision) != 0).Should().Be(!rest.IsZero);
        ((environment.Flags & FloatFlags.RoundedUp) != 0).Should().Be(up);
    }
}
