// Invariants: pure functions of their arguments; no pointers.
using System.Runtime.Intrinsics;

namespace Kvm.X86.Execute.Simd;

// Packed integer addition, subtraction, multiplication, minimum, maximum and averages (SDM vol. 2, PADD… PSUB… PMUL… PMIN… PMAX… PAVG…).

/// <summary>Shared building blocks of packed integer arithmetic.</summary>
internal static class PackedMath
{
    /// <summary>a + b where it does not overflow, else the limit of a's sign.</summary>
    public static Vector128<T> AddSaturated<T>(Vector128<T> a, Vector128<T> b, Vector128<T> greatest)
    {
        Vector128<T> sum = a + b;
        Vector128<T> overflow = Vector128.LessThan(~(a ^ b) & (a ^ sum), Vector128<T>.Zero);
        Vector128<T> limit = Vector128.LessThan(a, Vector128<T>.Zero) ^ greatest;
        return Vector128.ConditionalSelect(overflow, limit, sum);
    }

    /// <summary>a - b where it does not overflow, else the limit of a's sign.</summary>
    public static Vector128<T> SubtractSaturated<T>(Vector128<T> a, Vector128<T> b, Vector128<T> greatest)
    {
        Vector128<T> difference = a - b;
        Vector128<T> overflow = Vector128.LessThan((a ^ b) & (a ^ difference), Vector128<T>.Zero);
        Vector128<T> limit = Vector128.LessThan(a, Vector128<T>.Zero) ^ greatest;
        return Vector128.ConditionalSelect(overflow, limit, difference);
    }

    /// <summary>High halves of the products of signed words.</summary>
    public static Vector128<byte> MultiplyHigh(Vector128<short> a, Vector128<short> b)
    {
        Vector128<int> low = Vector128.WidenLower(a) * Vector128.WidenLower(b);
        Vector128<int> high = Vector128.WidenUpper(a) * Vector128.WidenUpper(b);
        return Vector128.Narrow(low >> 16, high >> 16).AsByte();
    }

    /// <summary>Two 64-bit products of elements given by index.</summary>
    public static Vector128<byte> MultiplyEvenUnsigned(Vector128<byte> a, Vector128<byte> b)
    {
        Vector128<ulong> x = a.AsUInt64(), y = b.AsUInt64();
        return Vector128.Create((ulong)(uint)x[0] * (uint)y[0], (ulong)(uint)x[1] * (uint)y[1]).AsByte();
    }

    /// <summary>The sums of the absolute differences of eight bytes each.</summary>
    public static Vector128<byte> SumOfDifferences(Vector128<byte> a, Vector128<byte> b)
    {
        Vector128<ushort> difference = (Vector128.Max(a, b) - Vector128.Min(a, b)).AsUInt16();
        Vector128<uint> words = ((difference & Vector128.Create((ushort)0xFF)) + (difference >> 8)).AsUInt32();
        Vector128<ulong> doubles = ((words & Vector128.Create(0xFFFFu)) + (words >> 16)).AsUInt64();
        return ((doubles & Vector128.Create(0xFFFF_FFFFUL)) + (doubles >> 32)).AsByte();
    }
}

internal readonly struct AddBytes : IBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b) => a + b;
}

internal readonly struct AddWords : IBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b) => (a.AsInt16() + b.AsInt16()).AsByte();
}

internal readonly struct AddDoublewords : IBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b) => (a.AsInt32() + b.AsInt32()).AsByte();
}

internal readonly struct AddQuadwords : IBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b) => (a.AsInt64() + b.AsInt64()).AsByte();
}

internal readonly struct SubtractBytes : IBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b) => a - b;
}

internal readonly struct SubtractWords : IBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b) => (a.AsInt16() - b.AsInt16()).AsByte();
}

internal readonly struct SubtractDoublewords : IBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b) => (a.AsInt32() - b.AsInt32()).AsByte();
}

internal readonly struct SubtractQuadwords : IBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b) => (a.AsInt64() - b.AsInt64()).AsByte();
}

