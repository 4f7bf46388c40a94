namespace Kvm.Devices.Block.Qcow2;

/// <summary>Numbers of the format (QEMU's docs/interop/qcow2), and the bounds that are ours: those of other implementations, so that no image is lost.</summary>
internal static class Qcow2Format
{
    public const uint Magic = 0x5146_49fb; // "QFI\xfb"
    public const int HeaderLength2 = 72, HeaderLength3 = 104, HeaderLengthWritten = 112;
    public const int MinClusterBits = 9, MaxClusterBits = 21;
    public const int MaxRefcountOrder = 6;
    public const int MaxBackingName = 1023;
    public const int MaxL1Bytes = 32 << 20;
    public const int MaxRefcountTableBytes = 8 << 20;
    public const int MaxSnapshots = 65536;
    public const long MaxSnapshotTableBytes = 64 << 20;
    public const int MaxSnapshotExtraData = 1024;

    // Where header members are that are changed one by one.
    public const int BackingAt = 8, SizeAt = 24, L1SizeAt = 36, RefcountTableAt = 48, FeaturesAt = 72;

    // Incompatible features.
    public const ulong Dirty = 1, Corrupt = 2, ExternalData = 4, CompressionType = 8, ExtendedL2 = 16;
    public const ulong KnownIncompatible = Dirty | Corrupt | CompressionType;
    // Compatible and autoclear features.
    public const ulong LazyRefcounts = 1;
    public const ulong BitmapsConsistent = 1;

    // Header extensions.
    public const uint ExtensionEnd = 0, BackingFormat = 0xe279_2aca, FeatureNames = 0x6803_f857, Bitmaps = 0x2385_2875;

    // Entries of L1 and L2 tables.
    public const ulong Copied = 1UL << 63, Compressed = 1UL << 62, Zero = 1;
    public const ulong OffsetMask = 0x00ff_ffff_ffff_fe00;

    /// <summary>Unit of the length of compressed data.</summary>
    public const int CompressedSector = 512;

    /// <summary>The next multiple of a power of two.</summary>
    public static ulong RoundUp(ulong value, ulong unit) => (value + unit - 1) & ~(unit - 1);
}

/// <summary>What a cluster's entry says of it.</summary>
internal enum ClusterKind : byte
{
    /// <summary>Nothing: the backing file shows through, or zeros.</summary>
    Unallocated,

    /// <summary>It reads as zeros and has no storage.</summary>
    Zero,

    /// <summary>It reads as zeros and has storage of its own, which holds anything.</summary>
    ZeroAllocated,

    /// <summary>It is at its offset.</summary>
    Data,

    /// <summary>It is compressed.</summary>
    Compressed,

    /// <summary>The entry is none the format knows, or points to where no cluster can be.</summary>
    Bad,
}

/// <summary>What the entries of an image's tables mean: a function of its cluster size and version.</summary>
internal readonly struct EntryFormat(int clusterBits, int version)
{
    private readonly int _clusterBits = clusterBits;
    private readonly ulong _clusterSize = 1UL << clusterBits;
    private readonly ulong _reserved = ~(Qcow2Format.Copied | Qcow2Format.OffsetMask | (version >= 3 ? Qcow2Format.Zero : 0));

    /// <summary>The kind of an L2 entry.</summary>
    /// <param name="entry">The entry.</param>
    /// <param name="end">Where the file ends, rounded up to a cluster.</param>
    public ClusterKind KindOf(ulong entry, ulong end)
    {
        if (entry == 0)
            return ClusterKind.Unallocated;
        if ((entry & Qcow2Format.Compressed) != 0)
            return CompressedKind(entry, end);
        ulong offset = entry & Qcow2Format.OffsetMask;
        // Offset 0 is the header: with it an entry means "no storage" (with the COPIED flag it contradicts itself).
        if ((entry & _reserved) != 0 || (offset & (_clusterSize - 1)) != 0 || offset >= end)
            return ClusterKind.Bad;
        bool zero = (entry & Qcow2Format.Zero) != 0;
        if (offset == 0)
            return zero && (entry & Qcow2Format.Copied) == 0 ? ClusterKind.Zero : ClusterKind.Bad;
        return zero ? ClusterKind.ZeroAllocated : ClusterKind.Data;
    }

    /// <summary>Where a compressed cluster's data is: a byte offset and how many bytes at most.</summary>
    public (ulong Offset, int Length) CompressedRange(ulong entry)
    {
        int bits = 62 - (_clusterBits - 8);
        ulong offset = entry & ((1UL << bits) - 1);
        int sectors = (int)((entry & ~(Qcow2Format.Copied | Qcow2Format.Compressed)) >> bits) + 1;
        return (offset, sectors * Qcow2Format.CompressedSector - (int)(offset & (Qcow2Format.CompressedSector - 1)));
    }

    /// <summary>The entry of a compressed cluster, or 0 if its offset is too large to be told.</summary>
    public ulong CompressedEntry(ulong offset, int length)
    {
        int bits = 62 - (_clusterBits - 8);
        ulong sectors = ((offset + (ulong)length - 1) / Qcow2Format.CompressedSector) - (offset / Qcow2Format.CompressedSector);
        return offset >> bits == 0 ? Qcow2Format.Compressed | (sectors << bits) | offset : 0;
    }

    private ClusterKind CompressedKind(ulong entry, ulong end)
    {
        var (offset, length) = CompressedRange(entry);
        // A compressed cluster is never changed in place, so it is never marked as the only one (COPIED).
        bool good = (entry & Qcow2Format.Copied) == 0 && offset >= _clusterSize && offset < end && (ulong)length <= end - offset + _clusterSize;
        return good ? ClusterKind.Compressed : ClusterKind.Bad;
    }
}
