// Invariants: pure functions of their arguments; no pointers.
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Kvm.X86.Float;

namespace Kvm.X86.Execute.Simd;

/// <summary>
/// One element of an SSE floating-point instruction. Flags are only or-ed in. Results under an unmasked exception are not stored, so
/// they do not matter. The immediate is the instruction's, for those that have one.
/// </summary>
internal interface IFloatOp
{
    static abstract ulong Apply<TFormat>(ulong a, ulong b, int imm, uint mxcsr, ref uint flags)
        where TFormat : struct, IBinaryFormat;
}

/// <summary>An operation that also has a fast form over whole vectors of host arithmetic.</summary>
internal interface IVectorFloatOp : IFloatOp
{
    static abstract Vector128<float> Host(Vector128<float> a, Vector128<float> b);

    static abstract Vector128<double> Host(Vector128<double> a, Vector128<double> b);
}

/// <summary>
/// When the host's arithmetic can stand in for the guest's. The host rounds to nearest and its flags cannot be read, so it must be
/// certain that the guest's would not change: operands zero or normal, result normal and not the least one (so that neither DE nor
/// UE, DAZ nor FTZ matter), and either PE is already set and masked or the result is exact.
/// </summary>
internal static class HostMath
{
    /// <summary>Rounding control, precision mask, precision flag.</summary>
    private const uint Relevant = 0x6000 | 0x1000 | 0x20;

    /// <summary>Round to nearest, precision masked and already flagged: inexact results change nothing.</summary>
    public const uint InexactIsFree = 0x1000 | 0x20;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool IsFree(uint mxcsr) => (mxcsr & Relevant) == InexactIsFree;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool RoundsToNearest(uint mxcsr) => (mxcsr & 0x6000) == 0;

