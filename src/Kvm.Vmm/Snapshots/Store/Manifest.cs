using Kvm.Devices.Snapshot;

namespace Kvm.Vmm.Snapshots.Store;

/// <summary>What a snapshot's file says, in memory. Immutable.</summary>
/// <param name="Head">What can be read without a key.</param>
/// <param name="ParentName">What the one it is based on was called, to find it soon; empty if there is none.</param>
/// <param name="Content">The machine's state.</param>
/// <param name="Regions">The tables of its regions.</param>
internal sealed record Manifest(ManifestHead Head, string ParentName, SnapshotContent Content, IReadOnlyList<RegionMap> Regions)
{
    /// <summary>Writes what stands behind the head.</summary>
    public void WriteBody(StateWriter writer)
    {
        ManifestText.Write(writer, ParentName);
        WriteContent(writer, Content);
        writer.U32(SnapshotFormat.ChunkSize);
        writer.U32((uint)Regions.Count);
        foreach (var region in Regions)
            region.Write(writer);
    }

    /// <summary>Writes the tables of a snapshot that is being made.</summary>
    public static void WriteRegions(StateWriter writer, IReadOnlyList<RegionTable> tables)
    {
        writer.U32(SnapshotFormat.ChunkSize);
        writer.U32((uint)tables.Count);
        foreach (var table in tables)
            RegionMap.Write(writer, table.Region, table.All());
    }

    public static void WriteContent(StateWriter writer, SnapshotContent content)
    {
        writer.U8((byte)content.Purpose);
        foreach (string text in (ReadOnlySpan<string>)[content.Engine, content.Note, content.Producer])
            ManifestText.Write(writer, text);
        writer.Bytes(content.Machine.Span);
        writer.U32((uint)content.Disks.Count);
        foreach (var disk in content.Disks)
        {
            ManifestText.Write(writer, disk.Name);
            ManifestText.Write(writer, disk.Path);
            ManifestText.Write(writer, disk.Generation);
            writer.U64(disk.Length);
        }

        writer.U32((uint)content.Records.Count);
        foreach (var record in content.Records)
        {
            ManifestText.Write(writer, record.Name);
            writer.U16(record.Version);
            writer.Bytes(record.Bytes.Span);
        }
    }

    /// <summary>Reads what stands behind the head; hostile bytes.</summary>
    /// <exception cref="StoreFault">It says what cannot be.</exception>
    public static Manifest Read(ManifestHead head, ReadOnlySpan<byte> body)
    {
        var reader = new StateReader(body);
        string parent = ManifestText.Read(ref reader, SnapshotFormat.MostTextBytes, "the parent's name");
        if (parent.Length > 0 && !ManifestText.IsName(parent))
            throw new StoreFault(SnapshotErrors.Damaged, "the parent's name cannot be one");
        var content = ReadContent(ref reader);
        uint chunkSize = reader.U32();
        if (chunkSize != SnapshotFormat.ChunkSize)
            throw new StoreFault(SnapshotErrors.Damaged, $"chunks of {chunkSize} bytes cannot be");
        var regions = new List<RegionMap>();
        for (uint left = Count(ref reader, SnapshotFormat.MostRegions, "regions"); left > 0; left--)
            regions.Add(RegionMap.Read(ref reader));
        if (!reader.Complete)
            throw new StoreFault(SnapshotErrors.Damaged, "it is cut short, or something is left over");
        if (SnapshotRegion.ProblemOf([.. regions.Select(r => r.Region)]) is { } problem)
            throw new StoreFault(SnapshotErrors.Damaged, $"{problem} cannot be");
        return new Manifest(head, parent, content, regions);
    }

    /// <summary>Why a content cannot be saved, or null.</summary>
    public static string? ProblemOf(SnapshotContent content)
    {
        if (content.Machine.Length > SnapshotFormat.MostMachineBytes)
            return $"a configuration of {content.Machine.Length} bytes";
        if (content.Disks.Count > SnapshotFormat.MostDisks || content.Records.Count > SnapshotFormat.MostRecords)
            return $"{content.Disks.Count} disks, {content.Records.Count} records";
        var names = new HashSet<string>();
        foreach (var record in content.Records)
        {
            if (!names.Add(record.Name) || record.Name.Length is 0 or > SnapshotFormat.MostNameLength || record.Bytes.Length > SnapshotFormat.MostRecordBytes)
                return $"record {Configuration.VisibleText.Quote(record.Name, 80)} of {record.Bytes.Length} bytes";
        }

        return null;
    }

    private static SnapshotContent ReadContent(ref StateReader reader)
    {
        byte purpose = reader.U8();
        if (purpose > (byte)SnapshotPurpose.Backup)
            throw new StoreFault(SnapshotErrors.Damaged, $"purpose {purpose} cannot be");
        string engine = ManifestText.Read(ref reader, SnapshotFormat.MostTextBytes, "the engine"), note = ManifestText.Read(ref reader, SnapshotFormat.MostTextBytes, "the note");
        string producer = ManifestText.Read(ref reader, SnapshotFormat.MostTextBytes, "the producer");
        byte[] machine = reader.Bytes(SnapshotFormat.MostMachineBytes).ToArray();
        var disks = new List<SnapshotDisk>();
        for (uint left = Count(ref reader, SnapshotFormat.MostDisks, "disks"); left > 0; left--)
        {
            string name = ManifestText.Read(ref reader, SnapshotFormat.MostTextBytes, "a disk's name"), path = ManifestText.Read(ref reader, SnapshotFormat.MostTextBytes, "a disk's path");
            disks.Add(new SnapshotDisk(name, path, ManifestText.Read(ref reader, SnapshotFormat.MostTextBytes, "a disk's generation"), reader.U64()));
        }

        var records = new List<SnapshotRecord>();
        for (uint left = Count(ref reader, SnapshotFormat.MostRecords, "records"); left > 0; left--)
        {
            string name = ManifestText.Read(ref reader, SnapshotFormat.MostTextBytes, "a record's name");
            ushort version = reader.U16();
            records.Add(new SnapshotRecord(name, version, reader.Bytes(SnapshotFormat.MostRecordBytes).ToArray()));
        }

        var content = new SnapshotContent
        {
            Purpose = (SnapshotPurpose)purpose,
            Engine = engine,
            Note = note,
            Producer = producer,
            Machine = machine,
            Disks = disks,
            Records = records,
        };
        if (reader.Failed || ProblemOf(content) is not null)
            throw new StoreFault(SnapshotErrors.Damaged, ProblemOf(content) is { } problem ? $"{problem} cannot be" : "it is cut short");
        return content;
    }

    private static uint Count(ref StateReader reader, int most, string what)
    {
        uint count = reader.U32();
        return count <= most && !reader.Failed ? count : throw new StoreFault(SnapshotErrors.Damaged, $"{count} {what} cannot be");
    }
}
