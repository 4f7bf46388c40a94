using System.Diagnostics.CodeAnalysis;
using System.Numerics;
using Kvm.Vmm.Configuration;

namespace Kvm.Vmm.Snapshots.Store;

/// <summary>
/// A snapshot to be restored: its records at once, its chunks when they are asked for, in any order, from any thread, each verified before it is handed out. It
/// keeps the files open that it needs: the snapshot may be removed from the store meanwhile. Nothing is allocated for a chunk in steady state.
/// </summary>
public sealed class SnapshotReader : IDisposable
{
    private readonly Level[] _levels;
    private readonly PackReader[] _packs;
    private readonly IDisposable? _file;
    private readonly CodecPool _codecs = new();

    internal SnapshotReader(string name, IReadOnlyList<Manifest> chain, IReadOnlyList<PackReader> packs, IDisposable? file = null)
    {
        (Name, _packs, _file, Chain) = (name, [.. packs], file, chain);
        var manifest = chain[0];
        Regions = [.. manifest.Regions.Select(r => r.Region)];
        _levels = [.. chain.Select(m => new Level(m, Regions))];
    }

    /// <summary>Its name.</summary>
    public string Name { get; }

    /// <summary>32 hexadecimal digits that name it for ever, whatever it is called.</summary>
    public string Identity => Chain[0].Head.Identity.ToString();

    /// <summary>When it was made.</summary>
    public DateTimeOffset Created => Chain[0].Head.Created;

    /// <summary>The machine's configuration, records and disks.</summary>
    public SnapshotContent Content => Chain[0].Content;

    /// <summary>What it holds the content of.</summary>
    public IReadOnlyList<SnapshotRegion> Regions { get; }

    /// <summary>How many snapshots it is made of: 1 for one that stands alone.</summary>
    public int LevelCount => _levels.Length;

    /// <summary>Where another process opens the same.</summary>
    internal SnapshotOrigin? Origin { get; init; }

    /// <summary>Where its store has copies of disks; empty where it is in no store.</summary>
    internal string DisksPath { get; init; } = "";

    internal IReadOnlyList<Manifest> Chain { get; }

    internal IReadOnlyList<PackReader> Packs => _packs;

    /// <summary>True if a chunk is all zeros, which is known without reading it; one of zeros that was laid together from pages may be false.</summary>
    /// <param name="region">Number of the region.</param>
    /// <param name="chunk">Number of the chunk in it.</param>
    public bool IsZero(int region, long chunk)
    {
        Check(region, chunk);
        for (int level = 0; level < _levels.Length; level++)
        {
            var reference = _levels[level].At(region, chunk);
            if (reference.Kind != ChunkKind.Parent)
                return reference.Kind == ChunkKind.Zero;
        }

        return true;
    }

    /// <summary>Reads a chunk and verifies it.</summary>
    /// <param name="region">Number of the region.</param>
    /// <param name="chunk">Number of the chunk in it.</param>
    /// <param name="to">As many bytes as the chunk has (<see cref="SnapshotRegion.ChunkLength"/>); of no use unless the result is <see cref="ChunkStatus.Ok"/>.</param>
    public ChunkStatus ReadChunk(int region, long chunk, Span<byte> to)
    {
        Check(region, chunk);
        if (to.Length != Regions[region].ChunkLength(chunk))
            throw new ArgumentException("the chunk has another length", nameof(to));
        var codec = _codecs.Take();
        var status = Read(region, chunk, to, codec);
        _codecs.Return(codec);
        return status;
    }

