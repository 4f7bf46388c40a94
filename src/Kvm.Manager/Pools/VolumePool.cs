using System.Globalization;
using Kvm.Vmm;
using Kvm.Vmm.Configuration;
using Kvm.Vmm.Storage;
using Kvm.Vmm.Storage.Tools;

namespace Kvm.Manager.Pools;

/// <summary>
/// A storage pool: volumes are made, cloned, given other sizes, kept as snapshots, set back and removed. What others are based on is never deleted, and never written. Thread-safe, and between processes.
/// </summary>
public sealed partial class VolumePool
{
    /// <summary>The most files that a volume is read from; what would be more has to stand alone first.</summary>
    public const int MostFiles = 24;

    private readonly PoolStore _store;

    internal VolumePool(PoolStore store, PoolRecord record) => (_store, Record) = (store, record);

    /// <summary>What it is.</summary>
    public PoolRecord Record { get; }

    /// <summary>What is in it, and what is wrong with that.</summary>
    /// <exception cref="VmmException">KVM0644: its journal cannot be read.</exception>
    public PoolState Inspect() => Keep(() => PoolInspection.Of(Record, Read()));

    /// <summary>A volume or snapshot; null where there is none.</summary>
    /// <exception cref="VmmException">KVM0644: the pool's journal cannot be read.</exception>
    public VolumeState? TryFind(VolumeName name)
    {
        ArgumentNullException.ThrowIfNull(name);
        return Inspect().Volumes.FirstOrDefault(volume => volume.Name == name.InPool);
    }

    /// <summary>A volume's file as a disk of a machine: looked up without the pool's lock, whoever opens it asks again afterwards.</summary>
    /// <returns>Path and format; null where there is no such volume.</returns>
    /// <exception cref="VmmException">Its file, or one it is based on, is not what it was: KVM0646, KVM0649.</exception>
    public (string Path, DiskFormat Format)? Locate(VolumeName name)
    {
        ArgumentNullException.ThrowIfNull(name);
        return Keep<(string, DiskFormat)?>(() =>
        {
            var catalog = Read();
            if (catalog.ImageOf(name.InPool) is not { } image)
                return null;
            for (var part = image; part is not null; part = part.Parent is null ? null : catalog.Images[part.Parent])
            {
                string folder = Record.Folders[part.Folder];
                if (new PoolFolder(folder).Problem(Record) is { } lost)
                    throw new VmmException(PoolErrors.FolderLost, $"{name}: {VisibleText.Quote(folder, 200)} {lost}");
                if (PoolInspection.ProblemOf(part, PathOf(part)) is { } problem)
                    throw new VmmException(PoolErrors.VolumeChanged, $"{name}: {problem}");
            }

            return (PathOf(image), image.Format);
        });
    }

    /// <summary>Makes an empty volume.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="size">Bytes of its disk.</param>
    /// <exception cref="VmmException">It cannot be made: KVM0643, KVM0645, KVM0646, KVM0647.</exception>
    public void Create(VolumeName name, ulong size) => Do(session =>
    {
        size = RoundUp(size);
        session.CheckFree(name);
        session.CheckQuota(size);
        var image = PoolSession.NewImage(session.Place(0), name.Volume, DiskFormat.Raw, size, null);
        Make(session, name.InPool, size, [image], () => DiskTool.Create(ImageNameOf(image, session.PathOf(image)), size, new ImageOptions(), force: false), made =>
            [PoolEntry.Of(made[0]), Named(name.InPool, made[0])]);
    });