internal readonly struct AddSignedBytes : IBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b) =>
        PackedMath.AddSaturated(a.AsSByte(), b.AsSByte(), Vector128.Create(sbyte.MaxValue)).AsByte();
}

internal readonly struct AddSignedWords : IBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b) =>
        PackedMath.AddSaturated(a.AsInt16(), b.AsInt16(), Vector128.Create(short.MaxValue)).AsByte();
}

internal readonly struct SubtractSignedBytes : IBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b) =>
        PackedMath.SubtractSaturated(a.AsSByte(), b.AsSByte(), Vector128.Create(sbyte.MaxValue)).AsByte();
}

internal readonly struct SubtractSignedWords : IBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b) =>
        PackedMath.SubtractSaturated(a.AsInt16(), b.AsInt16(), Vector128.Create(short.MaxValue)).AsByte();
}

internal readonly struct AddUnsignedBytes : IBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b) => a + Vector128.Min(~a, b);
}

internal readonly struct AddUnsignedWords : IBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b) =>
        (a.AsUInt16() + Vector128.Min((~a).AsUInt16(), b.AsUInt16())).AsByte();
}

internal readonly struct SubtractUnsignedBytes : IBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b) => Vector128.Max(a, b) - b;
}

internal readonly struct SubtractUnsignedWords : IBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b) =>
        (Vector128.Max(a.AsUInt16(), b.AsUInt16()) - b.AsUInt16()).AsByte();
}

internal readonly struct AverageBytes : IBinary
{
    // The rounded average without a ninth bit: (a | b) - ((a ^ b) >> 1).
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b) => (a | b) - ((a ^ b) >> 1);
}

internal readonly struct AverageWords : IBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b) =>
        ((a | b).AsUInt16() - ((a ^ b).AsUInt16() >> 1)).AsByte();
}

internal readonly struct MinimumUnsignedBytes : IBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b) => Vector128.Min(a, b);
}

internal readonly struct MinimumSignedBytes : IBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b) => Vector128.Min(a.AsSByte(), b.AsSByte()).AsByte();
}

internal readonly struct MinimumSignedWords : IBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b) => Vector128.Min(a.AsInt16(), b.AsInt16()).AsByte();
}

internal readonly struct MinimumUnsignedWords : IBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b) => Vector128.Min(a.AsUInt16(), b.AsUInt16()).AsByte();
}

internal readonly struct MinimumSignedDoublewords : IBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b) => Vector128.Min(a.AsInt32(), b.AsInt32()).AsByte();
}

internal readonly struct MinimumUnsignedDoublewords : IBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b) => Vector128.Min(a.AsUInt32(), b.AsUInt32()).AsByte();
}

internal readonly struct MaximumUnsignedBytes : IBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b) => Vector128.Max(a, b);
}

internal readonly struct MaximumSignedBytes : IBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b) => Vector128.Max(a.AsSByte(), b.AsSByte()).AsByte();
}

internal readonly struct MaximumSignedWords : IBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b) => Vector128.Max(a.AsInt16(), b.AsInt16()).AsByte();
}

internal readonly struct MaximumUnsignedWords : IBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b) => Vector128.Max(a.AsUInt16(), b.AsUInt16()).AsByte();
}

internal readonly struct MaximumSignedDoublewords : IBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b) => Vector128.Max(a.AsInt32(), b.AsInt32()).AsByte();
}

internal readonly struct MaximumUnsignedDoublewords : IBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b) => Vector128.Max(a.AsUInt32(), b.AsUInt32()).AsByte();
}

internal readonly struct MultiplyWordsLow : IBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b) => (a.AsInt16() * b.AsInt16()).AsByte();
}

internal readonly struct MultiplyWordsHigh : IBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b) => PackedMath.MultiplyHigh(a.AsInt16(), b.AsInt16());
}

internal readonly struct MultiplyWordsHighUnsigned : IBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b)
    {
        Vector128<uint> low = Vector128.WidenLower(a.AsUInt16()) * Vector128.WidenLower(b.AsUInt16());
        Vector128<uint> high = Vector128.WidenUpper(a.AsUInt16()) * Vector128.WidenUpper(b.AsUInt16());
        return Vector128.Narrow(low >> 16, high >> 16).AsByte();
    }
}

