using Kvm.Devices.Memory;
using Kvm.Vmm.Snapshots.Store;

namespace Kvm.Vmm.Snapshots;

/// <summary>Pages, as chunks of the regions of a snapshot with a mask of each one's pages.</summary>
/// <param name="regions">The ranges of memory; region n of the snapshot is the nth.</param>
internal sealed class WrittenChunks(IReadOnlyList<GuestRegion> regions)
{
    private readonly Dictionary<(int Region, long Chunk), ushort> _masks = [];

    /// <summary>Chunks with a page among them.</summary>
    public int Count => _masks.Count;

    /// <summary>The chunks, in no order.</summary>
    public IEnumerable<(int Region, long Chunk)> Chunks => _masks.Keys;

    /// <summary>Which pages of a chunk there are.</summary>
    public ushort this[(int Region, long Chunk) chunk] => _masks.GetValueOrDefault(chunk);

    /// <summary>Adds pages by their addresses; those in none of the ranges are none of the guest's.</summary>
    public void Add(IEnumerable<ulong> pages)
    {
        foreach (ulong page in pages)
        {
            for (int region = 0; region < regions.Count; region++)
            {
                ulong offset = page - regions[region].Start;
                if (page < regions[region].Start || offset >= regions[region].Size)
                    continue;
                var chunk = (region, (long)(offset / SnapshotFormat.ChunkSize));
                _masks[chunk] = (ushort)(_masks.GetValueOrDefault(chunk) | 1 << (int)(offset % SnapshotFormat.ChunkSize / SnapshotFormat.PageSize));
            }
        }
    }

    /// <summary>Adds the pages of others.</summary>
    public void Add(WrittenChunks others)
    {
        foreach (var (chunk, mask) in others._masks)
            _masks[chunk] = (ushort)(_masks.GetValueOrDefault(chunk) | mask);
    }

    /// <summary>Forgets all.</summary>
    public void Clear() => _masks.Clear();
}
