using System.Globalization;
using Kvm.Vmm;
using Kvm.Vmm.Configuration;
using Kvm.Vmm.Host;
using Kvm.Vmm.Storage;
using Kvm.Vmm.Storage.Tools;

namespace Kvm.Manager.Pools;

/// <summary>
/// A pool under its lock, after what others did not finish was cleared away. A change is: written down as an intent, done, written down as done, in one line. Whoever dies in between leaves files
/// that the intent names, or images that nothing refers to any more; both go when the pool is opened next. Not thread-safe.
/// </summary>
internal sealed class PoolSession : IDisposable
{
    private readonly HostLock _lock;
    private readonly PoolRecord _pool;
    private readonly PoolJournal _journal;
    private readonly string _bootId = HostProcess.BootId;

    public PoolSession(PoolStore store, PoolRecord pool)
    {
        _lock = store.Lock(pool.Name);
        try
        {
            // Another may have removed the pool or given it folders meanwhile.
            _pool = store.Get(pool.Name).Record;
            _journal = new PoolJournal(store.JournalOf(pool.Name));
            Catalog = _journal.Read();
            Recover();
            _journal.Compact(Catalog);
            Catalog = _journal.Read();
        }
        catch
        {
            _lock.Dispose();
            throw;
        }
    }

    public PoolCatalog Catalog { get; }

    public PoolRecord Pool => _pool;

    public void Dispose() => _lock.Dispose();

    public string PathOf(PoolImage image) => Path.Combine(_pool.Folders[image.Folder], image.File);

    /// <summary>The image a volume or snapshot stands for.</summary>
    /// <exception cref="VmmException">KVM0641: there is none; KVM0646, KVM0649: its file cannot be used.</exception>
    public PoolImage Find(VolumeName name)
    {
        var image = Catalog.ImageOf(name.InPool) ?? throw NoSuch(name);
        CheckFolder(image.Folder);
        if (PoolInspection.ProblemOf(image, PathOf(image)) is { } problem)
            throw new VmmException(PoolErrors.VolumeChanged, $"{name}: {problem}");
        return image;
    }

    public VmmException NoSuch(VolumeName name)
    {
        string? near = NearestName.Find(name.InPool, [.. Catalog.Names.Keys]);
        return new VmmException(PoolErrors.NoSuchVolume, $"{name} is not there{(near is null ? "" : $"; did you mean {name.Pool}/{near}?")}");
    }

    /// <summary>Refuses a name that is there, or is being made.</summary>
    public void CheckFree(VolumeName name)
    {
        if (Catalog.Names.ContainsKey(name.InPool) || Catalog.Intents.Values.Any(intent => intent.Name == name.InPool))
            throw new VmmException(PoolErrors.Taken, $"{name} is there already");
    }

    /// <summary>Refuses what would promise more than the quota.</summary>
    public void CheckQuota(ulong more)
    {
        if (_pool.Quota is not { } quota)
            return;
        ulong promised = Catalog.Promised;
        if (promised > quota || more > quota - promised)
            throw new VmmException(PoolErrors.OverQuota, string.Create(CultureInfo.InvariantCulture, $"{more} bytes more, and {promised} of {quota} are promised already"));
    }

    /// <summary>Refuses a folder that cannot be used.</summary>
    public void CheckFolder(int folder)
    {
        if (new PoolFolder(_pool.Folders[folder]).Problem(_pool) is { } problem)
            throw new VmmException(PoolErrors.FolderLost, $"{VisibleText.Quote(_pool.Folders[folder], 200)} {problem}");
    }

    /// <summary>Whether files of a folder can share their blocks.</summary>
    public bool CanShare(int folder) => new PoolFolder(_pool.Folders[folder]).CanShare();

    /// <summary>The folder for a new file.</summary>
    /// <exception cref="VmmException">KVM0646: none can be used; KVM0647: it fits nowhere.</exception>
    public int Place(ulong bytes)
    {
        var spaces = VolumePool.Spaces(_pool);
        if (spaces.Count == 0)
            CheckFolder(0);
        return Placement.Choose(spaces, bytes) ?? throw new VmmException(PoolErrors.OverQuota, string.Create(CultureInfo.InvariantCulture, $"no folder of {_pool.Name} has {bytes} bytes free"));
    }

    /// <summary>An image's file against guests and other operations; without it nothing of it may be changed.</summary>
    /// <exception cref="VmmException">KVM0648: somebody has it.</exception>
    public IDisposable Hold(PoolImage image, bool alone, string name) =>
        ImageFile.TryHold(PathOf(image), alone) ?? throw new VmmException(PoolErrors.VolumeInUse, $"{_pool.Name}/{name}: a guest has it, or a copy is being made");

    /// <summary>An image that is to be made.</summary>
    /// <param name="folder">Where.</param>
    /// <param name="name">What its file is called at the beginning, for people.</param>
    /// <param name="format">What it is.</param>
    /// <param name="size">Bytes of the disk.</param>
    /// <param name="parent">What it is based on, or null.</param>
    public static PoolImage NewImage(int folder, string name, DiskFormat format, ulong size, string? parent)
    {
        string id = Guid.NewGuid().ToString("n")[..16];
        return new PoolImage(id, folder, $"{name}-{id}.{(format == DiskFormat.Raw ? "raw" : "qcow2")}", format, size, parent, false, default);
    }

