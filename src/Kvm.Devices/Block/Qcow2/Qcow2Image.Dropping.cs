using Kvm.Devices.Memory;

namespace Kvm.Devices.Block.Qcow2;

/// <summary>Discards and zeros: clusters are dropped from the tables, their storage is given back when that is durable.</summary>
public sealed partial class Qcow2Image
{
    private const int ZeroesSize = 64 << 10;

    private AlignedBuffer? _zeroes;

    /// <summary>What becomes of a cluster that is dropped.</summary>
    private enum Drop
    {
        /// <summary>It reads as zeros where the format can say so; else nothing happens.</summary>
        Hint,

        /// <summary>It reads as zeros and has no storage.</summary>
        Zeroes,

        /// <summary>It reads as zeros and keeps its storage.</summary>
        KeptZeroes,

        /// <summary>The image says nothing of it any more, even if a backing file shows then.</summary>
        Forget,
    }

    /// <summary>Lets clusters that lie whole in the range go: they read as zeros, or in version 2 with a backing file as before.</summary>
    /// <inheritdoc cref="IDiskImage.Discard"/>
    public DiskResult Discard(ulong position, ulong length)
    {
        if (IsReadOnly)
            return DiskResult.Unsupported;
        _gate.EnterAlone();
        try
        {
            return Begin() is not DiskResult.Done and var failure ? failure : DropWhole(position, length, Drop.Hint);
        }
        finally
        {
            _gate.ExitAlone();
        }
    }

    /// <inheritdoc/>
    public DiskResult WriteZeroes(ulong position, ulong length, bool mayUnmap)
    {
        if (IsReadOnly)
            return DiskResult.Unsupported;
        _gate.EnterAlone();
        try
        {
            return Begin() is not DiskResult.Done and var failure ? failure : ZeroRange(position, length, mayUnmap ? Drop.Zeroes : Drop.KeptZeroes);
        }
        finally
        {
            _gate.ExitAlone();
        }
    }

    private DiskResult ZeroRange(ulong position, ulong length, Drop drop)
    {
        ulong end = position + length, first = Qcow2Format.RoundUp(position, _clusterSize), last = end == Length ? end : end & ~(_clusterSize - 1);
        if (first >= last)
            return ZeroPart(position, end);
        var result = ZeroPart(position, first);
        if (result == DiskResult.Done)
            result = DropWhole(first, last - first, drop);
        return result == DiskResult.Done ? ZeroPart(last, end) : result;
    }

    /// <summary>Writes zeros over parts of clusters, and over clusters that cannot be told to be zero.</summary>
    private DiskResult ZeroPart(ulong position, ulong end)
    {
        while (position < end)
        {
            ulong length = Math.Min(end - position, Math.Min(_clusterSize - (position & (_clusterSize - 1)), ZeroesSize));
            if (ReadsAsZeros(position))
            {
                position += length;
                continue;
            }

            _zeroes ??= new AlignedBuffer(ZeroesSize);
            var piece = _zeroes.Buffer.Slice(0, (int)length);
            var walk = new BufferWalk(new ReadOnlySpan<HostBuffer>(in piece));
            while (walk.Remaining > 0)
            {
                if (WriteNext(ref position, ref walk) is not DiskResult.Done and var failure)
                    return failure;
            }
        }

        return DiskResult.Done;
    }

    /// <summary>Drops the clusters that lie whole in a range; the disk's last one does if the range goes to the disk's end.</summary>
    private DiskResult DropWhole(ulong position, ulong length, Drop drop)
    {
        ulong end = position + length, last = end == Length ? (end + _clusterSize - 1) >> _clusterBits : end >> _clusterBits;
        for (ulong cluster = (position + _clusterSize - 1) >> _clusterBits; cluster < last; cluster++)
        {
            if (_tables.HasNoTable(cluster) && !ShowsBacking(cluster))
            {
                cluster += _tables.RestOfTable(cluster) - 1;
                continue;
            }

            if (DropOne(cluster, drop) is not DiskResult.Done and var failure)
                return failure;
        }

        return DiskResult.Done;
    }

    private DiskResult DropOne(ulong cluster, Drop drop)
    {
        var result = _tables.Entry(cluster, out ulong entry);
        if (result != DiskResult.Done)
            return result;
        var kind = _tables.KindOf(entry);
        bool shows = drop != Drop.Forget && ShowsBacking(cluster), canZero = _tables.Header.Version > 2;
        if (!MayReplace(entry))
            return DiskResult.Failed;
        if (kind == ClusterKind.Unallocated && (!shows || drop == Drop.Hint))
            return DiskResult.Done;
        if (drop == Drop.KeptZeroes && kind == ClusterKind.Data && canZero && (entry & Qcow2Format.Copied) != 0)
            return Change(entry | Qcow2Format.Zero);
        if ((shows && !canZero) || (drop == Drop.KeptZeroes && kind == ClusterKind.Data && !canZero))
        {
            ulong start = cluster << _clusterBits;
            return drop == Drop.Hint ? DiskResult.Done : ZeroPart(start, Math.Min(start + _clusterSize, Length));
        }

        ulong fresh = shows ? Qcow2Format.Zero : 0;
        if (entry == fresh || (drop == Drop.KeptZeroes && kind is ClusterKind.Zero or ClusterKind.ZeroAllocated))
            return DiskResult.Done;
        result = Change(fresh, replaces: true);
        return result == DiskResult.Done ? _tables.Settle() : result;

        DiskResult Change(ulong to, bool replaces = false)
        {
            var owned = _tables.OwnTable(cluster);
            if (owned != DiskResult.Done)
                return owned;
            return replaces ? Replace(cluster, to) : _tables.SetEntry(cluster, to);
        }
    }
}
