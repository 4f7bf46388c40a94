using System.Buffers.Binary;
using Kvm.Devices.Memory;

namespace Kvm.Devices.Block.Qcow2;

/// <summary>An internal snapshot's table of tables. Snapshots are kept as they are: counted, never changed.</summary>
/// <param name="L1Offset">Where its L1 table is.</param>
/// <param name="L1Entries">How many entries that has.</param>
internal readonly record struct InternalSnapshot(ulong L1Offset, int L1Entries);

/// <summary>Reads the list of internal snapshots and checks it.</summary>
internal static class SnapshotTable
{
    private const int FixedLength = 40;

    /// <summary>Reads all of them.</summary>
    /// <param name="file">The image's file.</param>
    /// <param name="header">Its header.</param>
    /// <param name="length">Bytes of the whole table.</param>
    /// <exception cref="Qcow2Exception">The list is none.</exception>
    public static IReadOnlyList<InternalSnapshot> Read(ClusterFile file, Qcow2Header header, out long length)
    {
        length = 0;
        var snapshots = new List<InternalSnapshot>();
        ulong end = Qcow2Format.RoundUp(file.Length, (ulong)header.ClusterSize);
        using var buffer = new AlignedBuffer(FixedLength);
        for (int i = 0; i < header.SnapshotCount; i++)
        {
            ulong at = header.SnapshotsOffset + (ulong)length;
            if (end - at < FixedLength)
                throw Qcow2Exception.Damaged($"snapshot {i} of {header.SnapshotCount} is at offset {at}, at the end of the file");
            if (file.Read(at, buffer.Buffer) != DiskResult.Done)
                throw Qcow2Exception.Host("read the snapshot table");
            ReadOnlySpan<byte> bytes = buffer.Buffer.Span;
            ulong l1 = BinaryPrimitives.ReadUInt64BigEndian(bytes);
            uint entries = BinaryPrimitives.ReadUInt32BigEndian(bytes[8..]), extra = BinaryPrimitives.ReadUInt32BigEndian(bytes[36..]);
            if (entries > Qcow2Format.MaxL1Bytes / sizeof(ulong) || extra > Qcow2Format.MaxSnapshotExtraData)
                throw Qcow2Exception.Damaged($"snapshot {i} at offset {at} has an L1 table of {entries} entries and {extra} bytes of extra data, which cannot be");
            if (l1 % (ulong)header.ClusterSize != 0 || (entries > 0 && (l1 == 0 || l1 >= end || entries * sizeof(ulong) > end - l1)))
                throw Qcow2Exception.Damaged($"snapshot {i} at offset {at} has its L1 table at offset {l1}, where none can be");
            int texts = BinaryPrimitives.ReadUInt16BigEndian(bytes[12..]) + BinaryPrimitives.ReadUInt16BigEndian(bytes[14..]);
            long all = (FixedLength + (long)extra + texts + 7) & ~7L;
            if ((ulong)all > end - at || (length += all) > Qcow2Format.MaxSnapshotTableBytes)
                throw Qcow2Exception.Damaged($"snapshot {i} at offset {at} ends beyond the end of the file, or of what a table of snapshots can be");
            snapshots.Add(new InternalSnapshot(l1, (int)entries));
        }

        return snapshots;
    }
}
