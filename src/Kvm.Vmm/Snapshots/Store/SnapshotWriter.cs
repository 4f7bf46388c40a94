using System.Numerics;
using Kvm.Devices.Snapshot;

namespace Kvm.Vmm.Snapshots.Store;

/// <summary>How a snapshot is written.</summary>
public sealed record SnapshotOptions
{
    /// <summary>The name of the snapshot this one is based on: chunks that are not put are as there. Null: they are zeros.</summary>
    public string? Parent { get; init; }

    /// <summary>How chunks are packed.</summary>
    public SnapshotCompression Compression { get; init; } = SnapshotCompression.Lz4;

    /// <summary>When it is made; null: now.</summary>
    public DateTimeOffset? Created { get; init; }
}

/// <summary>
/// A snapshot that is being written. Chunks come in any order, from several threads at once, and again when they changed; nobody sees it before
/// <see cref="Finish"/>, and without that nothing of it is left. What is in the store already is not stored again.
/// </summary>
/// <remarks>Memory: 40 bytes a chunk that was put, the indexes of the store's packs (48 bytes a chunk, at most 128 MiB of them), about 1.5 MiB a thread.</remarks>
public sealed class SnapshotWriter : IDisposable
{
    private readonly StoreFolder _folder;
    private readonly string _name;
    private readonly DateTimeOffset _created;
    private readonly RegionTable[] _tables;
    private readonly KnownChunks _known;
    private readonly SnapshotReader? _parent;
    private readonly IDisposable? _lock;
    private readonly bool _replaces;
    private readonly CodecPool _codecs = new();
    private readonly StoreId _identity;
    private readonly string _part, _packPart;
    private IStoreFile? _manifestFile, _packFile;
    private PackWriter? _pack;
    private bool _packHasName, _hasName, _finished;
    private long _put, _zero;

