namespace Kvm.Vmm.Snapshots.Store;

/// <summary>A stretch of what is saved: a range of guest-physical memory, or a disk's content.</summary>
/// <param name="Name">What it is, such as <c>ram</c> or <c>disk:vda</c>; regions of one name do not overlap.</param>
/// <param name="Start">Where it begins: a guest-physical address, a multiple of <see cref="SnapshotFormat.PageSize"/>.</param>
/// <param name="Length">Bytes, at least one page, a multiple of it.</param>
public sealed record SnapshotRegion(string Name, ulong Start, ulong Length)
{
    /// <summary>Chunks it is cut into, from its start on.</summary>
    public long ChunkCount => (long)((Length - 1) / SnapshotFormat.ChunkSize) + 1;

    /// <summary>Bytes of a chunk: <see cref="SnapshotFormat.ChunkSize"/>, or what is left for the last.</summary>
    /// <param name="chunk">Its number, less than <see cref="ChunkCount"/>.</param>
    public int ChunkLength(long chunk) => (int)Math.Min(SnapshotFormat.ChunkSize, Length - (ulong)chunk * SnapshotFormat.ChunkSize);

    /// <summary>Why these cannot be the regions of a snapshot, or null.</summary>
    internal static string? ProblemOf(IReadOnlyList<SnapshotRegion> regions)
    {
        if (regions.Count > SnapshotFormat.MostRegions)
            return $"{regions.Count} regions";
        for (int i = 0; i < regions.Count; i++)
        {
            var one = regions[i];
            if (one.Length == 0 || one.Length > SnapshotFormat.MostAddress || one.Start > SnapshotFormat.MostAddress - one.Length
                || (one.Start | one.Length) % SnapshotFormat.PageSize != 0)
                return $"a region of {one.Length} bytes at {one.Start:x}";
            for (int j = 0; j < i; j++)
            {
                // No end is beyond the last address: these do not overflow.
                var other = regions[j];
                if (one.Name == other.Name && one.Start < other.Start + other.Length && other.Start < one.Start + one.Length)
                    return $"overlapping regions at {one.Start:x} and {other.Start:x}";
            }
        }

        return null;
    }
}

/// <summary>The state of one part of a machine, as its <c>IStateful</c> wrote it; the same for every engine.</summary>
/// <param name="Name">Unique in the snapshot, such as <c>vcpu0</c> or <c>serial0</c>.</param>
/// <param name="Version">Of the record's own format.</param>
/// <param name="Bytes">At most <see cref="SnapshotFormat.MostRecordBytes"/>.</param>
public sealed record SnapshotRecord(string Name, ushort Version, ReadOnlyMemory<byte> Bytes);

/// <summary>A disk that belongs to the snapshot and is kept outside of it.</summary>
/// <param name="Name">The machine's name for it, such as <c>vda</c>.</param>
/// <param name="Path">The file whose content it had.</param>
/// <param name="Generation">Which of the contents that file ever had: it is compared before a restore.</param>
/// <param name="Length">Bytes of the disk.</param>
public sealed record SnapshotDisk(string Name, string Path, string Generation, ulong Length);

/// <summary>What a snapshot is for.</summary>
public enum SnapshotPurpose : byte
{
    /// <summary>A state to go back to.</summary>
    Snapshot,

    /// <summary>A state that machines begin from.</summary>
    Template,

    /// <summary>What is left when all else is gone.</summary>
    Backup,
}

/// <summary>All of a snapshot but the content of its regions.</summary>
public sealed record SnapshotContent
{
    /// <summary>What it is for.</summary>
    public SnapshotPurpose Purpose { get; init; }

    /// <summary>The machine's configuration, JSON; at most <see cref="SnapshotFormat.MostMachineBytes"/>.</summary>
    public ReadOnlyMemory<byte> Machine { get; init; }

    /// <summary>The engine it was saved under: told to people, it binds nobody.</summary>
    public string Engine { get; init; } = "";

    /// <summary>A line of a person's.</summary>
    public string Note { get; init; } = "";

    /// <summary>The program that made it.</summary>
    public string Producer { get; init; } = "";

    /// <summary>The state of the machine's parts, each name once.</summary>
    public IReadOnlyList<SnapshotRecord> Records { get; init; } = [];

    /// <summary>The disks that belong to it.</summary>
    public IReadOnlyList<SnapshotDisk> Disks { get; init; } = [];
}
