using System.Buffers.Binary;

namespace Kvm.Vmm.Snapshots.Store;

/// <summary>Where a chunk is in a pack, as the pack's index says.</summary>
/// <param name="Id">Which.</param>
/// <param name="Offset">Where its stored bytes begin in the pack.</param>
/// <param name="Stored">How many they are, the tag of the encryption included.</param>
/// <param name="Length">Bytes of its content.</param>
/// <param name="Method">How they were packed.</param>
internal readonly record struct PackEntry(ChunkId Id, ulong Offset, int Stored, int Length, SnapshotCompression Method)
{
    public const int Size = 48, AssociatedSize = ChunkId.Size + 4;

    private uint Kind => (uint)Length | (uint)Method << 24;

    /// <summary>Reads 48 bytes of an index.</summary>
    /// <param name="from">The bytes.</param>
    /// <param name="end">Where the chunks of the pack end.</param>
    /// <param name="entry">What they say.</param>
    /// <returns>False if it cannot be true.</returns>
    public static bool TryRead(ReadOnlySpan<byte> from, ulong end, out PackEntry entry)
    {
        ulong offset = BinaryPrimitives.ReadUInt64LittleEndian(from[32..]);
        uint stored = BinaryPrimitives.ReadUInt32LittleEndian(from[40..]), kind = BinaryPrimitives.ReadUInt32LittleEndian(from[44..]);
        uint length = kind & 0xff_ffff, method = kind >> 24;
        bool possible = length is > 0 and <= SnapshotFormat.ChunkSize && method <= (uint)SnapshotCompression.Zstd
            && stored > 0 && stored <= length + SnapshotFormat.TagSize && offset <= end && stored <= end - offset && offset >= PackFormat.HeaderSize;
        entry = possible ? new PackEntry(ChunkId.Read(from), offset, (int)stored, (int)length, (SnapshotCompression)method) : default;
        return possible;
    }

    public void Write(Span<byte> to)
    {
        Id.Write(to);
        BinaryPrimitives.WriteUInt64LittleEndian(to[32..], Offset);
        BinaryPrimitives.WriteUInt32LittleEndian(to[40..], (uint)Stored);
        BinaryPrimitives.WriteUInt32LittleEndian(to[44..], Kind);
    }

    /// <summary>What is authenticated with an encrypted chunk: which one it is, its length and how it was packed.</summary>
    public void WriteAssociated(Span<byte> to)
    {
        Id.Write(to);
        BinaryPrimitives.WriteUInt32LittleEndian(to[32..], Kind);
    }
}
