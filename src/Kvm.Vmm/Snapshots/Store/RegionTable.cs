namespace Kvm.Vmm.Snapshots.Store;

/// <summary>
/// The table of a region while a snapshot is written: takes memory where something was put. Different chunks from different threads; the same one from one
/// thread at a time.
/// </summary>
internal sealed class RegionTable(SnapshotRegion region, ChunkKind rest)
{
    private const int LeafBits = 10, LeafSize = 1 << LeafBits;

    private readonly Slot[]?[] _leaves = new Slot[]?[((region.ChunkCount - 1) >> LeafBits) + 1];

    public SnapshotRegion Region => region;

    /// <summary>What was put; what the region is made of otherwise, where nothing was.</summary>
    public ChunkRef this[long chunk]
    {
        get => Volatile.Read(ref _leaves[chunk >> LeafBits]) is { } leaf && leaf[chunk & (LeafSize - 1)] is { IsSet: true } slot ? slot.Reference : Rest;
        set => LeafOf(chunk)[chunk & (LeafSize - 1)] = new Slot(value, true);
    }

    private ChunkRef Rest => new(rest, 0, default);

    /// <summary>All of it, in order.</summary>
    public IEnumerable<(ChunkRef Ref, long Count)> All()
    {
        for (long chunk = 0; chunk < region.ChunkCount;)
        {
            long end = Math.Min((chunk | (LeafSize - 1)) + 1, region.ChunkCount);
            if (_leaves[chunk >> LeafBits] is null)
            {
                yield return (Rest, end - chunk);
                chunk = end;
                continue;
            }

            for (; chunk < end; chunk++)
                yield return (this[chunk], 1);
        }
    }

    private Slot[] LeafOf(long chunk)
    {
        ref var leaf = ref _leaves[chunk >> LeafBits];
        return Volatile.Read(ref leaf) ?? Interlocked.CompareExchange(ref leaf, new Slot[LeafSize], null) ?? leaf!;
    }

    private readonly record struct Slot(ChunkRef Reference, bool IsSet);
}
