using System.Buffers.Binary;

namespace Kvm.Devices.Block.Qcow2;

/// <summary>What a check may change.</summary>
public enum Qcow2Repair : byte
{
    /// <summary>Nothing.</summary>
    None,

    /// <summary>Counts that are too large: leaked clusters become free.</summary>
    Leaks,

    /// <summary>Counts that are too small, and flags that contradict counts, too; then the marks of a dirty or corrupt image go.</summary>
    All,
}

/// <summary>What a check found.</summary>
/// <param name="Leaks">Clusters counted more often than they are referred to: lost space, no more.</param>
/// <param name="Corruptions">What may lose data: clusters counted less often, entries that point nowhere, flags that lie.</param>
/// <param name="LeaksFixed">How many of the leaks are mended.</param>
/// <param name="CorruptionsFixed">How many of the corruptions are mended.</param>
/// <param name="TotalClusters">Clusters of the disk.</param>
/// <param name="AllocatedClusters">Those that have storage, compressed ones too.</param>
/// <param name="CompressedClusters">Those that are compressed.</param>
/// <param name="ImageEnd">Bytes of the file up to the last cluster that is referred to.</param>
/// <param name="Messages">The first of the findings, in words.</param>
public sealed record Qcow2CheckResult(
    long Leaks, long Corruptions, long LeaksFixed, long CorruptionsFixed, long TotalClusters, long AllocatedClusters, long CompressedClusters,
    ulong ImageEnd, IReadOnlyList<string> Messages)
{
    /// <summary>Nothing is wrong, or nothing any more.</summary>
    public bool IsClean => Leaks == LeaksFixed && Corruptions == CorruptionsFixed;
}

/// <summary>Judges an image: counts all references, compares them with what the image counts, and mends that.</summary>
public sealed partial class Qcow2Check
{
    private const int MostMessages = 100;

    private readonly ClusterFile _file;
    private readonly Qcow2Header _header;
    private readonly EntryFormat _format;
    private readonly ulong _end;
    private readonly ReferenceCounter _counter = new();
    private readonly List<string> _messages = [];
    private readonly Action<double>? _progress;
    private readonly CancellationToken _cancellation;
    private long _leaks, _corruptions, _leaksFixed, _corruptionsFixed, _allocated, _compressed;

    private Qcow2Check(ClusterFile file, Action<double>? progress, CancellationToken cancellation)
    {
        (_file, _progress, _cancellation) = (file, progress, cancellation);
        _header = Qcow2Tables.ReadHeader(file);
        _format = new EntryFormat(_header.ClusterBits, _header.Version);
        _end = Qcow2Format.RoundUp(file.Length, (ulong)_header.ClusterSize);
    }

    /// <summary>Checks an image that nobody else uses.</summary>
    /// <param name="file">Its file, opened when nobody wrote to it any more; not disposed of.</param>
    /// <param name="repair">What may be mended; with anything the file must be writable.</param>
    /// <param name="progress">Told the part of the tables that is read, 0 to 1; or null.</param>
    /// <param name="cancellation">Ends it. What is mended stays so.</param>
    /// <exception cref="Qcow2Exception">Its header is none, or the host cannot read or write.</exception>
    /// <exception cref="OperationCanceledException">It was ended.</exception>
    public static Qcow2CheckResult Run(IHostFile file, Qcow2Repair repair = Qcow2Repair.None, Action<double>? progress = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(file);
        return Run(new ClusterFile(file), repair, progress, cancellation);
    }

    internal static Qcow2CheckResult Run(ClusterFile file, Qcow2Repair repair, Action<double>? progress, CancellationToken cancellation)
    {
        var check = new Qcow2Check(file, progress, cancellation);
        check.CountAll();
        check.Compare(repair);
        check.CheckFlags(repair);
        check.Finish(repair);
        return new Qcow2CheckResult(check._leaks, check._corruptions, check._leaksFixed, check._corruptionsFixed,
            (long)((check._header.Size + (ulong)check._header.ClusterSize - 1) >> check._header.ClusterBits), check._allocated, check._compressed,
            check._counter.End << check._header.ClusterBits, check._messages);
    }

    private void CountAll()
    {
        Count(0, 1);
        Count(_header.RefcountTableOffset, (ulong)_header.RefcountTableClusters << _header.ClusterBits);
        foreach (ulong block in Table(_header.RefcountTableOffset, _header.RefcountTableClusters << (_header.ClusterBits - 3), "refcount table"))
        {
            if (block != 0 && IsTable(block, "refcount block"))
                Count(block, 1);
        }

        var snapshots = SnapshotTable.Read(_file, _header, out long snapshotBytes);
        Count(_header.SnapshotsOffset, (ulong)snapshotBytes);
        CountBitmaps();
        CountTables(_header.L1Offset, _header.L1Entries, isActive: true);
        foreach (var snapshot in snapshots)
            CountTables(snapshot.L1Offset, snapshot.L1Entries, isActive: false);
    }