/// <summary>PMULHRSW: products rounded to their upper sixteen of thirty-one bits.</summary>
internal readonly struct MultiplyWordsRounded : IBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b)
    {
        Vector128<int> one = Vector128<int>.One;
        Vector128<int> low = Vector128.WidenLower(a.AsInt16()) * Vector128.WidenLower(b.AsInt16());
        Vector128<int> high = Vector128.WidenUpper(a.AsInt16()) * Vector128.WidenUpper(b.AsInt16());
        return Vector128.Narrow(((low >> 14) + one) >> 1, ((high >> 14) + one) >> 1).AsByte();
    }
}

internal readonly struct MultiplyDoublewordsLow : IBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b) => (a.AsInt32() * b.AsInt32()).AsByte();
}

internal readonly struct MultiplyEvenUnsigned : IBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b) => PackedMath.MultiplyEvenUnsigned(a, b);
}

internal readonly struct MultiplyEvenSigned : IBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b)
    {
        Vector128<long> x = a.AsInt64(), y = b.AsInt64();
        return Vector128.Create((long)(int)x[0] * (int)y[0], (long)(int)x[1] * (int)y[1]).AsByte();
    }
}

/// <summary>PMADDWD: sums of neighbouring products of signed words; 8000 twice by 8000 twice wraps to 80000000.</summary>
internal readonly struct MultiplyAddWords : IBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b)
    {
        Vector128<int> x = a.AsInt32(), y = b.AsInt32();
        Vector128<int> even = ((x << 16) >> 16) * ((y << 16) >> 16);
        return (even + ((x >> 16) * (y >> 16))).AsByte();
    }
}

/// <summary>PMADDUBSW: unsigned bytes of the first by signed bytes of the second, neighbours added with saturation.</summary>
internal readonly struct MultiplyAddBytes : IBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b)
    {
        Vector128<short> even = (a.AsUInt16() & Vector128.Create((ushort)0xFF)).AsInt16() * ((b.AsInt16() << 8) >> 8);
        Vector128<short> odd = (a.AsUInt16() >> 8).AsInt16() * (b.AsInt16() >> 8);
        return PackedMath.AddSaturated(even, odd, Vector128.Create(short.MaxValue)).AsByte();
    }
}

internal readonly struct SumAbsoluteDifferences : IBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b) => PackedMath.SumOfDifferences(a, b);
}

internal readonly struct AbsoluteBytes : IUnary
{
    public static Vector128<byte> Apply(Vector128<byte> a) => Vector128.Min(a, Vector128<byte>.Zero - a);
}

internal readonly struct AbsoluteWords : IUnary
{
    public static Vector128<byte> Apply(Vector128<byte> a) => Vector128.Min(a.AsUInt16(), Vector128<ushort>.Zero - a.AsUInt16()).AsByte();
}

internal readonly struct AbsoluteDoublewords : IUnary
{
    public static Vector128<byte> Apply(Vector128<byte> a) => Vector128.Min(a.AsUInt32(), Vector128<uint>.Zero - a.AsUInt32()).AsByte();
}

internal readonly struct SignBytes : IBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b) => Sign.Of(a.AsSByte(), b.AsSByte()).AsByte();
}

internal readonly struct SignWords : IBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b) => Sign.Of(a.AsInt16(), b.AsInt16()).AsByte();
}

internal readonly struct SignDoublewords : IBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b) => Sign.Of(a.AsInt32(), b.AsInt32()).AsByte();
}

/// <summary>PSIGNx: a, 0 or -a by the sign of b.</summary>
internal static class Sign
{
    public static Vector128<T> Of<T>(Vector128<T> a, Vector128<T> b)
    {
        Vector128<T> negative = Vector128.LessThan(b, Vector128<T>.Zero);
        Vector128<T> zero = Vector128.Equals(b, Vector128<T>.Zero);
        return ((a ^ negative) - negative) & ~zero;
    }
}
