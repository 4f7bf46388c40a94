using System.Globalization;
using System.Text;
using System.Text.Json;
using Kvm.Manager.Pools;
using Kvm.Vmm.Configuration;
using Kvm.Vmm.Storage;

namespace Kvm.Cli.Text;

/// <summary>Pools and volumes as text and JSON.</summary>
internal static class PoolText
{
    /// <summary>A pool in a line.</summary>
    public static string Line(PoolState state) => string.Create(CultureInfo.InvariantCulture,
        $"{state.Pool.Name}: {state.Volumes.Count(volume => !volume.IsSnapshot)} volumes, {DiskText.Size(state.Promised)} promised{(state.Pool.Quota is { } quota ? $" of {DiskText.Size(quota)}" : "")}, {DiskText.Size(state.Real)} taken, {DiskText.Size(state.Free)} free{(state.Problems.Count > 0 ? $", {state.Problems.Count} problems" : "")}\n");

    public static string Line(string pool, VolumeState volume) => $"{pool}/{volume.Name}: {DiskText.Size(volume.Size)}, {DiskText.Size(volume.Allocated)} taken{(volume.Problem is { } problem ? $", {problem}" : "")}\n";

    public static string Of(IReadOnlyList<PoolListing> pools) => string.Concat(pools.Select(pool => pool.Pool is null ? $"{pool.Name}: {pool.Problem!.Error.Id}: {pool.Problem.Message}\n" : Line(pool.Pool.Inspect())));

    public static string Of(PoolState state)
    {
        var text = new StringBuilder(Line(state));
        foreach (var folder in state.Folders)
            text.Append(CultureInfo.InvariantCulture, $"  {VisibleText.Escape(folder.Path)}: {folder.Problem ?? $"{DiskText.Size(folder.Free)} of {DiskText.Size(folder.Total)} free"}\n");
        if (state.Real > 0 && state.Promised > 0)
            text.Append(CultureInfo.InvariantCulture, $"  promised is {(double)state.Promised / state.Real:0.0} times what is taken, and {100.0 * state.Promised / Math.Max(1, state.Capacity):0.0} % of the file systems\n");
        Table(text, state.Volumes, "");
        if (state.Pending > 0)
            text.Append(CultureInfo.InvariantCulture, $"under way, or to be cleared away: {state.Pending}\n");
        foreach (string problem in state.Problems)
            text.Append("problem: ").Append(problem).Append('\n');
        return text.ToString();
    }

    public static string Volumes(IReadOnlyList<VolumePool> pools)
    {
        var text = new StringBuilder();
        Table(text, [.. pools.SelectMany(pool => pool.Inspect().Volumes.Select(volume => volume with { Name = $"{pool.Record.Name}/{volume.Name}" }))], "");
        return text.ToString();
    }

    public static string Of(IReadOnlyList<PackedImage> packed)
    {
        var text = new StringBuilder();
        foreach (var image in packed)
            text.Append(image.Name).Append(": ").Append(image.Why ?? $"{DiskText.Size(image.Before)} are {DiskText.Size(image.After)} now, {Ratio(image.Before, image.After)}").Append('\n');
        var done = packed.Where(image => image.Why is null).ToList();
        ulong before = Sum(done, image => image.Before), after = Sum(done, image => image.After);
        text.Append(CultureInfo.InvariantCulture, $"{done.Count} of {packed.Count} packed{(done.Count > 0 ? $", {Ratio(before, after)}" : "")}\n");
        return text.ToString();
    }

    public static string Of(IReadOnlyList<(string Volume, string Folder)> moved) =>
        moved.Count == 0 ? "nothing to move\n" : string.Concat(moved.Select(move => $"{move.Volume}: now in {VisibleText.Escape(move.Folder)}\n"));

    public static void Write(Utf8JsonWriter json, IReadOnlyList<PoolListing> pools)
    {
        json.WriteStartObject();
        json.WriteStartArray("pools");
        foreach (var pool in pools)
        {
            json.WriteStartObject();
            json.WriteString("name", pool.Name);
            if (pool.Pool is { } readable)
                Members(json, readable.Inspect());
            else
                json.WriteString("error", pool.Problem!.Error.Id);
            json.WriteEndObject();
        }

        json.WriteEndArray();
        json.WriteEndObject();
    }

