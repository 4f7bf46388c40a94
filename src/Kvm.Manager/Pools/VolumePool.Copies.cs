using Kvm.Vmm;
using Kvm.Vmm.Storage;
using Kvm.Vmm.Storage.Tools;

namespace Kvm.Manager.Pools;

/// <summary>What became of an image that was to be packed.</summary>
/// <param name="Name">The volume or snapshot, or the file where several are based on it.</param>
/// <param name="Before">Bytes of storage before.</param>
/// <param name="After">Bytes of storage after; the same where it stayed as it was.</param>
/// <param name="Why">Why it stayed as it was, or null.</param>
public sealed record PackedImage(string Name, ulong Before, ulong After, string? Why);

/// <summary>
/// What takes a while: the pool's lock is not held meanwhile. The intent keeps the name free and the quota, the lock on its file the source.
/// </summary>
public sealed partial class VolumePool
{
    /// <summary>Makes a volume of an image's file.</summary>
    /// <param name="source">The file; with <see cref="ImageName.AllowBacking"/> through those it is based on.</param>
    /// <param name="name">The volume's name.</param>
    /// <param name="progress">Told bytes done, and of how many; any thread.</param>
    /// <param name="cancel">Ends it; nothing is left then.</param>
    /// <exception cref="VmmException">The file cannot be read, or the volume not be made.</exception>
    public void Upload(ImageName source, VolumeName name, Action<ulong, ulong>? progress = null, CancellationToken cancel = default)
    {
        ArgumentNullException.ThrowIfNull(source);
        ArgumentNullException.ThrowIfNull(name);
        var info = DiskTool.Info(source);
        CopyIn(name, RoundUp(info.Length), info.Allocated, null, source, progress, cancel);
    }

    /// <summary>Makes a volume that holds all that another does, and is based on nothing.</summary>
    /// <param name="source">The other, or a snapshot.</param>
    /// <param name="name">The new one's name.</param>
    /// <param name="progress">Told bytes done, and of how many; any thread.</param>
    /// <param name="cancel">Ends it; nothing is left then.</param>
    /// <exception cref="VmmException">It cannot be made.</exception>
    public void CloneFull(VolumeName source, VolumeName name, Action<ulong, ulong>? progress = null, CancellationToken cancel = default)
    {
        ArgumentNullException.ThrowIfNull(name);
        var (image, held) = Take(source);
        using (held)
            CopyIn(name, image.Size, image.Facts.Allocated, image, ImageNameOf(image, PathOf(image)), progress, cancel);
    }

    /// <summary>Copies a volume or snapshot into a file.</summary>
    /// <param name="source">Which.</param>
    /// <param name="output">The file.</param>
    /// <param name="compress">Compresses clusters (qcow2).</param>
    /// <param name="force">A file that is there is replaced.</param>
    /// <param name="progress">Told bytes done, and of how many; any thread.</param>
    /// <param name="cancel">Ends it; nothing is left then.</param>
    /// <exception cref="VmmException">The volume cannot be read, or the file not be made.</exception>
    public void Download(VolumeName source, ImageName output, bool compress, bool force, Action<ulong, ulong>? progress = null, CancellationToken cancel = default)
    {
        var (image, held) = Take(source);
        using (held)
            DiskTool.Convert(ImageNameOf(image, PathOf(image)), output, new ImageOptions(), compress, force, progress, cancel);
    }

    /// <summary>
    /// Packs images that nobody has open and nobody has written for a while: their clusters are compressed (zstd) by a thread that gives way to every other.
    /// </summary>
    /// <param name="only">A volume or snapshot, or null for all of the pool.</param>
    /// <param name="coldFor">For how long nobody has written to them.</param>
    /// <param name="now">The time.</param>
    /// <param name="cancel">Ends it; what was packed by then is.</param>
    /// <returns>What became of each.</returns>
    public IReadOnlyList<PackedImage> Pack(VolumeName? only, TimeSpan coldFor, DateTimeOffset now, CancellationToken cancel = default)
    {
        var catalog = Read();
        if (only is not null && catalog.ImageOf(only.InPool) is null)
            throw new VmmException(PoolErrors.NoSuchVolume, $"{only} is not there");
        var live = catalog.Reachable();
        List<PackedImage> results = [];
        foreach (var image in catalog.Images.Values.Where(image => live.Contains(image.Id) && (only is null || catalog.Names[only.InPool].Image == image.Id)))
        {
            string name = catalog.Names.Values.FirstOrDefault(name => name.Image == image.Id)?.Name ?? image.File;
            ulong before = ImageFile.Look(PathOf(image))?.Allocated ?? 0;
            string? why = null;
            Do(session => why = session.Catalog.Images.TryGetValue(image.Id, out var now2) ? WhyNotPacked(session, now2, coldFor, now) : "it was removed meanwhile");
            ulong after = why is null ? PackOne(image.Id, cancel, ref why) : before;
            results.Add(new PackedImage(name, before, why is null ? after : before, why));
        }

        return results;
    }

