using Kvm.Devices.Memory;

namespace Kvm.Devices.Block.Qcow2;

/// <summary>Reading the tables of an image that is opened, and finding out what is wrong with them.</summary>
internal sealed partial class Qcow2Tables
{
    private const int CopyPiece = 64 << 10;

    /// <summary>Reads header, L1 table and, where it may be written, all that says what is free.</summary>
    /// <param name="file">The file, not taken over if this throws.</param>
    /// <param name="options">How.</param>
    /// <exception cref="Qcow2Exception">The image is none, or is refused.</exception>
    public static Qcow2Tables Open(ClusterFile file, Qcow2OpenOptions options)
    {
        var header = ReadHeader(file);
        ArgumentOutOfRangeException.ThrowIfLessThan(options.CacheBytes, Qcow2OpenOptions.MinCacheBytes);
        ulong[] l1 = TableWriter.Read(file, header.L1Offset, header.L1Entries) ?? throw Qcow2Exception.Host("read the L1 table");
        var snapshots = SnapshotTable.Read(file, header, out long snapshotBytes);
        ulong end = Qcow2Format.RoundUp(file.Length, (ulong)header.ClusterSize);
        int bad = 0;
        foreach (ref ulong entry in l1.AsSpan())
        {
            if (entry != 0 && !IsTableEntry(entry & ~Qcow2Format.Copied, end, header.ClusterSize))
                (entry, bad) = (BadTable, bad + 1);
        }

        if (options.ReadOnly || file.IsReadOnly)
            return new Qcow2Tables(file, header, l1, null, options.CacheBytes);
        if (header.IsCorrupt)
            throw new Qcow2Exception(Qcow2Problem.NotWritable, "it is marked as corrupt, and is not written to before it is repaired");
        if (header.IsDirty)
            return Mended(file, options);
        if (bad > 0)
            throw new Qcow2Exception(Qcow2Problem.NotWritable, $"{bad} entries of its L1 table (offset {header.L1Offset}) point to where no table can be");
        var refcounts = OpenRefcounts(file, header, end, options.CacheBytes / 4);
        try
        {
            Protect(refcounts.Tables, header, l1, snapshots, snapshotBytes, refcounts);
            return new Qcow2Tables(file, header, l1, refcounts, options.CacheBytes);
        }
        catch
        {
            refcounts.Dispose();
            throw;
        }
    }

    /// <summary>Opens an image whose refcounts may be behind, as whoever wrote it last said, when they are mended.</summary>
    private static Qcow2Tables Mended(ClusterFile file, Qcow2OpenOptions options)
    {
        var result = Qcow2Check.Run(file, Qcow2Repair.All, null, default);
        if (result.Corruptions != result.CorruptionsFixed || ReadHeader(file).IsDirty)
            throw new Qcow2Exception(Qcow2Problem.NotWritable, $"it was not closed, and {result.Corruptions - result.CorruptionsFixed} faults of its tables cannot be mended here");
        return Open(file, options);
    }

    /// <summary>Reads the header.</summary>
    /// <exception cref="Qcow2Exception">It is none, or is refused.</exception>
    public static Qcow2Header ReadHeader(ClusterFile file)
    {
        int first = (int)Math.Min(file.Length, 1UL << Qcow2Format.MaxClusterBits);
        byte[] bytes = TableWriter.ReadBytes(file, 0, Math.Min(first, CopyPiece)) ?? throw Qcow2Exception.Host("read the header");
        // Only where clusters are larger is there more to a header than its first 64 KiB.
        if (bytes.Length > 23 && bytes[23] is > 16 and <= Qcow2Format.MaxClusterBits && first > bytes.Length)
            bytes = TableWriter.ReadBytes(file, 0, Math.Min(first, 1 << bytes[23])) ?? throw Qcow2Exception.Host("read the header");
        else if (bytes.Length > 23 && bytes[23] is >= Qcow2Format.MinClusterBits and < 16 && bytes.Length > 1 << bytes[23])
            bytes = bytes[..(1 << bytes[23])];
        return Qcow2Header.Parse(bytes, file.Length);
    }

    private static Refcounts OpenRefcounts(ClusterFile file, Qcow2Header header, ulong end, int cacheBytes)
    {
        int entries = header.RefcountTableClusters << (header.ClusterBits - 3);
        ulong[] table = TableWriter.Read(file, header.RefcountTableOffset, entries) ?? throw Qcow2Exception.Host("read the refcount table");
        for (int i = 0; i < entries; i++)
        {
            if (table[i] != 0 && !IsTableEntry(table[i], end, header.ClusterSize))
                throw new Qcow2Exception(Qcow2Problem.NotWritable, $"entry {i} of its refcount table (offset {header.RefcountTableOffset}) points to where no block can be");
        }

        return new Refcounts(file, header, table, cacheBytes);
    }

    /// <summary>Bits that are none, a place between clusters or behind the end, and the header's place are no table's.</summary>
    private static bool IsTableEntry(ulong entry, ulong end, int clusterSize) =>
        (entry & ~Qcow2Format.OffsetMask) == 0 && entry % (ulong)clusterSize == 0 && entry != 0 && entry < end;

    /// <summary>Lists every cluster that holds a table, and finds two at one place.</summary>
    private static void Protect(
        HashSet<ulong> tables, Qcow2Header header, ulong[] l1, IReadOnlyList<InternalSnapshot> snapshots, long snapshotBytes, Refcounts refcounts)
    {
        Add(0, 1, "the header");
        Add(header.L1Offset, (ulong)header.L1Entries * sizeof(ulong), "the L1 table");
        Add(header.RefcountTableOffset, (ulong)header.RefcountTableClusters << header.ClusterBits, "the refcount table");
        if (snapshotBytes > 0)
            Add(header.SnapshotsOffset, (ulong)snapshotBytes, "the snapshot table");
        foreach (ulong block in refcounts.Blocks)
            Add(block, 1, "a refcount block");
        foreach (ulong entry in l1)
        {
            if (entry != 0)
                Add(entry & Qcow2Format.OffsetMask, 1, "an L2 table");
        }

        // Several snapshots may share one L1 table as far as the format goes, so these are not told apart.
        foreach (var snapshot in snapshots)
        {
            for (ulong at = 0; at < (ulong)snapshot.L1Entries * sizeof(ulong); at += (ulong)header.ClusterSize)
                tables.Add((snapshot.L1Offset + at) >> header.ClusterBits);
        }

        void Add(ulong offset, ulong length, string name)
        {
            for (ulong at = 0; at < length; at += (ulong)header.ClusterSize)
            {
                if (!tables.Add((offset + at) >> header.ClusterBits))
                    throw new Qcow2Exception(Qcow2Problem.NotWritable, $"{name} at offset {offset} is where another of its tables is");
            }
        }
    }

    private DiskResult CopyCluster(ulong from, ulong to)
    {
        using var buffer = new AlignedBuffer(Math.Min(Header.ClusterSize, CopyPiece));
        for (ulong at = 0; at < (ulong)Header.ClusterSize; at += (ulong)buffer.Length)
        {
            var result = File.Read(from + at, buffer.Buffer);
            if (result == DiskResult.Done)
                result = File.Write(to + at, buffer.Buffer);
            if (result != DiskResult.Done)
                return result;
        }

        return DiskResult.Done;
    }
}
