using Kvm.Vmm;
using Kvm.Vmm.Configuration;
using Kvm.Vmm.Host;
using Kvm.Vmm.Storage.Tools;

namespace Kvm.Manager.Pools;

/// <summary>A pool as the state folder has it, or why its record cannot be read.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Pool">The pool; null where <paramref name="Problem"/> says why not.</param>
/// <param name="Problem">Why its record cannot be read, or null.</param>
public sealed record PoolListing(string Name, VolumePool? Pool, VmmException? Problem);

/// <summary>
/// A user's storage pools: <c>pools/NAME</c> in the state folder each, with a record and a journal. Thread-safe, and between processes.
/// </summary>
/// <param name="options">Where they are.</param>
public sealed class PoolStore(ManagerOptions options)
{
    private const string RecordName = "pool.json", JournalName = "journal";

    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(30);

    /// <summary>The folder that holds all of them.</summary>
    public string Folder { get; } = Path.Combine(options.StateFolder, "pools");

    internal ManagerOptions Options => options;

    /// <summary>Whether there is a pool of that name.</summary>
    public bool Exists(string name) => VmName.IsName(name) && File.Exists(RecordOf(name));

    /// <summary>A pool.</summary>
    /// <exception cref="VmmException">KVM0640: there is none; KVM0642, KVM0644.</exception>
    public VolumePool Get(string name)
    {
        if (PoolRecord.TryLoad(RecordOf(name), name) is { } record)
            return new VolumePool(this, record);
        string shown = VisibleText.Quote(name, 64);
        throw new VmmException(PoolErrors.NoSuchPool, NearestName.Find(name, [.. Names()]) is { } near ? $"{shown} is not there; did you mean {near}?" : $"{shown} is not there");
    }

    /// <summary>Every pool, by name.</summary>
    public IReadOnlyList<PoolListing> List() => [.. Names().Order(StringComparer.Ordinal).Select(Look).OfType<PoolListing>()];

    /// <summary>Defines a pool, or gives one that is there further folders or another quota.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="folders">Its folders, made where they are missing; for a pool that is there those it has not yet.</param>
    /// <param name="quota">Bytes that its volumes may come to take; null: any number, or as before.</param>
    /// <exception cref="VmmException">A folder is another pool's or cannot be used (KVM0645, KVM0646), or the quota is less than what is promised (KVM0647).</exception>
    public VolumePool Define(string name, IReadOnlyList<string> folders, ulong? quota)
    {
        ArgumentNullException.ThrowIfNull(folders);
        string record = RecordOf(name);
        using var held = Lock(name);
        return Keep(name, () =>
        {
            var before = PoolRecord.TryLoad(record, name);
            var pool = before ?? new PoolRecord(Guid.NewGuid().ToString("n"), name, [], null);
            var paths = pool.Folders.ToList();
            foreach (string folder in folders.Select(Path.GetFullPath).Select(Path.TrimEndingDirectorySeparator))
            {
                if (!paths.Contains(folder))
                    paths.Add(folder);
            }

            if (paths.Count is 0 or > PoolRecord.MostFolders)
                throw new VmmException(PoolErrors.FolderLost, paths.Count == 0 ? $"the pool {name} has no folder" : $"the pool {name} would have more than {PoolRecord.MostFolders} folders");
            pool = pool with { Folders = paths, Quota = quota ?? pool.Quota };
            if (before is not null && quota < new PoolJournal(JournalOf(name)).Read().Promised)
                throw new VmmException(PoolErrors.OverQuota, $"more is promised already than {quota} bytes");
            // First: by it the marks of a definition that did not end are known as ours.
            MakeFolder(FolderOf(name));
            foreach (string path in paths.Skip(before?.Folders.Count ?? 0))
                Take(new PoolFolder(path), pool);
            DurableFile.Write(record, pool.ToBytes());
            DurableFile.SyncFolder(Folder);
            return new VolumePool(this, pool);
        });
    }

    /// <summary>The pool of that name; the pool <c>default</c> is made in the state folder where it is not there.</summary>
    public VolumePool GetOrDefault(string name) =>
        name == VolumeName.DefaultPool && !Exists(name) ? Define(name, [Path.Combine(options.StateFolder, "volumes")], null) : Get(name);

