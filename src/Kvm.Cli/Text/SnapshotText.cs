using System.Globalization;
using System.Text;
using System.Text.Json;
using Kvm.Vmm.Configuration;
using Kvm.Vmm.Snapshots.Store;

namespace Kvm.Cli.Text;

/// <summary>What <c>kvmsharp snapshot</c> says, for people and as JSON.</summary>
internal static class SnapshotText
{
    private const int LabelWidth = 16;

    public static string Of(IReadOnlyList<SnapshotInfo> list)
    {
        if (list.Count == 0)
            return "There are no snapshots.\n";
        int width = Math.Max(4, list.Max(i => i.Name.Length));
        var text = new StringBuilder($"{"NAME".PadRight(width)}  {"MADE",-19}  {"SIZE",10}  BASED ON\n");
        foreach (var info in list)
        {
            string size = info.Purpose is null ? info.IsEncrypted ? "encrypted" : "-" : DiskText.Size(info.Bytes);
            string purpose = info.Purpose is null or SnapshotPurpose.Snapshot ? "" : $"  ({NameOf(info.Purpose.Value)})";
            text.Append($"{info.Name.PadRight(width)}  {Time(info.Created),-19}  {size,10}  {info.Parent ?? "-"}{purpose}");
            if (info.Note.Length > 0)
                text.Append("  ").Append(VisibleText.Escape(info.Note));
            if (info.Problem is not null)
                text.Append("\n  cannot be used: ").Append(VisibleText.Escape(info.Problem));
            text.Append('\n');
        }

        return text.ToString();
    }

    public static void Write(Utf8JsonWriter json, IReadOnlyList<SnapshotInfo> list)
    {
        json.WriteStartArray();
        foreach (var info in list)
        {
            json.WriteStartObject();
            WriteMembers(json, info);
            json.WriteEndObject();
        }

        json.WriteEndArray();
    }

    public static string Of(SnapshotDetails details)
    {
        var (info, content, sizes) = (details.Info, details.Content, details.Sizes);
        var text = new StringBuilder();
        void Line(string label, string value) => text.Append((label + ":").PadRight(LabelWidth)).Append(value).Append('\n');
        Line("name", info.Name);
        Line("identity", info.Identity);
        Line("made", $"{Time(info.Created)} UTC{(content.Producer.Length > 0 ? $" by {VisibleText.Escape(content.Producer)}" : "")}{(content.Engine.Length > 0 ? $" under {VisibleText.Escape(content.Engine)}" : "")}");
        if (info.Purpose is { } purpose)
            Line("purpose", NameOf(purpose));
        if (content.Note.Length > 0)
            Line("note", VisibleText.Escape(content.Note));
        Line("encrypted", info.IsEncrypted ? "yes" : "no");
        if (details.Chain.Count > 0)
            Line("based on", string.Join(", then ", details.Chain));
        Line("size", $"{DiskText.Size(sizes.Logical)}, of that {DiskText.Size(sizes.Zero)} zeros");
        Line("stored", string.Create(CultureInfo.InvariantCulture,
            $"{DiskText.Size(sizes.Stored)}: equal chunks once {sizes.DedupeRatio:0.00} ×, packing {sizes.CompressionRatio:0.00} ×; {DiskText.Size(sizes.Shared)} of it is others' too"));
        foreach (var region in details.Regions)
            Line("region", $"{VisibleText.Escape(region.Name)} at 0x{region.Start:x}, {DiskText.Size(region.Length)}");
        foreach (var disk in content.Disks)
            Line("disk", $"{VisibleText.Escape(disk.Name)}: {VisibleText.Escape(disk.Path)}, generation {VisibleText.Escape(disk.Generation)}, {DiskText.Size(disk.Length)}");
        Line("records", string.Join(", ", content.Records.Select(r => $"{VisibleText.Escape(r.Name)} v{r.Version} ({r.Bytes.Length} B)")));
        return text.ToString();
    }