    public static void Write(Utf8JsonWriter json, PoolState state)
    {
        json.WriteStartObject();
        json.WriteString("name", state.Pool.Name);
        Members(json, state);
        json.WriteStartArray("volumes");
        foreach (var volume in state.Volumes)
            Write(json, state.Pool.Name, volume);
        json.WriteEndArray();
        json.WriteEndObject();
    }

    public static void WriteVolumes(Utf8JsonWriter json, IReadOnlyList<VolumePool> pools)
    {
        json.WriteStartObject();
        json.WriteStartArray("volumes");
        foreach (var pool in pools)
        {
            foreach (var volume in pool.Inspect().Volumes)
                Write(json, pool.Record.Name, volume);
        }

        json.WriteEndArray();
        json.WriteEndObject();
    }

    public static void Write(Utf8JsonWriter json, string pool, VolumeState volume)
    {
        json.WriteStartObject();
        json.WriteString("name", $"{pool}/{volume.Name}");
        json.WriteString("file", volume.Path);
        json.WriteString("format", volume.Format == DiskFormat.Raw ? "raw" : "qcow2");
        json.WriteNumber("size", volume.Size);
        json.WriteNumber("allocated", volume.Allocated);
        json.WriteNumber("files", volume.Files);
        json.WriteNumber("references", volume.References);
        json.WriteString("created", volume.Created);
        json.WriteString("problem", volume.Problem);
        json.WriteEndObject();
    }

    public static void Write(Utf8JsonWriter json, IReadOnlyList<PackedImage> packed)
    {
        json.WriteStartObject();
        json.WriteStartArray("images");
        foreach (var image in packed)
        {
            json.WriteStartObject();
            json.WriteString("name", image.Name);
            json.WriteNumber("before", image.Before);
            json.WriteNumber("after", image.After);
            json.WriteString("why", image.Why);
            json.WriteEndObject();
        }

        json.WriteEndArray();
        json.WriteEndObject();
    }

    public static void Write(Utf8JsonWriter json, IReadOnlyList<(string Volume, string Folder)> moved)
    {
        json.WriteStartObject();
        json.WriteStartArray("moved");
        foreach (var (volume, folder) in moved)
        {
            json.WriteStartObject();
            json.WriteString("volume", volume);
            json.WriteString("folder", folder);
            json.WriteEndObject();
        }

        json.WriteEndArray();
        json.WriteEndObject();
    }

    private static void Members(Utf8JsonWriter json, PoolState state)
    {
        json.WriteString("id", state.Pool.Id);
        if (state.Pool.Quota is { } quota)
            json.WriteNumber("quota", quota);
        else
            json.WriteNull("quota");
        json.WriteNumber("promised", state.Promised);
        json.WriteNumber("real", state.Real);
        json.WriteNumber("capacity", state.Capacity);
        json.WriteNumber("free", state.Free);
        json.WriteNumber("pending", state.Pending);
        json.WriteStartArray("folders");
        foreach (var folder in state.Folders)
        {
            json.WriteStartObject();
            json.WriteString("path", folder.Path);
            json.WriteNumber("free", folder.Free);
            json.WriteNumber("total", folder.Total);
            json.WriteString("problem", folder.Problem);
            json.WriteEndObject();
        }

        json.WriteEndArray();
        json.WriteStartArray("problems");
        foreach (string problem in state.Problems)
            json.WriteStringValue(problem);
        json.WriteEndArray();
    }

    private static void Table(StringBuilder text, IReadOnlyList<VolumeState> volumes, string indent)
    {
        if (volumes.Count == 0)
            return;
        int width = Math.Max(8, volumes.Max(volume => volume.Name.Length));
        text.Append(CultureInfo.InvariantCulture, $"{indent}{"NAME".PadRight(width)}  {"SIZE",10}  {"TAKEN",10}  {"FILES",5}  {"REFS",4}  FORMAT\n");
        foreach (var volume in volumes)
            text.Append(CultureInfo.InvariantCulture, $"{indent}{volume.Name.PadRight(width)}  {DiskText.Size(volume.Size),10}  {DiskText.Size(volume.Allocated),10}  {volume.Files,5}  {volume.References,4}  {(volume.Format == DiskFormat.Raw ? "raw" : "qcow2")}{(volume.Problem is null ? "" : "  !")}\n");
    }

    private static ulong Sum(List<PackedImage> images, Func<PackedImage, ulong> of) => images.Aggregate(0UL, (sum, image) => sum + of(image));

    private static string Ratio(ulong before, ulong after) => string.Create(CultureInfo.InvariantCulture, $"{(double)before / Math.Max(1, after):0.0} to 1");
}
