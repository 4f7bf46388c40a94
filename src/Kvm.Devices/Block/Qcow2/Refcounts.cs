using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Kvm.Devices.Memory;

namespace Kvm.Devices.Block.Qcow2;

/// <summary>
/// How often each cluster of the file is referred to, and which is free. The invariant of all crash safety: what is on disk is never less than the
/// references on disk. So an increase may be written at any time and before its reference, and a decrease is only asked for when the reference is
/// durably gone.
/// </summary>
internal sealed partial class Refcounts : IDisposable
{
    private readonly ClusterFile _file;
    private readonly MetadataCache _cache;
    private readonly int _clusterBits;
    private readonly int _order;
    private readonly int _blockBits;
    private ulong[] _table;
    private ulong _tableOffset;
    private int _tableClusters;
    // Entries of the table that are not written yet: from, to (exclusive).
    private int _changedFrom = int.MaxValue, _changedTo;
    // No cluster below is free.
    private ulong _hint;

    /// <summary>Takes a table that was read and checked.</summary>
    public Refcounts(ClusterFile file, Qcow2Header header, ulong[] table, long cacheBytes)
    {
        (_file, _table) = (file, table);
        (_clusterBits, _order) = (header.ClusterBits, header.RefcountOrder);
        (_tableOffset, _tableClusters) = (header.RefcountTableOffset, header.RefcountTableClusters);
        _blockBits = _clusterBits + 3 - _order;
        _cache = new MetadataCache(file, header.ClusterSize, cacheBytes);
    }

    /// <summary>The largest count.</summary>
    public ulong Largest => _order == 6 ? ulong.MaxValue : (1UL << (1 << _order)) - 1;

    /// <summary>Clusters no file can have more of: entries hold offsets of 56 bits.</summary>
    private ulong MostClusters => 1UL << (56 - _clusterBits);

    private ulong PerBlock => 1UL << _blockBits;

    /// <summary>
    /// Clusters that hold the image's own tables: never free, whatever their counts say, and never data. For as many as there are entries in L1 and
    /// refcount tables, 20 to 40 bytes each.
    /// </summary>
    public HashSet<ulong> Tables { get; } = [];

    /// <summary>Something is not written yet.</summary>
    public bool HasChanges => _cache.DirtyCount > 0 || _changedTo > 0;

    /// <summary>Reads a count; what no block stands for is free.</summary>
    public DiskResult Get(ulong cluster, out ulong count)
    {
        count = 0;
        ulong block = cluster >> _blockBits;
        if (block >= (ulong)_table.Length || _table[block] == 0)
            return DiskResult.Done;
        var result = Take(cluster, change: false, out var page, out int index);
        if (result == DiskResult.Done)
            count = Read(page, index);
        return result;
    }

    /// <summary>Increases a count that is not 0 by one: <see cref="DiskResult.NoSpace"/> if it is the largest already.</summary>
    public DiskResult Increase(ulong cluster)
    {
        var result = Take(cluster, change: true, out var page, out int index);
        if (result != DiskResult.Done)
            return result;
        ulong count = Read(page, index);
        if (count == 0)
            return DiskResult.Failed;
        if (count == Largest)
            return DiskResult.NoSpace;
        Write(page, index, count + 1);
        return DiskResult.Done;
    }

    /// <summary>Decreases a count by one; 0 makes the cluster free.</summary>
    public DiskResult Decrease(ulong cluster, out ulong left)
    {
        left = 0;
        ulong block = cluster >> _blockBits;
        if (block >= (ulong)_table.Length || _table[block] == 0)
            return DiskResult.Failed;
        var result = Take(cluster, change: true, out var page, out int index);
        if (result != DiskResult.Done)
            return result;
        ulong count = Read(page, index);
        if (count == 0)
            return DiskResult.Failed; // the image refers to it more often than it counts
        Write(page, index, left = count - 1);
        if (left == 0)
            _hint = Math.Min(_hint, cluster);
        return DiskResult.Done;
    }

    /// <summary>Takes free clusters, one after another in the file: at least one, at most so many.</summary>
    public DiskResult Allocate(int wanted, out ulong first, out int count)
    {
        (first, count) = (0, 0);
        for (ulong at = _hint; at < MostClusters;)
        {
            ulong block = at >> _blockBits;
            if (!HasBlock(block))
            {
                if (Tables.Contains(at))
                {
                    at++;
                    continue;
                }

                // It stands for itself.
                var made = block < (ulong)_table.Length ? MakeBlock(block, at) : GrowTable();
                if (made != DiskResult.Done)
                    return made;
                continue;
            }

            var result = Take(at, change: false, out var page, out int index);
            if (result != DiskResult.Done)
                return result;
            int entries = (_cache.PageSize << 3) >> _order, free = FirstFree(page, index, entries);
            if (free == entries)
            {
                at += (ulong)(entries - index);
                _hint = at;
                continue;
            }

            first = at + (ulong)(free - index);
            Take(first, change: true, out page, out _);
            while (count < wanted && free + count < entries && Read(page, free + count) == 0 && !Tables.Contains(first + (ulong)count))
                Write(page, free + count++, 1);
            at = _hint = first + (ulong)count;
            if (count > 0)
                return DiskResult.Done;
            Write(page, free, 1); // a table that was not counted
        }

        return DiskResult.NoSpace;
    }

