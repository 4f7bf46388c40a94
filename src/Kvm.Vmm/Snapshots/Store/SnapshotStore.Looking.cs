namespace Kvm.Vmm.Snapshots.Store;

public sealed partial class SnapshotStore
{
    /// <summary>All snapshots, sorted by name; those that cannot be read too, with the reason.</summary>
    public IReadOnlyList<SnapshotInfo> List()
    {
        var heads = new Dictionary<string, ManifestHead?>();
        var names = new Dictionary<StoreId, string>();
        foreach (string name in _folder.Names())
        {
            heads[name] = TryHead(name, out _);
            if (heads[name] is { } head)
                names[head.Identity] = name;
        }

        return [.. heads.Keys.Select(name => InfoOf(name, names))];
    }

    /// <summary>All about one.</summary>
    /// <param name="name">What it is called.</param>
    /// <exception cref="VmmException">It cannot be read.</exception>
    public SnapshotDetails Inspect(string name)
    {
        using var reader = Read(name);
        string[] chain = [.. reader.Chain.Skip(1).Select(m => ChainOpener.NameOf(_folder, m.Head.Identity) ?? "")];
        var info = List().First(i => i.Name == name);
        return new SnapshotDetails(info, reader.Content, reader.Regions, chain, SizesOf(reader, OthersOf(reader)));
    }

    /// <summary>All about one in a single file.</summary>
    /// <param name="path">The file.</param>
    /// <param name="key">Its key, or null.</param>
    /// <exception cref="VmmException">It cannot be read.</exception>
    public static SnapshotDetails InspectFile(string path, SnapshotKey? key = null)
    {
        using var reader = ReadFile(path, key);
        var info = new SnapshotInfo(reader.Name, reader.Identity, reader.Created, null, reader.Chain[0].Head.IsEncrypted, reader.Content.Purpose, BytesOf(reader.Regions), reader.Content.Note, null);
        return new SnapshotDetails(info, reader.Content, reader.Regions, [], SizesOf(reader, []));
    }

    private ManifestHead? TryHead(string name, out string? problem)
    {
        try
        {
            problem = null;
            return _folder.ReadHead(name);
        }
        catch (VmmException e)
        {
            problem = e.Message;
            return null;
        }
    }

    private SnapshotInfo InfoOf(string name, Dictionary<StoreId, string> names)
    {
        if (TryHead(name, out string? problem) is not { } head)
            return new SnapshotInfo(name, "", default, null, false, null, 0, "", problem);
        string? parent = head.Parent.IsNone ? null : names.GetValueOrDefault(head.Parent, head.Parent.ToString());
        var info = new SnapshotInfo(name, head.Identity.ToString(), head.Created, parent, head.IsEncrypted, null, 0, "", null);
        if (!head.Parent.IsNone && !names.ContainsKey(head.Parent))
            info = info with { Problem = $"{head.Parent}, which it is based on, is not in the store" };
        if (head.IsEncrypted && (_folder.Key is null || !head.KeyCheck.AsSpan().SequenceEqual(_folder.Key.Check)))
            return info;
        try
        {
            var manifest = _folder.ReadManifest(name);
            return info with { Purpose = manifest.Content.Purpose, Bytes = BytesOf([.. manifest.Regions.Select(r => r.Region)]), Note = manifest.Content.Note };
        }
        catch (VmmException e)
        {
            return info with { Problem = e.Message };
        }
    }

    /// <summary>Ids that other snapshots refer to themselves.</summary>
    private HashSet<ChunkId> OthersOf(SnapshotReader reader)
    {
        var ids = new HashSet<ChunkId>();
        foreach (string name in _folder.Names())
        {
            try
            {
                var manifest = _folder.ReadManifest(name);
                if (manifest.Head.Identity == reader.Chain[0].Head.Identity)
                    continue;
                foreach (var map in manifest.Regions)
                    ids.UnionWith(map.Stored().Select(s => s.Ref.Id));
            }
            catch (VmmException)
            {
                // Damaged or of another key: what it shares is not known.
            }
        }

        return ids;
    }

    private static ulong BytesOf(IReadOnlyList<SnapshotRegion> regions)
    {
        ulong bytes = 0;
        foreach (var region in regions)
            bytes += region.Length;
        return bytes;
    }

    private static SnapshotSizes SizesOf(SnapshotReader reader, HashSet<ChunkId> others)
    {
        var seen = new HashSet<ChunkId>();
        ulong held = 0, content = 0, distinct = 0, stored = 0, shared = 0;
        foreach (var piece in reader.Pieces())
        {
            int length = reader.Regions[piece.Region].ChunkLength(piece.Chunk);
            ulong bytes = (ulong)piece.Ref.LengthOf(length);
            held += piece.IsFirst ? (ulong)length : 0;
            content += bytes;
            if (!seen.Add(piece.Ref.Id))
                continue;
            distinct += bytes;
            ulong packed = reader.TryFind(piece.Ref.Id, out _, out var entry) ? (ulong)entry.Stored : 0;
            stored += packed;
            shared += others.Contains(piece.Ref.Id) ? packed : 0;
        }

        ulong logical = BytesOf(reader.Regions);
        return new SnapshotSizes { Logical = logical, Zero = logical - held, Content = content, Distinct = distinct, Stored = stored, Shared = shared };
    }
}
