using System.Buffers.Binary;

namespace Kvm.Devices.Virtio.Balloon;

/// <summary>
/// What a guest says of its memory (virtio 1.2, 5.5.6.4): amounts in bytes, events in numbers; null where it says nothing. A guest may say
/// anything.
/// </summary>
public sealed record BalloonStatistics
{
    /// <summary>Swapped in.</summary>
    public ulong? SwapIn { get; init; }

    /// <summary>Swapped out.</summary>
    public ulong? SwapOut { get; init; }

    /// <summary>Major page faults.</summary>
    public ulong? MajorFaults { get; init; }

    /// <summary>Minor page faults.</summary>
    public ulong? MinorFaults { get; init; }

    /// <summary>Not used for anything.</summary>
    public ulong? Free { get; init; }

    /// <summary>All there is.</summary>
    public ulong? Total { get; init; }

    /// <summary>Available to new programs without swapping.</summary>
    public ulong? Available { get; init; }

    /// <summary>Reclaimable without I/O.</summary>
    public ulong? Caches { get; init; }

    /// <summary>Huge pages allocated.</summary>
    public ulong? HugePagesAllocated { get; init; }

    /// <summary>Huge pages that could not be allocated.</summary>
    public ulong? HugePageFailures { get; init; }

    internal const int EntrySize = 10, Tags = 10;

    /// <summary>Puts entries of a tag and a value, in any order, into a slot for each known tag (5.5.6.3.2).</summary>
    internal static void Collect(ReadOnlySpan<byte> entry, Span<ulong?> byTag)
    {
        ushort tag = BinaryPrimitives.ReadUInt16LittleEndian(entry);
        if (tag < byTag.Length)
            byTag[tag] = BinaryPrimitives.ReadUInt64LittleEndian(entry[2..]);
    }

    internal static BalloonStatistics From(ReadOnlySpan<ulong?> byTag) => new()
    {
        SwapIn = byTag[0],
        SwapOut = byTag[1],
        MajorFaults = byTag[2],
        MinorFaults = byTag[3],
        Free = byTag[4],
        Total = byTag[5],
        Available = byTag[6],
        Caches = byTag[7],
        HugePagesAllocated = byTag[8],
        HugePageFailures = byTag[9],
    };
}
