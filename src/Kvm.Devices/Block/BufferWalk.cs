using Kvm.Devices.Memory;

namespace Kvm.Devices.Block;

/// <summary>Walks over a request's buffers and cuts them where clusters, or a buffer of the file's alignment, end.</summary>
internal ref struct BufferWalk
{
    /// <summary>The most pieces one transfer is cut into here; a longer one is several.</summary>
    public const int MostPieces = 32;

    private ReadOnlySpan<HostBuffer> _buffers;
    private int _skip;

    public BufferWalk(ReadOnlySpan<HostBuffer> buffers)
    {
        _buffers = buffers;
        foreach (ref readonly var buffer in buffers)
            Remaining += buffer.Length;
    }

    /// <summary>Bytes not yet walked over.</summary>
    public long Remaining { get; private set; }

    /// <summary>The rest of the buffers as they are, if nothing of the first one is walked over.</summary>
    public readonly bool IsWhole => _skip == 0;

    /// <summary>All that is left, where <see cref="IsWhole"/>.</summary>
    public readonly ReadOnlySpan<HostBuffer> Rest => _buffers;

    /// <summary>Takes the next bytes as pieces.</summary>
    /// <param name="most">Bytes, not more than remain.</param>
    /// <param name="pieces">Receives them, as many as there are or fit.</param>
    /// <param name="count">How many.</param>
    /// <returns>Bytes taken.</returns>
    public long Take(long most, scoped Span<HostBuffer> pieces, out int count)
    {
        long taken = 0;
        for (count = 0; taken < most && count < pieces.Length;)
        {
            var first = _buffers[0];
            int length = (int)Math.Min(first.Length - _skip, most - taken);
            if (length > 0)
                pieces[count++] = first.Slice(_skip, length);
            Skip(length, first.Length);
            taken += length;
        }

        Remaining -= taken;
        return taken;
    }

    /// <summary>Walks to the end.</summary>
    public void End()
    {
        _buffers = [];
        _skip = 0;
        Remaining = 0;
    }

    /// <summary>Writes zeros over the next bytes.</summary>
    public void Clear(long bytes)
    {
        Remaining -= bytes;
        while (bytes > 0)
        {
            var first = _buffers[0];
            int length = (int)Math.Min(first.Length - _skip, bytes);
            first.Slice(_skip, length).Span.Clear();
            Skip(length, first.Length);
            bytes -= length;
        }
    }

    /// <summary>Copies bytes over the next ones.</summary>
    public void CopyFrom(ReadOnlySpan<byte> from)
    {
        Remaining -= from.Length;
        while (!from.IsEmpty)
        {
            var first = _buffers[0];
            int length = Math.Min(first.Length - _skip, from.Length);
            from[..length].CopyTo(first.Slice(_skip, length).Span);
            from = from[length..];
            Skip(length, first.Length);
        }
    }

    /// <summary>Copies the next bytes out.</summary>
    public void CopyTo(Span<byte> to)
    {
        Remaining -= to.Length;
        while (!to.IsEmpty)
        {
            var first = _buffers[0];
            int length = Math.Min(first.Length - _skip, to.Length);
            first.Slice(_skip, length).Span.CopyTo(to);
            to = to[length..];
            Skip(length, first.Length);
        }
    }

    private void Skip(int length, int all)
    {
        _skip += length;
        if (_skip != all)
            return;
        _buffers = _buffers[1..];
        _skip = 0;
    }
}
