using System.Buffers.Binary;
using Kvm.Devices.Block;
using Kvm.Devices.Memory;
using Kvm.Devices.Virtio.Queue;

namespace Kvm.Devices.Virtio.Block;

/// <summary>What requests may ask for.</summary>
/// <param name="Length">Bytes of the disk.</param>
/// <param name="ReadOnly">Nothing may be written.</param>
/// <param name="MaxRangeSectors">Sectors of one discarded or zeroed range.</param>
internal readonly record struct BlockLimits(ulong Length, bool ReadOnly, uint MaxRangeSectors);

/// <summary>A request copied out of a chain and checked: it knows rings and limits, but no disk.</summary>
internal ref struct BlockRequest
{
    /// <summary>Ranges of one discard or write-zeroes request.</summary>
    public const int MaxRanges = 32;

    private const int HeaderSize = 16, RangeSize = 16;
    private const uint UnmapFlag = 1;

    public BlockRequestType Type;

    /// <summary>First byte of a read or write.</summary>
    public ulong Position;

    /// <summary>What is read into or written from.</summary>
    public ReadOnlySpan<HostBuffer> Data;

    /// <summary>Bytes of <see cref="Data"/>.</summary>
    public long DataLength;

    /// <summary>The ranges, in the room given to the parser.</summary>
    public ReadOnlySpan<DiskRange> Ranges;

    /// <summary>Where the status byte goes; empty if the request has no place for one.</summary>
    public HostBuffer Status;

    /// <summary>Takes a chain apart.</summary>
    /// <param name="chain">The chain; its front and end are taken off.</param>
    /// <param name="limits">What may be asked for.</param>
    /// <param name="ranges">Room for <see cref="MaxRanges"/> ranges, the queue's own.</param>
    /// <param name="request">The request; its status buffer is set whatever the outcome.</param>
    /// <returns><see cref="BlockStatus.Ok"/> if it may be executed, else what to answer.</returns>
    public static BlockStatus Parse(ref DescriptorChain chain, in BlockLimits limits, Span<DiskRange> ranges, out BlockRequest request)
    {
        request = default;
        if (!chain.TryTakeLastByte(out request.Status) || chain.HasBadBuffer)
            return BlockStatus.IoError;
        Span<byte> header = stackalloc byte[HeaderSize];
        if (chain.Read(header) != HeaderSize)
            return BlockStatus.IoError;
        request.Type = (BlockRequestType)BinaryPrimitives.ReadUInt32LittleEndian(header);
        ulong sector = BinaryPrimitives.ReadUInt64LittleEndian(header[8..]);
        switch (request.Type)
        {
            case BlockRequestType.Read:
                request.Data = chain.Writable;
                request.DataLength = chain.WritableLength;
                return request.SetPosition(sector, limits.Length);
            case BlockRequestType.Write when limits.ReadOnly:
                return BlockStatus.IoError;
            case BlockRequestType.Write:
                request.Data = chain.Readable;
                request.DataLength = chain.ReadableLength;
                return request.SetPosition(sector, limits.Length);
            case BlockRequestType.Flush:
                return BlockStatus.Ok;
            case BlockRequestType.GetId:
                request.Data = chain.Writable;
                request.DataLength = chain.WritableLength;
                return BlockStatus.Ok;
            case BlockRequestType.Discard or BlockRequestType.WriteZeroes when limits.ReadOnly:
                return BlockStatus.IoError;
            case BlockRequestType.Discard or BlockRequestType.WriteZeroes:
                var outcome = ReadRanges(ref chain, request.Type, in limits, ranges, out int count);
                request.Ranges = ranges[..count];
                return outcome;
            default:
                return BlockStatus.Unsupported;
        }
    }

    private BlockStatus SetPosition(ulong sector, ulong diskLength)
    {
        ulong sectors = diskLength / IDiskImage.SectorSize;
        if (DataLength % IDiskImage.SectorSize != 0 || sector > sectors || (ulong)DataLength / IDiskImage.SectorSize > sectors - sector)
            return BlockStatus.IoError;
        Position = sector * IDiskImage.SectorSize;
        return BlockStatus.Ok;
    }

    private static BlockStatus ReadRanges(ref DescriptorChain chain, BlockRequestType type, in BlockLimits limits, Span<DiskRange> ranges, out int segments)
    {
        segments = 0;
        long length = chain.ReadableLength;
        if (length == 0 || length % RangeSize != 0 || length / RangeSize > ranges.Length)
            return BlockStatus.IoError;
        Span<byte> entry = stackalloc byte[RangeSize];
        ulong sectors = limits.Length / IDiskImage.SectorSize;
        int all = (int)(length / RangeSize);
        for (int i = 0; i < all; i++)
        {
            chain.Read(entry);
            ulong sector = BinaryPrimitives.ReadUInt64LittleEndian(entry);
            uint count = BinaryPrimitives.ReadUInt32LittleEndian(entry[8..]);
            uint flags = BinaryPrimitives.ReadUInt32LittleEndian(entry[12..]);
            // 5.2.6.2: unknown flags, and unmap with discard, are unsupported; the rest of what is wrong is an error.
            if ((flags & ~(type == BlockRequestType.WriteZeroes ? UnmapFlag : 0)) != 0)
                return BlockStatus.Unsupported;
            if (sector > sectors || count > sectors - sector || count > limits.MaxRangeSectors)
                return BlockStatus.IoError;
            ranges[i] = new DiskRange(sector * IDiskImage.SectorSize, (ulong)count * IDiskImage.SectorSize, (flags & UnmapFlag) != 0);
        }

        segments = all;
        return BlockStatus.Ok;
    }
}
