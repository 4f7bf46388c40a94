// Invariants: pure functions of their arguments; no pointers.
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Kvm.X86.Execute.Simd;

// Interleaving, packing, shuffling and horizontal operations of packed integers (SDM vol. 2, PUNPCK… PACK… PSHUF… PALIGNR, PHADD…).

/// <summary>Interleaving and packing, the way every width needs it.</summary>
internal static class Interleave
{
    public static Vector128<byte> LowBytes(Vector128<byte> a, Vector128<byte> b) =>
        (Vector128.WidenLower(a) | (Vector128.WidenLower(b) << 8)).AsByte();

    public static Vector128<byte> HighBytes(Vector128<byte> a, Vector128<byte> b) =>
        (Vector128.WidenUpper(a) | (Vector128.WidenUpper(b) << 8)).AsByte();

    public static Vector128<byte> LowWords(Vector128<byte> a, Vector128<byte> b) =>
        (Vector128.WidenLower(a.AsUInt16()) | (Vector128.WidenLower(b.AsUInt16()) << 16)).AsByte();

    public static Vector128<byte> HighWords(Vector128<byte> a, Vector128<byte> b) =>
        (Vector128.WidenUpper(a.AsUInt16()) | (Vector128.WidenUpper(b.AsUInt16()) << 16)).AsByte();

    public static Vector128<byte> LowDoublewords(Vector128<byte> a, Vector128<byte> b) =>
        (Vector128.WidenLower(a.AsUInt32()) | (Vector128.WidenLower(b.AsUInt32()) << 32)).AsByte();

    public static Vector128<byte> HighDoublewords(Vector128<byte> a, Vector128<byte> b) =>
        (Vector128.WidenUpper(a.AsUInt32()) | (Vector128.WidenUpper(b.AsUInt32()) << 32)).AsByte();

    /// <summary>Two 64-bit values side by side.</summary>
    public static Vector128<byte> Join(ulong low, ulong high) => Vector128.Create(low, high).AsByte();

    public static ulong LowHalf(Vector128<byte> a) => a.AsUInt64().ToScalar();

    public static ulong HighHalf(Vector128<byte> a) => a.AsUInt64()[1];
}

internal readonly struct UnpackLowBytes : IBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b) => Interleave.LowBytes(a, b);
}

internal readonly struct UnpackLowWords : IBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b) => Interleave.LowWords(a, b);
}

internal readonly struct UnpackLowDoublewords : IBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b) => Interleave.LowDoublewords(a, b);
}

internal readonly struct UnpackLowQuadwords : IBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b) => Interleave.Join(Interleave.LowHalf(a), Interleave.LowHalf(b));
}

internal readonly struct UnpackHighBytes : IBinary, IMmxBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b) => Interleave.HighBytes(a, b);

    public static ulong Apply(ulong a, ulong b) =>
        Interleave.HighHalf(Interleave.LowBytes(Vector128.CreateScalar(a).AsByte(), Vector128.CreateScalar(b).AsByte()));
}

internal readonly struct UnpackHighWords : IBinary, IMmxBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b) => Interleave.HighWords(a, b);

    public static ulong Apply(ulong a, ulong b) =>
        Interleave.HighHalf(Interleave.LowWords(Vector128.CreateScalar(a).AsByte(), Vector128.CreateScalar(b).AsByte()));
}

internal readonly struct UnpackHighDoublewords : IBinary, IMmxBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b) => Interleave.HighDoublewords(a, b);

    public static ulong Apply(ulong a, ulong b) => (a >> 32) | (b & 0xFFFF_FFFF_0000_0000);
}

internal readonly struct UnpackHighQuadwords : IBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b) => Interleave.Join(Interleave.HighHalf(a), Interleave.HighHalf(b));
}

