namespace Kvm.Vmm.Snapshots.Store;

/// <summary>A snapshot in a list.</summary>
/// <param name="Name">What it is called.</param>
/// <param name="Identity">32 hexadecimal digits that name it for ever; empty where its file cannot be read.</param>
/// <param name="Created">When it was made.</param>
/// <param name="Parent">The name of the snapshot it is based on, or its identity where that is not in the store; null if it stands alone.</param>
/// <param name="IsEncrypted">True if a key is needed for it.</param>
/// <param name="Purpose">What it is for; null without its key.</param>
/// <param name="Bytes">Bytes of its regions; 0 without its key.</param>
/// <param name="Note">A line of a person's; empty without its key.</param>
/// <param name="Problem">Why it cannot be used; null if nothing is known against it.</param>
public sealed record SnapshotInfo(string Name, string Identity, DateTimeOffset Created, string? Parent, bool IsEncrypted, SnapshotPurpose? Purpose, ulong Bytes, string Note, string? Problem);

/// <summary>How large a snapshot is.</summary>
public sealed record SnapshotSizes
{
    /// <summary>Bytes of its regions.</summary>
    public ulong Logical { get; init; }

    /// <summary>Those of them in chunks of zeros, which take no storage.</summary>
    public ulong Zero { get; init; }

    /// <summary>Bytes of the pieces that the rest is made of: chunks and pages, those of the snapshots it is based on included.</summary>
    public ulong Content { get; init; }

    /// <summary>Bytes of these pieces, equal ones counted once.</summary>
    public ulong Distinct { get; init; }

    /// <summary>Bytes that they take as they are packed.</summary>
    public ulong Stored { get; init; }

    /// <summary>Of <see cref="Stored"/>, what other snapshots refer to as well.</summary>
    public ulong Shared { get; init; }

    /// <summary>How many times smaller it is for equal pieces stored once; 1 if there are none.</summary>
    public double DedupeRatio => Distinct == 0 ? 1 : (double)Content / Distinct;

    /// <summary>How many times smaller it is for packing; 1 if it is not packed.</summary>
    public double CompressionRatio => Stored == 0 ? 1 : (double)Distinct / Stored;
}

/// <summary>What <c>kvmsharp snapshot inspect</c> tells.</summary>
/// <param name="Info">As in the list.</param>
/// <param name="Content">Configuration, records, disks.</param>
/// <param name="Regions">What it holds the content of.</param>
/// <param name="Chain">Names of the snapshots it is based on, the nearest first.</param>
/// <param name="Sizes">How large it is.</param>
public sealed record SnapshotDetails(SnapshotInfo Info, SnapshotContent Content, IReadOnlyList<SnapshotRegion> Regions, IReadOnlyList<string> Chain, SnapshotSizes Sizes);

/// <summary>What a verification found.</summary>
/// <param name="Snapshots">Snapshots looked at.</param>
/// <param name="Chunks">Pieces read, each once.</param>
/// <param name="Bytes">Bytes of their contents.</param>
/// <param name="Problems">What is wrong, one line each; empty if nothing is.</param>
public sealed record SnapshotVerification(int Snapshots, long Chunks, ulong Bytes, IReadOnlyList<string> Problems);

/// <summary>What pruning did.</summary>
/// <param name="PacksRemoved">Packs that are gone, rewritten ones included.</param>
/// <param name="PacksRewritten">Packs whose chunks that are still needed are in another one now.</param>
/// <param name="BytesBefore">Bytes of all packs before.</param>
/// <param name="BytesAfter">And after.</param>
public sealed record SnapshotPruning(int PacksRemoved, int PacksRewritten, ulong BytesBefore, ulong BytesAfter);
