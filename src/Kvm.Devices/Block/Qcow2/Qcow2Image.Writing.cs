using Kvm.Devices.Memory;

namespace Kvm.Devices.Block.Qcow2;

/// <summary>Writing: in place where a cluster is the image's own, else into clusters taken for it, as many at once as the request needs.</summary>
public sealed partial class Qcow2Image
{
    /// <summary>The most clusters taken at once.</summary>
    private const int MostTaken = 1024;

    // What is around a write in the clusters it begins and ends in: one cluster for each. Used by whoever has the image alone.
    private AlignedBuffer? _fill;

    /// <inheritdoc/>
    public DiskResult Write(ulong position, ReadOnlySpan<HostBuffer> buffers)
    {
        if (IsReadOnly)
            return DiskResult.Unsupported;
        var walk = new BufferWalk(buffers);
        if (_begun)
        {
            _gate.EnterShared();
            try
            {
                var result = WriteInPlace(ref position, ref walk);
                if (result != DiskResult.Done || walk.Remaining == 0)
                    return result;
            }
            finally
            {
                _gate.ExitShared();
            }
        }

        _gate.EnterAlone();
        try
        {
            var result = Begin();
            while (result == DiskResult.Done && walk.Remaining > 0)
                result = WriteNext(ref position, ref walk);
            return result == DiskResult.Done ? _tables.Settle() : result;
        }
        finally
        {
            _gate.ExitAlone();
        }
    }

    private DiskResult Begin()
    {
        var result = _begun ? DiskResult.Done : _tables.Begin();
        _begun |= result == DiskResult.Done;
        return result;
    }

    /// <summary>Writes as far as clusters are the image's own and their entries are in memory.</summary>
    private DiskResult WriteInPlace(ref ulong position, ref BufferWalk walk)
    {
        while (walk.Remaining > 0)
        {
            ulong inCluster = position & (_clusterSize - 1), cluster = position >> _clusterBits, most = (ulong)walk.Remaining;
            if (!_tables.TryEntry(cluster, out ulong entry) || !IsInPlace(entry))
                break;
            ulong first = entry & Qcow2Format.OffsetMask, length = _clusterSize - inCluster, next = first;
            while (length < most && _tables.TryEntry(++cluster, out ulong following) && (following & Qcow2Format.OffsetMask) == (next += _clusterSize) && IsInPlace(following))
                length += _clusterSize;
            var result = WriteData(first + inCluster, Math.Min(length, most), ref walk);
            if (result != DiskResult.Done)
                return result;
            position += Math.Min(length, most);
        }

        return DiskResult.Done;
    }

    private bool IsInPlace(ulong entry) =>
        (entry & Qcow2Format.Copied) != 0 && _tables.KindOf(entry) == ClusterKind.Data && !_tables.PointsAtTable(entry);

    private DiskResult WriteData(ulong host, ulong length, ref BufferWalk walk)
    {
        if (walk.IsWhole && length == (ulong)walk.Remaining)
        {
            var result = _file.Write(host, walk.Rest);
            walk.End();
            return result;
        }

        return WritePieces(host, length, ref walk, default, default);
    }

    /// <summary>Writes the next bytes of a request, with more before and behind them, in as few transfers as there is room for pieces.</summary>
    private DiskResult WritePieces(ulong host, ulong length, ref BufferWalk walk, HostBuffer before, HostBuffer behind)
    {
        Span<HostBuffer> pieces = stackalloc HostBuffer[BufferWalk.MostPieces + 2];
        int used = 0;
        ulong bytes = (ulong)before.Length;
        if (before.Length > 0)
            pieces[used++] = before;
        while (length > 0)
        {
            ulong taken = (ulong)walk.Take((long)length, pieces.Slice(used, BufferWalk.MostPieces), out int count);
            (used, length, bytes) = (used + count, length - taken, bytes + taken);
            if (length == 0 && behind.Length > 0)
                (pieces[used++], bytes) = (behind, bytes + (ulong)behind.Length);
            var result = _file.Write(host, pieces[..used]);
            if (result != DiskResult.Done)
                return result;
            (host, used, bytes) = (host + bytes, 0, 0);
        }

        return DiskResult.Done;
    }

