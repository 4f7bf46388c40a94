using System.Globalization;
using System.Text;
using System.Text.Json;
using Kvm.Devices.Block.Qcow2;
using Kvm.Vmm.Configuration;
using Kvm.Vmm.Storage.Tools;

namespace Kvm.Cli.Text;

/// <summary>What <c>kvmsharp disk</c> says, for people and as JSON.</summary>
internal static class DiskText
{
    private const int LabelWidth = 16;

    private static readonly string[] s_units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

    /// <summary>A size for people: 1.5 GiB (1610612736 bytes) is <c>1.5 GiB</c>.</summary>
    public static string Size(ulong bytes)
    {
        int unit = 0;
        double number = bytes;
        for (; number >= 1024 && unit < s_units.Length - 1; unit++)
            number /= 1024;
        return string.Create(CultureInfo.InvariantCulture, $"{Math.Round(number, number < 10 ? 2 : 1)} {s_units[unit]}");
    }

    public static string Of(ImageInfo info)
    {
        var text = new StringBuilder();
        void Line(string label, string value) => text.Append((label + ":").PadRight(LabelWidth)).Append(value).Append('\n');
        Line("file", VisibleText.Escape(info.Name.Path));
        Line("format", ImageName.Of(info.Name.Format));
        Line("disk", $"{Size(info.Length)} ({info.Length} bytes)");
        Line("file length", Size(info.FileLength));
        Line("storage taken", Size(info.Allocated));
        if (info.Qcow2 is { } qcow2)
        {
            Line("version", $"{qcow2.Version} (compat {Compat(qcow2)})");
            Line("clusters", $"{Size((ulong)qcow2.ClusterSize)}, {Compression(qcow2)}, refcounts of {qcow2.RefcountBits} bits{(qcow2.LazyRefcounts ? ", lazy" : "")}");
            if (qcow2.Backing is { } backing)
                Line("based on", $"{VisibleText.Escape(backing.Name)} ({(backing.Format is null ? "format not said" : VisibleText.Escape(backing.Format))})");
            if (qcow2.Snapshots > 0)
                Line("snapshots", qcow2.Snapshots.ToString(CultureInfo.InvariantCulture));
            if (qcow2.IsDirty || qcow2.IsCorrupt)
                Line("marked", qcow2.IsCorrupt ? "corrupt" : "dirty");
        }

        if (info.LooksLikeQcow2)
            text.Append("It begins like a qcow2 image. If it is one and not a disk into which a guest wrote that, say --format qcow2.\n");
        return text.ToString();
    }

    public static void Write(Utf8JsonWriter json, ImageInfo info)
    {
        json.WriteStartObject();
        json.WriteString("file", info.Name.Path);
        json.WriteString("format", ImageName.Of(info.Name.Format));
        json.WriteNumber("size", info.Length);
        json.WriteNumber("fileLength", info.FileLength);
        json.WriteNumber("allocated", info.Allocated);
        json.WriteBoolean("looksLikeQcow2", info.LooksLikeQcow2);
        if (info.Qcow2 is { } qcow2)
        {
            json.WriteStartObject("qcow2");
            json.WriteString("compat", Compat(qcow2));
            json.WriteNumber("clusterSize", qcow2.ClusterSize);
            json.WriteString("compression", Compression(qcow2));
            json.WriteNumber("refcountBits", qcow2.RefcountBits);
            json.WriteBoolean("lazyRefcounts", qcow2.LazyRefcounts);
            json.WriteString("backingFile", qcow2.Backing?.Name);
            json.WriteString("backingFormat", qcow2.Backing?.Format);
            json.WriteNumber("snapshots", qcow2.Snapshots);
            json.WriteBoolean("dirty", qcow2.IsDirty);
            json.WriteBoolean("corrupt", qcow2.IsCorrupt);
            json.WriteEndObject();
        }

        json.WriteEndObject();
    }

    public static string Of(IEnumerable<DiskExtent> map)
    {
        var text = new StringBuilder("        start        length  depth  what        place in the file\n");
        foreach (var extent in map)
            text.Append(CultureInfo.InvariantCulture, $"{extent.Position,13} {extent.Length,13} {extent.Depth,6}  {NameOf(extent.Kind),-10}  {extent.HostOffset?.ToString(CultureInfo.InvariantCulture) ?? "-"}\n");
        return text.ToString();
    }

