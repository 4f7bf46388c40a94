using Kvm.Devices.Memory;

namespace Kvm.Devices.Block;

/// <summary>
/// Transfers with a file that takes only aligned ones (O_DIRECT): those that are aligned go as they are, others through a buffer; a write that
/// covers part of a block reads the block first, with every other write kept out meanwhile.
/// </summary>
internal sealed class DirectTransfer(RawImage image, int alignment) : IDisposable
{
    private const int BufferSize = 256 << 10;

    private readonly AlignedBuffer _buffer = new(BufferSize);
    private readonly Lock _bufferLock = new();
    // Writers of whole blocks share it; one that reads, changes and writes a block has it alone.
    private readonly ReaderWriterLockSlim _blocks = new(LockRecursionPolicy.NoRecursion);

    /// <summary>True if a transfer is aligned in place, length and memory.</summary>
    public bool Fits(ulong position, ReadOnlySpan<HostBuffer> buffers)
    {
        ulong all = position;
        foreach (ref readonly var buffer in buffers)
            all |= (uint)buffer.Length | (ulong)buffer.Address;
        return all % (ulong)alignment == 0;
    }

    public DiskResult Read(ulong position, ReadOnlySpan<HostBuffer> buffers)
    {
        var cursor = new BufferWalk(buffers);
        lock (_bufferLock)
        {
            while (cursor.Remaining > 0)
            {
                var (first, offset, count) = Window(position, cursor.Remaining);
                var result = Aligned(first, RoundUp(offset + count), write: false);
                if (result != DiskResult.Done)
                    return result;
                cursor.CopyFrom(_buffer.Buffer.Slice(offset, count).Span);
                position += (ulong)count;
            }
        }

        return DiskResult.Done;
    }

    public DiskResult Write(ulong position, ReadOnlySpan<HostBuffer> buffers)
    {
        if (Fits(position, buffers))
        {
            _blocks.EnterReadLock();
            try
            {
                return image.Transfer(position, buffers, write: true);
            }
            finally
            {
                _blocks.ExitReadLock();
            }
        }

        _blocks.EnterWriteLock();
        try
        {
            lock (_bufferLock)
                return WriteThroughBuffer(position, buffers);
        }
        finally
        {
            _blocks.ExitWriteLock();
        }
    }

    public void Dispose()
    {
        _buffer.Dispose();
        _blocks.Dispose();
    }

    private DiskResult WriteThroughBuffer(ulong position, ReadOnlySpan<HostBuffer> buffers)
    {
        var cursor = new BufferWalk(buffers);
        while (cursor.Remaining > 0)
        {
            var (first, offset, count) = Window(position, cursor.Remaining);
            int whole = RoundUp(offset + count);
            if (offset != 0 || whole != offset + count)
            {
                var read = Aligned(first, whole, write: false);
                if (read != DiskResult.Done)
                    return read;
            }

            cursor.CopyTo(_buffer.Buffer.Slice(offset, count).Span);
            var result = Aligned(first, whole, write: true);
            if (result != DiskResult.Done)
                return result;
            position += (ulong)count;
        }

        return DiskResult.Done;
    }

    /// <summary>The next part of a transfer that the buffer holds: the block it begins in, where in the buffer, how many bytes.</summary>
    private (ulong First, int Offset, int Count) Window(ulong position, long remaining)
    {
        int offset = (int)(position % (ulong)alignment);
        return (position - (ulong)offset, offset, (int)Math.Min(remaining, BufferSize - offset));
    }

    private int RoundUp(int count) => (count + alignment - 1) & -alignment;

    private DiskResult Aligned(ulong position, int count, bool write)
    {
        var buffer = _buffer.Buffer.Slice(0, count);
        return image.Transfer(position, new ReadOnlySpan<HostBuffer>(in buffer), write);
    }
}
