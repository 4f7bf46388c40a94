using System.Globalization;
using Kvm.Vmm.Configuration;
using Kvm.Vmm.Storage;
using Kvm.Vmm.Storage.Tools;

namespace Kvm.Manager.Pools;

/// <summary>A folder of a pool, as it is now.</summary>
/// <param name="Path">The folder.</param>
/// <param name="Free">Bytes that are free.</param>
/// <param name="Total">Bytes its file system has.</param>
/// <param name="Problem">Why it cannot be used, or null.</param>
public sealed record FolderState(string Path, ulong Free, ulong Total, string? Problem);

/// <summary>A volume or snapshot, as it is now.</summary>
/// <param name="Name">Its name in the pool.</param>
/// <param name="Path">Its file.</param>
/// <param name="Format">What that is.</param>
/// <param name="Size">Bytes of the disk.</param>
/// <param name="Allocated">Bytes of storage its own file takes.</param>
/// <param name="Files">How many files it is read from.</param>
/// <param name="References">How many names and images refer to its file.</param>
/// <param name="Created">When it was made.</param>
/// <param name="Problem">What is wrong with its file, or null.</param>
public sealed record VolumeState(string Name, string Path, DiskFormat Format, ulong Size, ulong Allocated, int Files, int References, DateTimeOffset Created, string? Problem)
{
    /// <summary>Whether it is a snapshot.</summary>
    public bool IsSnapshot => Name.Contains('@', StringComparison.Ordinal);
}

/// <summary>A pool, as it is now.</summary>
/// <param name="Pool">The pool.</param>
/// <param name="Folders">Its folders.</param>
/// <param name="Volumes">Its volumes and snapshots, by name.</param>
/// <param name="Promised">Bytes that the volumes may come to take.</param>
/// <param name="Real">Bytes of storage that all its files take.</param>
/// <param name="Capacity">Bytes that the file systems have that its folders are on.</param>
/// <param name="Free">Bytes of these that are free.</param>
/// <param name="Pending">Changes that are under way, or that somebody did not finish.</param>
/// <param name="Problems">What is wrong, a line each.</param>
public sealed record PoolState(PoolRecord Pool, IReadOnlyList<FolderState> Folders, IReadOnlyList<VolumeState> Volumes, ulong Promised, ulong Real, ulong Capacity, ulong Free, int Pending, IReadOnlyList<string> Problems);

/// <summary>Looks at a pool without its lock: one call of the host for each file.</summary>
internal static class PoolInspection
{
    private const int MostStrangers = 20;
    private const ulong LeastQcow2Bytes = 512;

    /// <summary>What a file is not any more that its journal says it is, or null.</summary>
    public static string? ProblemOf(PoolImage image, string path) => ProblemOf(image, path, ImageFile.Look(path));

    public static PoolState Of(PoolRecord pool, PoolCatalog catalog)
    {
        List<string> problems = [];
        var folders = Folders(pool, problems);
        var facts = new Dictionary<string, (ulong Allocated, string? Problem)>(StringComparer.Ordinal);
        ulong real = 0;
        foreach (var image in catalog.Images.Values)
        {
            string path = PathOf(pool, image);
            var seen = folders[image.Folder].Problem is null ? ImageFile.Look(path) : null;
            string? problem = folders[image.Folder].Problem is { } lost ? $"its folder {lost}" : ProblemOf(image, path, seen);
            facts[image.Id] = (seen?.Allocated ?? 0, problem);
            real += seen?.Allocated ?? 0;
        }

        Strangers(pool, catalog, folders, facts, problems);
        var references = catalog.References();
        List<VolumeState> volumes = [];
        foreach (var name in catalog.Names.Values)
        {
            var image = catalog.Images[name.Image];
            string? problem = null;
            int files = 0;
            for (var part = image; part is not null; part = part.Parent is null ? null : catalog.Images[part.Parent])
            {
                files++;
                problem ??= facts[part.Id].Problem;
            }

            if (problem is not null)
                problems.Add($"{name.Name}: {problem}");
            volumes.Add(new VolumeState(name.Name, PathOf(pool, image), image.Format, image.Size, facts[image.Id].Allocated, files, references[image.Id], name.Created, problem));
        }

        var (capacity, free) = Sum(pool, folders);
        return new PoolState(pool, folders, volumes, catalog.Promised, real, capacity, free, catalog.Intents.Count, problems);
    }

