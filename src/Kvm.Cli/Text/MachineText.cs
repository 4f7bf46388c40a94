using System.Globalization;
using System.Text;
using System.Text.Json;
using Kvm.Cli.Parsing;
using Kvm.Manager;
using Kvm.Vmm;
using Kvm.Vmm.Configuration;

namespace Kvm.Cli.Text;

/// <summary>Machines of the state folder as text and JSON.</summary>
internal static class MachineText
{
    /// <summary>One machine in a line.</summary>
    public static string Line(VmRecord record) => $"{record.Name}: {StateOf(record)}{(record.End is { } end && !Lifecycle.IsActive(record.State) ? $" ({Ended(end)})" : "")}";

    /// <summary>Prints a machine: its record as JSON, or a line.</summary>
    /// <returns>The exit code.</returns>
    public static int Show(VmRecord record, string line, GlobalOptions global)
    {
        StandardStreams.Output(global.Json ? JsonText.Of(json =>
        {
            json.WriteStartObject();
            VmRecordJson.WriteMembers(json, record);
            json.WriteEndObject();
        }) : line + "\n");
        return ExitCode.Success;
    }

    /// <summary>The table of <c>ps</c>.</summary>
    public static string Table(IReadOnlyList<VmEntry> entries, DateTimeOffset now)
    {
        int width = Math.Max(8, entries.Count == 0 ? 0 : entries.Max(entry => entry.Name.Length));
        var text = new StringBuilder(string.Create(CultureInfo.InvariantCulture, $"{"NAME".PadRight(width)}  {"STATE",-12}  {"SINCE",-8}  {"PROCESS",8}  {"RESTARTS",8}  LAST RUN\n"));
        foreach (var entry in entries)
        {
            text.Append(entry.Record is { } record
                ? string.Create(CultureInfo.InvariantCulture, $"{entry.Name.PadRight(width)}  {StateOf(record),-12}  {Ago(now - record.Since),-8}  {record.Worker?.Id.ToString(CultureInfo.InvariantCulture) ?? "-",8}  {record.Restarts,8}  {(record.End is { } end ? Ended(end) : "-")}")
                : $"{entry.Name.PadRight(width)}  {"unreadable",-12}  {entry.Problem!.Error.Id}: {entry.Problem.Message}");
            text.Append('\n');
        }

        return text.ToString();
    }

    /// <summary>The document of <c>ps --json</c>.</summary>
    public static void Write(Utf8JsonWriter json, IReadOnlyList<VmEntry> entries)
    {
        json.WriteStartObject();
        json.WriteStartArray("vms");
        foreach (var entry in entries)
        {
            json.WriteStartObject();
            if (entry.Record is { } record)
            {
                VmRecordJson.WriteMembers(json, record);
            }
            else
            {
                json.WriteString("name", entry.Name);
                json.WriteString("error", entry.Problem!.Error.Id);
                json.WriteString("detail", entry.Problem.Message);
            }

            json.WriteEndObject();
        }

        json.WriteEndArray();
        json.WriteEndObject();
    }

    /// <summary>All that is known of one machine.</summary>
    public static string Details(VmRecord record, string folder)
    {
        var text = new StringBuilder();
        Row("name", record.Name);
        Row("id", record.Id);
        Row("state", $"{StateOf(record)} since {Time(record.Since)}");
        Row("created", Time(record.Created));
        Row("starts", string.Create(CultureInfo.InvariantCulture, $"{record.Generation}, {record.Restarts} of them by --restart {record.Restart}, {record.Failures} failures in a row"));
        if (record.Faults.ToString() is { Length: > 0 } faults)
            Row("on faults", faults);
        if (record.Health is { } health)
            Row("health", $"{record.HealthState ?? "not known yet"}, asked by {health}");
        if (record.RestartAt is { } at)
            Row("next start", Time(at));
        if (record.Worker is { } worker)
            Row("process", string.Create(CultureInfo.InvariantCulture, $"{worker.Id}{(record.Shared ? ", which has other machines too" : "")}"));
        if (record.Supervisor is { } supervisor)
            Row("supervisor", supervisor.Id.ToString(CultureInfo.InvariantCulture));
        if (record.Worker is not null)
            Row("confined by", record.Confinement.Count == 0 ? "nothing" : string.Join(", ", record.Confinement));
        if (record.PauseStopsTime is { } stops)
            Row("in a pause", stops ? "guest time stands still" : "guest time goes on: it jumps when the guest does");
        if (record.End is { } end)
            Row("last run", $"{Ended(end)}{(end.Explanation is { } why ? $": {why}" : "")}");
        if (record.Usage is { } usage)
            Row("it took", string.Create(CultureInfo.InvariantCulture, $"{usage.RunMs:f0} ms, {usage.CpuMs:f0} ms of CPU, {usage.GuestBytes >> 10} KiB of guest memory, {usage.WorkerBytes >> 10} KiB besides"));
        if (record.Parents.Count > 0)
            Row("made from", record.Origin is { } origin ? VisibleText.Escape(origin.Snapshot) : string.Join(", ", record.Parents));
        if (record.Children.Count > 0)
            Row("made of it", string.Join(", ", record.Children));
        Row("folder", VisibleText.Escape(folder));
        return text.Append('\n').Append(record.Config).Append('\n').ToString();

        void Row(string name, string value) => text.Append(name.PadRight(12)).Append(value).Append('\n');
    }

    private static string StateOf(VmRecord record) => record.IsInCrashLoop ? "crash-loop" : Lifecycle.NameOf(record.State);

    private static string Ended(VmEnd end) => end.How switch
    {
        "stop" => "powered off when asked",
        "stop-timeout" => "ended: it did not power off in time",
        "kill" => "killed",
        _ => end.ExitCode == 0 ? end.Outcome : string.Create(CultureInfo.InvariantCulture, $"{end.Outcome}, exit code {end.ExitCode}"),
    };

    private static string Time(DateTimeOffset time) => time.ToString("yyyy-MM-dd HH:mm:ss'Z'", CultureInfo.InvariantCulture);

    private static string Ago(TimeSpan span) => span switch
    {
        { TotalMinutes: < 2 } => string.Create(CultureInfo.InvariantCulture, $"{Math.Max(0, span.TotalSeconds):f0}s"),
        { TotalHours: < 2 } => string.Create(CultureInfo.InvariantCulture, $"{span.TotalMinutes:f0}m"),
        { TotalDays: < 2 } => string.Create(CultureInfo.InvariantCulture, $"{span.TotalHours:f0}h"),
        _ => string.Create(CultureInfo.InvariantCulture, $"{span.TotalDays:f0}d"),
    };
}
