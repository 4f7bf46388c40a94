using Kvm.Interop;
using Kvm.Vmm.Configuration;

namespace Kvm.Vmm.Snapshots.Store;

/// <summary>
/// A store's files and their names: <c>NAME.snapshot</c>, <c>packs/ID.pack</c>, <c>lock</c>, and what is being made, <c>*.part</c>. Who saves has the lock together
/// with others who save; who removes or moves chunks has it alone; who reads needs none, as an open file stays. Safe from any thread.
/// </summary>
internal sealed class StoreFolder(string path, SnapshotKey? key, IStoreFiles files)
{
    public const string SnapshotEnd = ".snapshot", PackEnd = ".pack", PartEnd = ".part";

    public string Path { get; } = path;

    public SnapshotKey? Key { get; } = key;

    public IStoreFiles Files { get; } = files;

    /// <summary>How long the lock is waited for.</summary>
    public TimeSpan Patience { get; init; } = TimeSpan.FromSeconds(5);

    public string PacksPath { get; } = System.IO.Path.Combine(path, "packs");

    /// <summary>Copies of disks that belong to snapshots: IDENTITY.NAME.</summary>
    public string DisksPath { get; } = System.IO.Path.Combine(path, "disks");

    public string PathOf(string name) => System.IO.Path.Combine(Path, name + SnapshotEnd);

    public string PathOf(StoreId pack) => System.IO.Path.Combine(PacksPath, pack + PackEnd);

    /// <summary>Makes the folders where they are missing.</summary>
    public void Make() => Guarded(SnapshotErrors.WriteFailed, Path, () =>
    {
        const UnixFileMode ownerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;
        Directory.CreateDirectory(Path, ownerOnly);
        Directory.CreateDirectory(PacksPath, ownerOnly);
        return true;
    });

    /// <summary>Makes the folder of copies of disks where it is missing.</summary>
    public void MakeDisks() => Guarded(SnapshotErrors.WriteFailed, DisksPath, () => Directory.CreateDirectory(DisksPath, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute));

    /// <summary>The lock of those who add to the store; removes first what an interrupted writer left.</summary>
    public LockFile LockToAdd()
    {
        if (HasParts())
        {
            // Where somebody writes just now the parts may be theirs: then they stay.
            using var alone = Try(LockFile.TryAcquire);
            if (alone is not null)
                Sweep();
        }

        return Lock(LockFile.TryAcquireShared, LockFile.AcquireShared);
    }

    /// <summary>The lock of those who remove from the store, with what an interrupted writer left removed.</summary>
    public LockFile LockAlone()
    {
        var alone = Lock(LockFile.TryAcquire, LockFile.Acquire);
        try
        {
            if (HasParts())
                Sweep();
            return alone;
        }
        catch
        {
            alone.Dispose();
            throw;
        }
    }

    /// <summary>Names of all snapshots, sorted.</summary>
    public IReadOnlyList<string> Names()
    {
        var names = new List<string>();
        foreach (string file in ListOf(Path))
        {
            string name = System.IO.Path.GetFileName(file);
            if (name.EndsWith(SnapshotEnd, StringComparison.Ordinal) && ManifestText.IsName(name[..^SnapshotEnd.Length]))
                names.Add(name[..^SnapshotEnd.Length]);
        }

        names.Sort(StringComparer.Ordinal);
        return names;
    }

    /// <summary>Ids of all packs.</summary>
    public IReadOnlyList<StoreId> Packs()
    {
        var packs = new List<StoreId>();
        foreach (string file in ListOf(PacksPath))
        {
            if (System.IO.Path.GetExtension(file) == PackEnd && StoreId.TryParse(System.IO.Path.GetFileNameWithoutExtension(file), out var id))
                packs.Add(id);
        }

        return packs;
    }

    /// <summary>Reads a snapshot's file.</summary>
    /// <exception cref="VmmException">It is not there, cannot be read, or is not what it should be.</exception>
    public Manifest ReadManifest(string name) => ManifestOf(name, bytes => ManifestFile.Decode(bytes, Key));

    /// <summary>Reads the head of a snapshot's file, checksum included; no key is needed.</summary>
    public ManifestHead ReadHead(string name) => ManifestOf(name, bytes => ManifestFile.DecodeHead(bytes));

    public PackReader OpenPack(StoreId id) => Guarded(SnapshotErrors.ReadFailed, PathOf(id), () => PackReader.Open(Files, PathOf(id), Key));

