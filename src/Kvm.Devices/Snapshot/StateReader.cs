using System.Buffers.Binary;

namespace Kvm.Devices.Snapshot;

/// <summary>
/// Reads what <see cref="StateWriter"/> wrote. Reading past the end gives zeros and sets <see cref="Failed"/>, so that a
/// device reads all its fields and asks once; nothing throws on a truncated record.
/// </summary>
public ref struct StateReader(ReadOnlySpan<byte> record)
{
    private ReadOnlySpan<byte> _rest = record;

    /// <summary>True once a read went past the end or a length was larger than allowed.</summary>
    public bool Failed { get; private set; }

    /// <summary>True if every field was there and nothing is left over.</summary>
    public readonly bool Complete => !Failed && _rest.IsEmpty;

    /// <summary>Reads one byte.</summary>
    public byte U8() => Take(1) is [var b] ? b : (byte)0;

    /// <summary>Reads a truth value; anything but 0 is true.</summary>
    public bool Bool() => U8() != 0;

    /// <summary>Reads 16 bits.</summary>
    public ushort U16() => Take(2) is { Length: 2 } s ? BinaryPrimitives.ReadUInt16LittleEndian(s) : (ushort)0;

    /// <summary>Reads 32 bits.</summary>
    public uint U32() => Take(4) is { Length: 4 } s ? BinaryPrimitives.ReadUInt32LittleEndian(s) : 0;

    /// <summary>Reads 64 bits.</summary>
    public ulong U64() => Take(8) is { Length: 8 } s ? BinaryPrimitives.ReadUInt64LittleEndian(s) : 0;

    /// <summary>Reads a length and that many bytes, at most <paramref name="maximum"/>.</summary>
    public ReadOnlySpan<byte> Bytes(int maximum)
    {
        uint length = U32();
        if (length > maximum)
        {
            Failed = true;
            return default;
        }

        return Take((int)length);
    }

    /// <summary>Reads a length and that many bytes, which must fill <paramref name="to"/>; false, and nothing written, where they do not.</summary>
    public bool TryFill(Span<byte> to)
    {
        var bytes = Bytes(to.Length);
        return bytes.Length == to.Length && bytes.TryCopyTo(to);
    }

    private ReadOnlySpan<byte> Take(int count)
    {
        if (Failed || count > _rest.Length)
        {
            Failed = true;
            return default;
        }

        var taken = _rest[..count];
        _rest = _rest[count..];
        return taken;
    }
}
