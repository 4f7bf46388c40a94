namespace Kvm.Manager.Pools;

/// <summary>
/// What a pool holds: names, the images they stand for, the images those are based on, and what is being done. How often an image is referred to is derived from that and kept nowhere. Not thread-safe.
/// </summary>
internal sealed class PoolCatalog
{
    /// <summary>Every image by its id, those that nothing refers to any more too, as long as their files are there.</summary>
    public Dictionary<string, PoolImage> Images { get; } = new(StringComparer.Ordinal);

    /// <summary>Volumes and snapshots by their names.</summary>
    public SortedDictionary<string, PoolName> Names { get; } = new(StringComparer.Ordinal);

    /// <summary>What is being done.</summary>
    public Dictionary<string, PoolIntent> Intents { get; } = new(StringComparer.Ordinal);

    /// <summary>Bytes that the volumes may come to take: their sizes, what no guest can change any more as it is, and what is being made.</summary>
    public ulong Promised
    {
        get
        {
            ulong sum = 0;
            var live = Reachable();
            foreach (var name in Names.Values)
                sum += Images.TryGetValue(name.Image, out var image) && !image.IsFrozen ? image.Size : 0;
            foreach (string id in live)
                sum += Images[id] is { IsFrozen: true } frozen ? frozen.Facts.Allocated : 0;
            foreach (var intent in Intents.Values)
                sum += intent.Promised;
            return sum;
        }
    }

    /// <summary>Images that a name stands for, and those these are based on.</summary>
    public HashSet<string> Reachable()
    {
        var reached = new HashSet<string>(StringComparer.Ordinal);
        foreach (var name in Names.Values)
        {
            for (string? id = name.Image; id is not null && Images.TryGetValue(id, out var image) && reached.Add(id);)
                id = image.Parent;
        }

        return reached;
    }

    /// <summary>How many names and images refer to each image.</summary>
    public Dictionary<string, int> References()
    {
        var counts = Images.Keys.ToDictionary(id => id, _ => 0, StringComparer.Ordinal);
        foreach (var name in Names.Values)
            counts[name.Image]++;
        foreach (var image in Images.Values)
        {
            if (image.Parent is { } parent)
                counts[parent]++;
        }

        return counts;
    }

    /// <summary>The image a name stands for, or null.</summary>
    public PoolImage? ImageOf(string name) => Names.TryGetValue(name, out var found) ? Images[found.Image] : null;

    /// <summary>How many files an image is read from.</summary>
    public int Depth(PoolImage image)
    {
        int depth = 1;
        for (string? parent = image.Parent; parent is not null; depth++)
            parent = Images[parent].Parent;
        return depth;
    }

    /// <summary>What is wrong with it as a whole, or null: images without those they are based on, names of nothing.</summary>
    public string? Problem()
    {
        foreach (var name in Names.Values)
        {
            if (!Images.ContainsKey(name.Image))
                return $"{name.Name} stands for the image {name.Image}, which is not in it";
        }

        foreach (var image in Images.Values)
        {
            int steps = 0;
            for (string? parent = image.Parent; parent is not null; parent = Images[parent].Parent)
            {
                if (!Images.ContainsKey(parent) || ++steps > Images.Count)
                    return $"the image {image.Id} is based on {parent}, which is not in it or is based on the former";
            }
        }

        return null;
    }
}
