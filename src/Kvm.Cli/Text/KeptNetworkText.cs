using System.Globalization;
using System.Text;
using System.Text.Json;
using Kvm.Manager.Networks;
using Kvm.Vmm.Configuration;

namespace Kvm.Cli.Text;

/// <summary>Networks of the state folder as text and JSON.</summary>
internal static class KeptNetworkText
{
    /// <summary>A network in a line.</summary>
    public static string Line(NetworkEntry entry) => string.Create(CultureInfo.InvariantCulture,
        $"{entry.Record.Name}: {entry.State}, {entry.Model?.SubnetText ?? "-"}{(entry.Record.AutoStart ? ", autostart" : "")}{(entry.Why is { } problem ? $", {problem}" : "")}\n");

    public static string Of(IReadOnlyList<NetworkEntry> entries)
    {
        int width = Math.Max(8, entries.Count == 0 ? 0 : entries.Max(entry => entry.Record.Name.Length));
        var text = new StringBuilder($"{"NAME".PadRight(width)}  {"STATE",-8}  {"SUBNET",-18}  {"AUTOSTART",-9}  PROCESS\n");
        foreach (var entry in entries)
            text.Append(CultureInfo.InvariantCulture, $"{entry.Record.Name.PadRight(width)}  {entry.State,-8}  {entry.Model?.SubnetText ?? "-",-18}  {(entry.Record.AutoStart ? "yes" : "no"),-9}  {(entry.Record.Runs ? $"{entry.Record.Process!.Value.Id}" : entry.Why ?? "-")}\n");
        return text.ToString();
    }

    /// <summary>All that is known of a network, and who has its addresses.</summary>
    public static string Of(NetworkEntry entry, JsonElement? status)
    {
        var text = new StringBuilder(Line(entry));
        if (entry.Model is { } model)
            text.Append(NetworkText.Of(model));
        if (status is not { } known)
            return text.ToString();
        text.Append(CultureInfo.InvariantCulture, $"{"NAME",-16}  {"ADDRESS",-15}  {"MAC",-17}  {"LEASE",-10}  THERE\n");
        foreach (var lease in known.GetProperty("leases").EnumerateArray())
        {
            string time = lease.GetProperty("secondsLeft") is { ValueKind: JsonValueKind.Number } left ? string.Create(CultureInfo.InvariantCulture, $"{left.GetInt64()} s") : "static";
            text.Append(CultureInfo.InvariantCulture, $"{Member(lease, "name"),-16}  {Member(lease, "address"),-15}  {Member(lease, "mac"),-17}  {time,-10}  {(lease.GetProperty("attached").GetBoolean() ? "yes" : "no")}\n");
        }

        return text.ToString();
    }

    public static void Write(Utf8JsonWriter json, IReadOnlyList<NetworkEntry> entries)
    {
        json.WriteStartObject();
        json.WriteStartArray("networks");
        foreach (var entry in entries)
            Write(json, entry);
        json.WriteEndArray();
        json.WriteEndObject();
    }

    public static void Write(Utf8JsonWriter json, NetworkEntry entry) => Write(json, entry, null);

    public static void Write(Utf8JsonWriter json, NetworkEntry entry, JsonElement? status)
    {
        json.WriteStartObject();
        json.WriteString("name", entry.Record.Name);
        json.WriteString("state", entry.State);
        json.WriteString("subnet", entry.Model?.SubnetText);
        json.WriteBoolean("autostart", entry.Record.AutoStart);
        json.WriteNumber("generation", entry.Record.Generation);
        json.WriteString("since", entry.Record.Since);
        json.WriteNumber("process", entry.Record.Runs ? entry.Record.Process!.Value.Id : 0);
        json.WriteString("problem", entry.Why);
        if (status is { } known)
        {
            json.WritePropertyName("leases");
            known.GetProperty("leases").WriteTo(json);
            json.WritePropertyName("counters");
            known.GetProperty("counters").WriteTo(json);
        }

        json.WriteEndObject();
    }

    private static string Member(JsonElement lease, string name) => VisibleText.Escape(lease.GetProperty(name).GetString() ?? "");
}
