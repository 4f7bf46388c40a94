using Kvm.Devices.Snapshot;

namespace Kvm.Vmm.Snapshots.Store;

public sealed partial class SnapshotStore
{
    /// <summary>Writes a snapshot, with all that it is based on, into one file, encrypted if the store has a key. The file has its name when all of it is durable.</summary>
    /// <param name="name">Which.</param>
    /// <param name="path">The file; nothing is overwritten.</param>
    /// <param name="compression">How chunks are packed.</param>
    /// <param name="threads">How many, at least 1.</param>
    /// <param name="progress">Told the bytes that are done and all; or null.</param>
    /// <param name="cancellation">Ends it.</param>
    /// <exception cref="VmmException">It cannot be read or written.</exception>
    /// <exception cref="OperationCanceledException">It was ended.</exception>
    public void Export(string name, string path, SnapshotCompression compression, int threads, Action<ulong, ulong>? progress = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(path);
        using var reader = Read(name);
        StoreFolder.Guarded(SnapshotErrors.WriteFailed, path, () =>
        {
            path = System.IO.Path.GetFullPath(path);
            if (System.IO.Path.Exists(path))
                throw new VmmException(SnapshotErrors.Exists, Configuration.VisibleText.Quote(path));
            string folder = System.IO.Path.GetDirectoryName(path) ?? "/", part = System.IO.Path.Combine(folder, $".{System.IO.Path.GetFileName(path)}.{Environment.ProcessId}{StoreFolder.PartEnd}");
            using var file = _folder.Files.Create(part);
            try
            {
                WriteFile(reader, file, compression, threads, progress, cancellation);
                file.Flush();
                _folder.Files.Rename(part, path, replace: false);
                _folder.Files.SyncFolder(folder);
                return true;
            }
            finally
            {
                if (File.Exists(part))
                    _folder.Remove(part);
            }
        });
    }

    /// <summary>Takes a snapshot from a single file into the store; each chunk is verified. What the store has already is not stored again.</summary>
    /// <param name="path">The file.</param>
    /// <param name="name">What it is to be called; null: as it was.</param>
    /// <param name="compression">How chunks are packed.</param>
    /// <param name="threads">How many, at least 1.</param>
    /// <param name="progress">Told the bytes that are done and all; or null.</param>
    /// <param name="cancellation">Ends it.</param>
    /// <returns>What it is called.</returns>
    /// <exception cref="VmmException">The file is none or damaged, the snapshot or its name is in the store, or that cannot be written.</exception>
    /// <exception cref="OperationCanceledException">It was ended.</exception>
    public string Import(string path, string? name, SnapshotCompression compression, int threads, Action<ulong, ulong>? progress = null, CancellationToken cancellation = default)
    {
        using var reader = ReadFile(path, _folder.Key, _folder.Files);
        name ??= reader.Name;
        ManifestText.ThrowIfNoName(name);
        _folder.Make();
        var held = _folder.LockToAdd();
        try
        {
            var identity = reader.Chain[0].Head.Identity;
            if (ChainOpener.NameOf(_folder, identity) is { } there)
                throw new VmmException(SnapshotErrors.Exists, $"it is called {there} in the store");
            using var writer = new SnapshotWriter(_folder, name, reader.Regions, new SnapshotOptions { Compression = compression, Created = reader.Created }, held, identity);
            reader.ReadAll(writer.PutChunk, threads, progress, cancellation);
            writer.Finish(reader.Content);
            return name;
        }
        finally
        {
            held.Dispose();
        }
    }

    /// <summary>Opens a snapshot in a single file for restoring, without a store.</summary>
    /// <param name="path">The file.</param>
    /// <param name="key">Its key, or null.</param>
    /// <exception cref="VmmException">It is none, damaged, of a later version or encrypted with another key.</exception>
    public static SnapshotReader ReadFile(string path, SnapshotKey? key = null) => ReadFile(path, key, HostStoreFiles.Instance);

    internal static SnapshotReader ReadFile(string path, SnapshotKey? key, IStoreFiles files)
    {
        ArgumentNullException.ThrowIfNull(path);
        return StoreFolder.Guarded(SnapshotErrors.ReadFailed, path, () =>
        {
            var file = files.Open(path);
            try
            {
                byte[] first = new byte[SnapshotFileHead.Size];
                long length = file.Length;
                var head = SnapshotFileHead.Read(first.AsSpan(0, file.ReadAt(0, first)), length);
                byte[] bytes = GC.AllocateUninitializedArray<byte>((int)head.ManifestBytes);
                if (file.ReadAt(SnapshotFileHead.Size + head.PackBytes, bytes) != bytes.Length)
                    throw new StoreFault(SnapshotErrors.Damaged, "it is cut short");
                var manifest = ManifestFile.Decode(bytes, key);
                if (!manifest.Head.Parent.IsNone)
                    throw new StoreFault(SnapshotErrors.Damaged, "it is based on another snapshot, which none in a file is");
                return new SnapshotReader(head.Name, [manifest], [PackReader.Open(file, ownsFile: false, SnapshotFileHead.Size, head.PackBytes, key)], file)
                {
                    Origin = new SnapshotOrigin(System.IO.Path.GetFullPath(path), true, key),
                };
            }
            catch
            {
                file.Dispose();
                throw;
            }
        });
    }

    private void WriteFile(SnapshotReader reader, IStoreFile file, SnapshotCompression compression, int threads, Action<ulong, ulong>? progress, CancellationToken cancellation)
    {
        RegionTable[] tables = [.. reader.Regions.Select(region => new RegionTable(region, ChunkKind.Zero))];
        using var codecs = new CodecPool();
        using var pack = new PackWriter(file, SnapshotFileHead.Size, compression, _folder.Key);
        reader.ReadAll((region, chunk, content) =>
        {
            if (!content.ContainsAnyExcept((byte)0))
                return;
            var codec = codecs.Take();
            var id = pack.IdOf(content);
            pack.Add(id, content, codec);
            codecs.Return(codec);
            tables[region][chunk] = new ChunkRef(ChunkKind.Chunk, 0, id);
        }, threads, progress, cancellation);
        long packBytes = pack.Finish();
        var body = new StateWriter();
        ManifestText.Write(body, "");
        Manifest.WriteContent(body, reader.Content);
        Manifest.WriteRegions(body, tables);
        byte[] manifest = ManifestFile.Encode(new ManifestHead { Identity = reader.Chain[0].Head.Identity, Created = reader.Created, Packs = [pack.Id] }, body.Written, _folder.Key);
        file.WriteAt(SnapshotFileHead.Size + packBytes, manifest);
        byte[] head = new byte[SnapshotFileHead.Size];
        new SnapshotFileHead(reader.Name, packBytes, manifest.Length).Write(head);
        file.WriteAt(0, head);
    }
}
