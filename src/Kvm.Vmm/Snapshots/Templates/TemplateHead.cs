using System.Text;
using Kvm.Devices.Snapshot;
using Kvm.Vmm.Snapshots.Store;

namespace Kvm.Vmm.Snapshots.Templates;

/// <summary>What a template's file begins with: all of the snapshot but memory.</summary>
/// <param name="Name">The snapshot's name.</param>
/// <param name="Identity">Its identity.</param>
/// <param name="Content">Configuration, records, disks.</param>
/// <param name="Regions">Its memory, which follows region by region.</param>
internal sealed record TemplateHead(string Name, string Identity, SnapshotContent Content, IReadOnlyList<SnapshotRegion> Regions)
{
    /// <summary>Where memory begins is a multiple of this: a large page, so that large pages fit.</summary>
    public const int Alignment = 2 << 20;

    /// <summary>What may be in front of memory.</summary>
    public const int MostBytes = 128 << 20;

    private const ulong Magic = 0x3130_4c50_4d54_564b;
    private const int MostText = 64 << 10;

    /// <summary>The bytes.</summary>
    public byte[] Write()
    {
        var writer = new StateWriter();
        writer.U64(Magic);
        foreach (string text in (ReadOnlySpan<string>)[Name, Identity, Content.Engine, Content.Note, Content.Producer])
            writer.Bytes(Encoding.UTF8.GetBytes(text));
        writer.U8((byte)Content.Purpose);
        writer.Bytes(Content.Machine.Span);
        writer.U16((ushort)Content.Disks.Count);
        foreach (var disk in Content.Disks)
        {
            foreach (string text in (ReadOnlySpan<string>)[disk.Name, disk.Path, disk.Generation])
                writer.Bytes(Encoding.UTF8.GetBytes(text));
            writer.U64(disk.Length);
        }

        writer.U16((ushort)Content.Records.Count);
        foreach (var record in Content.Records)
        {
            writer.Bytes(Encoding.UTF8.GetBytes(record.Name));
            writer.U16(record.Version);
            writer.Bytes(record.Bytes.Span);
        }

        writer.U16((ushort)Regions.Count);
        foreach (var region in Regions)
        {
            writer.Bytes(Encoding.UTF8.GetBytes(region.Name));
            writer.U64(region.Start);
            writer.U64(region.Length);
        }

        return writer.Written.ToArray();
    }

    /// <summary>Reads them; null where they are none.</summary>
    public static TemplateHead? Read(ReadOnlySpan<byte> bytes)
    {
        var reader = new StateReader(bytes);
        if (reader.U64() != Magic)
            return null;
        string name = Text(ref reader), identity = Text(ref reader), engine = Text(ref reader), note = Text(ref reader), producer = Text(ref reader);
        byte purpose = reader.U8();
        byte[] machine = reader.Bytes(SnapshotFormat.MostMachineBytes).ToArray();
        var disks = new SnapshotDisk[Count(ref reader, SnapshotFormat.MostDisks)];
        for (int i = 0; i < disks.Length && !reader.Failed; i++)
            disks[i] = new SnapshotDisk(Text(ref reader), Text(ref reader), Text(ref reader), reader.U64());
        var records = new SnapshotRecord[Count(ref reader, SnapshotFormat.MostRecords)];
        for (int i = 0; i < records.Length && !reader.Failed; i++)
            records[i] = new SnapshotRecord(Text(ref reader), reader.U16(), reader.Bytes(SnapshotFormat.MostRecordBytes).ToArray());
        var regions = new SnapshotRegion[Count(ref reader, SnapshotFormat.MostRegions)];
        for (int i = 0; i < regions.Length && !reader.Failed; i++)
            regions[i] = new SnapshotRegion(Text(ref reader), reader.U64(), reader.U64());
        if (!reader.Complete || SnapshotRegion.ProblemOf(regions) is not null)
            return null;
        var content = new SnapshotContent { Purpose = (SnapshotPurpose)purpose, Machine = machine, Engine = engine, Note = note, Producer = producer, Records = records, Disks = disks };
        return new TemplateHead(name, identity, content, regions);
    }

    private static string Text(ref StateReader reader) => Encoding.UTF8.GetString(reader.Bytes(MostText));

    private static int Count(ref StateReader reader, int most) => reader.U16() is var count && count <= most ? count : 0;
}