    /// <summary>Makes a volume that begins as another, or as a snapshot, is: in no time, whatever its size.</summary>
    /// <param name="source">The other; nobody may have it if it is a volume.</param>
    /// <param name="name">The new one's name.</param>
    /// <exception cref="VmmException">It cannot be made: KVM0641, KVM0643, KVM0645 to KVM0649, KVM0651.</exception>
    public void Clone(VolumeName source, VolumeName name) => Do(session =>
    {
        session.CheckFree(name);
        var image = session.Find(source);
        using var held = session.Hold(image, alone: !image.IsFrozen, source.InPool);
        session.CheckQuota(image.Size);
        if (TryShare(session, image, name.InPool, name.Volume, frozen: false))
            return;
        var (basis, entries, tops) = Freeze(session, image, source.Volume);
        session.CheckQuota(image.Size + Frozen(image, basis));
        var clone = PoolSession.NewImage(basis.Folder, name.Volume, DiskFormat.Qcow2, image.Size, basis.Id);
        CheckDepth(session, basis);
        Make(session, name.InPool, image.Size, [clone, .. tops], () => Overlay(session, [clone, .. tops], basis), made =>
            [.. entries, .. made.Select(PoolEntry.Of), Named(name.InPool, made[0]), .. made.Skip(1).Select(top => Renamed(session, source.Volume, top))]);
    });

    /// <summary>Keeps a volume as it is now.</summary>
    /// <param name="name">The snapshot's name; nobody may have the volume.</param>
    /// <exception cref="VmmException">It cannot be kept: as <see cref="Clone"/>.</exception>
    public void Snapshot(VolumeName name) => Do(session =>
    {
        session.CheckFree(name);
        var image = session.Find(name with { Snapshot = null });
        using var held = session.Hold(image, alone: true, name.Volume);
        if (TryShare(session, image, name.InPool, name.Volume, frozen: true))
            return;
        var (basis, entries, tops) = Freeze(session, image, name.Volume);
        session.CheckQuota(Frozen(image, basis));
        CheckDepth(session, basis);
        Make(session, name.InPool, 0, tops, () => Overlay(session, tops, basis), made =>
            [.. entries, .. made.Select(PoolEntry.Of), Named(name.InPool, basis), .. made.Select(top => Renamed(session, name.Volume, top))]);
    });

    /// <summary>Sets a volume back to a snapshot; what was written since is gone.</summary>
    /// <param name="name">The snapshot; nobody may have the volume.</param>
    /// <exception cref="VmmException">It cannot be: as <see cref="Clone"/>.</exception>
    public void Restore(VolumeName name) => Do(session =>
    {
        ArgumentNullException.ThrowIfNull(name);
        var snapshot = session.Find(name);
        var image = session.Catalog.ImageOf(name.Volume) ?? throw session.NoSuch(name with { Snapshot = null });
        using (HoldIfThere(session, image, name.Volume))
        {
            if (snapshot.Size > image.Size)
                session.CheckQuota(snapshot.Size - image.Size);
            var next = PoolSession.NewImage(snapshot.Folder, name.Volume, snapshot.Format, snapshot.Size, snapshot.Parent);
            if (!TryShare(session, snapshot, next, "", made => [PoolEntry.Of(made), Renamed(session, name.Volume, made)]))
            {
                var top = PoolSession.NewImage(snapshot.Folder, name.Volume, DiskFormat.Qcow2, snapshot.Size, snapshot.Id);
                Make(session, "", 0, [top], () => Overlay(session, [top], snapshot), made => [PoolEntry.Of(made[0]), Renamed(session, name.Volume, made[0])]);
            }
        }

        session.Collect();
    });

    /// <summary>Gives a volume another size.</summary>
    /// <param name="name">The volume; nobody may have it.</param>
    /// <param name="sizeOf">Gives the new size for the old one.</param>
    /// <param name="shrink">It may become smaller: what is cut off is gone.</param>
    /// <returns>The new size.</returns>
    /// <exception cref="VmmException">It cannot be.</exception>
    public ulong Resize(VolumeName name, Func<ulong, ulong> sizeOf, bool shrink)
    {
        ArgumentNullException.ThrowIfNull(name);
        ArgumentNullException.ThrowIfNull(sizeOf);
        ulong size = 0;
        Do(session =>
        {
            var image = session.Find(name);
            size = RoundUp(sizeOf(image.Size));
            if (size < image.Size && !shrink)
                throw new VmmException(PoolErrors.CannotBe, string.Create(CultureInfo.InvariantCulture, $"{name}: from {image.Size} to {size} bytes; what is behind would be lost: add --shrink if it may"));
            if (size > image.Size)
                session.CheckQuota(size - image.Size);
            // Not while the intent is written: DiskTool takes the same lock itself.
            session.Hold(image, alone: true, name.InPool).Dispose();
            var intent = session.Begin("", 0, [], image, size);
            DiskTool.Resize(ImageNameOf(image, session.PathOf(image)), _ => size, shrink);
            ImageFile.Sync(session.PathOf(image));
            session.Commit(intent, PoolEntry.Of(image with { Size = size, Facts = session.FactsOf(image) }));
        });
        return size;
    }

