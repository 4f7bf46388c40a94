using Kvm.Devices.Memory;

namespace Kvm.Devices.Virtio.Queue;

/// <summary>Names a chain between its being taken and its completion. One from before a reset of the queue names nothing any more.</summary>
/// <param name="Head">The chain's head, or the packed buffer's identifier: below the queue's size, so that request slots can be an array.</param>
/// <param name="Epoch">Which start of the queue it is from.</param>
public readonly record struct ChainToken(ushort Head, uint Epoch);

/// <summary>
/// One buffer of a driver, copied in and checked: first what the device reads, then what it writes. Bytes are taken off its ends
/// without regard to how the driver cut them into elements (virtio 1.2, 2.7.4.1).
/// </summary>
/// <remarks>Valid until the queue's next <see cref="VirtQueue.TryPop"/>; it uses the queue's own arrays.</remarks>
public ref struct DescriptorChain
{
    private Span<HostBuffer> _readable;
    private Span<HostBuffer> _writable;

    internal DescriptorChain(ChainToken token, Span<HostBuffer> readable, Span<HostBuffer> writable, bool bad)
    {
        (Token, HasBadBuffer) = (token, bad);
        _readable = readable;
        _writable = writable;
    }

    /// <summary>What to complete it by.</summary>
    public ChainToken Token { get; }

    /// <summary>
    /// True if an element is not all in guest memory (or is to be written and is ROM, or is 2 GiB or longer). It stands as an empty
    /// element; the device fails the request.
    /// </summary>
    public bool HasBadBuffer { get; }

    /// <summary>What is left to be read by the device.</summary>
    public readonly ReadOnlySpan<HostBuffer> Readable => _readable;

    /// <summary>What is left to be written by the device.</summary>
    public readonly ReadOnlySpan<HostBuffer> Writable => _writable;

    /// <summary>Bytes in <see cref="Readable"/>.</summary>
    public readonly long ReadableLength => Sum(_readable);

    /// <summary>Bytes in <see cref="Writable"/>.</summary>
    public readonly long WritableLength => Sum(_writable);

    /// <summary>Copies bytes off the front of what is to be read; fewer if there are fewer.</summary>
    /// <returns>Bytes copied.</returns>
    public int Read(scoped Span<byte> to)
    {
        int done = 0;
        while (done < to.Length && TryNext(ref _readable, to.Length - done, out var piece))
        {
            piece.Span.CopyTo(to[done..]);
            done += piece.Length;
        }

        return done;
    }

    /// <summary>Copies bytes to the front of what is to be written; fewer if there is less room.</summary>
    /// <returns>Bytes copied.</returns>
    public int Write(scoped ReadOnlySpan<byte> from)
    {
        int done = 0;
        while (done < from.Length && TryNext(ref _writable, from.Length - done, out var piece))
        {
            from.Slice(done, piece.Length).CopyTo(piece.Span);
            done += piece.Length;
        }

        return done;
    }

    /// <summary>Takes the next contiguous piece to be read, at most <paramref name="most"/> bytes; false if nothing is left.</summary>
    public bool TryReadPiece(int most, out HostBuffer piece) => TryNext(ref _readable, most, out piece);

    /// <summary>Takes the next contiguous piece to be written, at most <paramref name="most"/> bytes; false if nothing is left.</summary>
    public bool TryWritePiece(int most, out HostBuffer piece) => TryNext(ref _writable, most, out piece);

    /// <summary>
    /// Takes the last byte to be written, where devices put a status. False if there is none, or if the last element is a bad one, so
    /// that nobody knows where the status is.
    /// </summary>
    public bool TryTakeLastByte(out HostBuffer last)
    {
        last = default;
        if (HasBadBuffer && _writable is [.., { Length: 0 }])
            return false;
        while (_writable is [.., { Length: 0 }])
            _writable = _writable[..^1];
        if (_writable.IsEmpty)
            return false;
        ref var end = ref _writable[^1];
        last = end.Slice(end.Length - 1);
        end = end.Slice(0, end.Length - 1);
        // An element that held nothing else is gone: what is left then often is one piece, which takes the simpler call.
        if (end.Length == 0)
            _writable = _writable[..^1];
        return true;
    }

    private static bool TryNext(ref Span<HostBuffer> buffers, int most, out HostBuffer piece)
    {
        while (!buffers.IsEmpty && buffers[0].Length == 0)
            buffers = buffers[1..];
        if (buffers.IsEmpty || most <= 0)
        {
            piece = default;
            return false;
        }

        ref var first = ref buffers[0];
        piece = first.Slice(0, Math.Min(most, first.Length));
        first = first.Slice(piece.Length);
        return true;
    }

    private static long Sum(ReadOnlySpan<HostBuffer> buffers)
    {
        long sum = 0;
        foreach (ref readonly var buffer in buffers)
            sum += buffer.Length;
        return sum;
    }
}
