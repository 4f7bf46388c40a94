namespace Kvm.Vmm.Snapshots.Store;

public sealed partial class SnapshotStore
{
    /// <summary>A pack of which less than this is needed is written anew.</summary>
    private const double LeastNeeded = 0.7;

    /// <summary>Packs smaller than this become one: a search looks into each.</summary>
    private const ulong SmallPack = 4 << 20;

    /// <summary>Gives storage back: removes packs that nobody needs, and writes those anew of which little is needed, and many small ones as one.</summary>
    /// <param name="progress">Told the bytes that are done and all; or null.</param>
    /// <param name="cancellation">Ends it.</param>
    /// <exception cref="VmmException">A chunk is damaged, the store cannot be written or is in use; every snapshot is as it was then.</exception>
    public SnapshotPruning Prune(Action<ulong, ulong>? progress = null, CancellationToken cancellation = default)
    {
        using var alone = LockExisting([]);
        ulong before = PackBytes();
        int packs = _folder.Packs().Count;
        _folder.RemoveUnknownPacks();
        int rewritten = Rewrite(progress, cancellation);
        return new SnapshotPruning(packs - _folder.Packs().Count + (rewritten > 0 ? 1 : 0), rewritten, before, PackBytes());
    }

    private ulong PackBytes()
    {
        ulong bytes = 0;
        foreach (var pack in _folder.Packs())
            bytes += (ulong)new FileInfo(_folder.PathOf(pack)).Length;
        return bytes;
    }

    private int Rewrite(Action<ulong, ulong>? progress, CancellationToken cancellation)
    {
        var manifests = new Dictionary<string, Manifest>();
        var pinned = new HashSet<StoreId>();
        var needed = new HashSet<ChunkId>();
        foreach (string name in _folder.Names())
        {
            cancellation.ThrowIfCancellationRequested();
            try
            {
                var manifest = manifests[name] = _folder.ReadManifest(name);
                foreach (var map in manifest.Regions)
                    needed.UnionWith(map.Stored().Select(s => s.Ref.Id));
            }
            catch (VmmException)
            {
                // What it needs is not known. If not even its head can be read, nothing may go.
                if (TryHead(name, out _) is not { } head)
                    return 0;
                pinned.UnionWith(head.Packs);
            }
        }

        var old = new List<PackReader>();
        try
        {
            ulong bytes = Choose(pinned, needed, old);
            if (old.Count == 0)
                return 0;
            WriteAnew(old, manifests, needed, done => progress?.Invoke(done, bytes), cancellation);
            return old.Count;
        }
        finally
        {
            old.ForEach(pack => pack.Dispose());
        }
    }

    /// <summary>Finds the packs to write anew.</summary>
    /// <returns>Bytes of what is needed of them.</returns>
    private ulong Choose(HashSet<StoreId> pinned, HashSet<ChunkId> needed, List<PackReader> chosen)
    {
        var small = new List<(PackReader Pack, ulong Bytes)>();
        ulong all = 0;
        foreach (var id in _folder.Packs())
        {
            // What cannot be opened stays: it is damaged, or of another key.
            if (pinned.Contains(id) || !TryOpen(id, out var pack))
                continue;
            ulong stored = 0, content = 0;
            for (int i = 0; i < pack.Count; i++)
            {
                if (pack.TryEntry(i, out var entry) && needed.Contains(entry.Id))
                    (stored, content) = (stored + (ulong)entry.Stored, content + (ulong)entry.Length);
            }

            if (stored < LeastNeeded * pack.StoredBytes)
            {
                chosen.Add(pack);
                all += content;
            }
            else if (stored < SmallPack && pack.IsEncrypted == _folder.Key is not null)
            {
                small.Add((pack, content));
            }
            else
            {
                pack.Dispose();
            }
        }

        if (small.Count + chosen.Count < 2)
        {
            small.ForEach(s => s.Pack.Dispose());
            return all;
        }

        foreach (var (pack, content) in small)
        {
            chosen.Add(pack);
            all += content;
        }

        return all;
    }