    private static string PathOf(PoolRecord pool, PoolImage image) => Path.Combine(pool.Folders[image.Folder], image.File);

    private static string? ProblemOf(PoolImage image, string path, ImageFacts? seen)
    {
        if (seen is not { } facts)
            return $"its file {VisibleText.Quote(path, 200)} is not there";
        if (facts.Inode != image.Facts.Inode)
            return $"its file {VisibleText.Quote(path, 200)} was replaced by another";
        if (image.IsFrozen && (facts.Length != image.Facts.Length || facts.Modified != image.Facts.Modified))
            return $"{VisibleText.Quote(path, 200)}, on which others are based, was changed";
        if (image.Format == DiskFormat.Qcow2 && facts.Length < LeastQcow2Bytes)
            return string.Create(CultureInfo.InvariantCulture, $"its file {VisibleText.Quote(path, 200)} was cut to {facts.Length} bytes");
        return image.Format == DiskFormat.Raw && facts.Length != image.Size
            ? string.Create(CultureInfo.InvariantCulture, $"its file {VisibleText.Quote(path, 200)} has {facts.Length} bytes, and not {image.Size}")
            : null;
    }

    private static List<FolderState> Folders(PoolRecord pool, List<string> problems)
    {
        List<FolderState> folders = [];
        foreach (string path in pool.Folders)
        {
            var folder = new PoolFolder(path);
            string? problem = folder.Problem(pool);
            var (free, total) = problem is null ? folder.Space() : default;
            folders.Add(new FolderState(path, free, total, problem));
            if (problem is not null)
                problems.Add($"folder {VisibleText.Quote(path, 200)} {problem}");
        }

        return folders;
    }

    /// <summary>Files that the journal does not know, and those of it that have another name now.</summary>
    private static void Strangers(PoolRecord pool, PoolCatalog catalog, List<FolderState> folders, Dictionary<string, (ulong Allocated, string? Problem)> facts, List<string> problems)
    {
        var known = catalog.Images.Values.Select(image => PathOf(pool, image)).ToHashSet(StringComparer.Ordinal);
        foreach (var intent in catalog.Intents.Values)
            known.UnionWith(intent.Files.Select(file => Path.Combine(pool.Folders[int.Parse(file.Split('/')[0], CultureInfo.InvariantCulture)], file.Split('/')[1])));
        int count = 0;
        foreach (string path in folders.Where(folder => folder.Problem is null).SelectMany(folder => Directory.EnumerateFiles(folder.Path)))
        {
            if (known.Contains(path) || Path.GetFileName(path)[0] == '.' || ++count > MostStrangers)
                continue;
            var lost = ImageFile.Look(path) is { } stranger ? catalog.Images.Values.FirstOrDefault(image => IsRenamed(image, PathOf(pool, image), stranger)) : null;
            if (lost is null)
            {
                problems.Add($"{VisibleText.Quote(path, 200)} is no volume of the pool");
                continue;
            }

            facts[lost.Id] = (facts[lost.Id].Allocated, $"its file was renamed from {VisibleText.Quote(PathOf(pool, lost), 200)} to {VisibleText.Quote(path, 200)}");
        }

        if (count > MostStrangers)
            problems.Add(string.Create(CultureInfo.InvariantCulture, $"and {count - MostStrangers} more files that are no volumes of the pool"));
    }

    // The number of a file that was removed may be another's by now; its length is then hardly the same.
    private static bool IsRenamed(PoolImage image, string path, ImageFacts stranger) => image.Facts.Inode == stranger.Inode && image.Facts.Device == stranger.Device
        && (image.Format == DiskFormat.Raw ? image.Size == stranger.Length : stranger.Length >= image.Facts.Length) && ImageFile.Look(path) is null;

    /// <summary>Folders of one file system count once.</summary>
    private static (ulong Capacity, ulong Free) Sum(PoolRecord pool, List<FolderState> folders)
    {
        ulong capacity = 0, free = 0;
        HashSet<ulong> devices = [];
        for (int i = 0; i < folders.Count; i++)
        {
            if (folders[i].Problem is not null || (ImageFile.Look(new PoolFolder(pool.Folders[i]).FileOf(PoolFolder.Marker)) is { } marker && !devices.Add(marker.Device)))
                continue;
            capacity += folders[i].Total;
            free += folders[i].Free;
        }

        return (capacity, free);
    }
}
