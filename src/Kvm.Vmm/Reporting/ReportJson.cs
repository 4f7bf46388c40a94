using System.Buffers;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using Kvm.Vmm.Configuration;
using Kvm.Vmm.Snapshots.Templates;

namespace Kvm.Vmm.Reporting;

/// <summary>All that a report tells: the run's result and what was around it.</summary>
public sealed record RunReport
{
    /// <summary>How the run ended.</summary>
    public required RunResult Result { get; init; }

    /// <summary>The guest's name.</summary>
    public required string Name { get; init; }

    /// <summary>The kernel command line the guest was given, or null where none was built.</summary>
    public string? CommandLine { get; init; }

    /// <summary>What the guest had otherwise than the template it went on from, or null where there was none.</summary>
    public IReadOnlyList<CloneChange>? Changes { get; init; }

    /// <summary>The error that ended the run, or null.</summary>
    public VmmException? Error { get; init; }

    /// <summary>Bytes the guest wrote to its console.</summary>
    public long ConsoleWrittenBytes { get; init; }

    /// <summary>Bytes of these that were dropped.</summary>
    public long ConsoleLostBytes { get; init; }

    /// <summary>The program's exit code.</summary>
    public int ExitCode => Error?.ExitCode ?? Result.ExitCode;
}

/// <summary>The report as JSON (docs/cli.md, "Report"): members are added, never renamed.</summary>
public static class ReportJson
{
    /// <summary>The whole document, with a line end.</summary>
    /// <param name="report">What to tell.</param>
    public static string ToText(RunReport report)
    {
        var buffer = new ArrayBufferWriter<byte>(2048);
        using (var json = new Utf8JsonWriter(buffer, new JsonWriterOptions { Indented = true, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping }))
            Write(json, report);
        return Encoding.UTF8.GetString(buffer.WrittenSpan) + "\n";
    }

    /// <summary>The name of an outcome in reports and messages.</summary>
    /// <param name="outcome">A defined outcome.</param>
    public static string NameOf(VmOutcome outcome) => outcome switch
    {
        VmOutcome.PowerOff => "poweroff",
        VmOutcome.Reboot => "reboot",
        VmOutcome.Halted => "halted",
        VmOutcome.Panic => "panic",
        VmOutcome.TripleFault => "triple-fault",
        VmOutcome.KvmFailed => "kvm-failed",
        VmOutcome.Timeout => "timeout",
        VmOutcome.Watchdog => "watchdog",
        VmOutcome.Hung => "hung",
        VmOutcome.Unhealthy => "unhealthy",
        VmOutcome.DebugExit => "debug-exit",
        VmOutcome.StoppedByUser => "stopped-by-user",
        VmOutcome.Signalled => "signalled",
        _ => "error",
    };

    /// <summary>Writes the report as one JSON object.</summary>
    /// <param name="json">Where the value goes.</param>
    /// <param name="report">What to tell.</param>
    public static void Write(Utf8JsonWriter json, RunReport report)
    {
        ArgumentNullException.ThrowIfNull(json);
        ArgumentNullException.ThrowIfNull(report);
        var result = report.Result;
        json.WriteStartObject();
        json.WriteString("outcome", NameOf(result.Outcome));
        json.WriteNumber("exitCode", report.ExitCode);
        json.WriteString("explanation", result.Explanation is null ? null : EscapeLines(result.Explanation));
        WriteError(json, report.Error);
        WriteNumber(json, "debugExitValue", result.DebugExitValue);
        WriteNumber(json, "signal", result.Signal);
        json.WriteString("name", report.Name);
        json.WriteString("engine", result.Engine);
        json.WriteString("hostBackend", result.HostBackend);
        json.WriteString("commandLine", report.CommandLine);
        if (report.Changes is { } changes)
            WriteChanges(json, changes);
        else
            json.WriteNull("changes");
        WriteTimings(json, result);
        WriteCounts(json, "exits", result.Exits);
        ExitDetailJson.Write(json, result.ExitDetails);
        WriteCounts(json, "completions", result.Completions);
        WriteVcpus(json, result.Vcpus);
        WriteDeterminism(json, result.Determinism);
        WritePaging(json, result.Paging);
        json.WriteStartObject("memory");
        json.WriteNumber("vmmRssBytes", result.VmmRssBytes);
        json.WriteNumber("guestResidentBytes", result.GuestResidentBytes);
        json.WriteEndObject();
        json.WriteStartObject("devices");
        foreach (var (device, counters) in result.Devices)
            WriteCounts(json, device, counters);
        json.WriteEndObject();
        json.WriteStartObject("console");
        json.WriteNumber("writtenBytes", report.ConsoleWrittenBytes);
        json.WriteNumber("lostBytes", report.ConsoleLostBytes);
        json.WriteEndObject();
        json.WriteEndObject();
    }

