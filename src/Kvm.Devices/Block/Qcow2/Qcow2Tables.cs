using System.Buffers.Binary;

namespace Kvm.Devices.Block.Qcow2;

/// <summary>
/// The tables that say where clusters are, and the order in which changes of them reach the file. A change is made in memory; <see cref="Commit"/>
/// writes what is referred to first and waits until it is durable: data and refcounts, then the tables that refer to them, and only then is
/// anything given free. So whatever part of this a crash leaves undone costs free space at most.
/// </summary>
/// <remarks><see cref="TryEntry"/> may run in several threads at once while nothing else of it runs.</remarks>
internal sealed partial class Qcow2Tables : IDisposable
{
    /// <summary>What a bad entry of the L1 table is in memory: no table.</summary>
    private const ulong BadTable = 1;

    /// <summary>What an entry of no good table reads as: of no kind that the format knows.</summary>
    private const ulong BadEntry = Qcow2Format.Copied | Qcow2Format.Zero;

    private readonly int _l2Bits;
    // Clusters that may wait to be given free before they are: 16,384 with the usual cache.
    private readonly int _mostFrees;
    private readonly MetadataCache _l2;
    private readonly Refcounts? _refcounts;
    // Clusters that nothing in memory refers to any more, and something on disk may.
    private readonly List<ulong> _frees = [];
    private ulong[] _l1;
    // Entries of the L1 table that are not written yet: from, to (exclusive).
    private int _l1From = int.MaxValue, _l1To;
    private bool _begun;

    private Qcow2Tables(ClusterFile file, Qcow2Header header, ulong[] l1, Refcounts? refcounts, int cacheBytes)
    {
        (File, Header, _l1, _refcounts) = (file, header, l1, refcounts);
        _l2Bits = header.ClusterBits - 3;
        _mostFrees = cacheBytes / 2048;
        Format = new EntryFormat(header.ClusterBits, header.Version);
        _l2 = new MetadataCache(file, header.ClusterSize, cacheBytes);
    }

    public ClusterFile File { get; }

    /// <summary>The header as it is in the file, but for the place of the refcount table.</summary>
    public Qcow2Header Header { get; private set; }

    public EntryFormat Format { get; }

    /// <summary>Where the file ends, rounded up to a cluster: no entry may point beyond.</summary>
    public ulong End => Qcow2Format.RoundUp(File.Length, (ulong)Header.ClusterSize);

    /// <summary>Counts of references; only of an image that may be written.</summary>
    public Refcounts Refcounts => _refcounts ?? throw new InvalidOperationException("the image is open for reading only");

    /// <summary>Pages of L2 tables that had to be read from the file.</summary>
    public long Misses => _l2.Misses;

    /// <summary>Tables in memory differ from those in the file.</summary>
    public bool HasChanges => _l2.DirtyCount > 0 || _l1To > 0 || _frees.Count > 0;

    /// <summary>The kind of a cluster's entry.</summary>
    public ClusterKind KindOf(ulong entry) => Format.KindOf(entry, End);

    /// <summary>A cluster's entry, if its page is in memory.</summary>
    public bool TryEntry(ulong cluster, out ulong entry)
    {
        ulong table = _l1[cluster >> _l2Bits];
        if (table <= BadTable)
        {
            entry = table == 0 ? 0 : BadEntry;
            return true;
        }

        return _l2.TryRead(AddressOf(table, cluster), out entry);
    }

    /// <summary>Reads a cluster's entry.</summary>
    public DiskResult Entry(ulong cluster, out ulong entry)
    {
        if (TryEntry(cluster, out entry))
            return DiskResult.Done;
        ulong address = AddressOf(_l1[cluster >> _l2Bits], cluster);
        var result = MakeRoom();
        if (result == DiskResult.Done)
            result = _l2.Take(address, change: false, out _);
        if (result == DiskResult.Done)
            TryEntry(cluster, out entry);
        return result;
    }

    /// <summary>Changes a cluster's entry in memory. <see cref="OwnTable"/> was asked for it.</summary>
    public DiskResult SetEntry(ulong cluster, ulong entry)
    {
        ulong address = AddressOf(_l1[cluster >> _l2Bits], cluster);
        var result = MakeRoom();
        if (result != DiskResult.Done)
            return result;
        result = _l2.Take(address, change: true, out var page);
        if (result == DiskResult.Done)
            BinaryPrimitives.WriteUInt64BigEndian(page[_l2.InPage(address)..], entry);
        return result;
    }

    /// <summary>Clusters from one on that have their entries in the same table.</summary>
    public ulong RestOfTable(ulong cluster) => (1UL << _l2Bits) - (cluster & ((1UL << _l2Bits) - 1));

    /// <summary>True if no table says anything of a cluster and its neighbours up to <see cref="RestOfTable"/>.</summary>
    public bool HasNoTable(ulong cluster) => _l1[cluster >> _l2Bits] == 0;

    /// <summary>Sees to it that a cluster's entry is in a table that belongs to the active image alone.</summary>
    public DiskResult OwnTable(ulong cluster)
    {
        int index = (int)(cluster >> _l2Bits);
        ulong old = _l1[index], oldOffset = old & Qcow2Format.OffsetMask;
        if (old == BadTable)
            return DiskResult.Failed;
        if ((old & Qcow2Format.Copied) != 0)
            return DiskResult.Done;
        var result = Refcounts.Allocate(1, out ulong fresh, out _);
        if (result != DiskResult.Done)
            return result;
        ulong offset = fresh << Header.ClusterBits, size = (ulong)Header.ClusterSize;
        _l2.Forget(offset, size);
        result = oldOffset == 0 ? File.Clear(offset, size) : CopyCluster(oldOffset, offset);
        if (result != DiskResult.Done)
        {
            Refcounts.Decrease(fresh, out _);
            return result;
        }

        _l1[index] = offset | Qcow2Format.Copied;
        (_l1From, _l1To) = (Math.Min(_l1From, index), Math.Max(_l1To, index + 1));
        Refcounts.Tables.Add(fresh);
        if (oldOffset != 0)
            _frees.Add(oldOffset >> Header.ClusterBits);
        return DiskResult.Done;
    }

