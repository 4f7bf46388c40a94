using Kvm.Interop;

namespace Kvm.Vmm.Snapshots.Store;

public sealed partial class SnapshotStore
{
    /// <summary>Removes snapshots, and the packs that no other one needs. What is left unused in packs that others need goes by <see cref="Prune"/>.</summary>
    /// <param name="names">Which; in any order where one is based on another.</param>
    /// <exception cref="VmmException">There is none of a name, others are based on one, or the store is in use: nothing is removed then.</exception>
    public void Remove(IReadOnlyList<string> names)
    {
        ArgumentNullException.ThrowIfNull(names);
        using var alone = LockExisting(names);
        var left = new Dictionary<string, StoreId>();
        foreach (string name in _folder.Names())
        {
            if (!names.Contains(name) && TryHead(name, out _) is { } head)
                left[name] = head.Parent;
        }

        foreach (string name in names)
        {
            // A damaged one can be removed: nobody can be based on it.
            if (TryHead(name, out _) is { } head && left.FirstOrDefault(pair => pair.Value == head.Identity) is { Key: { } child })
                throw new VmmException(SnapshotErrors.HasChildren, $"{child} is based on {name}");
        }

        StoreFolder.Guarded(SnapshotErrors.WriteFailed, Path, () =>
        {
            foreach (string name in names)
                _folder.Files.Delete(_folder.PathOf(name));
            _folder.Files.SyncFolder(Path);
            return true;
        });
        _folder.RemoveUnknownPacks();
    }

    /// <summary>Makes a snapshot stand alone: what it has from those it is based on is told in its own table from then on. It keeps its identity.</summary>
    /// <param name="name">Which.</param>
    /// <param name="progress">Told the bytes that are done and all; or null.</param>
    /// <param name="cancellation">Ends it.</param>
    /// <returns>How many snapshots it was made of: 1 if it stood alone before.</returns>
    /// <exception cref="VmmException">It cannot be read or written, or the store is in use; it is as it was then.</exception>
    public int Merge(string name, Action<ulong, ulong>? progress = null, CancellationToken cancellation = default)
    {
        var alone = LockExisting([name]);
        SnapshotWriter? writer = null;
        try
        {
            using var reader = Read(name);
            if (reader.LevelCount == 1)
                return 1;
            var options = new SnapshotOptions { Created = reader.Created };
            writer = new SnapshotWriter(_folder, name, reader.Regions, options, held: null, reader.Chain[0].Head.Identity, replaces: true);
            Copy(reader, writer, progress, cancellation);
            writer.Finish(reader.Content);
            _folder.RemoveUnknownPacks();
            return reader.LevelCount;
        }
        finally
        {
            writer?.Dispose();
            alone.Dispose();
        }
    }

    private static void Copy(SnapshotReader reader, SnapshotWriter writer, Action<ulong, ulong>? progress, CancellationToken cancellation)
    {
        byte[] buffer = new byte[SnapshotFormat.ChunkSize];
        ulong done = 0, all = BytesOf(reader.Regions);
        foreach (var piece in reader.Pieces())
        {
            cancellation.ThrowIfCancellationRequested();
            if (!piece.IsFirst)
                continue;
            int length = reader.Regions[piece.Region].ChunkLength(piece.Chunk);
            var (whole, patches) = reader.Resolve(piece.Region, piece.Chunk);
            if (patches > 0 || !writer.TryPutReference(piece.Region, piece.Chunk, whole))
            {
                var content = buffer.AsSpan(0, length);
                var status = reader.ReadChunk(piece.Region, piece.Chunk, content);
                if (status != ChunkStatus.Ok)
                    throw reader.Explain(status, piece.Region, piece.Chunk);
                writer.PutChunk(piece.Region, piece.Chunk, content);
            }

            progress?.Invoke(done += (ulong)length, all);
        }
    }

    /// <summary>The store's lock for one who removes or replaces snapshots that are there.</summary>
    private LockFile LockExisting(IReadOnlyList<string> names)
    {
        foreach (string name in names)
        {
            ManifestText.ThrowIfNoName(name);
            if (!File.Exists(_folder.PathOf(name)))
                throw new VmmException(SnapshotErrors.NotFound, $"{name} in {Configuration.VisibleText.Quote(Path)}");
        }

        return _folder.LockAlone();
    }
}
