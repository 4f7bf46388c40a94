using Kvm.Devices.Memory;

namespace Kvm.Devices.Block.Cache;

/// <summary>
/// A file that is only read, through a <see cref="BlockCache"/>. What is missing is read in one call, whole blocks at a time, and further ahead while
/// reads follow one another.
/// </summary>
internal sealed class CachedFile(IHostFile file, BlockCache cache, ulong firstKey) : IHostFile
{
    /// <summary>The most bytes read at once, and so the furthest that is read ahead.</summary>
    public const int MostBytes = 256 << 10;

    private const int Block = BlockCache.BlockSize;

    private readonly AlignedBuffer _staging = new(MostBytes);
    private readonly Lock _gate = new();
    private readonly ulong _length = file.Length;
    // Where the last read ended, and how far the next that begins there looks ahead, in bytes.
    private ulong _expected;
    private int _ahead;

    public ulong Length => file.Length;

    public bool IsReadOnly => file.IsReadOnly;

    // What the file takes only as it lies goes through the cache's own memory: nobody above has to align anything.
    public int Alignment => 1;

    public int MaxBuffers => file.MaxBuffers;

    public HostFileResult ReadAt(ulong position, ReadOnlySpan<HostBuffer> buffers)
    {
        ulong wanted = 0;
        foreach (ref readonly var buffer in buffers)
            wanted += (uint)buffer.Length;
        if (wanted == 0 || position >= _length)
            return default;
        ulong end = position + Math.Min(wanted, _length - position), at = position;
        int ahead = LookAhead(position, end);
        var cursor = new BufferCursor(buffers);
        while (at < end)
        {
            ulong block = at / Block;
            int offset = (int)(at % Block), count = (int)Math.Min((ulong)(Block - offset), end - at);
            if (cache.TryRead(firstKey + block, offset, count, ref cursor))
            {
                at += (ulong)count;
                continue;
            }

            var result = Fill(at, end, ahead, ref cursor);
            if (result.Bytes == 0)
                return cursor.Filled > 0 ? new HostFileResult(cursor.Filled) : result;
            at += (ulong)result.Bytes;
        }

        return new HostFileResult(cursor.Filled);
    }

    public HostFileResult WriteAt(ulong position, ReadOnlySpan<HostBuffer> buffers) => file.WriteAt(position, buffers);

    public HostFileError Flush() => file.Flush();

    public HostFileError Discard(ulong position, ulong length) => file.Discard(position, length);

    public HostFileError WriteZeroes(ulong position, ulong length) => file.WriteZeroes(position, length);

    public void Dispose()
    {
        file.Dispose();
        _staging.Dispose();
    }

    /// <summary>How far behind a read's end to read as well: twice as far each time reads follow one another, not at all when they do not.</summary>
    private int LookAhead(ulong position, ulong end)
    {
        lock (_gate)
        {
            _ahead = position == _expected && position != 0 ? Math.Clamp(_ahead * 2, 2 * Block, MostBytes) : 0;
            _expected = end;
            return _ahead;
        }
    }

    /// <summary>Reads what is missing from a position on, keeps it, and gives what was asked for.</summary>
    /// <returns>Bytes given; or why none were.</returns>
    private HostFileResult Fill(ulong at, ulong end, int ahead, ref BufferCursor cursor)
    {
        ulong first = at / Block, behind = Math.Min((Math.Min(end + (uint)ahead, _length) + Block - 1) / Block, first + MostBytes / Block);
        // Up to the next block that is there.
        ulong last = first + 1;
        while (last < behind && !cache.Contains(firstKey + last))
            last++;
        lock (_gate)
        {
            var room = _staging.Buffer.Slice(0, (int)(last - first) * Block);
            var result = file.ReadAt(first * Block, new ReadOnlySpan<HostBuffer>(in room));
            if (result.Bytes == 0)
                return result;
            for (ulong block = first; block < last; block++)
            {
                // Whole blocks are kept; the file's last one too, whose rest nobody asks for.
                int from = (int)(block - first) * Block, there = (int)Math.Clamp(result.Bytes - from, 0, Block);
                if (there == Block || (there > 0 && block * Block + (uint)there == _length))
                    cache.Add(firstKey + block, room.Slice(from, Block).Span, ahead: block * Block >= end);
            }

            int skip = (int)(at - first * Block), given = (int)Math.Clamp(result.Bytes - skip, 0, (long)Math.Min(end - at, int.MaxValue));
            cursor.CopyFrom(room.Slice(skip, given).Span);
            return new HostFileResult(given);
        }
    }
}