    /// <summary>Forgets a pool; its folders stay, without their marks.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="force">Removes its volumes, too.</param>
    /// <exception cref="VmmException">It has volumes (KVM0650), or one of them is in use (KVM0648).</exception>
    public void Remove(string name, bool force)
    {
        var pool = Get(name);
        if (force)
            pool.RemoveAll();
        using var held = Lock(name);
        Keep(name, () =>
        {
            var catalog = new PoolJournal(JournalOf(name)).Read();
            if (catalog.Names.Count > 0 || catalog.Intents.Values.Any(intent => intent.IsAlive(HostProcess.BootId)))
                throw new VmmException(PoolErrors.NotEmpty, $"{name} has {catalog.Names.Count} volumes and snapshots");
            // The record first: what is left of a removal that did not end is no pool, and its marks are nobody's.
            File.Delete(RecordOf(name));
            DurableFile.SyncFolder(FolderOf(name));
            foreach (string folder in pool.Record.Folders.Where(folder => new PoolFolder(folder).Problem(pool.Record) is null))
                File.Delete(Path.Combine(folder, PoolFolder.Marker));
            Directory.Delete(FolderOf(name), recursive: true);
            return true;
        });
    }

    internal string JournalOf(string name) => Path.Combine(FolderOf(name), JournalName);

    /// <summary>Takes a pool's lock, waiting for who has it.</summary>
    /// <exception cref="VmmException">KVM0652: another has had it for 30 seconds.</exception>
    internal HostLock Lock(string name) => Keep(name, () =>
    {
        MakeFolder(Folder);
        return HostLock.TryAcquire(Path.Combine(Folder, ".lock"), VmStore.PlaceOf(VolumeName.CheckPool(name)), s_patience);
    }) ?? throw new VmmException(PoolErrors.Busy, $"{name} is locked by another process");

    /// <summary>Does what the host may refuse.</summary>
    internal static T Keep<T>(string name, Func<T> work)
    {
        try
        {
            return work();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new VmmException(PoolErrors.CannotKeep, $"the pool {name}: {HostFailureText.Of(e)}", e);
        }
        catch (VmmException e) when (e.Error == DiskToolErrors.WriteFailed)
        {
            throw new VmmException(PoolErrors.CannotKeep, $"the pool {name}: {e.Message}", e);
        }
    }

    private void Take(PoolFolder folder, PoolRecord pool)
    {
        Directory.CreateDirectory(folder.Path);
        // One of a pool whose definition or removal did not end is free.
        if (folder.Owner() is { } owner && owner.Id != pool.Id && List().Any(other => other.Pool is null || other.Pool.Record.Id == owner.Id))
            throw new VmmException(PoolErrors.FolderLost, $"{VisibleText.Quote(folder.Path, 200)} belongs to the pool {VisibleText.Quote(owner.Name, 64)}");
        if (folder.Owner() is { } stranger && stranger.Id != pool.Id && !IsOurs(stranger.Name))
            throw new VmmException(PoolErrors.FolderLost, $"{VisibleText.Quote(folder.Path, 200)} belongs to the pool {VisibleText.Quote(stranger.Name, 64)} of another state folder; if it is nobody's any more remove its file {PoolFolder.Marker}");
        folder.Mark(pool);
    }

    /// <summary>Whether a pool of this state folder was, or was to be, called so.</summary>
    private bool IsOurs(string name) => VmName.IsName(name) && !Exists(name) && Directory.Exists(FolderOf(name));

    private PoolListing? Look(string name)
    {
        try
        {
            return PoolRecord.TryLoad(RecordOf(name), name) is { } record ? new PoolListing(name, new VolumePool(this, record), null) : null;
        }
        catch (VmmException e)
        {
            return new PoolListing(name, null, e);
        }
    }

    private IEnumerable<string> Names() => Directory.Exists(Folder) ? Directory.GetDirectories(Folder).Select(folder => Path.GetFileName(folder)).Where(VmName.IsName) : [];

    private string FolderOf(string name) => Path.Combine(Folder, VolumeName.CheckPool(name));

    private string RecordOf(string name) => Path.Combine(FolderOf(name), RecordName);

    private static void MakeFolder(string path) => Directory.CreateDirectory(path, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
}