    /// <summary>Does something with a file; what the host or the file's content says against it becomes an error of ours.</summary>
    public static T Guarded<T>(ErrorInfo error, string path, Func<T> work)
    {
        try
        {
            return work();
        }
        catch (StoreFault fault)
        {
            throw fault.In(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or KvmException or NotSupportedException or ArgumentException)
        {
            throw new VmmException(error, $"{VisibleText.Quote(path)}: {HostFailureText.Of(e)}", e);
        }
    }

    /// <summary>Removes a file, whether it is there or not.</summary>
    public void Remove(string path)
    {
        try
        {
            Files.Delete(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // It is rubbish that nothing refers to; the next one who has the store alone tries again.
        }
    }

    private bool HasParts()
    {
        foreach (string folder in (ReadOnlySpan<string>)[Path, PacksPath])
        {
            foreach (string file in ListOf(folder))
            {
                if (file.EndsWith(PartEnd, StringComparison.Ordinal))
                    return true;
            }
        }

        return false;
    }

    /// <summary>
    /// Removes what interrupted writers left, with the store locked alone: files that have no name yet, and packs that no snapshot knows. A writer has a part from
    /// its beginning until its snapshot has its name, so packs need to be looked at only where there is a part.
    /// </summary>
    private void Sweep()
    {
        RemoveUnknownPacks();
        foreach (string folder in (ReadOnlySpan<string>)[PacksPath, Path])
        {
            foreach (string file in ListOf(folder))
            {
                if (file.EndsWith(PartEnd, StringComparison.Ordinal))
                    Remove(file);
            }
        }
    }

    /// <summary>Removes packs, and copies of disks, that no snapshot knows, with the store locked alone; none if a snapshot cannot be read: its own may be among them.</summary>
    public void RemoveUnknownPacks()
    {
        var known = new HashSet<StoreId>();
        var identities = new HashSet<string>(StringComparer.Ordinal);
        foreach (string name in Names())
        {
            try
            {
                var head = ReadHead(name);
                known.UnionWith(head.Packs);
                identities.Add(head.Identity.ToString());
            }
            catch (VmmException)
            {
                return;
            }
        }

        foreach (var pack in Packs())
        {
            if (!known.Contains(pack))
                Remove(PathOf(pack));
        }

        foreach (string disk in ListOf(DisksPath))
        {
            if (!identities.Contains(System.IO.Path.GetFileNameWithoutExtension(disk)))
                Remove(disk);
        }
    }

    private List<string> ListOf(string folder) => Guarded<List<string>>(SnapshotErrors.ReadFailed, folder, () => Directory.Exists(folder) ? [.. Files.List(folder)] : []);

    private T ManifestOf<T>(string name, Func<byte[], T> decode)
    {
        ManifestText.ThrowIfNoName(name);
        string path = PathOf(name);
        return Guarded(SnapshotErrors.ReadFailed, path, () =>
        {
            try
            {
                using var file = Files.Open(path);
                return decode(ManifestFile.ReadAll(file));
            }
            catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
            {
                throw new VmmException(SnapshotErrors.NotFound, $"{name} in {VisibleText.Quote(Path)}", e);
            }
        });
    }

    private LockFile? Try(Func<string, LockFile?> acquire) => Guarded(SnapshotErrors.WriteFailed, Path, () => acquire(System.IO.Path.Combine(Path, "lock")));

    private LockFile Lock(Func<string, LockFile?> tryAcquire, Func<string, LockFile> acquire) =>
        Try(tryAcquire) ?? (Patience > TimeSpan.Zero ? Await(acquire) : null) ?? throw new VmmException(SnapshotErrors.Busy, VisibleText.Quote(Path));

    /// <summary>Waits for the lock; the kernel has no such wait that ends, so a thread waits that gives back what comes too late.</summary>
    private LockFile? Await(Func<string, LockFile> acquire)
    {
        var gate = new object();
        LockFile? locked = null;
        bool isTooLate = false;
        var waiter = new Thread(() =>
        {
            LockFile? got = null;
            try
            {
                got = acquire(System.IO.Path.Combine(Path, "lock"));
            }
            catch (KvmException)
            {
                // The folder has gone: then there is no lock to be had.
            }

            lock (gate)
            {
                if (isTooLate)
                    got?.Dispose();
                locked = got;
                Monitor.Pulse(gate);
            }
        }, 256 << 10)
        { Name = "store lock", IsBackground = true };
        lock (gate)
        {
            waiter.Start();
            Monitor.Wait(gate, Patience);
            isTooLate = locked is null;
            return locked;
        }
    }
}