    public static void Write(Utf8JsonWriter json, IEnumerable<DiskExtent> map)
    {
        json.WriteStartArray();
        foreach (var extent in map)
        {
            json.WriteStartObject();
            json.WriteNumber("start", extent.Position);
            json.WriteNumber("length", extent.Length);
            json.WriteNumber("depth", extent.Depth);
            json.WriteString("kind", NameOf(extent.Kind));
            if (extent.HostOffset is { } offset)
                json.WriteNumber("offset", offset);
            json.WriteEndObject();
        }

        json.WriteEndArray();
    }

    public static string Of(Qcow2CheckResult found)
    {
        var text = new StringBuilder();
        foreach (string message in found.Messages)
            text.Append(VisibleText.Escape(message)).Append('\n');
        text.Append(CultureInfo.InvariantCulture, $"{found.AllocatedClusters} of {found.TotalClusters} clusters have storage, {found.CompressedClusters} of them compressed\n");
        text.Append((found.Corruptions, found.Leaks) switch
        {
            (0, 0) => "nothing is wrong\n",
            (0, var leaks) => $"{leaks} leaked clusters: lost space, no more; {found.LeaksFixed} are free again\n",
            (var corruptions, var leaks) => $"{corruptions} corruptions, of which {found.CorruptionsFixed} are mended; {leaks} leaked clusters, of which {found.LeaksFixed} are free again\n",
        });
        return text.ToString();
    }

    public static void Write(Utf8JsonWriter json, Qcow2CheckResult found)
    {
        json.WriteStartObject();
        json.WriteBoolean("clean", found.IsClean);
        json.WriteNumber("corruptions", found.Corruptions);
        json.WriteNumber("corruptionsFixed", found.CorruptionsFixed);
        json.WriteNumber("leaks", found.Leaks);
        json.WriteNumber("leaksFixed", found.LeaksFixed);
        json.WriteNumber("totalClusters", found.TotalClusters);
        json.WriteNumber("allocatedClusters", found.AllocatedClusters);
        json.WriteNumber("compressedClusters", found.CompressedClusters);
        json.WriteNumber("imageEnd", found.ImageEnd);
        json.WriteStartArray("messages");
        foreach (string message in found.Messages)
            json.WriteStringValue(message);
        json.WriteEndArray();
        json.WriteEndObject();
    }

    public static string Of(DiskDifference difference)
    {
        string sizes = difference.Lengths.First == difference.Lengths.Second ? "" : $" (one has {difference.Lengths.First} bytes, the other {difference.Lengths.Second}; the rest of the longer one is zeros)";
        return difference.FirstDifference is { } at ? $"The disks differ from byte {at} on.\n" : $"The disks read the same{sizes}.\n";
    }

    public static void Write(Utf8JsonWriter json, DiskDifference difference)
    {
        json.WriteStartObject();
        json.WriteBoolean("same", difference.FirstDifference is null);
        if (difference.FirstDifference is { } at)
            json.WriteNumber("firstDifference", at);
        json.WriteNumber("firstSize", difference.Lengths.First);
        json.WriteNumber("secondSize", difference.Lengths.Second);
        json.WriteEndObject();
    }

    /// <summary>What was made or changed.</summary>
    public static void Write(Utf8JsonWriter json, string file, ulong? size)
    {
        json.WriteStartObject();
        json.WriteString("file", file);
        if (size is { } bytes)
            json.WriteNumber("size", bytes);
        json.WriteEndObject();
    }

    private static string NameOf(ExtentKind kind) => kind switch
    {
        ExtentKind.Zero => "zeros",
        ExtentKind.Compressed => "compressed",
        _ => "data",
    };

    private static string Compat(Qcow2Info info) => info.Version == 2 ? "0.10" : "1.1";

    private static string Compression(Qcow2Info info) => info.Compression == Qcow2Compression.Zstd ? "zstd" : "zlib";
}
