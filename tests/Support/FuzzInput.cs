using System.Buffers.Binary;

namespace Kvm.Tests.Support;

/// <summary>The bytes that drive a run, taken from the front; zeros when they are used up.</summary>
internal ref struct FuzzInput(ReadOnlySpan<byte> bytes)
{
    private ReadOnlySpan<byte> _rest = bytes;

    public readonly bool IsEmpty => _rest.IsEmpty;

    public byte U8()
    {
        if (_rest.IsEmpty)
            return 0;
        byte value = _rest[0];
        _rest = _rest[1..];
        return value;
    }

    public ushort U16() => (ushort)(U8() | U8() << 8);

    public uint U32() => U16() | (uint)U16() << 16;

    /// <summary>One of a few telling numbers, or any.</summary>
    public ulong Number()
    {
        ReadOnlySpan<ulong> telling = [0, 1, 2, 3, 4, 8, 15, 16, 17, 0x7fff, 0x8000, 0x8001, 0xffff, 0xffff_ffff, ulong.MaxValue, 1UL << 55, 1UL << 63];
        byte choice = U8();
        return choice < telling.Length ? telling[choice] : choice < 128 ? U8() : choice < 192 ? U16() : U32() | (ulong)U32() << 32;
    }

    public void Fill(Span<byte> to)
    {
        foreach (ref byte b in to)
            b = U8();
    }
}
