using System.Collections.Concurrent;

namespace Kvm.Vmm.Snapshots.Store;

/// <summary>
/// The table of a region while a snapshot is written: takes memory where something was put, however long the region is. Different chunks from different threads;
/// the same one from one thread at a time.
/// </summary>
internal sealed class RegionTable(SnapshotRegion region, ChunkKind rest)
{
    private const int LeafBits = 8, LeafSize = 1 << LeafBits;

    private readonly ConcurrentDictionary<long, Slot[]> _leaves = [];

    public SnapshotRegion Region => region;

    /// <summary>What was put; what the region is made of otherwise, where nothing was.</summary>
    public ChunkRef this[long chunk]
    {
        get => _leaves.TryGetValue(chunk >> LeafBits, out var leaf) ? At(leaf, chunk) : Rest;
        set => _leaves.GetOrAdd(chunk >> LeafBits, static _ => new Slot[LeafSize])[chunk & (LeafSize - 1)] = new Slot(value, true);
    }

    private ChunkRef Rest => new(rest, 0, default);

    /// <summary>All of it, in order.</summary>
    public IEnumerable<(ChunkRef Ref, long Count)> All()
    {
        long[] leaves = [.. _leaves.Keys];
        Array.Sort(leaves);
        long chunk = 0;
        foreach (long number in leaves)
        {
            if (number << LeafBits > chunk)
                yield return (Rest, (number << LeafBits) - chunk);
            var leaf = _leaves[number];
            long end = Math.Min((number + 1) << LeafBits, region.ChunkCount);
            for (chunk = number << LeafBits; chunk < end; chunk++)
                yield return (At(leaf, chunk), 1);
        }

        if (chunk < region.ChunkCount)
            yield return (Rest, region.ChunkCount - chunk);
    }

    private ChunkRef At(Slot[] leaf, long chunk) => leaf[chunk & (LeafSize - 1)] is { IsSet: true } slot ? slot.Reference : Rest;

    private readonly record struct Slot(ChunkRef Reference, bool IsSet);
}
