namespace Kvm.Devices.Virtio.Block;

/// <summary>Kinds of request (virtio 1.2, 5.2.6).</summary>
internal enum BlockRequestType : uint
{
    Read = 0,
    Write = 1,
    Flush = 4,
    GetId = 8,
    Discard = 11,
    WriteZeroes = 13,
}

/// <summary>The status byte of a request (virtio 1.2, 5.2.6).</summary>
internal enum BlockStatus : byte
{
    Ok = 0,
    IoError = 1,
    Unsupported = 2,
}

/// <summary>What a disk promises of writes that it has acknowledged.</summary>
public enum DiskCache
{
    /// <summary>They are durable after the guest's next flush; until then they are in the host's page cache.</summary>
    WriteBack,

    /// <summary>They are durable when they are acknowledged, whatever the guest asks for.</summary>
    WriteThrough,

    /// <summary>As <see cref="WriteBack"/>, past the host's page cache (the file is opened with O_DIRECT).</summary>
    None,

    /// <summary>Nothing: flushes are acknowledged and not done. For disks that are thrown away after a crash of the host.</summary>
    Unsafe,
}

/// <summary>Feature bits of block devices (virtio 1.2, 5.2.3).</summary>
internal static class BlockFeature
{
    public const ulong SegMax = 1UL << 2, ReadOnly = 1UL << 5, BlockSize = 1UL << 6, Flush = 1UL << 9, Topology = 1UL << 10,
        ConfigWriteback = 1UL << 11, MultiQueue = 1UL << 12, Discard = 1UL << 13, WriteZeroes = 1UL << 14;
}