    /// <summary>Writes what a clone has otherwise as the member <c>changes</c>.</summary>
    /// <param name="json">An object that is being written.</param>
    /// <param name="changes">What.</param>
    public static void WriteChanges(Utf8JsonWriter json, IReadOnlyList<CloneChange> changes)
    {
        ArgumentNullException.ThrowIfNull(json);
        ArgumentNullException.ThrowIfNull(changes);
        json.WriteStartArray("changes");
        foreach (var change in changes)
        {
            json.WriteStartObject();
            json.WriteString("what", change.What);
            json.WriteString("from", change.From);
            json.WriteString("to", change.To);
            json.WriteEndObject();
        }

        json.WriteEndArray();
    }

    /// <summary>An explanation may quote what a guest made: its control characters are escaped, its lines stay lines.</summary>
    internal static string EscapeLines(string text) => string.Join('\n', text.Split('\n').Select(VisibleText.Escape));

    private static void WriteError(Utf8JsonWriter json, VmmException? error)
    {
        if (error is null)
        {
            json.WriteNull("error");
            return;
        }

        json.WriteStartObject("error");
        json.WriteString("id", error.Error.Id);
        json.WriteString("summary", error.Error.Summary);
        json.WriteString("detail", VisibleText.Escape(error.Message));
        json.WriteString("fix", error.Error.Fix);
        json.WriteEndObject();
    }

    private static void WriteTimings(Utf8JsonWriter json, RunResult result)
    {
        json.WriteStartObject("timings");
        WriteMilliseconds(json, "firstRunMs", result.FirstRun);
        WriteMilliseconds(json, "readyMs", result.Ready);
        WriteMilliseconds(json, "readyCpuMs", result.ReadyCpu);
        WriteMilliseconds(json, "totalMs", result.Total);
        json.WriteEndObject();
    }

    private static void WriteVcpus(Utf8JsonWriter json, IReadOnlyList<VcpuReport> vcpus)
    {
        json.WriteStartArray("vcpus");
        foreach (var vcpu in vcpus)
        {
            json.WriteStartObject();
            json.WriteNumber("index", vcpu.Index);
            WriteMilliseconds(json, "runMs", vcpu.CpuTime);
            json.WriteNumber("exits", vcpu.Exits);
            json.WriteNumber("allocatedBytes", vcpu.AllocatedBytes);
            WriteNumber(json, "instructions", vcpu.Instructions);
            WriteMilliseconds(json, "waitedMs", vcpu.Waited);
            WriteCounts(json, "reasons", vcpu.Reasons);
            json.WriteEndObject();
        }

        json.WriteEndArray();
    }

    private static void WriteDeterminism(Utf8JsonWriter json, DeterminismReport? determinism)
    {
        if (determinism is null)
        {
            json.WriteNull("deterministic");
            return;
        }

        json.WriteStartObject("deterministic");
        json.WriteNumber("seed", determinism.Seed);
        json.WriteNumber("instructions", determinism.Instructions);
        WriteMilliseconds(json, "guestMs", determinism.GuestTime);
        json.WriteString("memoryHash", determinism.MemoryHash);
        json.WriteEndObject();
    }

    private static void WritePaging(Utf8JsonWriter json, PagingReport? paging)
    {
        if (paging is null)
        {
            json.WriteNull("paging");
            return;
        }

        json.WriteStartObject("paging");
        json.WriteString("mode", SettingNames.Of(paging.Shadow is null ? PagingMode.Tlb : PagingMode.Shadow));
        json.WriteNumber("walks", paging.Walks);
        if (paging.Shadow is { } shadow)
        {
            json.WriteStartObject("shadow");
            json.WriteNumber("fills", shadow.Fills);
            json.WriteNumber("hits", shadow.Hits);
            json.WriteNumber("syncs", shadow.Syncs);
            json.WriteNumber("dropped", shadow.Dropped);
            json.WriteNumber("writeProtectHits", shadow.WriteProtectHits);
            json.WriteNumber("floods", shadow.Floods);
            json.WriteNumber("roots", shadow.Roots);
            json.WriteNumber("rootHits", shadow.RootHits);
            json.WriteNumber("evictions", shadow.Evictions);
            json.WriteNumber("tables", shadow.Tables);
            json.WriteEndObject();
        }

        json.WriteEndObject();
    }

    private static void WriteCounts(Utf8JsonWriter json, string name, IReadOnlyDictionary<string, long> counts)
    {
        json.WriteStartObject(name);
        foreach (var (key, count) in counts)
            json.WriteNumber(key, count);
        json.WriteEndObject();
    }

    private static void WriteNumber(Utf8JsonWriter json, string name, long? value)
    {
        if (value is { } number)
            json.WriteNumber(name, number);
        else
            json.WriteNull(name);
    }

    // Microseconds are as much as a clock of the process's start gives.
    private static void WriteMilliseconds(Utf8JsonWriter json, string name, TimeSpan? time)
    {
        if (time is { } t)
            json.WriteNumber(name, Math.Round(t.TotalMilliseconds, 3));
        else
            json.WriteNull(name);
    }
}
