namespace Kvm.Vmm.Debugging.Gdb;

/// <summary>What came over the line.</summary>
internal enum PacketEvent
{
    /// <summary>Nothing whole: more bytes are needed.</summary>
    None,

    /// <summary>A packet with a right checksum: <see cref="PacketReader.Content"/>.</summary>
    Packet,

    /// <summary>Ctrl-C, a byte of its own.</summary>
    Interrupt,

    /// <summary>The other side took our packet.</summary>
    Ack,

    /// <summary>The other side wants our packet again.</summary>
    Nak,

    /// <summary>A packet with a wrong checksum.</summary>
    Corrupt,

    /// <summary>A packet longer than <see cref="PacketReader.MostBytes"/>, dropped.</summary>
    TooLong,
}

/// <summary>
/// Finds the packets of gdb's remote protocol in a stream of bytes ("Debugging with GDB", E.1): <c>$content#checksum</c>, single bytes
/// between them. Pure; whatever comes, it holds <see cref="MostBytes"/> bytes at most.
/// </summary>
internal sealed class PacketReader
{
    /// <summary>The longest content, after unescaping.</summary>
    public const int MostBytes = 1 << 20;

    private const byte Escape = 0x7d, EscapeBit = 0x20;

    private enum State
    {
        Between,
        Content,
        Escaped,
        FirstDigit,
        SecondDigit,
    }

    private byte[] _content = new byte[4096];
    private int _length;
    private State _state;
    private byte _sum;
    private int _given;
    private bool _tooLong;

    /// <summary>The last packet's content, unescaped; until the next call of <see cref="Next"/>.</summary>
    public ReadOnlySpan<byte> Content => _content.AsSpan(0, _length);

    /// <summary>Takes bytes from the front of <paramref name="input"/>, up to the next event.</summary>
    public PacketEvent Next(ref ReadOnlySpan<byte> input)
    {
        while (!input.IsEmpty)
        {
            byte next = input[0];
            input = input[1..];
            var found = Take(next);
            if (found != PacketEvent.None)
                return found;
        }

        return PacketEvent.None;
    }

    private PacketEvent Take(byte next)
    {
        switch (_state)
        {
            case State.Between:
                return TakeBetween(next);
            case State.Content when next == (byte)'#':
                _state = State.FirstDigit;
                return PacketEvent.None;
            case State.Content or State.Escaped when next == (byte)'$':
                Begin(); // the rest of a packet was lost
                return PacketEvent.None;
            case State.Content when next == Escape:
                _sum += next;
                _state = State.Escaped;
                return PacketEvent.None;
            case State.Content or State.Escaped:
                Append(_state == State.Escaped ? (byte)(next ^ EscapeBit) : next);
                _sum += next;
                _state = State.Content;
                return PacketEvent.None;
            case State.FirstDigit:
                _given = Hex.Digit(next);
                _state = State.SecondDigit;
                return PacketEvent.None;
            default:
                _state = State.Between;
                int digit = Hex.Digit(next);
                if (_given < 0 || digit < 0 || ((_given << 4) | digit) != _sum)
                    return PacketEvent.Corrupt;
                return _tooLong ? PacketEvent.TooLong : PacketEvent.Packet;
        }
    }

    private PacketEvent TakeBetween(byte next)
    {
        switch (next)
        {
            case (byte)'$':
                Begin();
                return PacketEvent.None;
            case 3:
                return PacketEvent.Interrupt;
            case (byte)'+':
                return PacketEvent.Ack;
            case (byte)'-':
                return PacketEvent.Nak;
            default:
                return PacketEvent.None;
        }
    }

    private void Begin()
    {
        _state = State.Content;
        _length = 0;
        _sum = 0;
        _tooLong = false;
    }

    private void Append(byte value)
    {
        if (_length == MostBytes)
        {
            _tooLong = true;
            return;
        }

        if (_length == _content.Length)
            Array.Resize(ref _content, Math.Min(MostBytes, _content.Length * 2));
        _content[_length++] = value;
    }
}