    /// <summary>Removes a volume or a snapshot. What others are based on stays until nobody is.</summary>
    /// <param name="name">Which; nobody may have it.</param>
    /// <param name="force">A volume goes with its snapshots.</param>
    /// <exception cref="VmmException">It is not there (KVM0641), somebody has it (KVM0648), or it has snapshots (KVM0651).</exception>
    public void Remove(VolumeName name, bool force = false) => Do(session =>
    {
        ArgumentNullException.ThrowIfNull(name);
        var image = session.Catalog.ImageOf(name.InPool) ?? throw session.NoSuch(name);
        List<string> names = [name.InPool];
        if (name.Snapshot is null)
        {
            using (HoldIfThere(session, image, name.InPool))
                names.AddRange(session.Catalog.Names.Keys.Where(other => other.StartsWith($"{name.Volume}@", StringComparison.Ordinal)));
            if (names.Count > 1 && !force)
                throw new VmmException(PoolErrors.CannotBe, $"{name} has snapshots: {string.Join(", ", names.Skip(1).Take(5))}; remove them first, or all with --force");
        }

        session.Commit(null, [.. names.Select(PoolEntry.Unnamed)]);
        session.Collect();
    });

    /// <summary>Removes every volume and snapshot.</summary>
    /// <exception cref="VmmException">KVM0648: somebody has one of them; then all stay.</exception>
    internal void RemoveAll() => Do(session =>
    {
        foreach (var name in session.Catalog.Names.Values.Where(name => !session.Catalog.Images[name.Image].IsFrozen))
            HoldIfThere(session, session.Catalog.Images[name.Image], name.Name)?.Dispose();
        if (session.Catalog.Names.Count > 0)
            session.Commit(null, [.. session.Catalog.Names.Keys.Select(PoolEntry.Unnamed)]);
        session.Collect();
    });

    internal static ImageName ImageNameOf(PoolImage image, string path) => new(path, image.Format == DiskFormat.Raw ? ImageFormat.Raw : ImageFormat.Qcow2, AllowBacking: true);

    /// <summary>The folders that can be used, as placement sees them.</summary>
    internal static IReadOnlyList<FolderSpace> Spaces(PoolRecord pool)
    {
        List<FolderSpace> spaces = [];
        for (int i = 0; i < pool.Folders.Count; i++)
        {
            var folder = new PoolFolder(pool.Folders[i]);
            if (folder.Problem(pool) is not null)
                continue;
            var (free, total) = folder.Space();
            spaces.Add(new FolderSpace(i, free, total, folder.Load()));
        }

        return spaces;
    }

    private PoolCatalog Read() => new PoolJournal(_store.JournalOf(Record.Name)).Read();

    private string PathOf(PoolImage image) => Path.Combine(Record.Folders[image.Folder], image.File);

    private T Keep<T>(Func<T> work) => PoolStore.Keep(Record.Name, work);

    private void Do(Action<PoolSession> work) => Keep(() =>
    {
        using var session = new PoolSession(_store, Record);
        work(session);
        return true;
    });

    /// <summary>Makes files as one change: nothing of it is there if it does not come to its end.</summary>
    private static void Make(PoolSession session, string name, ulong promised, IReadOnlyList<PoolImage> images, Action make, Func<IReadOnlyList<PoolImage>, IReadOnlyList<string>> entries)
    {
        var intent = session.Begin(name, promised, images);
        try
        {
            make();
            session.Commit(intent, entries(session.Finish(images)));
        }
        catch
        {
            session.GiveUp(intent);
            throw;
        }
    }