    /// <summary>The error that a status stands for.</summary>
    /// <param name="status">Not <see cref="ChunkStatus.Ok"/>.</param>
    /// <param name="region">Number of the region.</param>
    /// <param name="chunk">Number of the chunk in it.</param>
    public VmmException Explain(ChunkStatus status, int region, long chunk)
    {
        var where = Regions[region];
        string detail = $"{VisibleText.Escape(Name)}: {VisibleText.Quote(where.Name, 40)} at {where.Start + (ulong)chunk * SnapshotFormat.ChunkSize:x}: ";
        return status switch
        {
            ChunkStatus.Missing => new VmmException(SnapshotErrors.Damaged, detail + "the chunk is in none of the packs"),
            ChunkStatus.Unreadable => new VmmException(SnapshotErrors.ReadFailed, detail + "the host cannot read it"),
            _ => new VmmException(SnapshotErrors.Damaged, detail + "these are not the bytes that were saved"),
        };
    }

    /// <summary>Reads all chunks that are not zeros, on several threads.</summary>
    /// <param name="sink">Given each, in no order, from any of the threads.</param>
    /// <param name="threads">How many, at least 1.</param>
    /// <param name="progress">Told the bytes that are done and all; or null.</param>
    /// <param name="cancellation">Ends it.</param>
    /// <exception cref="VmmException">A chunk is damaged or cannot be read.</exception>
    /// <exception cref="OperationCanceledException">It was ended.</exception>
    public void ReadAll(ChunkSink sink, int threads, Action<ulong, ulong>? progress = null, CancellationToken cancellation = default) =>
        ReadAll(static _ => true, sink, threads, progress, cancellation);

