using System.Buffers;

namespace Kvm.Vmm.Tracing;

/// <summary>A bounded output: pieces that would go over the bound are refused as a whole. Used by one thread.</summary>
internal sealed class TraceOutput(Stream stream, long most) : IDisposable
{
    /// <summary>Kept for what ends a document.</summary>
    public const int Reserve = 256;

    private const int Pending = 1 << 16;
    private readonly ArrayBufferWriter<byte> _pending = new(2 * Pending);
    private long _length;

    /// <summary>It takes nothing any more.</summary>
    public bool IsBroken { get; set; }

    /// <summary>Adds a piece; false if it would go over the bound.</summary>
    /// <exception cref="IOException">The stream does not take it.</exception>
    public bool TryAdd(ReadOnlySpan<byte> piece) => TryAdd(piece, most - Reserve);

    /// <summary>Adds what ends the document, for which room was kept.</summary>
    /// <exception cref="IOException">The stream does not take it.</exception>
    public void AddEnd(ReadOnlySpan<byte> piece) => TryAdd(piece, most);

    /// <summary>Hands all pieces to the stream.</summary>
    /// <exception cref="IOException">The stream does not take them.</exception>
    public void Flush()
    {
        if (_pending.WrittenCount > 0)
        {
            stream.Write(_pending.WrittenSpan);
            _pending.ResetWrittenCount();
        }

        stream.Flush();
    }

    public void Dispose() => stream.Dispose();

    private bool TryAdd(ReadOnlySpan<byte> piece, long bound)
    {
        if (piece.Length > bound - _length)
            return false;
        _length += piece.Length;
        _pending.Write(piece);
        if (_pending.WrittenCount >= Pending)
            Flush();
        return true;
    }
}
