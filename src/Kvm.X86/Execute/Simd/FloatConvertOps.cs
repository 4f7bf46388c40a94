// Invariants: pure functions of their arguments; no pointers.
using System.Runtime.CompilerServices;
using Kvm.X86.Float;

namespace Kvm.X86.Execute.Simd;

/// <summary>Conversions of one element: fast where the host's conversion is certain to be right, see <see cref="HostMath"/>.</summary>
internal static class ConvertElement
{
    /// <summary>Single to double.</summary>
    public static ulong Widen(ulong bits, uint mxcsr, ref uint flags)
    {
        float value = HostMath.AsSingle(bits);
        if (HostMath.IsPlain(value))
            return HostMath.Bits((double)value);
        FloatEnvironment environment = FloatEnvironment.FromMxcsr(mxcsr);
        ulong result = SoftFloatConvert.Convert<SingleFormat, DoubleFormat>(bits, ref environment);
        flags |= environment.Flags;
        return result;
    }

    /// <summary>Double to single.</summary>
    public static ulong Narrow(ulong bits, uint mxcsr, ref uint flags)
    {
        double value = HostMath.AsDouble(bits);
        float narrow = (float)value;
        if (HostMath.RoundsToNearest(mxcsr) && HostMath.IsSafe(narrow) && (HostMath.IsFree(mxcsr) || narrow == value))
            return HostMath.Bits(narrow);
        FloatEnvironment environment = FloatEnvironment.FromMxcsr(mxcsr);
        ulong result = SoftFloatConvert.Convert<DoubleFormat, SingleFormat>(bits, ref environment);
        flags |= environment.Flags;
        return result;
    }

    /// <summary>A signed integer to a float.</summary>
    public static ulong FromInteger<TFormat>(long value, uint mxcsr, ref uint flags) where TFormat : struct, IBinaryFormat
    {
        // Integers of up to as many bits as the significand convert exactly.
        if (typeof(TFormat) == typeof(DoubleFormat))
        {
            if (value + (1L << 53) is >= 0 and <= 1L << 54)
                return HostMath.Bits((double)value);
        }
        else if (value + (1L << 24) is >= 0 and <= 1L << 25)
        {
            return HostMath.Bits((float)value);
        }
        FloatEnvironment environment = FloatEnvironment.FromMxcsr(mxcsr);
        ulong result = SoftFloatConvert.FromInteger<TFormat>(value, ref environment);
        flags |= environment.Flags;
        return result;
    }

    /// <summary>A float to a signed integer of 32 or 64 bits, toward zero or by MXCSR's mode.</summary>
    public static ulong ToInteger<TFormat>(ulong bits, int width, bool truncate, uint mxcsr, ref uint flags) where TFormat : struct, IBinaryFormat
    {
        double value = typeof(TFormat) == typeof(DoubleFormat) ? HostMath.AsDouble(bits) : HostMath.AsSingle(bits);
        if (Math.Abs(value) < 2147483000.0)
        {
            // Also true for denormals, whose rounding the slow path knows.
            long integer = (long)value;
            if (integer == value)
                return (ulong)integer;
            if (truncate && integer != 0)
            {
                flags |= FloatFlags.Precision;
                return (ulong)integer;
            }
        }
        FloatEnvironment environment = FloatEnvironment.FromMxcsr(mxcsr);
        uint mode = truncate ? FloatFlags.RoundToZero : environment.Rounding;
        ulong result = SoftFloatConvert.ToInteger<TFormat>(bits, width, mode, ref environment);
        flags |= environment.Flags;
        return result;
    }
}
