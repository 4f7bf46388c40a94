using System.Buffers.Binary;
using Kvm.Devices.Snapshot;

namespace Kvm.Vmm.Snapshots.Store;

/// <summary>What a snapshot says of a chunk.</summary>
internal enum ChunkKind : byte
{
    /// <summary>All zeros; nothing is stored.</summary>
    Zero,

    /// <summary>As in the snapshot that this one is based on; zeros where there is none.</summary>
    Parent,

    /// <summary>A chunk of the store.</summary>
    Chunk,

    /// <summary>As in the snapshot that this one is based on, with some pages laid over it.</summary>
    Patch,
}

/// <summary>What a snapshot says of a chunk.</summary>
/// <param name="Kind">Which of the four.</param>
/// <param name="Pages">Of a patch: bit n is set where page n of the chunk is in it.</param>
/// <param name="Id">Of a chunk, or of the pages of a patch, one after another.</param>
internal readonly record struct ChunkRef(ChunkKind Kind, ushort Pages, ChunkId Id)
{
    public bool HasId => Kind is ChunkKind.Chunk or ChunkKind.Patch;

    /// <summary>Bytes of the content behind the id.</summary>
    /// <param name="whole">Bytes of the chunk.</param>
    public int LengthOf(int whole) => Kind == ChunkKind.Patch ? System.Numerics.BitOperations.PopCount(Pages) * SnapshotFormat.PageSize : whole;
}

/// <summary>
/// What is in the chunks of a region: runs of one kind, and the ids of those that have one. Immutable; its memory is in proportion to the bytes it was read from,
/// whatever lengths it speaks of.
/// </summary>
internal sealed class RegionMap
{
    private const int ChunkSize = ChunkId.Size, PatchSize = 2 + ChunkId.Size;

    private readonly Run[] _runs;
    private readonly byte[] _ids;

    private RegionMap(SnapshotRegion region, Run[] runs, byte[] ids) => (Region, _runs, _ids) = (region, runs, ids);

    public SnapshotRegion Region { get; }

    /// <summary>What is said of a chunk.</summary>
    /// <param name="chunk">Its number, less than the region has.</param>
    public ChunkRef this[long chunk]
    {
        get
        {
            int low = 0, high = _runs.Length - 1;
            while (low < high)
            {
                int middle = (low + high + 1) / 2;
                if (_runs[middle].First <= chunk)
                    low = middle;
                else
                    high = middle - 1;
            }

            return At(_runs[low], chunk - _runs[low].First);
        }
    }

    /// <summary>The first chunk at or behind one that is of another kind than <paramref name="kind"/>; the number of chunks if there is none.</summary>
    public long NextNot(ChunkKind kind, long chunk)
    {
        foreach (var run in _runs)
        {
            if (run.First + run.Count > chunk && run.Kind != kind)
                return Math.Max(run.First, chunk);
        }

        return Region.ChunkCount;
    }

    /// <summary>All references that have an id, in the order of the chunks.</summary>
    public IEnumerable<(long Chunk, ChunkRef Ref)> Stored()
    {
        foreach (var run in _runs)
        {
            for (long i = 0; run.Kind is ChunkKind.Chunk or ChunkKind.Patch && i < run.Count; i++)
                yield return (run.First + i, At(run, i));
        }
    }

