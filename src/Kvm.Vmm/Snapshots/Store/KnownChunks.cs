namespace Kvm.Vmm.Snapshots.Store;

/// <summary>The chunks of a store that a new snapshot may refer to: those of packs that a snapshot refers to already. Safe from any thread.</summary>
internal sealed class KnownChunks : IDisposable
{
    /// <summary>The most memory of indexes; what is in further packs is stored again.</summary>
    private const int MostIndexBytes = 128 << 20;

    private readonly List<PackReader> _packs = [];
    private bool[] _used = [];

    /// <summary>Opens the indexes: of the snapshot that the new one is based on, then of the newest others.</summary>
    public static KnownChunks Of(StoreFolder folder, SnapshotReader? parent)
    {
        var known = new KnownChunks();
        long bytes = 0;
        try
        {
            foreach (var id in InOrder(folder, parent))
            {
                if (Open(folder, id) is not { } pack)
                    continue;
                bytes += (long)pack.Count * PackEntry.Size;
                // The ids of encrypted packs come from the key: they are others' contents for those without it, and the other way round.
                if (bytes > MostIndexBytes || pack.IsEncrypted != folder.Key is not null)
                    pack.Dispose();
                else
                    known._packs.Add(pack);
                if (bytes > MostIndexBytes)
                    break;
            }

            known._used = new bool[known._packs.Count];
            return known;
        }
        catch
        {
            known.Dispose();
            throw;
        }
    }

    /// <summary>True if a chunk is there; from now on its pack is used.</summary>
    public bool Contains(in ChunkId id)
    {
        for (int i = 0; i < _packs.Count; i++)
        {
            if (_packs[i].TryFind(id, out _))
            {
                _used[i] = true;
                return true;
            }
        }

        return false;
    }

    /// <summary>The packs of the chunks that were there.</summary>
    public IEnumerable<StoreId> Used()
    {
        for (int i = 0; i < _packs.Count; i++)
        {
            if (_used[i])
                yield return _packs[i].Id;
        }
    }

    public void Dispose() => _packs.ForEach(pack => pack.Dispose());

    private static List<StoreId> InOrder(StoreFolder folder, SnapshotReader? parent)
    {
        var heads = new List<ManifestHead>();
        foreach (string name in folder.Names())
        {
            try
            {
                heads.Add(folder.ReadHead(name));
            }
            catch (VmmException)
            {
                // Damaged, or just removed: there is nothing to be had from it.
            }
        }

        heads.Sort(static (one, other) => other.Created.CompareTo(one.Created));
        var order = new List<StoreId>();
        var seen = new HashSet<StoreId>();
        foreach (var head in (IEnumerable<ManifestHead>)[.. parent?.Chain.Select(m => m.Head) ?? [], .. heads])
        {
            foreach (var pack in head.Packs)
            {
                if (seen.Add(pack))
                    order.Add(pack);
            }
        }

        return order;
    }

    private static PackReader? Open(StoreFolder folder, StoreId id)
    {
        try
        {
            return folder.OpenPack(id);
        }
        catch (VmmException)
        {
            return null; // damaged, or of another key
        }
    }
}
