// Invariants: pure functions of their arguments; no pointers.
using System.Runtime.Intrinsics;

namespace Kvm.X86.Execute.Simd;

// Logic, comparisons and shifts of packed integers (SDM vol. 2, PAND… PCMP… PSLL… PSRL… PSRA…).

internal readonly struct And : IBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b) => a & b;
}

internal readonly struct AndNot : IBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b) => ~a & b;
}

internal readonly struct Or : IBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b) => a | b;
}

internal readonly struct Xor : IBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b) => a ^ b;
}

internal readonly struct EqualBytes : IBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b) => Vector128.Equals(a, b);
}

internal readonly struct EqualWords : IBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b) => Vector128.Equals(a.AsInt16(), b.AsInt16()).AsByte();
}

internal readonly struct EqualDoublewords : IBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b) => Vector128.Equals(a.AsInt32(), b.AsInt32()).AsByte();
}

internal readonly struct EqualQuadwords : IBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b) => Vector128.Equals(a.AsInt64(), b.AsInt64()).AsByte();
}

internal readonly struct GreaterBytes : IBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b) => Vector128.GreaterThan(a.AsSByte(), b.AsSByte()).AsByte();
}

internal readonly struct GreaterWords : IBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b) => Vector128.GreaterThan(a.AsInt16(), b.AsInt16()).AsByte();
}

internal readonly struct GreaterDoublewords : IBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b) => Vector128.GreaterThan(a.AsInt32(), b.AsInt32()).AsByte();
}

internal readonly struct GreaterQuadwords : IBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b) => Vector128.GreaterThan(a.AsInt64(), b.AsInt64()).AsByte();
}

/// <summary>A shift of every element by one count; counts at or beyond the element's width give zeros, or sign bits for arithmetic shifts.</summary>
internal interface IShift
{
    static abstract Vector128<byte> Apply(Vector128<byte> a, ulong count);
}

internal readonly struct ShiftLeftWords : IShift
{
    public static Vector128<byte> Apply(Vector128<byte> a, ulong count) =>
        count > 15 ? Vector128<byte>.Zero : Vector128.ShiftLeft(a.AsUInt16(), (int)count).AsByte();
}

internal readonly struct ShiftLeftDoublewords : IShift
{
    public static Vector128<byte> Apply(Vector128<byte> a, ulong count) =>
        count > 31 ? Vector128<byte>.Zero : Vector128.ShiftLeft(a.AsUInt32(), (int)count).AsByte();
}

internal readonly struct ShiftLeftQuadwords : IShift
{
    public static Vector128<byte> Apply(Vector128<byte> a, ulong count) =>
        count > 63 ? Vector128<byte>.Zero : Vector128.ShiftLeft(a.AsUInt64(), (int)count).AsByte();
}

internal readonly struct ShiftRightWords : IShift
{
    public static Vector128<byte> Apply(Vector128<byte> a, ulong count) =>
        count > 15 ? Vector128<byte>.Zero : Vector128.ShiftRightLogical(a.AsUInt16(), (int)count).AsByte();
}

internal readonly struct ShiftRightDoublewords : IShift
{
    public static Vector128<byte> Apply(Vector128<byte> a, ulong count) =>
        count > 31 ? Vector128<byte>.Zero : Vector128.ShiftRightLogical(a.AsUInt32(), (int)count).AsByte();
}

internal readonly struct ShiftRightQuadwords : IShift
{
    public static Vector128<byte> Apply(Vector128<byte> a, ulong count) =>
        count > 63 ? Vector128<byte>.Zero : Vector128.ShiftRightLogical(a.AsUInt64(), (int)count).AsByte();
}

internal readonly struct ShiftRightSignedWords : IShift
{
    public static Vector128<byte> Apply(Vector128<byte> a, ulong count) =>
        Vector128.ShiftRightArithmetic(a.AsInt16(), (int)Math.Min(count, 15)).AsByte();
}

internal readonly struct ShiftRightSignedDoublewords : IShift
{
    public static Vector128<byte> Apply(Vector128<byte> a, ulong count) =>
        Vector128.ShiftRightArithmetic(a.AsInt32(), (int)Math.Min(count, 31)).AsByte();
}

/// <summary>PSLLDQ: the whole 128 bits by bytes.</summary>
internal readonly struct ShiftLeftBytes : IShift
{
    public static Vector128<byte> Apply(Vector128<byte> a, ulong count) =>
        count > 15 ? Vector128<byte>.Zero : ByteShift.Left(a, (int)count);
}

/// <summary>PSRLDQ.</summary>
internal readonly struct ShiftRightBytes : IShift
{
    public static Vector128<byte> Apply(Vector128<byte> a, ulong count) =>
        count > 15 ? Vector128<byte>.Zero : ByteShift.Right(a, Vector128<byte>.Zero, (int)count);
}

/// <summary>Moves across bytes of 128-bit values.</summary>
internal static class ByteShift
{
    /// <summary>Left by 0 to 15 bytes.</summary>
    public static Vector128<byte> Left(Vector128<byte> a, int count)
    {
        UInt128 value = ToInteger(a) << (8 * count);
        return Create(value);
    }

    /// <summary>The low 128 bits of (high:low) shifted right by 0 to 16 bytes.</summary>
    public static Vector128<byte> Right(Vector128<byte> low, Vector128<byte> high, int count)
    {
        UInt128 lower = ToInteger(low), upper = ToInteger(high);
        return count == 0 ? low : count >= 16 ? high : Create((lower >> (8 * count)) | (upper << (128 - (8 * count))));
    }

    public static UInt128 ToInteger(Vector128<byte> a) => new(a.AsUInt64()[1], a.AsUInt64()[0]);

    public static Vector128<byte> Create(UInt128 value) => Vector128.Create((ulong)value, (ulong)(value >> 64)).AsByte();
}
