using System.Globalization;
using System.Text;
using System.Text.Json;
using Kvm.Sched;
using Kvm.Sched.Simulation;
using Kvm.Vmm.Configuration;

namespace Kvm.Cli.Text;

/// <summary>Simulations as a table, a chart of characters and JSON. Times in ms.</summary>
internal static class SimulationText
{
    private const double Ms = 1_000_000;
    private const int MostListedJobs = 1000;

    /// <summary>A time of ns in words.</summary>
    public static string Duration(long ns) => ns switch
    {
        >= 3_600_000_000_000 => Number(ns / 3.6e12) + "h",
        >= 1_000_000_000 => Number(ns / 1e9) + "s",
        >= 1_000_000 => Number(ns / 1e6) + "ms",
        >= 1_000 => Number(ns / 1e3) + "us",
        _ => Number(ns) + "ns",
    };

    /// <summary>The table, a row a policy, and the charts.</summary>
    public static string Of(IReadOnlyList<SimulationResult> results, IReadOnlyList<SimulatedJob> jobs, SimulationSettings settings, bool gantt)
    {
        var text = new StringBuilder();
        text.Append(CultureInfo.InvariantCulture, $"{jobs.Count} jobs, {settings.Topology.Count} CPUs, slice {Duration(settings.Policy.Slice)}; times in ms\n\n");
        List<string[]> rows =
        [
            ["", "turnaround", "", "", "wait", "", "", "response", "", "share", "", "", "", "deadlines"],
            ["policy", "mean", "p50", "p99", "mean", "p50", "p99", "mean", "Jain", "error", "used", "switches", "moves", "missed"],
        ];
        rows.AddRange(results.Select(Row));
        int[] widths = [.. Enumerable.Range(0, rows[0].Length).Select(column => rows.Max(row => row[column].Length))];
        foreach (string[] row in rows)
        {
            string line = string.Join("  ", row.Select((cell, column) => column == 0 ? cell.PadRight(widths[0]) : cell.PadLeft(widths[column])));
            text.Append(line.TrimEnd()).Append('\n');
        }

        foreach (var result in results)
        {
            if (result.Measures.Unfinished > 0)
                text.Append(CultureInfo.InvariantCulture, $"{result.Policy}: {result.Measures.Unfinished} jobs had not finished at {Number(result.Measures.End / Ms)} ms; turnaround, wait and response are of the others\n");
            if (result.Measures.EstimateError is { } error)
                text.Append(CultureInfo.InvariantCulture, $"{result.Policy}: learned lengths were off by {Percent(error)} of the real ones\n");
            if (gantt)
                text.Append('\n').Append(GanttText.Of(result, jobs));
        }

        return text.ToString();
    }

    /// <summary>The document of <c>--json</c>.</summary>
    public static void Write(Utf8JsonWriter json, IReadOnlyList<SimulationResult> results, IReadOnlyList<SimulatedJob> jobs, SimulationSettings settings)
    {
        json.WriteStartObject();
        json.WriteNumber("jobs", jobs.Count);
        json.WriteNumber("cpus", settings.Topology.Count);
        json.WriteNumber("slice", settings.Policy.Slice / Ms);
        if (settings.Seed is { } seed)
            json.WriteNumber("seed", seed);
        json.WriteStartObject("policies");
        foreach (var result in results)
        {
            json.WriteStartObject(result.Policy);
            WriteMeasures(json, result.Measures);
            if (jobs.Count <= MostListedJobs)
                WriteJobs(json, result, jobs);
            json.WriteEndObject();
        }

        json.WriteEndObject();
        json.WriteEndObject();
    }

    private static void WriteMeasures(Utf8JsonWriter json, Measures measures)
    {
        WriteTimes(json, "Turnaround", measures.Turnaround);
        WriteTimes(json, "Wait", measures.Wait);
        WriteTimes(json, "Response", measures.Response);
        json.WriteNumber("jain", measures.Jain);
        json.WriteNumber("shareError", measures.ShareError);
        json.WriteNumber("utilization", measures.Utilization);
        json.WriteNumber("switches", measures.Switches);
        json.WriteNumber("migrations", measures.Migrations);
        json.WriteNumber("deadlineMisses", measures.DeadlineMisses);
        json.WriteNumber("finished", measures.Finished);
        json.WriteNumber("unfinished", measures.Unfinished);
        json.WriteNumber("end", measures.End / Ms);
        json.WriteNumber("events", measures.Events);
        if (measures.EstimateError is { } error)
            json.WriteNumber("estimateError", error);
    }

    private static void WriteTimes(Utf8JsonWriter json, string name, in Distribution times)
    {
        json.WriteNumber("mean" + name, times.Mean / Ms);
        json.WriteNumber("p50" + name, times.P50 / Ms);
        json.WriteNumber("p99" + name, times.P99 / Ms);
        json.WriteNumber("max" + name, times.Max / Ms);
    }

    private static void WriteJobs(Utf8JsonWriter json, SimulationResult result, IReadOnlyList<SimulatedJob> jobs)
    {
        json.WriteStartArray("jobs");
        for (int i = 0; i < jobs.Count; i++)
        {
            var outcome = result.Jobs[i];
            json.WriteStartObject();
            json.WriteString("name", jobs[i].Name);
            json.WriteNumber("arrival", jobs[i].Arrival / Ms);
            if (outcome.FirstRun >= 0)
                json.WriteNumber("start", outcome.FirstRun / Ms);
            if (outcome.Finish >= 0)
            {
                json.WriteNumber("finish", outcome.Finish / Ms);
                json.WriteNumber("turnaround", (outcome.Finish - jobs[i].Arrival) / Ms);
                json.WriteNumber("wait", outcome.Wait / Ms);
            }

            json.WriteNumber("ran", outcome.Ran / Ms);
            json.WriteNumber("entitled", outcome.Entitled / Ms);
            json.WriteStartObject("served");
            for (int kind = 0; kind < ResourceVector.Kinds; kind++)
            {
                if (outcome.Served[kind] > 0)
                    json.WriteNumber(ResourceVector.Names[kind], outcome.Served[kind] / Ms);
            }

            json.WriteEndObject();
            json.WriteEndObject();
        }

        json.WriteEndArray();
    }

    private static string[] Row(SimulationResult result)
    {
        var m = result.Measures;
        return
        [
            result.Policy, InMs(m.Turnaround.Mean), InMs(m.Turnaround.P50), InMs(m.Turnaround.P99), InMs(m.Wait.Mean), InMs(m.Wait.P50), InMs(m.Wait.P99),
            InMs(m.Response.Mean), m.Jain.ToString("0.000", CultureInfo.InvariantCulture), Percent(m.ShareError), Percent(m.Utilization),
            Number(m.Switches), Number(m.Migrations), Number(m.DeadlineMisses),
        ];
    }

    private static string InMs(double ns) => (ns / Ms).ToString("0.00", CultureInfo.InvariantCulture);

    private static string Percent(double part) => (part * 100).ToString("0.0", CultureInfo.InvariantCulture) + "%";

    private static string Number(double value) => value.ToString("0.###", CultureInfo.InvariantCulture);
}