    /// <summary>Moves volumes to folders that are less full, until that would help no more. Those that others are based on, and those that a guest has, stay.</summary>
    /// <param name="cancel">Ends it; what was moved by then is.</param>
    /// <returns>The volumes that were moved, and the folders they are in now.</returns>
    public IReadOnlyList<(string Volume, string Folder)> Rebalance(CancellationToken cancel = default)
    {
        var catalog = Keep(Read);
        var references = catalog.References();
        var files = catalog.Names.Values.Select(name => catalog.Images[name.Image]).Where(image => references[image.Id] == 1)
            .Select(image => new MovableFile(image.Id, image.Folder, ImageFile.Look(PathOf(image))?.Allocated ?? 0)).ToList();
        List<(string, string)> moved = [];
        foreach (var (id, target) in Placement.Plan(OnePerDisk(Spaces(Record)), files))
        {
            cancel.ThrowIfCancellationRequested();
            if (Move(id, target, cancel) is { } volume)
                moved.Add((volume, Record.Folders[target]));
        }

        return moved;
    }

    /// <summary>A source that is neither removed nor written as long as it is held.</summary>
    private (PoolImage Image, IDisposable Held) Take(VolumeName source)
    {
        ArgumentNullException.ThrowIfNull(source);
        (PoolImage, IDisposable)? taken = null;
        Do(session =>
        {
            var image = session.Find(source);
            taken = (image with { Facts = session.FactsOf(image) }, session.Hold(image, alone: false, source.InPool));
        });
        return taken!.Value;
    }

    private void CopyIn(VolumeName name, ulong size, ulong allocated, PoolImage? like, ImageName source, Action<ulong, ulong>? progress, CancellationToken cancel)
    {
        PoolImage? image = null;
        PoolIntent? intent = null;
        Do(session =>
        {
            session.CheckFree(name);
            session.CheckQuota(size);
            image = PoolSession.NewImage(like?.Folder ?? session.Place(allocated), name.Volume, DiskFormat.Raw, size, null);
            intent = session.Begin(name.InPool, size, [image]);
        });
        Complete(intent!, () => DiskTool.Convert(source, ImageNameOf(image!, PathOf(image!)), new ImageOptions(), compress: false, force: false, progress, cancel), session =>
        {
            var made = session.Finish(image!)[0];
            session.Commit(intent, PoolEntry.Of(made), Named(name.InPool, made));
        });
    }

    /// <summary>Does what takes a while outside of the lock, and then writes it down under it; or has nothing of it left.</summary>
    private void Complete(PoolIntent intent, Action work, Action<PoolSession> commit)
    {
        try
        {
            Keep(() =>
            {
                work();
                return true;
            });
            Do(commit);
        }
        catch
        {
            Do(session => session.GiveUp(intent));
            throw;
        }
    }

    /// <summary>Why an image is not packed, or null.</summary>
    private static string? WhyNotPacked(PoolSession session, PoolImage image, TimeSpan coldFor, DateTimeOffset now)
    {
        string path = session.PathOf(image);
        if (ImageFile.Look(path) is not { } facts || PoolInspection.ProblemOf(image, path) is not null)
            return "its file is not what it was";
        if (now - DateTimeOffset.UnixEpoch.AddTicks(facts.Modified / 100) < coldFor)
            return "it was written not long ago";
        if (image.Format == DiskFormat.Raw && session.Catalog.Images.Values.Any(other => other.Parent == image.Id))
            return "others are based on it as a raw file";
        using var held = ImageFile.TryHold(path, alone: true);
        return held is null ? "a guest has it" : null;
    }

    private ulong PackOne(string id, CancellationToken cancel, ref string? why)
    {
        PoolImage? old = null, next = null;
        PoolIntent? intent = null;
        IDisposable? held = null;
        string? problem = null;
        Do(session =>
        {
            old = session.Catalog.Images[id];
            held = ImageFile.TryHold(session.PathOf(old), alone: false);
            if (held is null)
                return;
            next = PoolSession.NewImage(old.Folder, old.File.Split('-')[0], DiskFormat.Qcow2, old.Size, old.Parent) with { IsFrozen = old.IsFrozen };
            intent = session.Begin("", 0, [next]);
        });
        if (held is null)
        {
            why = "a guest has it";
            return 0;
        }

        ulong after = 0;
        using (held)
        {
            var facts = ImageFile.Look(PathOf(old!));
            Complete(intent!, () => DiskTool.Pack(ImageNameOf(old!, PathOf(old!)), ImageNameOf(next!, PathOf(next!)), BackingOf(old!, next!.Folder), cancel), session =>
            {
                var made = session.Finish(next!)[0];
                after = made.Facts.Allocated;
                if (ImageFile.Look(PathOf(old!)) != facts)
                    problem = "it was written meanwhile";
                else if (made.Facts.Allocated >= facts!.Value.Allocated)
                    problem = "it would not become smaller";
                if (problem is not null)
                    session.GiveUp(intent!);
                else
                    TakePlace(session, intent!, old!, made);
            });
        }

        why = problem;
        if (problem is null)
            Do(session => session.Collect());
        return after;
    }