internal readonly struct PackSignedWords : IBinary, IMmxBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b) =>
        Vector128.Narrow(Clamp(a.AsInt16()), Clamp(b.AsInt16())).AsByte();

    public static ulong Apply(ulong a, ulong b)
    {
        Vector128<byte> both = Interleave.Join(a, b);
        return Interleave.LowHalf(Apply(both, both));
    }

    private static Vector128<short> Clamp(Vector128<short> a) =>
        Vector128.Min(Vector128.Max(a, Vector128.Create((short)-128)), Vector128.Create((short)127));
}

internal readonly struct PackUnsignedWords : IBinary, IMmxBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b) =>
        Vector128.Narrow(Clamp(a.AsInt16()), Clamp(b.AsInt16()));

    public static ulong Apply(ulong a, ulong b)
    {
        Vector128<byte> both = Interleave.Join(a, b);
        return Interleave.LowHalf(Apply(both, both));
    }

    private static Vector128<ushort> Clamp(Vector128<short> a) =>
        Vector128.Min(Vector128.Max(a, Vector128<short>.Zero), Vector128.Create((short)255)).AsUInt16();
}

internal readonly struct PackSignedDoublewords : IBinary, IMmxBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b) =>
        Vector128.Narrow(Clamp(a.AsInt32()), Clamp(b.AsInt32())).AsByte();

    public static ulong Apply(ulong a, ulong b)
    {
        Vector128<byte> both = Interleave.Join(a, b);
        return Interleave.LowHalf(Apply(both, both));
    }

    private static Vector128<int> Clamp(Vector128<int> a) =>
        Vector128.Min(Vector128.Max(a, Vector128.Create(-32768)), Vector128.Create(32767));
}

internal readonly struct PackUnsignedDoublewords : IBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b) =>
        Vector128.Narrow(Clamp(a.AsInt32()), Clamp(b.AsInt32())).AsByte();

    private static Vector128<uint> Clamp(Vector128<int> a) =>
        Vector128.Min(Vector128.Max(a, Vector128<int>.Zero), Vector128.Create(65535)).AsUInt32();
}

/// <summary>PSHUFB: bit 7 of an index gives zero, else its low four bits (three for MMX) choose a byte.</summary>
internal readonly struct ShuffleBytes : IBinary, IMmxBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b) => Ssse3.IsSupported ? Ssse3.Shuffle(a, b) : Portable(a, b);

    /// <summary>The same on a host without PSHUFB.</summary>
    public static Vector128<byte> Portable(Vector128<byte> a, Vector128<byte> b) => Vector128.Shuffle(a, b & Vector128.Create((byte)0x8F));

    public static ulong Apply(ulong a, ulong b) =>
        Interleave.LowHalf(Apply(Interleave.Join(a, 0), Interleave.Join(b, 0) & Vector128.Create((byte)0x87)));
}

internal readonly struct ShuffleDoublewords : IImmediateUnary
{
    public static Vector128<byte> Apply(Vector128<byte> a, int imm)
    {
        // Element numbers to the numbers of their four bytes.
        Vector128<uint> elements = Vector128.Create((uint)imm & 3, ((uint)imm >> 2) & 3, ((uint)imm >> 4) & 3, ((uint)imm >> 6) & 3);
        return ShuffleBytes.Apply(a, ((elements * 0x04040404u) + Vector128.Create(0x03020100u)).AsByte());
    }
}

/// <summary>Four words of a quadword by two bits each.</summary>
internal static class WordShuffle
{
    public static ulong Apply(ulong a, int imm) =>
        (ulong)(ushort)(a >> ((imm & 3) * 16))
        | ((ulong)(ushort)(a >> (((imm >> 2) & 3) * 16)) << 16)
        | ((ulong)(ushort)(a >> (((imm >> 4) & 3) * 16)) << 32)
        | ((ulong)(ushort)(a >> (((imm >> 6) & 3) * 16)) << 48);
}

internal readonly struct ShuffleHighWords : IImmediateUnary
{
    public static Vector128<byte> Apply(Vector128<byte> a, int imm) =>
        Interleave.Join(Interleave.LowHalf(a), WordShuffle.Apply(Interleave.HighHalf(a), imm));
}