    /// <summary>As the other, of some regions.</summary>
    internal void ReadAll(Func<SnapshotRegion, bool> which, ChunkSink sink, int threads, Action<ulong, ulong>? progress = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(sink);
        ulong all = 0, done = 0;
        bool[] wanted = [.. Regions.Select(which)];
        foreach (var piece in Pieces())
            all += piece.IsFirst && wanted[piece.Region] ? (ulong)LengthOf(piece) : 0;
        ParallelItems.Run(Pieces().Where(piece => piece.IsFirst && wanted[piece.Region]), threads, (piece, codec) =>
        {
            var content = codec.Plain.AsSpan(0, LengthOf(piece));
            var status = Read(piece.Region, piece.Chunk, content, codec);
            if (status != ChunkStatus.Ok)
                throw Explain(status, piece.Region, piece.Chunk);
            sink(piece.Region, piece.Chunk, content);
            progress?.Invoke(Interlocked.Add(ref done, (ulong)content.Length), all);
        }, cancellation);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var pack in _packs)
            pack.Dispose();
        _codecs.Dispose();
        _file?.Dispose();
    }

    /// <summary>How the chunk is made: the chunk of the level where it is whole, and how many patches are laid over it.</summary>
    internal (ChunkRef Whole, int Patches) Resolve(int region, long chunk)
    {
        int patches = 0;
        for (int level = 0; level < _levels.Length; level++)
        {
            var reference = _levels[level].At(region, chunk);
            if (reference.Kind == ChunkKind.Patch)
                patches++;
            else if (reference.Kind != ChunkKind.Parent)
                return (reference, patches);
        }

        return (default, patches);
    }

    /// <summary>All that is stored and needed: of each level what no level above hides, in the order of the chunks in each.</summary>
    internal IEnumerable<ChunkPiece> Pieces()
    {
        for (int region = 0; region < Regions.Count; region++)
        {
            for (int level = 0; level < _levels.Length; level++)
            {
                foreach (var (chunk, reference) in _levels[level].Stored(region))
                {
                    bool hidden = false, first = true;
                    for (int above = 0; above < level; above++)
                    {
                        var kind = _levels[above].At(region, chunk).Kind;
                        hidden |= kind is ChunkKind.Zero or ChunkKind.Chunk;
                        first &= kind == ChunkKind.Parent;
                    }

                    if (!hidden)
                        yield return new ChunkPiece(region, chunk, reference, first);
                }
            }
        }
    }

    /// <summary>Finds a piece in the packs.</summary>
    internal bool TryFind(in ChunkId id, [NotNullWhen(true)] out PackReader? pack, out PackEntry entry)
    {
        foreach (var candidate in _packs)
        {
            if (candidate.TryFind(id, out entry))
            {
                pack = candidate;
                return true;
            }
        }

        (pack, entry) = (null, default);
        return false;
    }

    private int LengthOf(in ChunkPiece piece) => Regions[piece.Region].ChunkLength(piece.Chunk);

    private void Check(int region, long chunk)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual((uint)region, (uint)Regions.Count, nameof(region));
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual((ulong)chunk, (ulong)Regions[region].ChunkCount, nameof(chunk));
    }

    private ChunkStatus Read(int region, long chunk, Span<byte> to, ChunkCodec codec)
    {
        Span<byte> patches = stackalloc byte[SnapshotFormat.MostLevels];
        int count = 0;
        for (int level = 0; ; level++)
        {
            var reference = level < _levels.Length ? _levels[level].At(region, chunk) : default;
            if (reference.Kind == ChunkKind.Patch)
                patches[count++] = (byte)level;
            if (reference.Kind is ChunkKind.Patch or ChunkKind.Parent)
                continue;
            var status = ChunkStatus.Ok;
            if (reference.Kind == ChunkKind.Zero)
                to.Clear();
            else
                status = Load(reference.Id, codec, to);
            while (status == ChunkStatus.Ok && count > 0)
                status = Lay(_levels[patches[--count]].At(region, chunk), codec, to);
            return status;
        }
    }

    private ChunkStatus Lay(in ChunkRef patch, ChunkCodec codec, Span<byte> over)
    {
        // Pages behind the end of a short chunk, which no writer makes.
        if (patch.Pages == 0 || BitOperations.Log2(patch.Pages) >= over.Length / SnapshotFormat.PageSize)
            return ChunkStatus.Damaged;
        var pages = codec.Pages.AsSpan(0, patch.LengthOf(over.Length));
        var status = Load(patch.Id, codec, pages);
        for (uint left = patch.Pages; status == ChunkStatus.Ok && left != 0; left &= left - 1)
        {
            pages[..SnapshotFormat.PageSize].CopyTo(over[(BitOperations.TrailingZeroCount(left) * SnapshotFormat.PageSize)..]);
            pages = pages[SnapshotFormat.PageSize..];
        }

        return status;
    }

    private ChunkStatus Load(in ChunkId id, ChunkCodec codec, Span<byte> to) => TryFind(id, out var pack, out var entry) ? pack.Read(entry, codec, to) : ChunkStatus.Missing;

    /// <summary>A snapshot of the chain, its regions by the numbers of the last one's.</summary>
    private sealed class Level
    {
        private readonly RegionMap?[] _maps;

        public Level(Manifest manifest, IReadOnlyList<SnapshotRegion> regions) =>
            _maps = [.. regions.Select(region => manifest.Regions.FirstOrDefault(map => map.Region == region))];

        /// <summary>A region that a snapshot does not have is zeros in it.</summary>
        public ChunkRef At(int region, long chunk) => _maps[region] is { } map ? map[chunk] : default;

        public IEnumerable<(long Chunk, ChunkRef Ref)> Stored(int region) => _maps[region]?.Stored() ?? [];
    }
}

/// <summary>Something stored that a snapshot needs.</summary>
/// <param name="Region">Number of the region.</param>
/// <param name="Chunk">Number of the chunk in it.</param>
/// <param name="Ref">The chunk, or pages laid over it.</param>
/// <param name="IsFirst">True once for each chunk that anything is stored of.</param>
internal readonly record struct ChunkPiece(int Region, long Chunk, ChunkRef Ref, bool IsFirst);

/// <summary>Where a snapshot was opened.</summary>
/// <param name="Path">The store's folder, or the snapshot's file.</param>
/// <param name="IsFile">Whether it is one of a single file.</param>
/// <param name="Key">Its key, or null.</param>
internal sealed record SnapshotOrigin(string Path, bool IsFile, SnapshotKey? Key);