    public static void Write(Utf8JsonWriter json, SnapshotDetails details)
    {
        var (content, sizes) = (details.Content, details.Sizes);
        json.WriteStartObject();
        WriteMembers(json, details.Info);
        json.WriteString("producer", content.Producer);
        json.WriteString("engine", content.Engine);
        WriteList(json, "chain", details.Chain, json.WriteStringValue);
        json.WriteStartObject("sizes");
        json.WriteNumber("logical", sizes.Logical);
        json.WriteNumber("zero", sizes.Zero);
        json.WriteNumber("content", sizes.Content);
        json.WriteNumber("distinct", sizes.Distinct);
        json.WriteNumber("stored", sizes.Stored);
        json.WriteNumber("shared", sizes.Shared);
        json.WriteNumber("dedupeRatio", Math.Round(sizes.DedupeRatio, 3));
        json.WriteNumber("compressionRatio", Math.Round(sizes.CompressionRatio, 3));
        json.WriteEndObject();
        WriteList(json, "regions", details.Regions, region => WriteObject(json, [("name", region.Name)], ("start", region.Start), ("length", region.Length)));
        WriteList(json, "disks", content.Disks, disk => WriteObject(json, [("name", disk.Name), ("path", disk.Path), ("generation", disk.Generation)], ("length", disk.Length)));
        WriteList(json, "records", content.Records, record => WriteObject(json, [("name", record.Name)], ("version", record.Version), ("bytes", (ulong)record.Bytes.Length)));
        WriteMachine(json, content.Machine);
        json.WriteEndObject();
    }

    public static string Of(SnapshotVerification found)
    {
        var text = new StringBuilder();
        foreach (string problem in found.Problems)
            text.Append(VisibleText.Escape(problem)).Append('\n');
        text.Append(CultureInfo.InvariantCulture, $"{found.Snapshots} snapshots, {found.Chunks} chunks, {DiskText.Size(found.Bytes)} of content: {(found.Problems.Count == 0 ? "nothing is wrong" : "damaged")}\n");
        return text.ToString();
    }

    public static void Write(Utf8JsonWriter json, SnapshotVerification found)
    {
        json.WriteStartObject();
        json.WriteNumber("snapshots", found.Snapshots);
        json.WriteNumber("chunks", found.Chunks);
        json.WriteNumber("bytes", found.Bytes);
        WriteList(json, "problems", found.Problems, json.WriteStringValue);
        json.WriteEndObject();
    }

    public static string Of(SnapshotPruning pruning) => string.Create(CultureInfo.InvariantCulture,
        $"{pruning.PacksRemoved} packs went, of {pruning.PacksRewritten} of them what is needed was kept: {DiskText.Size(pruning.BytesBefore)} before, {DiskText.Size(pruning.BytesAfter)} now\n");

    public static void Write(Utf8JsonWriter json, SnapshotPruning pruning) => WriteObject(json, [],
        ("packsRemoved", (ulong)pruning.PacksRemoved), ("packsRewritten", (ulong)pruning.PacksRewritten), ("bytesBefore", pruning.BytesBefore), ("bytesAfter", pruning.BytesAfter));

    private static void WriteMembers(Utf8JsonWriter json, SnapshotInfo info)
    {
        json.WriteString("name", info.Name);
        json.WriteString("identity", info.Identity);
        json.WriteString("created", info.Created.UtcDateTime);
        json.WriteString("parent", info.Parent);
        json.WriteBoolean("encrypted", info.IsEncrypted);
        json.WriteString("purpose", info.Purpose is { } purpose ? NameOf(purpose) : null);
        json.WriteNumber("size", info.Bytes);
        json.WriteString("note", info.Note);
        json.WriteString("problem", info.Problem);
    }

    private static void WriteList<T>(Utf8JsonWriter json, string name, IReadOnlyList<T> items, Action<T> write)
    {
        json.WriteStartArray(name);
        foreach (var item in items)
            write(item);
        json.WriteEndArray();
    }

    private static void WriteObject(Utf8JsonWriter json, (string Name, string Value)[] texts, params (string Name, ulong Value)[] numbers)
    {
        json.WriteStartObject();
        foreach (var (name, value) in texts)
            json.WriteString(name, value);
        foreach (var (name, value) in numbers)
            json.WriteNumber(name, value);
        json.WriteEndObject();
    }

    /// <summary>The configuration as it is, if it is JSON; a hostile file's is shown as text.</summary>
    private static void WriteMachine(Utf8JsonWriter json, ReadOnlyMemory<byte> machine)
    {
        json.WritePropertyName("machine");
        try
        {
            using var document = JsonDocument.Parse(machine);
            document.WriteTo(json);
        }
        catch (JsonException)
        {
            json.WriteStringValue(Encoding.UTF8.GetString(machine.Span));
        }
    }

    private static string NameOf(SnapshotPurpose purpose) => purpose switch
    {
        SnapshotPurpose.Template => "template",
        SnapshotPurpose.Backup => "backup",
        _ => "snapshot",
    };

    private static string Time(DateTimeOffset time) => time.UtcDateTime.ToString("yyyy-MM-dd HH:mm:ss", CultureInfo.InvariantCulture);
}