internal readonly struct ShuffleLowWords : IImmediateUnary
{
    public static Vector128<byte> Apply(Vector128<byte> a, int imm) =>
        Interleave.Join(WordShuffle.Apply(Interleave.LowHalf(a), imm), Interleave.HighHalf(a));
}

/// <summary>PALIGNR: the first operand above the second, shifted right by bytes.</summary>
internal readonly struct AlignRight : IImmediateBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b, int imm) =>
        imm <= 16 ? ByteShift.Right(b, a, imm)
        : imm < 32 ? ByteShift.Right(a, Vector128<byte>.Zero, imm - 16) : Vector128<byte>.Zero;
}

/// <summary>The even and odd elements of two operands: what horizontal operations combine.</summary>
internal static class Horizontal
{
    public static Vector128<short> EvenWords(Vector128<byte> a, Vector128<byte> b) => Vector128.Narrow(a.AsInt32(), b.AsInt32());

    public static Vector128<short> OddWords(Vector128<byte> a, Vector128<byte> b) => Vector128.Narrow(a.AsInt32() >> 16, b.AsInt32() >> 16);

    public static Vector128<int> EvenDoublewords(Vector128<byte> a, Vector128<byte> b) => Vector128.Narrow(a.AsInt64(), b.AsInt64());

    public static Vector128<int> OddDoublewords(Vector128<byte> a, Vector128<byte> b) => Vector128.Narrow(a.AsInt64() >> 32, b.AsInt64() >> 32);
}

internal readonly struct HorizontalAddWords : IBinary, IMmxBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b) =>
        (Horizontal.EvenWords(a, b) + Horizontal.OddWords(a, b)).AsByte();

    public static ulong Apply(ulong a, ulong b) => Interleave.LowHalf(Apply(Interleave.Join(a, b), Vector128<byte>.Zero));
}

internal readonly struct HorizontalAddDoublewords : IBinary, IMmxBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b) =>
        (Horizontal.EvenDoublewords(a, b) + Horizontal.OddDoublewords(a, b)).AsByte();

    public static ulong Apply(ulong a, ulong b) => Interleave.LowHalf(Apply(Interleave.Join(a, b), Vector128<byte>.Zero));
}

internal readonly struct HorizontalAddSaturated : IBinary, IMmxBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b) =>
        PackedMath.AddSaturated(Horizontal.EvenWords(a, b), Horizontal.OddWords(a, b), Vector128.Create(short.MaxValue)).AsByte();

    public static ulong Apply(ulong a, ulong b) => Interleave.LowHalf(Apply(Interleave.Join(a, b), Vector128<byte>.Zero));
}

internal readonly struct HorizontalSubtractWords : IBinary, IMmxBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b) =>
        (Horizontal.EvenWords(a, b) - Horizontal.OddWords(a, b)).AsByte();

    public static ulong Apply(ulong a, ulong b) => Interleave.LowHalf(Apply(Interleave.Join(a, b), Vector128<byte>.Zero));
}

internal readonly struct HorizontalSubtractDoublewords : IBinary, IMmxBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b) =>
        (Horizontal.EvenDoublewords(a, b) - Horizontal.OddDoublewords(a, b)).AsByte();

    public static ulong Apply(ulong a, ulong b) => Interleave.LowHalf(Apply(Interleave.Join(a, b), Vector128<byte>.Zero));
}

internal readonly struct HorizontalSubtractSaturated : IBinary, IMmxBinary
{
    public static Vector128<byte> Apply(Vector128<byte> a, Vector128<byte> b) =>
        PackedMath.SubtractSaturated(Horizontal.EvenWords(a, b), Horizontal.OddWords(a, b), Vector128.Create(short.MaxValue)).AsByte();

    public static ulong Apply(ulong a, ulong b) => Interleave.LowHalf(Apply(Interleave.Join(a, b), Vector128<byte>.Zero));
}