    /// <summary>A new file is what an old one was: for names, and for images that are based on it, which find it by the old one's name.</summary>
    private void TakePlace(PoolSession session, PoolIntent intent, PoolImage old, PoolImage made)
    {
        if (!session.Catalog.Images.Values.Any(other => other.Parent == old.Id))
        {
            session.Commit(intent, [PoolEntry.Of(made), .. session.Catalog.Names.Values.Where(name => name.Image == old.Id).Select(name => PoolEntry.Of(name with { Image = made.Id }))]);
            return;
        }

        var replacing = session.Begin("", 0, [made], old);
        session.Commit(intent, PoolEntry.Ended(intent.Id));
        File.Move(PathOf(made), PathOf(old), overwrite: true);
        ImageFile.Sync(Record.Folders[old.Folder]);
        session.Commit(replacing, PoolEntry.Of(old with { Facts = session.FactsOf(old) }));
    }

    private string? Move(string id, int target, CancellationToken cancel)
    {
        PoolImage? old = null, next = null;
        PoolIntent? intent = null;
        IDisposable? held = null;
        string? volume = null;
        Do(session =>
        {
            if (!session.Catalog.Images.TryGetValue(id, out old) || session.Catalog.Names.Values.FirstOrDefault(name => name.Image == id) is not { } name)
                return;
            held = ImageFile.TryHold(session.PathOf(old), alone: true);
            if (held is null)
                return;
            volume = name.Name;
            next = PoolSession.NewImage(target, name.Name.Split('@')[0], old.Format, old.Size, old.Parent) with { IsFrozen = old.IsFrozen };
            intent = session.Begin("", 0, [next]);
        });
        if (held is null)
            return null;
        using (held)
        {
            Complete(intent!, () =>
            {
                CopyFile(PathOf(old!), PathOf(next!), cancel);
                if (BackingOf(old!, target) is { } backing)
                    DiskTool.SetBacking(ImageNameOf(next!, PathOf(next!)), backing);
            }, session =>
            {
                var made = session.Finish(next!)[0];
                session.Commit(intent, PoolEntry.Of(made), Renamed(session, volume!, made));
            });
        }

        Do(session => session.Collect());
        return volume;
    }

    /// <summary>A file byte for byte, without its holes.</summary>
    private static void CopyFile(string from, string to, CancellationToken cancel)
    {
        var raw = new ImageName(from, ImageFormat.Raw);
        byte[] buffer = new byte[1 << 20];
        using var source = File.OpenHandle(from, FileMode.Open, FileAccess.Read, FileShare.ReadWrite);
        using var target = File.OpenHandle(to, FileMode.CreateNew, FileAccess.Write);
        long length = RandomAccess.GetLength(source);
        RandomAccess.SetLength(target, length);
        for (long position = 0; position < length;)
        {
            cancel.ThrowIfCancellationRequested();
            int count = RandomAccess.Read(source, buffer, position);
            if (count == 0)
                throw new IOException($"{raw.Path} became shorter");
            if (buffer.AsSpan(0, count).ContainsAnyExcept((byte)0))
                RandomAccess.Write(target, buffer.AsSpan(0, count), position);
            position += count;
        }
    }

    /// <summary>What an image is based on, as it is to be found from a folder.</summary>
    private ImageName? BackingOf(PoolImage image, int folder)
    {
        if (image.Parent is not { } parent)
            return null;
        var below = Read().Images[parent];
        return ImageNameOf(below, below.Folder == folder ? below.File : PathOf(below));
    }

    /// <summary>Folders of one file system are one: to move within it helps nobody.</summary>
    private List<FolderSpace> OnePerDisk(IReadOnlyList<FolderSpace> spaces)
    {
        HashSet<ulong> devices = [];
        return [.. spaces.Where(space => ImageFile.Look(new PoolFolder(Record.Folders[space.Folder]).FileOf(PoolFolder.Marker)) is { } marker && devices.Add(marker.Device))];
    }
}