    /// <summary>Writes the next clusters, one or more, however they are.</summary>
    private DiskResult WriteNext(ref ulong position, ref BufferWalk walk)
    {
        ulong cluster = position >> _clusterBits;
        var result = _tables.Entry(cluster, out ulong entry);
        if (result != DiskResult.Done)
            return result;
        if (IsInPlace(entry))
            return WriteInPlace(ref position, ref walk);
        if (!MayReplace(entry))
            return DiskResult.Failed;
        result = _tables.OwnTable(cluster);
        if (result != DiskResult.Done)
            return result;
        // It has a place already, which nobody sees yet.
        if (_tables.KindOf(entry) == ClusterKind.ZeroAllocated && (entry & Qcow2Format.Copied) != 0)
        {
            ulong own = entry & Qcow2Format.OffsetMask;
            result = WriteClusters(own, 1, ref position, ref walk);
            return result == DiskResult.Done ? _tables.SetEntry(cluster, own | Qcow2Format.Copied) : result;
        }

        result = _tables.Refcounts.Allocate(CountToTake(cluster, position, (ulong)walk.Remaining), out ulong first, out int count);
        if (result != DiskResult.Done)
            return result;
        result = WriteClusters(first << _clusterBits, count, ref position, ref walk);
        int set = 0;
        for (; result == DiskResult.Done && set < count; set++)
            result = Replace(cluster + (ulong)set, ((first + (ulong)set) << _clusterBits) | Qcow2Format.Copied);
        if (result == DiskResult.Done)
            return result;
        // What no entry came to point at is free again: it never was otherwise on disk, or as a leak.
        for (int i = Math.Max(set - 1, 0); i < count; i++)
            _tables.Refcounts.Decrease(first + (ulong)i, out _);
        return result;
    }

    /// <summary>Puts an entry in another one's place, and gives free what that pointed to.</summary>
    private DiskResult Replace(ulong cluster, ulong entry)
    {
        var result = _tables.Entry(cluster, out ulong old);
        if (result == DiskResult.Done)
            result = _tables.SetEntry(cluster, entry);
        if (result != DiskResult.Done)
            return result;
        _tables.Free(old);
        if ((old & Qcow2Format.Compressed) != 0)
            _compressed.Forget();
        return DiskResult.Done;
    }

    /// <summary>False for entries that no change may follow.</summary>
    private bool MayReplace(ulong entry) => _tables.KindOf(entry) switch
    {
        ClusterKind.Bad => false,
        ClusterKind.Data or ClusterKind.ZeroAllocated => !_tables.PointsAtTable(entry),
        _ => true,
    };

    /// <summary>How many clusters from one on a write needs and has no place for, whose entries are in the same table.</summary>
    private int CountToTake(ulong cluster, ulong position, ulong length)
    {
        ulong last = Math.Min((position + length - 1) >> _clusterBits, cluster + Math.Min(_tables.RestOfTable(cluster), MostTaken) - 1);
        int count = 1;
        while (cluster + (ulong)count <= last)
        {
            // One that has a place of its own, or a bad entry, is the next turn's.
            if (_tables.Entry(cluster + (ulong)count, out ulong entry) != DiskResult.Done || !MayReplace(entry)
                || ((entry & Qcow2Format.Copied) != 0 && (entry & Qcow2Format.OffsetMask) != 0))
                break;
            count++;
        }

        return count;
    }

    /// <summary>Writes whole clusters: the next bytes of a request, and around them what was there before.</summary>
    private DiskResult WriteClusters(ulong host, int count, ref ulong position, ref BufferWalk walk)
    {
        ulong inFirst = position & (_clusterSize - 1);
        ulong length = Math.Min((ulong)walk.Remaining, ((ulong)count << _clusterBits) - inFirst), end = position + length;
        ulong behind = (_clusterSize - (end & (_clusterSize - 1))) & (_clusterSize - 1);
        bool fresh = _file.IsFresh(host);
        HostBuffer head = default, tail = default;
        var result = DiskResult.Done;
        if (inFirst > 0 && !(fresh && ReadsAsZeros(position)))
            result = Fill(0, position - inFirst, inFirst, out head);
        if (result == DiskResult.Done && behind > 0 && !(fresh && ReadsAsZeros(end - 1)))
            result = Fill((int)_clusterSize, end, behind, out tail);
        if (result == DiskResult.Done)
            result = WritePieces(host + (head.Length > 0 ? 0 : inFirst), length, ref walk, head, tail);
        position = end;
        return result;
    }

    /// <summary>Reads what is around a write into the part of a buffer that is there for it.</summary>
    private DiskResult Fill(int at, ulong position, ulong length, out HostBuffer buffer)
    {
        _fill ??= new AlignedBuffer(2 * (int)_clusterSize);
        buffer = _fill.Buffer.Slice(at, (int)length);
        var walk = new BufferWalk(new ReadOnlySpan<HostBuffer>(in buffer));
        var result = _tables.Entry(position >> _clusterBits, out ulong entry);
        return result == DiskResult.Done ? ReadExtent(entry, ref position, ref walk) : result;
    }

    private bool ReadsAsZeros(ulong position)
    {
        if (_tables.Entry(position >> _clusterBits, out ulong entry) != DiskResult.Done)
            return false;
        return _tables.KindOf(entry) switch
        {
            ClusterKind.Zero or ClusterKind.ZeroAllocated => true,
            ClusterKind.Unallocated => !ShowsBacking(position >> _clusterBits),
            _ => false,
        };
    }

    /// <summary>True if a backing file shows through where a cluster is not allocated. One that is not open may.</summary>
    private bool ShowsBacking(ulong cluster) =>
        _backing is { } backing ? cluster << _clusterBits < backing.Length : _tables.Header.Backing is not null;
}
