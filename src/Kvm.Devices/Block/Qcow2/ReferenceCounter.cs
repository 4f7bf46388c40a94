namespace Kvm.Devices.Block.Qcow2;

/// <summary>Counts how often each cluster of a file is referred to, in memory for as much of the file as is.</summary>
internal sealed class ReferenceCounter
{
    private const int ChunkBits = 12;

    /// <summary>256 MiB of counts: images of 4 TiB with clusters of 64 KiB, and bounded for those that refer to places all over.</summary>
    private const int MostChunks = 16384;

    private readonly Dictionary<ulong, uint[]> _chunks = [];

    /// <summary>The cluster behind the last one that is referred to.</summary>
    public ulong End { get; private set; }

    /// <summary>How often a cluster is referred to.</summary>
    public uint this[ulong cluster] => _chunks.TryGetValue(cluster >> ChunkBits, out uint[]? chunk) ? chunk[cluster & ((1 << ChunkBits) - 1)] : 0;

    /// <summary>Counts one more.</summary>
    /// <exception cref="Qcow2Exception">There are too many places.</exception>
    public void Add(ulong cluster)
    {
        if (!_chunks.TryGetValue(cluster >> ChunkBits, out uint[]? chunk))
        {
            if (_chunks.Count == MostChunks)
                throw new Qcow2Exception(Qcow2Problem.Unsupported, "it refers to more places of its file than can be counted here");
            _chunks.Add(cluster >> ChunkBits, chunk = new uint[1 << ChunkBits]);
        }

        ref uint count = ref chunk[cluster & ((1 << ChunkBits) - 1)];
        if (count < uint.MaxValue)
            count++;
        End = Math.Max(End, cluster + 1);
    }
}