    /// <summary>Reads one; hostile bytes.</summary>
    /// <exception cref="StoreFault">It says what cannot be.</exception>
    public static RegionMap Read(ref StateReader reader)
    {
        string name = ManifestText.Read(ref reader, SnapshotFormat.MostTextBytes, "a region's name");
        ulong start = reader.U64(), length = reader.U64();
        var region = new SnapshotRegion(name, start, length);
        if (SnapshotRegion.ProblemOf([region]) is { } problem)
            throw new StoreFault(SnapshotErrors.Damaged, $"{problem} cannot be");
        uint count = reader.U32();
        var runs = new List<Run>();
        long chunk = 0, ids = 0;
        for (uint i = 0; i < count && !reader.Failed; i++)
        {
            byte kind = reader.U8();
            ulong chunks = reader.U64();
            if (kind > (byte)ChunkKind.Patch || chunks == 0 || chunks > (ulong)(region.ChunkCount - chunk))
                throw new StoreFault(SnapshotErrors.Damaged, $"a run of {chunks} chunks of kind {kind} cannot be");
            runs.Add(new Run((ChunkKind)kind, chunk, (long)chunks, ids));
            chunk += (long)chunks;
            ids += runs[^1].IdBytes;
        }

        var bytes = reader.Bytes(SnapshotFormat.MostManifestBytes);
        if (reader.Failed || chunk != region.ChunkCount || ids != bytes.Length)
            throw new StoreFault(SnapshotErrors.Damaged, "the table of a region is cut short");
        return new RegionMap(region, [.. runs], bytes.ToArray());
    }

    /// <summary>Writes what a function says of each chunk.</summary>
    /// <param name="writer">Where to.</param>
    /// <param name="region">Of what.</param>
    /// <param name="references">All chunks, in order, equal neighbours of a kind without ids together.</param>
    public static void Write(StateWriter writer, SnapshotRegion region, IEnumerable<(ChunkRef Ref, long Count)> references)
    {
        var runs = new List<(ChunkKind Kind, long Count)>();
        var ids = new StateWriter();
        Span<byte> id = stackalloc byte[ChunkId.Size];
        foreach (var (reference, count) in references)
        {
            if (runs.Count > 0 && runs[^1].Kind == reference.Kind)
                runs[^1] = (reference.Kind, runs[^1].Count + count);
            else
                runs.Add((reference.Kind, count));
            if (!reference.HasId)
                continue;
            if (reference.Kind == ChunkKind.Patch)
                ids.U16(reference.Pages);
            reference.Id.Write(id);
            ids.Raw(id);
        }

        ManifestText.Write(writer, region.Name);
        writer.U64(region.Start);
        writer.U64(region.Length);
        writer.U32((uint)runs.Count);
        foreach (var (kind, count) in runs)
        {
            writer.U8((byte)kind);
            writer.U64((ulong)count);
        }

        writer.Bytes(ids.Written);
    }

    /// <summary>As <see cref="Write(StateWriter, SnapshotRegion, IEnumerable{ValueTuple{ChunkRef, long}})"/>, unchanged.</summary>
    public void Write(StateWriter writer) => Write(writer, Region, All());

    private IEnumerable<(ChunkRef Ref, long Count)> All()
    {
        foreach (var run in _runs)
        {
            if (run.IdBytes == 0)
            {
                yield return (new ChunkRef(run.Kind, 0, default), run.Count);
                continue;
            }

            for (long i = 0; i < run.Count; i++)
                yield return (At(run, i), 1);
        }
    }

    private ChunkRef At(in Run run, long index) => run.Kind switch
    {
        ChunkKind.Chunk => new ChunkRef(run.Kind, 0, ChunkId.Read(_ids.AsSpan((int)(run.Ids + index * ChunkSize)))),
        ChunkKind.Patch => PatchAt((int)(run.Ids + index * PatchSize)),
        _ => new ChunkRef(run.Kind, 0, default),
    };

    private ChunkRef PatchAt(int offset) =>
        new(ChunkKind.Patch, BinaryPrimitives.ReadUInt16LittleEndian(_ids.AsSpan(offset)), ChunkId.Read(_ids.AsSpan(offset + 2)));

    /// <summary>Chunks of one kind.</summary>
    /// <param name="Kind">Which.</param>
    /// <param name="First">The first one.</param>
    /// <param name="Count">How many.</param>
    /// <param name="Ids">Where their ids begin.</param>
    private readonly record struct Run(ChunkKind Kind, long First, long Count, long Ids)
    {
        // Counts are bounded by the region's, at most 2^40: no overflow.
        public long IdBytes => Kind switch { ChunkKind.Chunk => Count * ChunkSize, ChunkKind.Patch => Count * PatchSize, _ => 0 };
    }
}
