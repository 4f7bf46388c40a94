namespace Kvm.Vmm.Snapshots.Store;

/// <summary>
/// A folder of snapshots that share their chunks (docs/snapshot-format.md). Holds nothing open. Safe from any thread and for several processes: those who
/// save do so together, those who remove, merge or prune one at a time and not while anybody saves, those who read whenever they like.
/// </summary>
public sealed partial class SnapshotStore
{
    private readonly StoreFolder _folder;

    private SnapshotStore(StoreFolder folder) => _folder = folder;

    /// <summary>The folder.</summary>
    public string Path => _folder.Path;

    internal StoreFolder Folder => _folder;

    /// <summary>The store in a folder, which is made when something is saved.</summary>
    /// <param name="path">The folder.</param>
    /// <param name="key">New snapshots are encrypted with it, and encrypted ones read; or null.</param>
    public static SnapshotStore Open(string path, SnapshotKey? key = null) => Open(path, key, HostStoreFiles.Instance);

    /// <summary>Begins a snapshot.</summary>
    /// <param name="name">What it is called.</param>
    /// <param name="regions">What it holds the content of; not overlapping.</param>
    /// <param name="options">How, and what it is based on; null: by itself.</param>
    /// <exception cref="VmmException">The name is taken or none, the parent cannot be used, the folder cannot be written, or somebody prunes it.</exception>
    public SnapshotWriter Begin(string name, IReadOnlyList<SnapshotRegion> regions, SnapshotOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(regions);
        ManifestText.ThrowIfNoName(name);
        if (SnapshotRegion.ProblemOf(regions) is { } problem)
            throw new ArgumentException(problem, nameof(regions));
        _folder.Make();
        return new SnapshotWriter(_folder, name, regions, options ?? new SnapshotOptions(), held: _folder.LockToAdd());
    }

    /// <summary>Opens a snapshot for restoring.</summary>
    /// <param name="name">What it is called.</param>
    /// <exception cref="VmmException">It is not there, damaged, of a later version, encrypted with another key, or lacks what it is based on.</exception>
    public SnapshotReader Read(string name) => ChainOpener.Open(_folder, name);

    /// <summary>The identity of a snapshot, from its file's head alone.</summary>
    /// <exception cref="VmmException">It is not there, or damaged.</exception>
    internal string IdentityOf(string name) => _folder.ReadHead(name).Identity.ToString();

    internal static SnapshotStore Open(string path, SnapshotKey? key, IStoreFiles files, TimeSpan? patience = null)
    {
        ArgumentNullException.ThrowIfNull(path);
        var folder = new StoreFolder(System.IO.Path.GetFullPath(path), key, files);
        return new SnapshotStore(patience is { } time ? new StoreFolder(folder.Path, key, files) { Patience = time } : folder);
    }
}