    /// <summary>Begins one.</summary>
    /// <param name="folder">Where.</param>
    /// <param name="name">What it is called.</param>
    /// <param name="regions">What it holds.</param>
    /// <param name="options">How.</param>
    /// <param name="held">The store's lock, given back at the end.</param>
    /// <param name="identity">The one it has already, or null.</param>
    /// <param name="replaces">It takes the place of the snapshot of that name, whose content it has.</param>
    internal SnapshotWriter(StoreFolder folder, string name, IReadOnlyList<SnapshotRegion> regions, SnapshotOptions options, IDisposable? held, StoreId? identity = null, bool replaces = false)
    {
        (_folder, _name, _lock, _identity, _replaces) = (folder, name, held, identity ?? StoreId.New(), replaces);
        _created = options.Created ?? DateTimeOffset.UtcNow;
        _part = Path.Combine(folder.Path, $"{name}.{_identity}{StoreFolder.PartEnd}");
        _packPart = "";
        _known = new KnownChunks();
        try
        {
            if (!replaces && File.Exists(folder.PathOf(name)))
                throw new VmmException(SnapshotErrors.Exists, name);
            _parent = options.Parent is { } parent ? ChainOpener.Open(folder, parent) : null;
            _tables = [.. regions.Select(region => new RegionTable(region, _parent is null ? ChunkKind.Zero : ChunkKind.Parent))];
            if (_parent?.LevelCount >= SnapshotFormat.MostLevels)
                throw new VmmException(SnapshotErrors.NoParent, $"{options.Parent} is the last of {_parent.LevelCount} snapshots, one on the other");
            _known = KnownChunks.Of(folder, _parent);
            _manifestFile = Guarded(_part, () => folder.Files.Create(_part));
            string packPart = _packPart = Path.Combine(folder.PacksPath, _identity + StoreFolder.PartEnd);
            _packFile = Guarded(packPart, () => folder.Files.Create(packPart));
            _pack = new PackWriter(_packFile, 0, options.Compression, folder.Key);
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>32 hexadecimal digits that name it for ever.</summary>
    public string Identity => _identity.ToString();

    /// <summary>Bytes it takes in the store beyond what was there, so far; without its table.</summary>
    public long StoredBytes => _pack?.Length ?? 0;

    /// <summary>Chunks put so far, those of zeros among them, and those that were not there yet.</summary>
    public (long Put, long Zero, long New) Chunks => (Interlocked.Read(ref _put), Interlocked.Read(ref _zero), _pack?.Count ?? 0);

    /// <summary>Puts a whole chunk. One chunk from one thread at a time.</summary>
    /// <param name="region">Number of the region.</param>
    /// <param name="chunk">Number of the chunk in it.</param>
    /// <param name="content">All of it; read before this returns.</param>
    /// <exception cref="VmmException">It cannot be written (<see cref="SnapshotErrors.WriteFailed"/>); the snapshot is lost then.</exception>
    public void PutChunk(int region, long chunk, ReadOnlySpan<byte> content)
    {
        var table = TableOf(region, chunk);
        if (content.Length != table.Region.ChunkLength(chunk))
            throw new ArgumentException("the chunk has another length", nameof(content));
        Interlocked.Increment(ref _put);
        if (!content.ContainsAnyExcept((byte)0))
        {
            Interlocked.Increment(ref _zero);
            table[chunk] = new ChunkRef(ChunkKind.Zero, 0, default);
            return;
        }

        var id = _pack!.IdOf(content);
        if (ParentChunk(region, chunk) is { Whole: { Kind: ChunkKind.Chunk } whole, Patches: 0 } && whole.Id == id)
        {
            table[chunk] = new ChunkRef(ChunkKind.Parent, 0, default);
            return;
        }

        Store(id, content);
        table[chunk] = new ChunkRef(ChunkKind.Chunk, 0, id);
    }

    /// <summary>
    /// Puts some pages of a chunk, the others being as in the snapshot this one is based on. Where that would have to be laid together from too many pieces, or
    /// is most of the chunk, the chunk is stored whole. Takes the place of what was put of the chunk before.
    /// </summary>
    /// <param name="region">Number of the region.</param>
    /// <param name="chunk">Number of the chunk in it.</param>
    /// <param name="pages">Bit n is set where page n of the chunk is in <paramref name="content"/>.</param>
    /// <param name="content">The pages, one after another.</param>
    /// <exception cref="VmmException">It cannot be written, or the chunk that it is laid over not be read.</exception>
    public void PutPages(int region, long chunk, ushort pages, ReadOnlySpan<byte> content)
    {
        var table = TableOf(region, chunk);
        int length = table.Region.ChunkLength(chunk), count = BitOperations.PopCount(pages);
        if (pages == 0 || content.Length != count * SnapshotFormat.PageSize || BitOperations.Log2(pages) >= length / SnapshotFormat.PageSize)
            throw new ArgumentException("these are not the pages", nameof(content));
        if (count * SnapshotFormat.PageSize == length)
        {
            PutChunk(region, chunk, content);
            return;
        }

        if (count <= SnapshotFormat.ChunkPages / 2 && ParentChunk(region, chunk).Patches < SnapshotFormat.MostPatches)
        {
            Interlocked.Increment(ref _put);
            var id = _pack!.IdOf(content);
            Store(id, content);
            table[chunk] = new ChunkRef(ChunkKind.Patch, pages, id);
            return;
        }

        PutLaid(region, chunk, pages, content, length);
    }

    /// <summary>Puts all chunks of all regions, on several threads.</summary>
    /// <param name="source">Gives the content of each, in no order, from any of the threads.</param>
    /// <param name="threads">How many, at least 1.</param>
    /// <param name="progress">Told the bytes that are done and all; or null.</param>
    /// <param name="cancellation">Ends it.</param>
    public void PutAll(ChunkSource source, int threads, Action<ulong, ulong>? progress = null, CancellationToken cancellation = default) =>
        PutAll(_tables.Length, source, threads, progress, cancellation);

    /// <summary>As the other, of the first regions only.</summary>
    internal void PutAll(int count, ChunkSource source, int threads, Action<ulong, ulong>? progress = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(source);
        SnapshotRegion[] regions = [.. _tables.Take(count).Select(t => t.Region)];
        ChunkWork.Run(regions, threads, (region, chunk, buffer) =>
        {
            var content = buffer.AsSpan(0, regions[region].ChunkLength(chunk));
            source(region, chunk, content);
            PutChunk(region, chunk, content);
        }, progress, cancellation);
    }

    /// <summary>Writes the rest, makes all of it durable and gives it its name. No other thread uses the writer any more.</summary>
    /// <param name="content">The machine's state.</param>
    /// <exception cref="VmmException">It cannot be written, or the name is taken meanwhile: nothing of it is left.</exception>
    public void Finish(SnapshotContent content)
    {
        ArgumentNullException.ThrowIfNull(content);
        if (Manifest.ProblemOf(content) is { } problem)
            throw new ArgumentException(problem, nameof(content));
        ObjectDisposedException.ThrowIf(_pack is null || _finished, this);
        try
        {
            FinishPack();
            byte[] bytes = ManifestFile.Encode(HeadOf(), BodyOf(content), _folder.Key);
            if (bytes.Length > SnapshotFormat.MostManifestBytes)
                throw new VmmException(SnapshotErrors.WriteFailed, $"a table of {bytes.Length} bytes is longer than the format allows");
            FinishManifest(bytes);
            _finished = true;
        }
        finally
        {
            Dispose();
        }
    }

    /// <summary>Gives the lock back; removes what is not finished.</summary>
    public void Dispose()
    {
        _manifestFile?.Dispose();
        _packFile?.Dispose();
        if (!_finished)
        {
            // The name goes first: a pack may be missing only where nobody speaks of it.
            if (_hasName)
                _folder.Remove(_folder.PathOf(_name));
            if (_packHasName)
                _folder.Remove(_folder.PathOf(_pack!.Id));
            if (_packFile is not null)
                _folder.Remove(_packPart);
            if (_manifestFile is not null)
                _folder.Remove(_part);
        }

        (_manifestFile, _packFile, _hasName, _packHasName) = (null, null, false, false);
        _pack?.Dispose();
        _parent?.Dispose();
        _known.Dispose();
        _codecs.Dispose();
        _lock?.Dispose();
    }

    /// <summary>Says of a chunk what it is, without its content. False where its pack is none of those whose index is in memory: then the content is needed.</summary>
    internal bool TryPutReference(int region, long chunk, in ChunkRef reference)
    {
        if (reference.HasId && !_known.Contains(reference.Id))
            return false;
        TableOf(region, chunk)[chunk] = reference;
        return true;
    }

    private static T Guarded<T>(string path, Func<T> work) => StoreFolder.Guarded(SnapshotErrors.WriteFailed, path, work);

    private RegionTable TableOf(int region, long chunk)
    {
        ObjectDisposedException.ThrowIf(_pack is null || _finished, this);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual((uint)region, (uint)_tables.Length, nameof(region));
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual((ulong)chunk, (ulong)_tables[region].Region.ChunkCount, nameof(chunk));
        return _tables[region];
    }

    private (ChunkRef Whole, int Patches) ParentChunk(int region, long chunk) =>
        ParentRegion(region) is >= 0 and var number ? _parent!.Resolve(number, chunk) : default;

    /// <summary>The number that the parent has for a region; −1 if it has none.</summary>
    private int ParentRegion(int region)
    {
        for (int i = 0; _parent is not null && i < _parent.Regions.Count; i++)
        {
            if (_parent.Regions[i] == _tables[region].Region)
                return i;
        }

        return -1;
    }

    private void Store(in ChunkId id, ReadOnlySpan<byte> content)
    {
        if (_known.Contains(id))
            return;
        var codec = _codecs.Take();
        try
        {
            _pack!.Add(id, content, codec);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new VmmException(SnapshotErrors.WriteFailed, $"{Configuration.VisibleText.Quote(_packPart)}: {Configuration.HostFailureText.Of(e)}", e);
        }
        finally
        {
            _codecs.Return(codec);
        }
    }

    private void PutLaid(int region, long chunk, ushort pages, ReadOnlySpan<byte> content, int length)
    {
        var codec = _codecs.Take();
        try
        {
            var whole = codec.Plain.AsSpan(0, length);
            whole.Clear();
            int number = ParentRegion(region);
            var status = number < 0 ? ChunkStatus.Ok : _parent!.ReadChunk(number, chunk, whole);
            if (status != ChunkStatus.Ok)
                throw _parent!.Explain(status, number, chunk);
            for (uint left = pages; left != 0; left &= left - 1)
            {
                content[..SnapshotFormat.PageSize].CopyTo(whole[(BitOperations.TrailingZeroCount(left) * SnapshotFormat.PageSize)..]);
                content = content[SnapshotFormat.PageSize..];
            }

            PutChunk(region, chunk, whole);
        }
        finally
        {
            _codecs.Return(codec);
        }
    }

    private void FinishPack() => Guarded(_packPart, () =>
    {
        if (_pack!.Count == 0)
        {
            _packFile!.Dispose();
            _folder.Files.Delete(_packPart);
            return true;
        }

        _pack.Finish();
        _packFile!.Flush();
        _packFile.Dispose();
        _folder.Files.Rename(_packPart, _folder.PathOf(_pack.Id), replace: false);
        _packHasName = true;
        _folder.Files.SyncFolder(_folder.PacksPath);
        return true;
    });

    private void FinishManifest(byte[] bytes) => Guarded(_part, () =>
    {
        _manifestFile!.WriteAt(0, bytes);
        _manifestFile.Flush();
        _manifestFile.Dispose();
        if (!_replaces && File.Exists(_folder.PathOf(_name)))
            throw new VmmException(SnapshotErrors.Exists, _name);
        _folder.Files.Rename(_part, _folder.PathOf(_name), _replaces);
        // What took another's place is not removed whatever happens: it is all there is.
        (_hasName, _finished) = (true, _replaces);
        _folder.Files.SyncFolder(_folder.Path);
        return true;
    });

    private ManifestHead HeadOf()
    {
        List<StoreId> packs = _packHasName ? [_pack!.Id] : [];
        packs.AddRange(_known.Used());
        return new ManifestHead { Identity = _identity, Parent = _parent?.Chain[0].Head.Identity ?? default, Created = _created, Packs = packs };
    }

    private ReadOnlySpan<byte> BodyOf(SnapshotContent content)
    {
        var writer = new StateWriter();
        ManifestText.Write(writer, _parent?.Name ?? "");
        Manifest.WriteContent(writer, content);
        Manifest.WriteRegions(writer, _tables);
        return writer.Written;
    }
}