    /// <summary>True if an entry of data points at a table: such an entry lies, and must not be followed by a change.</summary>
    public bool PointsAtTable(ulong entry) => Refcounts.Tables.Contains((entry & Qcow2Format.OffsetMask) >> Header.ClusterBits);

    /// <summary>Gives free, when that is durable, what an entry pointed to that was replaced.</summary>
    public void Free(ulong entry)
    {
        switch (KindOf(entry))
        {
            case ClusterKind.Data or ClusterKind.ZeroAllocated:
                Add((entry & Qcow2Format.OffsetMask) >> Header.ClusterBits);
                break;
            case ClusterKind.Compressed:
                var (offset, length) = Format.CompressedRange(entry);
                for (ulong at = offset >> Header.ClusterBits; at <= (offset + (ulong)length - 1) >> Header.ClusterBits; at++)
                    Add(at);
                break;
            default:
                break;
        }

        // What lies that it is data and holds a table stays what it is.
        void Add(ulong cluster)
        {
            if (!Refcounts.Tables.Contains(cluster))
                _frees.Add(cluster);
        }
    }

    /// <summary>To be asked before the image is changed in any way.</summary>
    public DiskResult Begin()
    {
        if (_begun)
            return DiskResult.Done;
        if (Header.Version > 2 && Header.Autoclear != 0)
        {
            // What these bits promise of other data (bitmaps) is not kept up here, so the promise is taken back first (header, bytes 88 to 95).
            Span<byte> none = stackalloc byte[sizeof(ulong)];
            none.Clear();
            var result = TableWriter.Write(File, Qcow2Format.FeaturesAt + 16, none);
            if (result == DiskResult.Done)
                result = File.Flush();
            if (result != DiskResult.Done)
                return result;
            Header = Header with { Autoclear = 0 };
        }

        _begun = true;
        return DiskResult.Done;
    }

    /// <summary>Commits if too much waits to be given free.</summary>
    public DiskResult Settle() => _frees.Count < _mostFrees ? DiskResult.Done : Commit(durable: false);

    /// <summary>Writes all changes of tables, in the order that a crash cannot harm.</summary>
    /// <param name="durable">What was written before, data too, is durable afterwards.</param>
    public DiskResult Commit(bool durable)
    {
        if (!HasChanges)
            return durable ? File.Flush() : DiskResult.Done;
        var result = Refcounts.WriteChanges();
        if (result == DiskResult.Done)
            result = File.Flush();
        if (result == DiskResult.Done)
            result = _l2.WriteChanges();
        if (result == DiskResult.Done && _l1To > 0)
            result = WriteL1();
        if (result == DiskResult.Done && (durable || _frees.Count > 0))
            result = File.Flush();
        if (result == DiskResult.Done)
            ApplyFrees();
        return result;
    }

    /// <summary>Commits, and writes what only a leak would come of if it were lost.</summary>
    public DiskResult CommitAll()
    {
        var result = Commit(durable: true);
        if (result != DiskResult.Done || !Refcounts.HasChanges)
            return result;
        result = Refcounts.WriteChanges();
        return result == DiskResult.Done ? File.Flush() : result;
    }

    public void Dispose()
    {
        _l2.Dispose();
        _refcounts?.Dispose();
        File.Dispose();
    }

    private ulong AddressOf(ulong table, ulong cluster) =>
        (table & Qcow2Format.OffsetMask) + ((cluster & ((1UL << _l2Bits) - 1)) * sizeof(ulong));

    private DiskResult MakeRoom() => _l2.IsFullOfChanges ? Commit(durable: false) : DiskResult.Done;

    /// <summary>A table that is new in it was made before the flush of data and refcounts: cleared, or a copy. It says nothing wrong, whatever of it is written.</summary>
    private DiskResult WriteL1()
    {
        var result = TableWriter.Write(File, Header.L1Offset, _l1, _l1From, _l1To);
        if (result == DiskResult.Done)
            (_l1From, _l1To) = (int.MaxValue, 0);
        return result;
    }

    /// <summary>Nothing on disk refers to these any more. What goes wrong here costs their space, no more.</summary>
    private void ApplyFrees()
    {
        _frees.Sort();
        ulong from = 0, count = 0;
        foreach (ulong cluster in _frees)
        {
            if (Refcounts.Decrease(cluster, out ulong left) != DiskResult.Done || left > 0)
                continue;
            Refcounts.Tables.Remove(cluster);
            if (cluster == _packedAt >> Header.ClusterBits)
                _packedAt = 0;
            if (count > 0 && cluster == from + count)
            {
                count++;
                continue;
            }

            PunchHole(from, count);
            (from, count) = (cluster, 1);
        }

        PunchHole(from, count);
        _frees.Clear();
    }

    private void PunchHole(ulong cluster, ulong count)
    {
        if (count > 0)
            File.Discard(cluster << Header.ClusterBits, count << Header.ClusterBits);
    }
}