    private bool TryOpen(StoreId id, [System.Diagnostics.CodeAnalysis.NotNullWhen(true)] out PackReader? pack)
    {
        try
        {
            pack = _folder.OpenPack(id);
            // With a key a plain pack would become one of other ids.
            if (pack.IsEncrypted == _folder.Key is not null)
                return true;
            pack.Dispose();
        }
        catch (VmmException)
        {
            // Told by verify.
        }

        pack = null;
        return false;
    }

    /// <summary>
    /// First the new pack is there, then each snapshot's file names it in the place of the old ones, then the old ones go: at every moment each snapshot's packs
    /// are there. The part that marks the work says to the next one that there may be a pack too many.
    /// </summary>
    private void WriteAnew(List<PackReader> old, Dictionary<string, Manifest> manifests, HashSet<ChunkId> needed, Action<ulong> progress, CancellationToken cancellation)
    {
        // No snapshot's name begins with a point.
        string mark = System.IO.Path.Combine(Path, $".prune{StoreFolder.PartEnd}"), part = System.IO.Path.Combine(_folder.PacksPath, $".prune{StoreFolder.PartEnd}");
        StoreFolder.Guarded(SnapshotErrors.WriteFailed, Path, () =>
        {
            try
            {
                _folder.Files.Create(mark).Dispose();
                StoreId[] fresh = WritePack(part, old, needed, progress, cancellation) is { } id ? [id] : [];
                if (fresh.Length > 0)
                    _folder.Files.Rename(part, _folder.PathOf(fresh[0]), replace: false);
                _folder.Files.SyncFolder(_folder.PacksPath);
                var gone = new HashSet<StoreId>(old.Select(pack => pack.Id));
                foreach (var (name, manifest) in manifests)
                {
                    if (manifest.Head.Packs.Any(gone.Contains))
                        Replace(name, manifest with { Head = manifest.Head with { Packs = [.. manifest.Head.Packs.Where(p => !gone.Contains(p)), .. fresh] } });
                }

                return true;
            }
            finally
            {
                _folder.RemoveUnknownPacks();
                _folder.Remove(part);
                _folder.Remove(mark);
            }
        });
    }

    private StoreId? WritePack(string part, List<PackReader> old, HashSet<ChunkId> needed, Action<ulong> progress, CancellationToken cancellation)
    {
        using var file = _folder.Files.Create(part);
        using var fresh = new PackWriter(file, 0, SnapshotCompression.None, _folder.Key);
        using var codec = new ChunkCodec();
        ulong done = 0;
        foreach (var pack in old)
        {
            for (int i = 0; i < pack.Count; i++)
            {
                cancellation.ThrowIfCancellationRequested();
                if (!pack.TryEntry(i, out var entry) || !needed.Contains(entry.Id))
                    continue;
                var content = codec.Plain.AsSpan(0, entry.Length);
                var status = pack.Read(entry, codec, content);
                if (status != ChunkStatus.Ok)
                    throw new VmmException(SnapshotErrors.Damaged, $"pack {pack.Id}: {(status == ChunkStatus.Unreadable ? "the host cannot read a chunk" : "a chunk is not what was saved")}");
                fresh.Add(entry.Id, content, codec, entry.Method);
                progress(done += (ulong)entry.Length);
            }
        }

        if (fresh.Count == 0)
            return null;
        fresh.Finish();
        file.Flush();
        return fresh.Id;
    }

    private void Replace(string name, Manifest manifest)
    {
        string part = System.IO.Path.Combine(Path, $"{name}{StoreFolder.PartEnd}");
        try
        {
            using (var file = _folder.Files.Create(part))
            {
                file.WriteAt(0, ManifestFile.Encode(manifest, _folder.Key));
                file.Flush();
            }

            _folder.Files.Rename(part, _folder.PathOf(name), replace: true);
            _folder.Files.SyncFolder(Path);
        }
        catch
        {
            _folder.Remove(part);
            throw;
        }
    }
}
