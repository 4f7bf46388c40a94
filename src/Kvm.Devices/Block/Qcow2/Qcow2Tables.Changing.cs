using System.Buffers.Binary;

namespace Kvm.Devices.Block.Qcow2;

/// <summary>Compressed data's places, and changes of the whole: size, header.</summary>
internal sealed partial class Qcow2Tables
{
    // Where compressed data goes on, in a cluster that has room behind it; 0 for none.
    private ulong _packedAt;

    /// <summary>Takes bytes for compressed data, which clusters may share and which may lie over the end of one.</summary>
    public DiskResult AllocatePacked(int length, out ulong offset)
    {
        int bits = Header.ClusterBits;
        ulong end = Qcow2Format.RoundUp(_packedAt, (ulong)Header.ClusterSize), room = end - _packedAt;
        offset = _packedAt;
        bool shares = room > 0 && Refcounts.Increase(offset >> bits) == DiskResult.Done;
        if (!shares || (ulong)length > room)
        {
            var result = Refcounts.Allocate(1, out ulong fresh, out _);
            // Only in the cluster behind may it go on.
            if (shares && (result != DiskResult.Done || fresh << bits != end))
            {
                Refcounts.Decrease(offset >> bits, out _);
                shares = false;
            }

            if (result != DiskResult.Done)
                return result;
            if (!shares)
                offset = fresh << bits;
        }

        _packedAt = offset + (ulong)length;
        return DiskResult.Done;
    }

    /// <summary>Gives back what <see cref="AllocatePacked"/> took and nothing came to point to.</summary>
    public void FreePacked(ulong offset, int length)
    {
        for (ulong at = offset >> Header.ClusterBits; at <= (offset + (ulong)length - 1) >> Header.ClusterBits; at++)
            Refcounts.Decrease(at, out _);
        _packedAt = 0;
    }

    /// <summary>Changes the disk's size, with a larger L1 table if it takes one. Durable.</summary>
    public DiskResult Resize(ulong size)
    {
        var result = CommitAll();
        if (result != DiskResult.Done)
            return result;
        int entries = (int)Math.Max(Header.L1EntriesFor(size), (ulong)Header.L1Entries);
        ulong oldOffset = Header.L1Offset, l1Offset = oldOffset;
        int oldClusters = ClustersOf(Header.L1Entries), clusters = ClustersOf(entries);
        ulong[] l1 = _l1;
        if (entries > Header.L1Entries)
        {
            Array.Resize(ref l1, entries);
            // In the last of its clusters there may be room.
            if (clusters > oldClusters)
            {
                result = Refcounts.AllocateTogether(clusters, out ulong first);
                l1Offset = first << Header.ClusterBits;
            }

            if (result == DiskResult.Done)
                result = TableWriter.Write(File, l1Offset, l1, 0, entries);
            if (result == DiskResult.Done)
                result = Refcounts.WriteChanges();
            if (result == DiskResult.Done)
                result = File.Flush();
            if (result != DiskResult.Done)
                return result;
        }

        // size, crypt_method, l1_size, l1_table_offset: in one piece, so both sizes or neither.
        Span<byte> place = stackalloc byte[24];
        place.Clear();
        BinaryPrimitives.WriteUInt64BigEndian(place, size);
        BinaryPrimitives.WriteInt32BigEndian(place[12..], entries);
        BinaryPrimitives.WriteUInt64BigEndian(place[16..], l1Offset);
        result = TableWriter.Write(File, Qcow2Format.SizeAt, place);
        if (result == DiskResult.Done)
            result = File.Flush();
        if (result != DiskResult.Done)
            return result;
        (_l1, Header) = (l1, Header with { Size = size, L1Entries = entries, L1Offset = l1Offset });
        if (l1Offset != oldOffset)
            MoveL1(oldOffset, oldClusters, clusters);
        return CommitAll();
    }

    /// <summary>Writes another header over the present one. Durable.</summary>
    public DiskResult WriteHeader(Qcow2Header header)
    {
        var (offset, clusters) = Refcounts.Table;
        header = header with { RefcountTableOffset = offset, RefcountTableClusters = clusters };
        var result = TableWriter.Write(File, 0, header.ToBytes());
        if (result == DiskResult.Done)
            result = File.Flush();
        if (result == DiskResult.Done)
            Header = header;
        return result;
    }

    private int ClustersOf(int l1Entries) => (int)(((ulong)l1Entries * sizeof(ulong) + (ulong)Header.ClusterSize - 1) >> Header.ClusterBits);

    private void MoveL1(ulong oldOffset, int oldClusters, int clusters)
    {
        for (int i = 0; i < clusters; i++)
            Refcounts.Tables.Add((Header.L1Offset >> Header.ClusterBits) + (ulong)i);
        for (int i = 0; i < oldClusters; i++)
        {
            ulong old = (oldOffset >> Header.ClusterBits) + (ulong)i;
            Refcounts.Tables.Remove(old);
            Refcounts.Decrease(old, out _);
        }
    }
}
