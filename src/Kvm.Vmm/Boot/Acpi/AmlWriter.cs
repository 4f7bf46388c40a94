using System.Buffers.Binary;
using System.Text;

namespace Kvm.Vmm.Boot.Acpi;

/// <summary>
/// Writes ACPI Machine Language (ACPI 6.5, 20.2): the dozen terms that describe a machine. Blocks are closed by
/// disposing what opened them, so that C# indentation shows the AML's.
/// </summary>
internal sealed class AmlWriter
{
    /// <summary>Every package length takes three bytes, which the encoding allows for short ones too (20.2.4).</summary>
    private const int PackageLengthSize = 3;
    private const int LongestPackage = (1 << 20) - 1;

    private byte[] _bytes = new byte[2048];

    /// <summary>Bytes written so far.</summary>
    public int Length { get; private set; }

    /// <summary>What was written.</summary>
    public ReadOnlySpan<byte> Written => _bytes.AsSpan(0, Length);

    /// <summary>An open block; dispose it to close it.</summary>
    internal readonly ref struct Block(AmlWriter writer, int lengthAt, int countAt = 0)
    {
        /// <summary>Closes the block: its length is known now.</summary>
        public void Dispose() => writer.Close(lengthAt, countAt);
    }

    /// <summary>DefScope of an absolute path of up to two segments, such as <c>\_SB_</c>.</summary>
    public Block Scope(string path)
    {
        Byte(0x10);
        var block = Open();
        NamePath(path);
        return block;
    }

    /// <summary>DefDevice.</summary>
    public Block Device(string name)
    {
        Byte(0x5b);
        Byte(0x82);
        var block = Open();
        NamePath(name);
        return block;
    }

    /// <summary>DefMethod, not serialized.</summary>
    /// <param name="name">Four characters.</param>
    /// <param name="arguments">0 to 7.</param>
    public Block Method(string name, int arguments)
    {
        Byte(0x14);
        var block = Open();
        NamePath(name);
        Byte((byte)arguments);
        return block;
    }

    /// <summary>DefPackage; its elements are whatever values follow, and are counted by the caller.</summary>
    public Block Package(int elements)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(elements, byte.MaxValue);
        Byte(0x12);
        var block = Open();
        Byte((byte)elements);
        return block;
    }

    /// <summary>A resource template: a buffer that ends with an end tag (6.4.2.9).</summary>
    public Block ResourceTemplate()
    {
        Byte(0x11);
        int lengthAt = Length;
        Bytes(stackalloc byte[PackageLengthSize]);
        Byte(0x0b);
        int countAt = Length;
        Word(0);
        return new Block(this, lengthAt, countAt);
    }

    /// <summary>DefName with an integer.</summary>
    public void Name(string name, ulong value)
    {
        NameHeader(name);
        Integer(value);
    }

    /// <summary>DefName with a string.</summary>
    public void Name(string name, string value)
    {
        NameHeader(name);
        String(value);
    }

    /// <summary>DefName; the object is what is written next.</summary>
    public void NameHeader(string name)
    {
        Byte(0x08);
        NamePath(name);
    }

    /// <summary>DefName of _HID or _CID with a compressed EISA identifier, such as PNP0501 (19.6.36).</summary>
    public void EisaName(string name, string id)
    {
        NameHeader(name);
        Integer(EisaId(id));
    }

    /// <summary>DefReturn of an integer.</summary>
    public void Return(ulong value)
    {
        Byte(0xa4);
        Integer(value);
    }

    /// <summary>DefNotify of a device, by its path.</summary>
    public void Notify(string path, byte value)
    {
        Byte(0x86);
        NamePath(path);
        Integer(value);
    }

    /// <summary>The shortest encoding of an integer (20.2.3).</summary>
    public void Integer(ulong value)
    {
        switch (value)
        {
            case 0 or 1:
                Byte((byte)value);
                break;
            case <= byte.MaxValue:
                Byte(0x0a);
                Byte((byte)value);
                break;
            case <= ushort.MaxValue:
                Byte(0x0b);
                Word((ushort)value);
                break;
            case <= uint.MaxValue:
                Byte(0x0c);
                DWord((uint)value);
                break;
            default:
                Byte(0x0e);
                QWord(value);
                break;
        }
    }

    /// <summary>An ASCII string.</summary>
    public void String(string value)
    {
        Byte(0x0d);
        Ascii(value);
        Byte(0);
    }

    /// <summary>A path of four-character segments, shorter ones padded with underscores: <c>\</c>, <c>ABCD</c>, <c>\ABCD.EFGH</c>.</summary>
    public void NamePath(string path)
    {
        if (path.StartsWith('\\'))
        {
            Byte((byte)'\\');
            path = path[1..];
        }

        string[] segments = path.Split('.');
        if (segments.Length == 2)
            Byte(0x2e); // DualNamePrefix
        else if (segments.Length != 1)
            throw new ArgumentException("a path of more than two segments", nameof(path));
        foreach (string segment in segments)
        {
            if (segment.Length is 0 or > 4)
                throw new ArgumentException($"'{segment}' is not a name of 1 to 4 characters", nameof(path));
            Ascii(segment.PadRight(4, '_'));
        }
    }

    /// <summary>The number that a seven-character EISA identifier is compressed to.</summary>
    internal static uint EisaId(string id)
    {
        if (id.Length != 7)
            throw new ArgumentException("an EISA identifier has three letters and four hexadecimal digits", nameof(id));
        uint letters = ((uint)(id[0] - '@') << 10) | ((uint)(id[1] - '@') << 5) | (uint)(id[2] - '@');
        uint product = Convert.ToUInt16(id[3..], 16);
        return BinaryPrimitives.ReverseEndianness((letters << 16) | product);
    }

    internal void Byte(byte value) => Grow(1)[0] = value;

    internal void Word(ushort value) => BinaryPrimitives.WriteUInt16LittleEndian(Grow(2), value);

    internal void DWord(uint value) => BinaryPrimitives.WriteUInt32LittleEndian(Grow(4), value);

    internal void QWord(ulong value) => BinaryPrimitives.WriteUInt64LittleEndian(Grow(8), value);

    internal void Bytes(ReadOnlySpan<byte> value) => value.CopyTo(Grow(value.Length));

    internal void Ascii(string value) => Encoding.ASCII.GetBytes(value, Grow(value.Length));

    private Block Open()
    {
        int at = Length;
        Bytes(stackalloc byte[PackageLengthSize]);
        return new Block(this, at);
    }

    private void Close(int lengthAt, int countAt)
    {
        if (countAt != 0)
        {
            Bytes([0x79, 0]); // end tag; checksum 0 is "not computed"
            BinaryPrimitives.WriteUInt16LittleEndian(_bytes.AsSpan(countAt), (ushort)(Length - countAt - 2));
        }

        int length = Length - lengthAt;
        if (length > LongestPackage)
            throw new InvalidOperationException($"an AML block of {length} bytes is longer than its length field can say");
        _bytes[lengthAt] = (byte)(0x80 | (length & 0xf));
        _bytes[lengthAt + 1] = (byte)((length >> 4) & 0xff);
        _bytes[lengthAt + 2] = (byte)(length >> 12);
    }

    private Span<byte> Grow(int count)
    {
        if (_bytes.Length - Length < count)
            Array.Resize(ref _bytes, Math.Max(_bytes.Length * 2, Length + count));
        Length += count;
        return _bytes.AsSpan(Length - count, count);
    }
}