    /// <summary>
    /// What new images may be based on that read as an image does now. One that was written becomes frozen, and its name gets an empty image over it; one that was not written since it
    /// was made needs none.
    /// </summary>
    private static (PoolImage Basis, IReadOnlyList<string> Entries, IReadOnlyList<PoolImage> Tops) Freeze(PoolSession session, PoolImage image, string volume)
    {
        if (image.IsFrozen)
            return (image, [], []);
        var facts = session.FactsOf(image);
        if (image.Parent is { } parent && facts.Modified == image.Facts.Modified && facts.Length == image.Facts.Length && session.Catalog.Images[parent].Size == image.Size)
            return (session.Catalog.Images[parent], [], []);
        var frozen = session.Frozen(image);
        return (frozen, [PoolEntry.Of(frozen)], [PoolSession.NewImage(image.Folder, volume, DiskFormat.Qcow2, image.Size, image.Id)]);
    }

    /// <summary>Bytes that are promised in addition because an image becomes one that is not written any more.</summary>
    private static ulong Frozen(PoolImage image, PoolImage basis) => image.Id == basis.Id && !image.IsFrozen ? basis.Facts.Allocated : 0;

    private static void Overlay(PoolSession session, IReadOnlyList<PoolImage> tops, PoolImage basis)
    {
        foreach (var top in tops)
        {
            // In one folder by its name alone, so that the folder may be moved.
            string below = top.Folder == basis.Folder ? basis.File : session.PathOf(basis);
            DiskTool.Create(ImageNameOf(top, session.PathOf(top)), top.Size, new ImageOptions { BackingFile = below, BackingFormat = basis.Format == DiskFormat.Raw ? "raw" : "qcow2" }, force: false);
        }
    }

    private static bool TryShare(PoolSession session, PoolImage image, string name, string volume, bool frozen)
    {
        var copy = PoolSession.NewImage(image.Folder, volume, image.Format, image.Size, image.Parent);
        return TryShare(session, image, copy, name, made =>
        {
            var kept = frozen ? session.Frozen(made) : made;
            return [PoolEntry.Of(kept), Named(name, kept)];
        });
    }

    /// <summary>A copy that shares its blocks; false where the folder's file system has none.</summary>
    private static bool TryShare(PoolSession session, PoolImage image, PoolImage copy, string name, Func<PoolImage, IReadOnlyList<string>> entries)
    {
        if (!session.CanShare(image.Folder))
            return false;
        Make(session, name, copy.Size, [copy], () =>
        {
            if (!ImageFile.TryShare(session.PathOf(image), session.PathOf(copy)))
                throw new VmmException(PoolErrors.CannotKeep, $"{VisibleText.Quote(session.PathOf(copy), 200)}: its file system does not share blocks any more");
        }, made => entries(made[0]));
        return true;
    }

    private static void CheckDepth(PoolSession session, PoolImage basis)
    {
        if (session.Catalog.Depth(basis) >= MostFiles)
            throw new VmmException(PoolErrors.CannotBe, string.Create(CultureInfo.InvariantCulture, $"it would be read from more than {MostFiles} files, each based on the next"));
    }

    /// <summary>As <see cref="PoolSession.Hold"/>, but null for a file that is not there: what is lost can be removed.</summary>
    private static IDisposable? HoldIfThere(PoolSession session, PoolImage image, string name) =>
        ImageFile.Look(session.PathOf(image)) is null ? null : session.Hold(image, alone: true, name);

    private static string Named(string name, PoolImage image) => PoolEntry.Of(new PoolName(name, image.Id, DateTimeOffset.UtcNow));

    /// <summary>A name that stands for another image from now on.</summary>
    private static string Renamed(PoolSession session, string name, PoolImage image) => PoolEntry.Of(session.Catalog.Names[name] with { Image = image.Id });

    private static ulong RoundUp(ulong bytes) => bytes is 0 or > 1UL << 60
        ? throw new VmmException(PoolErrors.CannotBe, string.Create(CultureInfo.InvariantCulture, $"a disk of {bytes} bytes"))
        : (bytes + 511) / 512 * 512;
}
