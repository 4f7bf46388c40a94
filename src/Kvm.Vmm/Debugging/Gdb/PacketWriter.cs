using System.Globalization;
using System.Text;

namespace Kvm.Vmm.Debugging.Gdb;

/// <summary>Builds the content of one packet, and frames it: <c>$content#checksum</c>. Used again and again; allocates when a packet is longer than any before.</summary>
internal sealed class PacketWriter
{
    private const byte Escape = 0x7d, EscapeBit = 0x20;

    private byte[] _packet = new byte[4096];
    private int _length = 1;

    /// <summary>Begins an empty packet.</summary>
    public PacketWriter Begin()
    {
        _length = 1;
        _packet[0] = (byte)'$';
        return this;
    }

    /// <summary>Whether nothing was written, which says that the request is not known.</summary>
    public bool IsEmpty => _length == 1;

    /// <summary>Adds text, of ASCII characters.</summary>
    public PacketWriter Text(string text)
    {
        foreach (char character in text)
            Raw(character < 0x80 ? (byte)character : (byte)'?');
        return this;
    }

    /// <summary>Adds a number in as many digits as it takes.</summary>
    public PacketWriter Number(ulong value) => Text(value.ToString("x", CultureInfo.InvariantCulture));

    /// <summary>Adds bytes as two digits each.</summary>
    public PacketWriter Bytes(ReadOnlySpan<byte> bytes)
    {
        foreach (byte b in bytes)
        {
            Put((byte)"0123456789abcdef"[b >> 4]);
            Put((byte)"0123456789abcdef"[b & 15]);
        }

        return this;
    }

    /// <summary>Adds text as the digits of its bytes in UTF-8.</summary>
    public PacketWriter HexText(string text) => Bytes(Encoding.UTF8.GetBytes(text));

    /// <summary>Adds bytes as they are, escaped where they would be taken for framing.</summary>
    public PacketWriter Binary(ReadOnlySpan<byte> bytes)
    {
        foreach (byte b in bytes)
            Raw(b);
        return this;
    }

    /// <summary>The whole packet; until <see cref="Begin"/>.</summary>
    public ReadOnlyMemory<byte> Frame()
    {
        byte sum = 0;
        foreach (byte b in _packet.AsSpan(1, _length - 1))
            sum += b;
        int end = _length;
        Put((byte)'#');
        Put((byte)"0123456789abcdef"[sum >> 4]);
        Put((byte)"0123456789abcdef"[sum & 15]);
        int length = _length;
        _length = end;
        return _packet.AsMemory(0, length);
    }

    private void Raw(byte value)
    {
        if (value is (byte)'$' or (byte)'#' or (byte)'*' or Escape)
        {
            Put(Escape);
            value ^= EscapeBit;
        }

        Put(value);
    }

    private void Put(byte value)
    {
        if (_length == _packet.Length)
            Array.Resize(ref _packet, _packet.Length * 2);
        _packet[_length++] = value;
    }
}
