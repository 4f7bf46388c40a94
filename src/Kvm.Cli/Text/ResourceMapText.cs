using System.Globalization;
using System.Text;
using System.Text.Json;
using Kvm.Vmm.Configuration;

namespace Kvm.Cli.Text;

/// <summary>Virtual resources with what backs them, for people: the answer to <c>map</c>.</summary>
internal static class ResourceMapText
{
    /// <summary>The text.</summary>
    public static string Of(JsonElement map)
    {
        var text = new StringBuilder("\nvCPUs\n");
        foreach (var vcpu in Rows(map, "vcpus"))
            text.Append(CultureInfo.InvariantCulture, $"  vcpu{Cell(vcpu, "index"),-4} thread {Cell(vcpu, "thread"),-8} CPU {Cell(vcpu, "cpu"),-4} {Cell(vcpu, "cpuMs"),12} ms\n");
        text.Append("\nguest addresses\n");
        foreach (var part in Rows(map, "memory"))
            text.Append(CultureInfo.InvariantCulture, $"  {Cell(part, "start"),18} {Cell(part, "end"),18}  {Cell(part, "kind"),-8} {Cell(part, "name")}\n");
        text.Append("\nmemory behind them\n");
        foreach (var slot in Rows(map, "slots"))
            text.Append(CultureInfo.InvariantCulture, $"  slot {Cell(slot, "slot"),-3} {Cell(slot, "start"),18} -> {Cell(slot, "host"),18}  {Cell(slot, "bytes"),14} bytes\n");
        text.Append(CultureInfo.InvariantCulture, $"  {Cell(map, "guestResidentBytes")} bytes of it are the host's by now\n\ndevices\n");
        foreach (var device in Rows(map, "devices"))
            text.Append(CultureInfo.InvariantCulture, $"  {Cell(device, "name"),-16} {Cell(device, "peer")}  {string.Join(", ", Rows(device, "descriptors").Select(number => number.ToString()))}\n");
        text.Append("\ndescriptors\n");
        foreach (var open in Rows(map, "descriptors"))
            text.Append(CultureInfo.InvariantCulture, $"  {Cell(open, "number"),4}  {Cell(open, "file")}\n");
        return text.ToString();
    }

    private static JsonElement.ArrayEnumerator Rows(JsonElement of, string name) =>
        of.ValueKind == JsonValueKind.Object && of.TryGetProperty(name, out var rows) && rows.ValueKind == JsonValueKind.Array ? rows.EnumerateArray() : default;

    private static string Cell(JsonElement row, string name) =>
        row.ValueKind == JsonValueKind.Object && row.TryGetProperty(name, out var cell) ? VisibleText.Escape(cell.ToString()) : "-";
}