    /// <summary>A normal number above the least: rounding cannot have brought it up from the denormals.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool IsSafe(double value) =>
        (BitConverter.DoubleToUInt64Bits(value) & 0x7FF0_0000_0000_0000) - 0x0020_0000_0000_0000 < 0x7FD0_0000_0000_0000;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool IsSafe(float value) =>
        (BitConverter.SingleToUInt32Bits(value) & 0x7F80_0000) - 0x0100_0000 < 0x7E80_0000;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool IsPlain(double value) => SoftFloat<DoubleFormat>.IsPlain(BitConverter.DoubleToUInt64Bits(value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool IsPlain(float value) => SoftFloat<SingleFormat>.IsPlain(BitConverter.SingleToUInt32Bits(value));

    /// <summary>All elements zero or normal.</summary>
    public static bool ArePlain(Vector128<float> value)
    {
        Vector128<int> magnitude = value.AsInt32() & Vector128.Create(0x7FFF_FFFF);
        Vector128<int> normal = Vector128.GreaterThan(magnitude, Vector128.Create(0x007F_FFFF)) & Vector128.LessThan(magnitude, Vector128.Create(0x7F80_0000));
        return (normal | Vector128.Equals(magnitude, Vector128<int>.Zero)) == Vector128<int>.AllBitsSet;
    }

    public static bool AreSafe(Vector128<float> value)
    {
        Vector128<int> magnitude = value.AsInt32() & Vector128.Create(0x7FFF_FFFF);
        Vector128<int> normal = Vector128.GreaterThan(magnitude, Vector128.Create(0x00FF_FFFF)) & Vector128.LessThan(magnitude, Vector128.Create(0x7F80_0000));
        return normal == Vector128<int>.AllBitsSet;
    }

    public static bool ArePlain(Vector128<double> value)
    {
        Vector128<long> magnitude = value.AsInt64() & Vector128.Create(long.MaxValue);
        Vector128<long> normal = Vector128.GreaterThan(magnitude, Vector128.Create(0x000F_FFFF_FFFF_FFFF)) & Vector128.LessThan(magnitude, Vector128.Create(0x7FF0_0000_0000_0000));
        return (normal | Vector128.Equals(magnitude, Vector128<long>.Zero)) == Vector128<long>.AllBitsSet;
    }

    public static bool AreSafe(Vector128<double> value)
    {
        Vector128<long> magnitude = value.AsInt64() & Vector128.Create(long.MaxValue);
        Vector128<long> normal = Vector128.GreaterThan(magnitude, Vector128.Create(0x001F_FFFF_FFFF_FFFF)) & Vector128.LessThan(magnitude, Vector128.Create(0x7FF0_0000_0000_0000));
        return normal == Vector128<long>.AllBitsSet;
    }

    /// <summary>a + b = sum exactly: the error of an addition is itself a number, found by Knuth's two-sum.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool IsExactSum(double a, double b, double sum)
    {
        double part = sum - a;
        return (a - (sum - part)) + (b - part) == 0;
    }

    /// <summary>The error of a product, quotient or root is a normal number or zero only well above the least exponent.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool HasRoom(double value) => (BitConverter.DoubleToUInt64Bits(value) & 0x7FF0_0000_0000_0000) > 0x0800_0000_0000_0000;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static double AsDouble(ulong bits) => BitConverter.UInt64BitsToDouble(bits);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float AsSingle(ulong bits) => BitConverter.UInt32BitsToSingle((uint)bits);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Bits(double value) => BitConverter.DoubleToUInt64Bits(value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Bits(float value) => BitConverter.SingleToUInt32Bits(value);
}

internal readonly struct AddFloat : IVectorFloatOp
{
    public static Vector128<float> Host(Vector128<float> a, Vector128<float> b) => a + b;

    public static Vector128<double> Host(Vector128<double> a, Vector128<double> b) => a + b;

    public static ulong Apply<TFormat>(ulong a, ulong b, int imm, uint mxcsr, ref uint flags)
        where TFormat : struct, IBinaryFormat
    {
        if (typeof(TFormat) == typeof(DoubleFormat))
        {
            double x = HostMath.AsDouble(a), y = HostMath.AsDouble(b), sum = x + y;
            if (HostMath.RoundsToNearest(mxcsr) && HostMath.IsPlain(x) && HostMath.IsPlain(y) && HostMath.IsSafe(sum)
                && (HostMath.IsFree(mxcsr) || HostMath.IsExactSum(x, y, sum)))
                return HostMath.Bits(sum);
        }
        else
        {
            // The sum of two singles is not always exact in double, but its rounding error shows there.
            float x = HostMath.AsSingle(a), y = HostMath.AsSingle(b), sum = x + y;
            if (HostMath.RoundsToNearest(mxcsr) && HostMath.IsPlain(x) && HostMath.IsPlain(y) && HostMath.IsSafe(sum)
                && (HostMath.IsFree(mxcsr) || (sum == (double)x + y && HostMath.IsExactSum(x, y, sum))))
                return HostMath.Bits(sum);
        }
        FloatEnvironment environment = FloatEnvironment.FromMxcsr(mxcsr);
        ulong result = SoftFloat<TFormat>.Add(a, b, ref environment);
        flags |= environment.Flags;
        return result;
    }
}

internal readonly struct SubtractFloat : IVectorFloatOp
{
    public static Vector128<float> Host(Vector128<float> a, Vector128<float> b) => a - b;

    public static Vector128<double> Host(Vector128<double> a, Vector128<double> b) => a - b;

    public static ulong Apply<TFormat>(ulong a, ulong b, int imm, uint mxcsr, ref uint flags)
        where TFormat : struct, IBinaryFormat
    {
        if (typeof(TFormat) == typeof(DoubleFormat))
        {
            double x = HostMath.AsDouble(a), y = HostMath.AsDouble(b), difference = x - y;
            if (HostMath.RoundsToNearest(mxcsr) && HostMath.IsPlain(x) && HostMath.IsPlain(y) && HostMath.IsSafe(difference)
                && (HostMath.IsFree(mxcsr) || HostMath.IsExactSum(x, -y, difference)))
                return HostMath.Bits(difference);
        }
        else
        {
            float x = HostMath.AsSingle(a), y = HostMath.AsSingle(b), difference = x - y;
            if (HostMath.RoundsToNearest(mxcsr) && HostMath.IsPlain(x) && HostMath.IsPlain(y) && HostMath.IsSafe(difference)
                && (HostMath.IsFree(mxcsr) || (difference == (double)x - y && HostMath.IsExactSum(x, -y, difference))))
                return HostMath.Bits(difference);
        }
        FloatEnvironment environment = FloatEnvironment.FromMxcsr(mxcsr);
        ulong result = SoftFloat<TFormat>.Subtract(a, b, ref environment);
        flags |= environment.Flags;
        return result;
    }
}

internal readonly struct MultiplyFloat : IVectorFloatOp
{
    public static Vector128<float> Host(Vector128<float> a, Vector128<float> b) => a * b;

    public static Vector128<double> Host(Vector128<double> a, Vector128<double> b) => a * b;

    public static ulong Apply<TFormat>(ulong a, ulong b, int imm, uint mxcsr, ref uint flags)
        where TFormat : struct, IBinaryFormat
    {
        if (typeof(TFormat) == typeof(DoubleFormat))
        {
            double x = HostMath.AsDouble(a), y = HostMath.AsDouble(b), product = x * y;
            if (HostMath.RoundsToNearest(mxcsr) && HostMath.IsPlain(x) && HostMath.IsPlain(y) && HostMath.IsSafe(product)
                && (HostMath.IsFree(mxcsr) || (HostMath.HasRoom(product) && Math.FusedMultiplyAdd(x, y, -product) == 0)))
                return HostMath.Bits(product);
        }
        else
        {
            float x = HostMath.AsSingle(a), y = HostMath.AsSingle(b), product = x * y;
            if (HostMath.RoundsToNearest(mxcsr) && HostMath.IsPlain(x) && HostMath.IsPlain(y) && HostMath.IsSafe(product)
                && (HostMath.IsFree(mxcsr) || product == (double)x * y))
                return HostMath.Bits(product);
        }
        FloatEnvironment environment = FloatEnvironment.FromMxcsr(mxcsr);
        ulong result = SoftFloat<TFormat>.Multiply(a, b, ref environment);
        flags |= environment.Flags;
        return result;
    }
}

internal readonly struct DivideFloat : IVectorFloatOp
{
    public static Vector128<float> Host(Vector128<float> a, Vector128<float> b) => a / b;

    public static Vector128<double> Host(Vector128<double> a, Vector128<double> b) => a / b;

    public static ulong Apply<TFormat>(ulong a, ulong b, int imm, uint mxcsr, ref uint flags)
        where TFormat : struct, IBinaryFormat
    {
        if (typeof(TFormat) == typeof(DoubleFormat))
        {
            double x = HostMath.AsDouble(a), y = HostMath.AsDouble(b), quotient = x / y;
            if (HostMath.RoundsToNearest(mxcsr) && HostMath.IsPlain(x) && HostMath.IsPlain(y) && HostMath.IsSafe(quotient)
                && (HostMath.IsFree(mxcsr) || (HostMath.HasRoom(x) && Math.FusedMultiplyAdd(quotient, y, -x) == 0)))
                return HostMath.Bits(quotient);
        }
        else
        {
            float x = HostMath.AsSingle(a), y = HostMath.AsSingle(b), quotient = x / y;
            if (HostMath.RoundsToNearest(mxcsr) && HostMath.IsPlain(x) && HostMath.IsPlain(y) && HostMath.IsSafe(quotient)
                && (HostMath.IsFree(mxcsr) || (double)quotient * y == x))
                return HostMath.Bits(quotient);
        }
        FloatEnvironment environment = FloatEnvironment.FromMxcsr(mxcsr);
        ulong result = SoftFloat<TFormat>.Divide(a, b, ref environment);
        flags |= environment.Flags;
        return result;
    }
}

/// <summary>Square root of the second operand.</summary>
internal readonly struct SquareRootFloat : IFloatOp
{
    public static ulong Apply<TFormat>(ulong a, ulong b, int imm, uint mxcsr, ref uint flags)
        where TFormat : struct, IBinaryFormat
    {
        if (typeof(TFormat) == typeof(DoubleFormat))
        {
            double x = HostMath.AsDouble(b), root = Math.Sqrt(x);
            if (HostMath.RoundsToNearest(mxcsr) && HostMath.IsPlain(x) && HostMath.IsSafe(root)
                && (HostMath.IsFree(mxcsr) || (HostMath.HasRoom(x) && Math.FusedMultiplyAdd(root, root, -x) == 0)))
                return HostMath.Bits(root);
        }
        else
        {
            float x = HostMath.AsSingle(b), root = MathF.Sqrt(x);
            if (HostMath.RoundsToNearest(mxcsr) && HostMath.IsPlain(x) && HostMath.IsSafe(root)
                && (HostMath.IsFree(mxcsr) || (double)root * root == x))
                return HostMath.Bits(root);
        }
        FloatEnvironment environment = FloatEnvironment.FromMxcsr(mxcsr);
        ulong result = SoftFloat<TFormat>.SquareRoot(b, ref environment);
        flags |= environment.Flags;
        return result;
    }
}

internal readonly struct MinimumFloat : IFloatOp
{
    public static ulong Apply<TFormat>(ulong a, ulong b, int imm, uint mxcsr, ref uint flags)
        where TFormat : struct, IBinaryFormat
    {
        FloatEnvironment environment = FloatEnvironment.FromMxcsr(mxcsr);
        ulong result = SoftFloatCompare<TFormat>.Minimum(a, b, ref environment);
        flags |= environment.Flags;
        return result;
    }
}

internal readonly struct MaximumFloat : IFloatOp
{
    public static ulong Apply<TFormat>(ulong a, ulong b, int imm, uint mxcsr, ref uint flags)
        where TFormat : struct, IBinaryFormat
    {
        FloatEnvironment environment = FloatEnvironment.FromMxcsr(mxcsr);
        ulong result = SoftFloatCompare<TFormat>.Maximum(a, b, ref environment);
        flags |= environment.Flags;
        return result;
    }
}

/// <summary>CMPxx: all ones or zero. Legacy encodings have eight predicates.</summary>
internal readonly struct CompareFloat : IFloatOp
{
    public static ulong Apply<TFormat>(ulong a, ulong b, int imm, uint mxcsr, ref uint flags)
        where TFormat : struct, IBinaryFormat => CompareFloatVex.Apply<TFormat>(a, b, imm & 7, mxcsr, ref flags);
}

/// <summary>VCMPxx: thirty-two predicates.</summary>
internal readonly struct CompareFloatVex : IFloatOp
{
    public static ulong Apply<TFormat>(ulong a, ulong b, int imm, uint mxcsr, ref uint flags)
        where TFormat : struct, IBinaryFormat
    {
        FloatEnvironment environment = FloatEnvironment.FromMxcsr(mxcsr);
        bool result = SoftFloatCompare<TFormat>.Predicate(a, b, (uint)imm & 31, ref environment);
        flags |= environment.Flags;
        return result ? (SoftFloat<TFormat>.SignMask << 1) - 1 : 0;
    }
}

/// <summary>ROUNDxx of the second operand: mode in bits 1:0, or MXCSR's with bit 2; bit 3 suppresses PE.</summary>
internal readonly struct RoundFloat : IFloatOp
{
    public static ulong Apply<TFormat>(ulong a, ulong b, int imm, uint mxcsr, ref uint flags)
        where TFormat : struct, IBinaryFormat
    {
        FloatEnvironment environment = FloatEnvironment.FromMxcsr(mxcsr);
        uint mode = (imm & 4) != 0 ? environment.Rounding : (uint)imm & 3;
        double value = typeof(TFormat) == typeof(DoubleFormat) ? HostMath.AsDouble(b) : HostMath.AsSingle(b);
        if (Math.Abs(value) < 4503599627370496.0 && SoftFloat<TFormat>.IsPlain(b))
        {
            // The host's functions keep the sign of a zero result, and what a single rounds to is a single.
            double integral = mode switch
            {
                FloatFlags.RoundNearest => Math.Round(value, MidpointRounding.ToEven),
                FloatFlags.RoundDown => Math.Floor(value),
                FloatFlags.RoundUp => Math.Ceiling(value),
                _ => Math.Truncate(value),
            };
            if (integral != value && (imm & 8) == 0)
                flags |= FloatFlags.Precision;
            return typeof(TFormat) == typeof(DoubleFormat) ? HostMath.Bits(integral) : HostMath.Bits((float)integral);
        }
        ulong result = SoftFloatConvert.RoundToIntegral<TFormat>(b, mode, (imm & 8) != 0, ref environment);
        flags |= environment.Flags;
        return result;
    }
}
