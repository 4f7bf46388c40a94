using Iced.Intel;

namespace Kvm.X86.Decode;

/// <summary>A reusable window of instruction bytes for Iced's decoder.</summary>
internal sealed class CodeBytes : CodeReader
{
    /// <summary>Bytes a block may be decoded from at most.</summary>
    public const int Capacity = 512;

    private readonly byte[] _bytes = new byte[Capacity];
    private int _position;
    private int _length;

    /// <summary>Room to fill; <see cref="Start"/> says how much was.</summary>
    public Span<byte> Buffer => _bytes;

    /// <summary>The bytes there are.</summary>
    public ReadOnlySpan<byte> Content => _bytes.AsSpan(0, _length);

    /// <summary>Begins to read at the first byte.</summary>
    public void Start(int length)
    {
        _position = 0;
        _length = length;
    }

    /// <summary>Goes back (or on) to a byte.</summary>
    public void Seek(int position) => _position = position;

    /// <inheritdoc/>
    public override int ReadByte() => _position < _length ? _bytes[_position++] : -1;
}
