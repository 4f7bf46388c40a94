using System.Globalization;
using System.Text;
using System.Text.Json;
using Kvm.Vmm.Configuration;
using Kvm.Vmm.Tracing;

namespace Kvm.Cli.Text;

/// <summary>
/// A running guest's statistics for people: rates since the last answer, most first. What a guest tells is shown escaped; members that are
/// missing are left away.
/// </summary>
/// <param name="symbols">Names of its code; null to look beside its kernel.</param>
/// <param name="clears">The screen is a terminal: each answer takes the last one's place.</param>
internal sealed class StatsText(SymbolTable? symbols, bool clears)
{
    private const int MostRows = 12;
    private readonly Dictionary<string, long> _before = [];
    private readonly StringBuilder _text = new();
    private SymbolTable? _symbols = symbols;
    private bool _lookedForSymbols = symbols is not null;
    private double _lastMs;

    /// <summary>One answer.</summary>
    public string Of(JsonElement stats)
    {
        _text.Clear();
        double upMs = Number(stats, "upMs");
        double seconds = _lastMs > 0 && upMs > _lastMs ? (upMs - _lastMs) / 1000 : 0;
        _lastMs = upMs;
        if (!_lookedForSymbols)
            _symbols = SymbolTable.Beside(Text(stats, "kernel"));
        _lookedForSymbols = true;
        Line($"{Text(stats, "name")}  {Text(stats, "engine")}  up {upMs / 1000:f1} s");
        Vcpus(stats, seconds);
        Section("exits", Members(stats, "exits"), seconds);
        Section("accesses", Accesses(stats), seconds);
        Latencies(stats);
        Section("completions", Members(stats, "completions"), seconds);
        Places(stats);
        return clears ? StandardStreams.InPlace(_text.ToString()) : _text.Append('\n').ToString();
    }

    private void Vcpus(JsonElement stats, double seconds)
    {
        foreach (var vcpu in Array(stats, "vcpus"))
        {
            long microseconds = (long)(Number(vcpu, "runMs") * 1000);
            double part = Rate($"cpu{Number(vcpu, "index")}", microseconds, seconds) / 10_000;
            Line($"vcpu{Number(vcpu, "index"):f0}  {part,5:f1} % of a CPU");
        }
    }

    private void Section(string title, IEnumerable<(string Name, long Count)> rows, double seconds)
    {
        var told = rows.Select(row => (row.Name, row.Count, Rate: Rate($"{title} {row.Name}", row.Count, seconds))).ToList();
        if (told.Count == 0)
            return;
        Line($"\n{title,-44} {"total",14} {"a second",12}");
        foreach (var (name, count, rate) in told.OrderByDescending(row => row.Rate).ThenByDescending(row => row.Count).Take(MostRows))
            Line($"  {name,-42} {count,14} {rate,12:f0}");
    }

    private void Latencies(JsonElement stats)
    {
        if (!stats.TryGetProperty("exitDetails", out var details) || !details.TryGetProperty("latency", out var reasons) || reasons.ValueKind != JsonValueKind.Object)
            return;
        Line($"\n{"time of an exit, us",-44} {"half",8} {"90 %",8} {"99 %",8} {"longest",10}");
        foreach (var reason in reasons.EnumerateObject())
            Line($"  {reason.Name,-42} {Number(reason.Value, "p50Ns") / 1000,8:f1} {Number(reason.Value, "p90Ns") / 1000,8:f1} {Number(reason.Value, "p99Ns") / 1000,8:f1} {Number(reason.Value, "maxNs") / 1000,10:f1}");
    }

    private void Places(JsonElement stats)
    {
        double all = Number(stats, "ripSamples");
        if (all <= 0)
            return;
        Line($"\nwhere its vCPUs are ({all:f0} samples)");
        foreach (var place in Array(stats, "hotRips").Take(MostRows))
        {
            string rip = Text(place, "rip");
            string? symbol = ulong.TryParse(rip.AsSpan(Math.Min(2, rip.Length)), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out ulong address) ? _symbols?.Describe(address) : null;
            Line($"  {100 * Number(place, "samples") / all,5:f1} %  {rip}{(symbol is null ? "" : " " + symbol)}");
        }
    }

    internal static IEnumerable<(string Name, long Count)> Members(JsonElement stats, string name) =>
        stats.TryGetProperty(name, out var table) && table.ValueKind == JsonValueKind.Object ? table.EnumerateObject().Select(m => (m.Name, Whole(m.Value))) : [];

    private static IEnumerable<(string, long)> Accesses(JsonElement stats) =>
        !stats.TryGetProperty("exitDetails", out var details) ? [] : Array(details, "accesses").Select(access => (
            $"{Text(access, "reason")} {Text(access, "address")} {(access.TryGetProperty("write", out var write) && write.ValueKind == JsonValueKind.True ? "write" : "read")} {Text(access, "name")}".TrimEnd(),
            access.TryGetProperty("count", out var count) ? Whole(count) : 0));

    private double Rate(string key, long value, double seconds)
    {
        long before = _before.GetValueOrDefault(key, value);
        _before[key] = value;
        return seconds > 0 ? (value - before) / seconds : 0;
    }

    internal static JsonElement.ArrayEnumerator Array(JsonElement of, string name) =>
        of.ValueKind == JsonValueKind.Object && of.TryGetProperty(name, out var array) && array.ValueKind == JsonValueKind.Array ? array.EnumerateArray() : default;

    internal static string Text(JsonElement of, string name) =>
        of.ValueKind == JsonValueKind.Object && of.TryGetProperty(name, out var text) && text.ValueKind == JsonValueKind.String ? VisibleText.Escape(text.GetString()!) : "";

    internal static double Number(JsonElement of, string name) =>
        of.ValueKind == JsonValueKind.Object && of.TryGetProperty(name, out var number) && number.ValueKind == JsonValueKind.Number && number.TryGetDouble(out double value) ? value : 0;

    private static long Whole(JsonElement number) => number.ValueKind == JsonValueKind.Number && number.TryGetInt64(out long value) ? value : 0;

    private void Line(FormattableString text) => _text.Append(text.ToString(CultureInfo.InvariantCulture)).Append('\n');
}