    /// <summary>Writes down what is about to be done. It lasts once what follows it does.</summary>
    public PoolIntent Begin(string name, ulong promised, IReadOnlyList<PoolImage> makes, PoolImage? changes = null, ulong size = 0)
    {
        var intent = new PoolIntent(Guid.NewGuid().ToString("n")[..16], HostProcess.Own, _bootId, name, promised, changes?.Id ?? "", size,
            [.. makes.Select(image => string.Create(CultureInfo.InvariantCulture, $"{image.Folder}/{image.File}"))]);
        // What is deleted or changed must be known to be so; what is made and forgotten is seen as a file that nobody knows.
        _journal.Add(Catalog, changes is not null, PoolEntry.Of(intent));
        return intent;
    }

    /// <summary>Writes down that it was done, with what it made, as one change.</summary>
    public void Commit(PoolIntent? intent, params IReadOnlyList<string> entries) =>
        _journal.Add(Catalog, true, intent is null ? entries : [.. entries, PoolEntry.Ended(intent.Id)]);

    /// <summary>Clears away what was begun and will not be done.</summary>
    public void GiveUp(PoolIntent intent)
    {
        Undo(intent);
        _journal.Add(Catalog, false, PoolEntry.Ended(intent.Id));
    }

    /// <summary>Has the files of new images last, and gives the images with what the file system says of them.</summary>
    public IReadOnlyList<PoolImage> Finish(params IReadOnlyList<PoolImage> images)
    {
        ImageFile.Sync([.. images.Select(PathOf), .. images.Select(image => _pool.Folders[image.Folder]).Distinct()]);
        return [.. images.Select(image => image with { Facts = FactsOf(image) })];
    }

    /// <summary>The image as one that is not written any more.</summary>
    public PoolImage Frozen(PoolImage image) => image with { IsFrozen = true, Facts = FactsOf(image) };

    public ImageFacts FactsOf(PoolImage image) =>
        ImageFile.Look(PathOf(image)) ?? throw new VmmException(PoolErrors.VolumeChanged, $"{VisibleText.Quote(PathOf(image), 200)} is not there");

    /// <summary>Removes files of images that nothing refers to, but for those that somebody has open or whose folder is not there.</summary>
    public void Collect()
    {
        var live = Catalog.Reachable();
        // Those that are based on others first: as long as they are there the journal says what they are based on.
        foreach (var image in Catalog.Images.Values.Where(image => !live.Contains(image.Id)).OrderByDescending(Catalog.Depth).ToList())
        {
            if (new PoolFolder(_pool.Folders[image.Folder]).Problem(_pool) is null && TryDelete(image))
                _journal.Add(Catalog, false, PoolEntry.Gone(image.Id));
        }
    }

    private bool TryDelete(PoolImage image)
    {
        if (Catalog.Images.Values.Any(other => other.Parent == image.Id))
            return false;
        string path = PathOf(image);
        try
        {
            if (ImageFile.Look(path) is { } facts)
            {
                // What has been put in its place is not ours.
                if (facts.Inode != image.Facts.Inode)
                    return true;
                using var held = ImageFile.TryHold(path, alone: true);
                if (held is null)
                    return false;
                File.Delete(path);
            }

            return true;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return false;
        }
    }

    private void Recover()
    {
        foreach (var intent in Catalog.Intents.Values.Where(intent => !intent.IsAlive(_bootId)).ToList())
        {
            if (intent.Files.Any(file => new PoolFolder(FolderOf(file)).Problem(_pool) is not null))
                continue;
            if (intent.Image.Length > 0 && Catalog.Images.TryGetValue(intent.Image, out var changed))
            {
                if (!TryRedo(intent, changed))
                    continue;
            }
            else
            {
                Undo(intent);
            }

            _journal.Add(Catalog, false, PoolEntry.Ended(intent.Id));
        }

        foreach (string path in _pool.Folders)
        {
            var folder = new PoolFolder(path);
            if (folder.Problem(_pool) is null && folder.HasProbe)
                folder.RemoveProbes();
        }

        Collect();
    }

    /// <summary>A size that was being given, or a file that was taking an image's place: brought to its end. False where that has to wait: for its folder, or a guest that has it.</summary>
    private bool TryRedo(PoolIntent intent, PoolImage image)
    {
        if (new PoolFolder(_pool.Folders[image.Folder]).Problem(_pool) is not null || ImageFile.Look(PathOf(image)) is not { } facts)
            return false;
        if (intent.Size != 0)
        {
            using (var held = ImageFile.TryHold(PathOf(image), alone: true))
            {
                if (held is null)
                    return false;
            }

            DiskTool.Resize(VolumePool.ImageNameOf(image, PathOf(image)), _ => intent.Size, shrink: true);
            _journal.Add(Catalog, true, PoolEntry.Of(image with { Size = intent.Size, Facts = FactsOf(image) }));
            return true;
        }

        // The new file has the image's name already, or is still to go.
        Undo(intent);
        if (facts.Inode != image.Facts.Inode)
            _journal.Add(Catalog, true, PoolEntry.Of(image with { Facts = facts }));
        return true;
    }

    /// <summary>Removes the files that something would have made, under their names and those they have before they are whole.</summary>
    private void Undo(PoolIntent intent)
    {
        foreach (string file in intent.Files)
        {
            string folder = FolderOf(file), name = file[(file.IndexOf('/', StringComparison.Ordinal) + 1)..];
            foreach (string part in Directory.GetFiles(folder, $".{name}.*.part"))
                File.Delete(part);
            File.Delete(Path.Combine(folder, name));
        }
    }

    private string FolderOf(string file)
    {
        string[] parts = file.Split('/');
        return parts.Length == 2 && VolumeName.IsFile(parts[1]) && int.TryParse(parts[0], NumberStyles.None, CultureInfo.InvariantCulture, out int folder) && folder < _pool.Folders.Count
            ? _pool.Folders[folder]
            : throw new VmmException(PoolErrors.BadCatalog, $"the journal of {_pool.Name} names the file {VisibleText.Quote(file, 64)}");
    }
}
