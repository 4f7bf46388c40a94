using Kvm.Vmm.Snapshots.Store;

namespace Kvm.Vmm.Snapshots;

/// <summary>How a snapshot of a machine is taken.</summary>
public sealed record SnapshotTakeOptions
{
    /// <summary>
    /// Holds only what was written since the machine's last snapshot in the same store, if that was taken with this too; else all. From then on the machine notes
    /// written pages, for the next one.
    /// </summary>
    public bool Incremental { get; init; }

    /// <summary>
    /// Keeps the disks' content of the moment where that can be done at once (docs/snapshots.md, "Disks"); else a restore is refused when a disk was written since.
    /// </summary>
    public bool KeepDisks { get; init; } = true;

    /// <summary>How chunks are packed.</summary>
    public SnapshotCompression Compression { get; init; } = SnapshotCompression.Lz4;

    /// <summary>What it is for.</summary>
    public SnapshotPurpose Purpose { get; init; }

    /// <summary>A line of a person's.</summary>
    public string Note { get; init; } = "";

    /// <summary>Threads that pack while the guest runs, at least 1.</summary>
    public int Threads { get; init; } = 1;

    /// <summary>Holds the disks' content too, and stands alone: a backup.</summary>
    internal bool DiskContents { get; init; }

    /// <summary>Holds memory and state; a backup need not.</summary>
    internal bool Memory { get; init; } = true;

    /// <summary>When it is made; null: now.</summary>
    internal DateTimeOffset? Created { get; init; }
}

/// <summary>A snapshot that was taken.</summary>
/// <param name="Name">What it is called.</param>
/// <param name="Identity">What it is called for ever.</param>
/// <param name="Parent">The one it is based on; null where it stands alone.</param>
/// <param name="Downtime">How long the guest stood still for it.</param>
/// <param name="Pages">Pages that were copied while it did.</param>
/// <param name="StoredBytes">What it takes in the store beyond what was there.</param>
public sealed record SnapshotTaken(string Name, string Identity, string? Parent, TimeSpan Downtime, long Pages, long StoredBytes)
{
    /// <summary>How each disk that the guest can write was kept; empty where that was not asked for.</summary>
    public IReadOnlyList<Disks.DiskKept> Disks { get; init; } = [];

    /// <summary>Of a backup, bytes that were read from the disks.</summary>
    public long DiskBytes { get; init; }
}
