using Kvm.Vmm.Configuration;

namespace Kvm.Vmm.Snapshots.Store;

/// <summary>Opens a snapshot with all that it is based on. Takes no lock: where packs are moved meanwhile, it begins again.</summary>
internal static class ChainOpener
{
    private const int MostTries = 4;

    public static SnapshotReader Open(StoreFolder folder, string name)
    {
        for (int tries = 1; ; tries++)
        {
            var chain = ChainOf(folder, name);
            var packs = new List<PackReader>();
            try
            {
                foreach (var id in PacksOf(chain))
                    packs.Add(folder.OpenPack(id));
                return new SnapshotReader(name, chain, packs) { Origin = new SnapshotOrigin(folder.Path, false, folder.Key), DisksPath = folder.DisksPath };
            }
            catch (VmmException e)
            {
                packs.ForEach(pack => pack.Dispose());
                // A pack that has gone was merged into another: the snapshot's file says which.
                if (e.InnerException is not (FileNotFoundException or DirectoryNotFoundException))
                    throw;
                if (tries == MostTries)
                    throw new VmmException(SnapshotErrors.Damaged, $"{name}: {e.Message}", e);
            }
        }
    }

    /// <summary>The snapshot, what it is based on, and so on.</summary>
    public static IReadOnlyList<Manifest> ChainOf(StoreFolder folder, string name)
    {
        List<Manifest> chain = [folder.ReadManifest(name)];
        HashSet<StoreId> seen = [chain[0].Head.Identity];
        while (chain[^1].Head.Parent is { IsNone: false } parent)
        {
            if (!seen.Add(parent))
                throw new VmmException(SnapshotErrors.NoParent, $"{name}: {parent} is based on itself");
            if (chain.Count == SnapshotFormat.MostLevels)
                throw new VmmException(SnapshotErrors.NoParent, $"{name}: more than {SnapshotFormat.MostLevels} snapshots, one on the other");
            chain.Add(Find(folder, parent, chain[^1].ParentName) ?? throw new VmmException(SnapshotErrors.NoParent,
                $"{name} is based on {VisibleText.Quote(chain[^1].ParentName)} ({parent}), which is not in the store"));
        }

        return chain;
    }

    /// <summary>The name of a snapshot by its identity; null if there is none.</summary>
    /// <param name="folder">Where.</param>
    /// <param name="identity">Which.</param>
    /// <param name="hint">The name it probably has.</param>
    public static string? NameOf(StoreFolder folder, StoreId identity, string hint = "")
    {
        foreach (string name in hint.Length > 0 ? [hint, .. folder.Names()] : folder.Names())
        {
            try
            {
                if (folder.ReadHead(name).Identity == identity)
                    return name;
            }
            catch (VmmException)
            {
                // Not there, or damaged: not this one.
            }
        }

        return null;
    }

    private static Manifest? Find(StoreFolder folder, StoreId identity, string hint)
    {
        if (hint.Length > 0)
        {
            try
            {
                if (folder.ReadManifest(hint) is var near && near.Head.Identity == identity)
                    return near;
            }
            catch (VmmException e) when (e.Error == SnapshotErrors.NotFound)
            {
                // It has another name now.
            }
        }

        return NameOf(folder, identity) is { } name ? folder.ReadManifest(name) : null;
    }

    private static IEnumerable<StoreId> PacksOf(IReadOnlyList<Manifest> chain)
    {
        var seen = new HashSet<StoreId>();
        foreach (var manifest in chain)
        {
            foreach (var pack in manifest.Head.Packs)
            {
                if (seen.Add(pack))
                    yield return pack;
            }
        }
    }
}