    private void CountTables(ulong l1Offset, int l1Entries, bool isActive)
    {
        Count(l1Offset, (ulong)l1Entries * sizeof(ulong));
        var seen = new HashSet<ulong>();
        ulong[] l1 = Table(l1Offset, l1Entries, "L1 table");
        for (int i = 0; i < l1.Length; i++)
        {
            _cancellation.ThrowIfCancellationRequested();
            ulong table = l1[i] & ~Qcow2Format.Copied;
            if (table == 0 || !IsTable(table, "L2 table"))
                continue;
            Count(table, 1);
            // Read once: else a table of tables that are one table takes for ever.
            if (!seen.Add(table))
            {
                Corrupt($"the L2 table at offset {table} is in use twice");
                continue;
            }

            foreach (ulong entry in Table(table, _header.L2Entries, "L2 table"))
                CountEntry(entry, isActive);
            if (isActive)
                _progress?.Invoke((i + 1.0) / l1.Length);
        }
    }

    private void CountEntry(ulong entry, bool isActive)
    {
        var kind = _format.KindOf(entry, _end);
        switch (kind)
        {
            case ClusterKind.Data or ClusterKind.ZeroAllocated:
                Count(entry & Qcow2Format.OffsetMask, 1);
                break;
            case ClusterKind.Compressed:
                var (offset, length) = _format.CompressedRange(entry);
                // The last sector of it may lie behind the end of the file.
                ulong first = offset >> _header.ClusterBits, last = Math.Min(offset + (ulong)length, _end) - 1 >> _header.ClusterBits;
                for (ulong at = first; at <= last; at++)
                    _counter.Add(at);
                break;
            case ClusterKind.Bad:
                Corrupt($"an entry is {entry:x16}, which is none");
                break;
            default:
                return;
        }

        if (!isActive || kind == ClusterKind.Bad)
            return;
        _allocated++;
        _compressed += kind == ClusterKind.Compressed ? 1 : 0;
    }

    /// <summary>Bitmaps are kept as they are as long as their promise holds (autoclear bit 0); else nobody refers to them.</summary>
    private void CountBitmaps()
    {
        byte[]? data = _header.Extensions.FirstOrDefault(e => e.Type == Qcow2Format.Bitmaps)?.Data;
        if (data is not { Length: >= 24 } || (_header.Autoclear & Qcow2Format.BitmapsConsistent) == 0)
            return;
        ulong size = BinaryPrimitives.ReadUInt64BigEndian(data.AsSpan(8)), offset = BinaryPrimitives.ReadUInt64BigEndian(data.AsSpan(16));
        if (size > (64 << 20) || offset >= _end || size > _end - offset)
        {
            Corrupt($"the directory of bitmaps is at offset {offset} with {size} bytes, where none can be");
            return;
        }

        Count(offset, size);
        byte[] directory = TableWriter.ReadBytes(_file, offset, (int)size) ?? throw Qcow2Exception.Host("read the directory of bitmaps");
        for (int at = 0; at + 24 <= directory.Length;)
        {
            var entry = directory.AsSpan(at);
            ulong table = BinaryPrimitives.ReadUInt64BigEndian(entry);
            uint entries = BinaryPrimitives.ReadUInt32BigEndian(entry[8..]), extra = BinaryPrimitives.ReadUInt32BigEndian(entry[20..]);
            if (entries > (8 << 20) || extra > 1024 || !IsTable(table, "table of a bitmap") || entries * sizeof(ulong) > _end - table)
                return;
            Count(table, entries * sizeof(ulong));
            foreach (ulong bits in Table(table, (int)entries, "table of a bitmap"))
            {
                if ((bits & Qcow2Format.OffsetMask) is not 0 and var cluster && IsTable(cluster, "cluster of a bitmap"))
                    Count(cluster, 1);
            }

            at += (24 + (int)extra + BinaryPrimitives.ReadUInt16BigEndian(entry[18..]) + 7) & ~7;
        }
    }

    private void Count(ulong offset, ulong length)
    {
        if (length == 0)
            return;
        for (ulong at = offset >> _header.ClusterBits; at <= (offset + length - 1) >> _header.ClusterBits; at++)
            _counter.Add(at);
    }

    private bool IsTable(ulong offset, string what)
    {
        bool good = (offset & ~Qcow2Format.OffsetMask) == 0 && offset % (ulong)_header.ClusterSize == 0 && offset != 0 && offset < _end;
        if (!good)
            Corrupt($"a {what} is at offset {offset:x}, where none can be");
        return good;
    }

    private ulong[] Table(ulong offset, int entries, string what) => TableWriter.Read(_file, offset, entries) ?? throw Qcow2Exception.Host($"read the {what}");

    private void Corrupt(string message)
    {
        _corruptions++;
        Say(message);
    }

    private void Say(string message)
    {
        if (_messages.Count < MostMessages)
            _messages.Add(message);
    }
}
