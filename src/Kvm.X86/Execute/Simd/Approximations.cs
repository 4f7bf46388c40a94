// Invariants: pure functions of their arguments; no pointers.
using Kvm.X86.Float;

namespace Kvm.X86.Execute.Simd;

/// <summary>
/// RCPSS and RSQRTSS of the second operand: the manual bounds the relative error by 1.5·2^-12 and every maker's tables differ. Here the exact
/// value rounded to 12 bits. No exceptions; denormals are zeros, tiny results become zero.
/// </summary>
internal readonly struct ReciprocalFloat : IFloatOp
{
    public static ulong Apply<TFormat>(ulong a, ulong b, int imm, uint mxcsr, ref uint flags)
        where TFormat : struct, IBinaryFormat
    {
        ulong sign = b & 0x8000_0000;
        if (SoftFloat<SingleFormat>.IsNaN(b))
            return b | SoftFloat<SingleFormat>.QuietBit;
        if ((b & 0x7F80_0000) == 0)
            return sign | 0x7F80_0000;
        if ((b & 0x7FFF_FFFF) == 0x7F80_0000)
            return sign;
        return Approximation.Shorten((float)(1.0 / HostMath.AsSingle(b)));
    }
}

internal readonly struct ReciprocalRootFloat : IFloatOp
{
    public static ulong Apply<TFormat>(ulong a, ulong b, int imm, uint mxcsr, ref uint flags)
        where TFormat : struct, IBinaryFormat
    {
        ulong sign = b & 0x8000_0000;
        if (SoftFloat<SingleFormat>.IsNaN(b))
            return b | SoftFloat<SingleFormat>.QuietBit;
        if ((b & 0x7F80_0000) == 0)
            return sign | 0x7F80_0000;
        if (sign != 0)
            return SoftFloat<SingleFormat>.Indefinite;
        return b == 0x7F80_0000 ? 0 : Approximation.Shorten((float)(1.0 / Math.Sqrt(HostMath.AsSingle(b))));
    }
}

/// <summary>Twelve significant bits of a single.</summary>
internal static class Approximation
{
    public static ulong Shorten(float value)
    {
        ulong bits = HostMath.Bits(value);
        return (bits & 0x7F80_0000) == 0 ? bits & 0x8000_0000 : (bits + 0x400) & ~0x7FFUL;
    }
}