    /// <summary>Takes free clusters one after another in the file, all of them.</summary>
    public DiskResult AllocateTogether(int wanted, out ulong first)
    {
        first = _hint;
        for (ulong at = first; at < MostClusters; at++)
        {
            ulong block = at >> _blockBits;
            if (block >= (ulong)_table.Length)
            {
                if (GrowTable() is not DiskResult.Done and var failure)
                    return failure;
            }

            if (Tables.Contains(at))
            {
                first = at + 1;
                continue;
            }

            if (!HasBlock(block))
            {
                // At the front of the run, so that it is not broken.
                if (MakeBlock(block, first) is not DiskResult.Done and var failure)
                    return failure;
                first++;
            }

            if (Get(at, out ulong count) is not DiskResult.Done and var unread)
                return unread;
            if (count != 0)
                first = at + 1;
            else if (at + 1 - first == (ulong)wanted)
                return TakeAll(first, wanted);
        }

        return DiskResult.NoSpace;
    }

    /// <summary>Writes what changed: blocks, then, when those are durable, the table that points to new ones. Not durable itself.</summary>
    public DiskResult WriteChanges()
    {
        var result = _cache.WriteChanges();
        if (result != DiskResult.Done || _changedTo == 0)
            return result;
        result = _file.Flush();
        if (result == DiskResult.Done)
            result = TableWriter.Write(_file, _tableOffset, _table, _changedFrom, _changedTo);
        if (result == DiskResult.Done)
            (_changedFrom, _changedTo) = (int.MaxValue, 0);
        return result;
    }

    public void Dispose() => _cache.Dispose();

    private bool HasBlock(ulong block) => block < (ulong)_table.Length && _table[block] != 0;

    private DiskResult TakeAll(ulong first, int wanted)
    {
        for (int i = 0; i < wanted; i++)
        {
            var result = Take(first + (ulong)i, change: true, out var page, out int index);
            if (result != DiskResult.Done)
            {
                while (--i >= 0)
                    Decrease(first + (ulong)i, out _);
                return result;
            }

            Write(page, index, 1);
        }

        return DiskResult.Done;
    }

    /// <summary>Makes the block that counts some clusters out of a free cluster, which it or another block counts.</summary>
    private DiskResult MakeBlock(ulong block, ulong cluster)
    {
        ulong offset = cluster << _clusterBits;
        _cache.Forget(offset, 1UL << _clusterBits);
        var result = _file.Clear(offset, 1UL << _clusterBits);
        if (result != DiskResult.Done)
            return result;
        _table[block] = offset;
        result = Take(cluster, change: true, out var page, out int index);
        if (result != DiskResult.Done)
        {
            _table[block] = 0;
            return result;
        }

        Write(page, index, 1);
        Tables.Add(cluster);
        (_changedFrom, _changedTo) = (Math.Min(_changedFrom, (int)block), Math.Max(_changedTo, (int)block + 1));
        return DiskResult.Done;
    }

    /// <summary>Takes up the page with a cluster's count, writing others if it has to.</summary>
    private DiskResult Take(ulong cluster, bool change, out Span<byte> page, out int index)
    {
        page = default;
        index = 0;
        if (_cache.IsFullOfChanges && _cache.WriteChanges() is not DiskResult.Done and var failure)
            return failure;
        ulong inBlock = cluster & (PerBlock - 1);
        ulong offset = _table[cluster >> _blockBits] + (inBlock << _order >> 3);
        var result = _cache.Take(offset, change, out page);
        int entriesOfPage = (_cache.PageSize << 3) >> _order;
        index = (int)(inBlock & (ulong)(entriesOfPage - 1));
        return result;
    }

    private int FirstFree(ReadOnlySpan<byte> page, int from, int entries)
    {
        if (_order == 4)
        {
            int found = MemoryMarshal.Cast<byte, ushort>(page)[from..].IndexOf((ushort)0);
            return found < 0 ? entries : from + found;
        }

        while (from < entries && Read(page, from) != 0)
            from++;
        return from;
    }

    private ulong Read(ReadOnlySpan<byte> page, int index) => Read(page, index, _order);

    private void Write(Span<byte> page, int index, ulong count) => Write(page, index, count, _order);

    /// <summary>Reads a count out of (part of) a block.</summary>
    public static ulong Read(ReadOnlySpan<byte> block, int index, int order) => order switch
    {
        3 => block[index],
        4 => BinaryPrimitives.ReadUInt16BigEndian(block[(index * 2)..]),
        5 => BinaryPrimitives.ReadUInt32BigEndian(block[(index * 4)..]),
        6 => BinaryPrimitives.ReadUInt64BigEndian(block[(index * 8)..]),
        // Less than a byte: the lowest bits are the first count's.
        _ => (ulong)(block[index << order >> 3] >> ((index << order) & 7)) & ((1UL << (1 << order)) - 1),
    };

    /// <summary>Writes a count into (part of) a block.</summary>
    public static void Write(Span<byte> block, int index, ulong count, int order)
    {
        switch (order)
        {
            case 3:
                block[index] = (byte)count;
                break;
            case 4:
                BinaryPrimitives.WriteUInt16BigEndian(block[(index * 2)..], (ushort)count);
                break;
            case 5:
                BinaryPrimitives.WriteUInt32BigEndian(block[(index * 4)..], (uint)count);
                break;
            case 6:
                BinaryPrimitives.WriteUInt64BigEndian(block[(index * 8)..], count);
                break;
            default:
                ref byte b = ref block[index << order >> 3];
                int shift = (index << order) & 7, mask = (1 << (1 << order)) - 1;
                b = (byte)((b & ~(mask << shift)) | ((int)count << shift));
                break;
        }
    }
}
