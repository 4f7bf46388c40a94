using Kvm.Devices.Memory;

namespace Kvm.Devices.Block.Cache;

/// <summary>What a cache did.</summary>
/// <param name="Hits">Blocks that were there.</param>
/// <param name="Misses">Blocks that had to be read.</param>
/// <param name="ReadAhead">Blocks that were read before anybody asked for them.</param>
/// <param name="Evictions">Blocks that were given up for others.</param>
/// <param name="Bytes">Bytes of memory it has taken.</param>
public readonly record struct BlockCacheCounters(long Hits, long Misses, long ReadAhead, long Evictions, long Bytes);

/// <summary>
/// Blocks of files that are only read, in memory: bounded, shared by all files that are given the same one, replaced by frequency and recency
/// (<see cref="TinyLfu"/>). Memory is taken as it is needed. Safe from several threads at once; allocates nothing for a block that is there.
/// </summary>
public sealed class BlockCache : IDisposable
{
    /// <summary>Bytes of a block.</summary>
    public const int BlockSize = 16 << 10;

    /// <summary>The least bytes of a cache.</summary>
    public const long MinBytes = 1 << 20;

    private const int BlocksPerSegment = 64;
    private const int BlockBits = 40;

    private readonly Lock _gate = new();
    private readonly TinyLfu _policy;
    private readonly AlignedBuffer?[] _segments;
    private readonly Dictionary<object, int> _files = [];
    private long _hits, _misses, _readAhead, _bytes;
    private bool _disposed;

    /// <summary>Makes an empty cache.</summary>
    /// <param name="bytes">The most bytes of blocks it holds; at least <see cref="MinBytes"/>.</param>
    public BlockCache(long bytes)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(bytes, MinBytes);
        int blocks = (int)Math.Min(bytes / BlockSize, int.MaxValue / 2);
        _policy = new TinyLfu(blocks);
        _segments = new AlignedBuffer?[(blocks + BlocksPerSegment - 1) / BlocksPerSegment];
    }

    /// <summary>What it did so far.</summary>
    public BlockCacheCounters Counters
    {
        get
        {
            lock (_gate)
                return new BlockCacheCounters(_hits, _misses, _readAhead, _policy.Evictions, _bytes);
        }
    }

    /// <summary>A file as this cache shows it: reads go through the cache, everything else goes to the file.</summary>
    /// <param name="file">The file, which nobody writes to; disposed of with what is returned.</param>
    /// <param name="identity">Equal for two descriptors of the same file, which then share their blocks.</param>
    public IHostFile Show(IHostFile file, object identity)
    {
        ArgumentNullException.ThrowIfNull(file);
        ArgumentNullException.ThrowIfNull(identity);
        lock (_gate)
        {
            if (!_files.TryGetValue(identity, out int number))
                _files[identity] = number = _files.Count;
            return new CachedFile(file, this, (ulong)number << BlockBits);
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        lock (_gate)
        {
            _disposed = true;
            foreach (var segment in _segments)
                segment?.Dispose();
        }
    }

    /// <summary>Copies the rest of a block from a position on into buffers, if the block is there.</summary>
    internal bool TryRead(ulong key, int offset, int count, ref BufferCursor to)
    {
        lock (_gate)
        {
            int entry = _disposed ? -1 : _policy.Find(key);
            if (entry < 0)
            {
                _misses++;
                return false;
            }

            _hits++;
            to.CopyFrom(MemoryOf(entry).Slice(offset, count).Span);
            return true;
        }
    }

    /// <summary>True if a block is there; counts nothing.</summary>
    internal bool Contains(ulong key)
    {
        lock (_gate)
            return _policy.Contains(key);
    }

    /// <summary>Keeps a block that was read, unless it is there already.</summary>
    /// <param name="key">Whose.</param>
    /// <param name="block">All of its bytes.</param>
    /// <param name="ahead">Nobody asked for it yet.</param>
    internal void Add(ulong key, ReadOnlySpan<byte> block, bool ahead)
    {
        lock (_gate)
        {
            if (_disposed || _policy.Contains(key))
                return;
            _readAhead += ahead ? 1 : 0;
            block.CopyTo(MemoryOf(_policy.Add(key)).Span);
        }
    }

    private HostBuffer MemoryOf(int entry)
    {
        ref var segment = ref _segments[entry / BlocksPerSegment];
        if (segment is null)
        {
            segment = new AlignedBuffer(BlocksPerSegment * BlockSize);
            _bytes += segment.Length;
        }

        return segment.Buffer.Slice(entry % BlocksPerSegment * BlockSize, BlockSize);
    }
}
