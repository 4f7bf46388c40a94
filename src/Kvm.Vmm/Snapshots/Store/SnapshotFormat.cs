namespace Kvm.Vmm.Snapshots.Store;

/// <summary>How chunks are packed.</summary>
public enum SnapshotCompression : byte
{
    /// <summary>As they are.</summary>
    None,

    /// <summary>By LZ4: fast.</summary>
    Lz4,

    /// <summary>By zstd, level 1: smaller.</summary>
    Zstd,
}

/// <summary>Numbers of the format (docs/snapshot-format.md): sizes, and the bounds that a hostile file meets.</summary>
public static class SnapshotFormat
{
    /// <summary>The version that is written, and the last that is read.</summary>
    public const ushort Version = 1;

    /// <summary>Bytes of a chunk; the last of a region may be shorter.</summary>
    public const int ChunkSize = 64 << 10;

    /// <summary>Bytes of a page, of which an increment may hold some of a chunk's.</summary>
    public const int PageSize = 4 << 10;

    /// <summary>Pages of a chunk.</summary>
    public const int ChunkPages = ChunkSize / PageSize;

    /// <summary>How many snapshots may be based on one another, the last included.</summary>
    public const int MostLevels = 64;

    /// <summary>How often pages of a chunk may be laid over it before the writer stores it whole again: bounds the first touch of a restored page.</summary>
    public const int MostPatches = 3;

    /// <summary>The most regions, disks and records of a snapshot.</summary>
    public const int MostRegions = 256, MostDisks = 256, MostRecords = 4096;

    /// <summary>The most bytes of a record, and of the machine's configuration.</summary>
    public const int MostRecordBytes = 64 << 20, MostMachineBytes = 4 << 20;

    /// <summary>The most characters of a name, and bytes of a text such as a path.</summary>
    public const int MostNameLength = 64, MostTextBytes = 4096;

    internal const int TagSize = 16, NonceSize = 12;

    /// <summary>No region reaches further.</summary>
    internal const ulong MostAddress = 1UL << 52;

    internal const int MostManifestBytes = 1 << 30, MostPacks = 65536;
}
