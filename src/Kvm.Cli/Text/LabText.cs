using System.Globalization;
using System.Text;
using System.Text.Json;
using Kvm.Labs.Catalog;
using Kvm.Vmm.Configuration;

namespace Kvm.Cli.Text;

/// <summary>Labs, their runs and checks as text and as JSON.</summary>
internal static class LabText
{
    private const int MostExits = 100;

    public static string Hex(ulong value) => string.Create(CultureInfo.InvariantCulture, $"0x{value:x}");

    public static string List() => string.Concat(LabCatalog.All.Select(lab => string.Create(CultureInfo.InvariantCulture, $"{lab.Number,3}  {lab.Name,-16} {lab.Title}\n")))
        + "\nkvmsharp lab show 1 tells what to do.\n";

    public static void ListJson(Utf8JsonWriter json)
    {
        json.WriteStartObject();
        json.WriteStartArray("labs");
        foreach (var lab in LabCatalog.All)
        {
            json.WriteStartObject();
            Head(json, lab);
            json.WriteEndObject();
        }

        json.WriteEndArray();
        json.WriteEndObject();
    }

    public static void ShowJson(Utf8JsonWriter json, Lab lab)
    {
        json.WriteStartObject();
        Head(json, lab);
        json.WriteString("text", lab.Text);
        json.WriteString("source", lab.Source);
        json.WriteEndObject();
    }

    public static void NewJson(Utf8JsonWriter json, Lab lab, string path)
    {
        json.WriteStartObject();
        Head(json, lab);
        json.WriteString("file", path);
        json.WriteEndObject();
    }

    public static string Run(LabReport report)
    {
        var text = new StringBuilder();
        text.Append(CultureInfo.InvariantCulture, $"lab {report.Lab.Number}: {report.Lab.Title}\n");
        foreach (var run in report.Runs)
            AppendRun(text, run);
        return text.Append(report.Text).ToString();
    }

    public static void RunJson(Utf8JsonWriter json, LabReport report)
    {
        json.WriteStartObject();
        Head(json, report.Lab);
        json.WriteStartArray("runs");
        foreach (var run in report.Runs)
            WriteRun(json, run);
        json.WriteEndArray();
        json.WriteString("text", report.Text);
        json.WriteEndObject();
    }

    public static string Check(CheckReport report)
    {
        var text = new StringBuilder();
        foreach (var line in report.Lines)
        {
            text.Append(line.Problem is null ? "  yes  " : "  no   ").Append(VisibleText.Escape(line.Says)).Append('\n');
            if (line.Problem is not null)
                text.Append("         ").Append(VisibleText.Escape(line.Problem)).Append('\n');
        }

        return text.Append(CheckLine(report)).ToString();
    }

    /// <summary>The result in a line.</summary>
    public static string CheckLine(CheckReport report)
    {
        int good = report.Lines.Count(line => line.Problem is null);
        string engines = report.Engines.Count == 0 ? "" : $" on {string.Join(" and ", report.Engines.Distinct())}";
        string result = report.Passed ? "solved" : report.Interrupted ? "interrupted" : "not solved yet";
        return string.Create(CultureInfo.InvariantCulture, $"lab {report.Lab.Number,2} {report.Lab.Name,-16} {result}: {good} of {report.Lines.Count} checks hold{engines}, {report.Elapsed.TotalMilliseconds:0} ms\n");
    }

    public static void CheckJson(Utf8JsonWriter json, CheckReport report)
    {
        json.WriteStartObject();
        Head(json, report.Lab);
        json.WriteBoolean("passed", report.Passed);
        json.WriteNumber("elapsedMs", Math.Round(report.Elapsed.TotalMilliseconds, 1));
        json.WriteStartArray("engines");
        foreach (string engine in report.Engines)
            json.WriteStringValue(engine);
        json.WriteEndArray();
        json.WriteStartArray("checks");
        foreach (var line in report.Lines)
        {
            json.WriteStartObject();
            json.WriteString("says", line.Says);
            json.WriteBoolean("holds", line.Problem is null);
            json.WriteString("problem", line.Problem);
            json.WriteEndObject();
        }

        json.WriteEndArray();
        json.WriteEndObject();
    }

    public static void CheckAllJson(Utf8JsonWriter json, IReadOnlyList<CheckReport> reports)
    {
        json.WriteStartObject();
        json.WriteBoolean("passed", reports.All(report => report.Passed));
        json.WriteStartArray("labs");
        foreach (var report in reports)
            CheckJson(json, report);
        json.WriteEndArray();
        json.WriteEndObject();
    }

    /// <summary>One exit.</summary>
    public static void Write(Utf8JsonWriter json, in ExitLine exit)
    {
        json.WriteStartObject();
        json.WriteNumber("number", exit.Number);
        json.WriteNumber("vcpu", exit.Vcpu);
        json.WriteString("reason", exit.Reason);
        json.WriteNumber("line", exit.Line);
        json.WriteString("what", exit.What);
        json.WriteEndObject();
    }

    private static void AppendRun(StringBuilder text, RunLines run)
    {
        text.Append(CultureInfo.InvariantCulture, $"\n{(run.Purpose.Length == 0 ? "run" : run.Purpose)} on {run.Engine}\n");
        text.Append("  exit  vcpu  line  reason\n");
        foreach (var exit in run.Exits.Take(MostExits))
            text.Append(CultureInfo.InvariantCulture, $"  {exit.Number,4}  {exit.Vcpu,4}  {(exit.Line > 0 ? exit.Line.ToString(CultureInfo.InvariantCulture) : ""),4}  {exit.Reason,-23} {VisibleText.Escape(exit.What)}\n");
        if (run.Exits.Count > MostExits)
            text.Append(CultureInfo.InvariantCulture, $"  … {run.Exits.Count - MostExits} more: --json shows them\n");
        if (run.Console.Length > 0)
            text.Append("console\n").Append(string.Concat(run.Console.TrimEnd('\n').Split('\n').Select(line => $"  {VisibleText.Escape(line)}\n")));
        if (run.Notes.Count > 0)
            text.Append("notes\n").Append(string.Concat(run.Notes.Select(note => $"  {VisibleText.Escape(note)}\n")));
        text.Append("the program ").Append(VisibleText.Escape(run.End)).Append('\n');
    }

    private static void WriteRun(Utf8JsonWriter json, RunLines run)
    {
        json.WriteStartObject();
        json.WriteString("purpose", run.Purpose);
        json.WriteString("engine", run.Engine);
        json.WriteString("end", run.End);
        json.WriteBoolean("timedOut", run.TimedOut);
        json.WriteString("console", run.Console);
        json.WriteStartArray("exits");
        foreach (var exit in run.Exits)
            Write(json, exit);
        json.WriteEndArray();
        json.WriteNumber("exitsDropped", run.ExitsDropped);
        json.WriteStartArray("notes");
        foreach (string note in run.Notes)
            json.WriteStringValue(note);
        json.WriteEndArray();
        json.WriteStartObject("registers");
        foreach (var (name, value) in run.Registers)
            json.WriteString(name, Hex(value));
        json.WriteEndObject();
        json.WriteEndObject();
    }

    private static void Head(Utf8JsonWriter json, Lab lab)
    {
        json.WriteNumber("lab", lab.Number);
        json.WriteString("name", lab.Name);
        json.WriteString("title", lab.Title);
    }
}
