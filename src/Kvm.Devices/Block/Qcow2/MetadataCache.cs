using System.Buffers.Binary;
using Kvm.Devices.Memory;

namespace Kvm.Devices.Block.Qcow2;

/// <summary>
/// Pages of an image's tables in memory, found by their offset in the file, with what was changed in them and is not written yet. As many as
/// were asked for at most; a page not used lately makes room (clock), one with changes never does.
/// </summary>
/// <remarks><see cref="TryFind"/> may run in several threads at once while nothing else of it runs.</remarks>
internal sealed class MetadataCache : IDisposable
{
    private const int PagesOfChunk = 16, LargestPage = 4096;
    /// <summary>Neighbouring pages that are written at once.</summary>
    private const int MostTogether = 64;

    private readonly ClusterFile _file;
    private readonly int _capacity;
    private readonly Dictionary<ulong, int> _slots;
    private readonly List<AlignedBuffer> _chunks = [];
    private readonly List<ulong> _offsets = [];
    private readonly byte[] _used;
    private readonly bool[] _dirty;
    private readonly ulong[] _dirtyOffsets;
    private int _dirtyCount;
    private int _hand;

    /// <summary>Makes an empty cache.</summary>
    /// <param name="file">The file.</param>
    /// <param name="clusterSize">Bytes of a cluster.</param>
    /// <param name="bytes">The most bytes of pages.</param>
    public MetadataCache(ClusterFile file, int clusterSize, long bytes)
    {
        _file = file;
        PageSize = Math.Min(clusterSize, LargestPage);
        _capacity = (int)Math.Max(bytes / PageSize, 4);
        _slots = [];
        (_used, _dirty, _dirtyOffsets) = (new byte[_capacity], new bool[_capacity], new ulong[_capacity]);
    }

    /// <summary>Bytes of a page: a power of two, at most a cluster's.</summary>
    public int PageSize { get; }

    /// <summary>Pages with changes.</summary>
    public int DirtyCount => _dirtyCount;

    /// <summary>Pages that had to be read from the file.</summary>
    public long Misses { get; private set; }

    /// <summary>True if every page has changes, so that no other can be taken up before those are written.</summary>
    public bool IsFullOfChanges => _dirtyCount == _capacity;

    /// <summary>Reads a number of 64 bits of a page that is here.</summary>
    public bool TryRead(ulong offset, out ulong value)
    {
        bool found = TryFind(offset, out var page);
        value = found ? BinaryPrimitives.ReadUInt64BigEndian(page[InPage(offset)..]) : 0;
        return found;
    }

    /// <summary>Finds the page an offset of the file lies in, if it is here.</summary>
    public bool TryFind(ulong offset, out ReadOnlySpan<byte> page)
    {
        if (!_slots.TryGetValue(PageOf(offset), out int slot))
        {
            page = default;
            return false;
        }

        _used[slot] = 1;
        page = Page(slot).Span;
        return true;
    }

    /// <summary>Where in its page an offset is.</summary>
    public int InPage(ulong offset) => (int)(offset & (ulong)(PageSize - 1));

    /// <summary>Takes a page up, reading it from the file unless it is here. <see cref="IsFullOfChanges"/> is false, or the page is here.</summary>
    /// <param name="offset">Any offset in it.</param>
    /// <param name="change">It is about to be changed.</param>
    /// <param name="page">Its bytes, good until another is taken up.</param>
    public DiskResult Take(ulong offset, bool change, out Span<byte> page)
    {
        ulong at = PageOf(offset);
        if (!_slots.TryGetValue(at, out int slot))
        {
            slot = Room();
            var result = slot < 0 ? DiskResult.Failed : _file.Read(at, Page(slot));
            if (result != DiskResult.Done)
            {
                page = default;
                return result;
            }

            Misses++;
            _offsets[slot] = at;
            _slots.Add(at, slot);
        }

        _used[slot] = 1;
        if (change && !_dirty[slot])
        {
            _dirty[slot] = true;
            _dirtyCount++;
        }

        page = Page(slot).Span;
        return DiskResult.Done;
    }

    /// <summary>Writes all changes, in the order of the file. What could not be written stays a change.</summary>
    public DiskResult WriteChanges()
    {
        if (_dirtyCount == 0)
            return DiskResult.Done;
        int count = 0;
        for (int slot = 0; slot < _offsets.Count; slot++)
        {
            if (_dirty[slot])
                _dirtyOffsets[count++] = _offsets[slot];
        }

        Array.Sort(_dirtyOffsets, 0, count);
        Span<HostBuffer> pages = stackalloc HostBuffer[MostTogether];
        for (int i = 0; i < count;)
        {
            int run = 0;
            do
                pages[run] = Page(_slots[_dirtyOffsets[i + run]]);
            while (++run < MostTogether && i + run < count && _dirtyOffsets[i + run] == _dirtyOffsets[i] + (ulong)run * (ulong)PageSize);
            var result = _file.Write(_dirtyOffsets[i], pages[..run]);
            if (result != DiskResult.Done)
                return result;
            for (int end = i + run; i < end; i++)
                _dirty[_slots[_dirtyOffsets[i]]] = false;
            _dirtyCount -= run;
        }

        return DiskResult.Done;
    }

    /// <summary>Forgets the pages of a range, changes and all: it is no table any more, or a new one.</summary>
    public void Forget(ulong offset, ulong length)
    {
        for (ulong at = PageOf(offset); at < offset + length; at += (ulong)PageSize)
        {
            if (!_slots.Remove(at, out int slot))
                continue;
            if (_dirty[slot])
                _dirtyCount--;
            (_dirty[slot], _used[slot], _offsets[slot]) = (false, 0, ulong.MaxValue);
        }
    }

    public void Dispose() => _chunks.ForEach(chunk => chunk.Dispose());

    private ulong PageOf(ulong offset) => offset & ~(ulong)(PageSize - 1);

    private HostBuffer Page(int slot) => _chunks[slot / PagesOfChunk].Buffer.Slice(slot % PagesOfChunk * PageSize, PageSize);

    /// <summary>A slot for a page, its last one forgotten; -1 if all have changes.</summary>
    private int Room()
    {
        if (_offsets.Count < _capacity)
        {
            if (_offsets.Count == _chunks.Count * PagesOfChunk)
                _chunks.Add(new AlignedBuffer(PagesOfChunk * PageSize));
            _offsets.Add(ulong.MaxValue);
            return _offsets.Count - 1;
        }

        for (int steps = 0; steps < 2 * _capacity; steps++)
        {
            int slot = _hand;
            _hand = (_hand + 1) % _capacity;
            if (_dirty[slot])
                continue;
            if (_used[slot] != 0)
            {
                _used[slot] = 0;
                continue;
            }

            _slots.Remove(_offsets[slot]);
            _offsets[slot] = ulong.MaxValue;
            return slot;
        }

        return -1;
    }
}
