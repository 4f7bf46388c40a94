using System.Buffers;
using System.Globalization;
using System.Text.Encodings.Web;
using System.Text.Json;
using Kvm.Manager.Cloning;
using Kvm.Manager.Faults;
using Kvm.Vmm;
using Kvm.Vmm.Configuration;
using Kvm.Vmm.Host;
using Kvm.Vmm.Reporting;
using Kvm.Vmm.Snapshots.Templates;

namespace Kvm.Manager;

/// <summary>Records as JSON: what is in their files, and what <c>inspect</c> shows. Members are added, never renamed. Thread-safe: no state.</summary>
public static class VmRecordJson
{
    private const int MostDepth = 24;

    private static readonly string[] s_endings = ["none", "stop", "stop-timeout", "kill"];

    /// <summary>The name of an <see cref="EndRequest"/>.</summary>
    public static string NameOf(EndRequest ending) => s_endings[(int)ending];

    /// <summary>The record's file.</summary>
    /// <param name="record">The record.</param>
    public static ReadOnlyMemory<byte> ToBytes(VmRecord record)
    {
        var buffer = new ArrayBufferWriter<byte>(4096);
        using (var json = new Utf8JsonWriter(buffer, new JsonWriterOptions { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping }))
        {
            json.WriteStartObject();
            WriteMembers(json, record);
            json.WriteEndObject();
        }

        buffer.Write("\n"u8);
        return buffer.WrittenMemory;
    }

    /// <summary>Writes the record's members into an object that is begun.</summary>
    /// <param name="json">The object.</param>
    /// <param name="record">The record.</param>
    public static void WriteMembers(Utf8JsonWriter json, VmRecord record)
    {
        ArgumentNullException.ThrowIfNull(json);
        ArgumentNullException.ThrowIfNull(record);
        json.WriteNumber("version", VmRecord.CurrentVersion);
        json.WriteString("id", record.Id);
        json.WriteString("name", record.Name);
        json.WriteString("created", record.Created);
        json.WriteNumber("generation", record.Generation);
        json.WriteString("state", Lifecycle.NameOf(record.State));
        json.WriteString("since", record.Since);
        WriteProcess(json, "worker", record.Worker);
        WriteProcess(json, "supervisor", record.Supervisor);
        json.WriteString("bootId", record.BootId);
        json.WriteString("ending", NameOf(record.Ending));
        json.WriteString("restart", record.Restart.ToString());
        json.WriteBoolean("shared", record.Shared);
        json.WriteString("faults", record.Faults.ToString());
        json.WriteString("health", record.Health?.ToString());
        json.WriteString("healthState", record.HealthState);
        json.WriteBoolean("restoresNext", record.RestoresNext);
        if (record.PauseStopsTime is { } stops)
            json.WriteBoolean("pauseStopsTime", stops);
        else
            json.WriteNull("pauseStopsTime");
        json.WriteNumber("restarts", record.Restarts);
        json.WriteNumber("failures", record.Failures);
        if (record.RestartAt is { } at)
            json.WriteString("restartAt", at);
        else
            json.WriteNull("restartAt");
        json.WriteBoolean("autostart", record.Autostart);
        WriteEnd(json, record.End);
        WriteUsage(json, record.Usage);
        WriteTexts(json, "confinement", record.Confinement);
        WriteTexts(json, "parents", record.Parents);
        WriteOrigin(json, record.Origin);
        WriteTexts(json, "children", record.Children);
        json.WritePropertyName("config");
        json.WriteRawValue(record.Config);
    }

    /// <summary>Understands a record's file.</summary>
    /// <param name="bytes">The file.</param>
    /// <param name="name">The machine's name, which has to be the record's.</param>
    /// <exception cref="VmmException">KVM0604: it was cut, changed or written by a later version.</exception>
    public static VmRecord Parse(ReadOnlyMemory<byte> bytes, string name)
    {
        try
        {
            using var document = JsonDocument.Parse(bytes, new JsonDocumentOptions { MaxDepth = MostDepth });
            var root = document.RootElement;
            int version = root.GetProperty("version").GetInt32();
            if (version > VmRecord.CurrentVersion)
                throw Bad(name, string.Create(CultureInfo.InvariantCulture, $"has version {version}; this program knows versions up to {VmRecord.CurrentVersion}"));
            var record = Read(root);
            return record.Name == name ? record : throw Bad(name, $"is that of {VisibleText.Quote(record.Name, 64)}");
        }
        catch (JsonException e)
        {
            throw Bad(name, bytes.Length == 0 ? "is empty" : string.Create(CultureInfo.InvariantCulture, $"is no JSON from line {e.LineNumber + 1}, byte {e.BytePositionInLine} on; it has {bytes.Length} bytes"), e);
        }
        catch (Exception e) when (e is KeyNotFoundException or InvalidOperationException or FormatException)
        {
            throw Bad(name, "lacks a member, or has one of a wrong kind", e);
        }
    }

    internal static VmmException Bad(string name, string what, Exception? inner = null) => new(ManagerErrors.BadRecord, $"the record of {name} {what}", inner);

    private static VmRecord Read(JsonElement root) => new()
    {
        Id = Text(root, "id"),
        Name = Text(root, "name"),
        Created = root.GetProperty("created").GetDateTimeOffset(),
        Generation = root.GetProperty("generation").GetInt64(),
        State = (VmState)OneOf(root, "state", Lifecycle.Names),
        Since = root.GetProperty("since").GetDateTimeOffset(),
        Worker = Process(root, "worker"),
        Supervisor = Process(root, "supervisor"),
        BootId = Text(root, "bootId"),
        Ending = (EndRequest)OneOf(root, "ending", s_endings),
        Restart = RestartPolicy.Parse(Text(root, "restart")) ?? throw new FormatException(),
        Shared = root.TryGetProperty("shared", out var shared) && shared.GetBoolean(),
        Faults = FaultRules.Parse(Optional(root, "faults") ?? "", out var faults, Milliseconds) is null ? faults : throw new FormatException(),
        Health = Optional(root, "health") is not { } asked ? null : HealthCheck.Parse(asked, out var health, Milliseconds) is null ? health : throw new FormatException(),
        HealthState = Optional(root, "healthState"),
        RestoresNext = root.TryGetProperty("restoresNext", out var restores) && restores.GetBoolean(),
        PauseStopsTime = root.TryGetProperty("pauseStopsTime", out var pause) && pause.ValueKind != JsonValueKind.Null ? pause.GetBoolean() : null,
        Restarts = root.GetProperty("restarts").GetInt64(),
        Failures = root.GetProperty("failures").GetInt32(),
        RestartAt = root.GetProperty("restartAt") is { ValueKind: not JsonValueKind.Null } at ? at.GetDateTimeOffset() : null,
        // A member that an earlier program did not write is as if it were false.
        Autostart = root.TryGetProperty("autostart", out var autostart) && autostart.GetBoolean(),
        End = root.GetProperty("end") is { ValueKind: not JsonValueKind.Null } end ? End(end) : null,
        Usage = root.GetProperty("usage") is { ValueKind: not JsonValueKind.Null } usage ? Usage(usage) : null,
        Confinement = Texts(root, "confinement"),
        Parents = Texts(root, "parents"),
        Origin = root.TryGetProperty("origin", out var origin) && origin.ValueKind != JsonValueKind.Null ? Origin(origin) : null,
        Children = Texts(root, "children"),
        Config = root.GetProperty("config").GetRawText(),
    };

    private static VmEnd End(JsonElement end) => new(Text(end, "outcome"), end.GetProperty("exitCode").GetInt32(), Text(end, "how"), end.GetProperty("at").GetDateTimeOffset())
    {
        Explanation = end.GetProperty("explanation").GetString(),
        ErrorId = end.GetProperty("errorId").GetString(),
    };

    private static VmOrigin Origin(JsonElement origin) => new(Text(origin, "snapshot"), Text(origin, "identity"),
        [.. origin.GetProperty("changes").EnumerateArray().Select(change => new CloneChange(Text(change, "what"), Text(change, "from"), Text(change, "to")))]);

    private static void WriteOrigin(Utf8JsonWriter json, VmOrigin? origin)
    {
        if (origin is null)
        {
            json.WriteNull("origin");
            return;
        }

        json.WriteStartObject("origin");
        json.WriteString("snapshot", origin.Snapshot);
        json.WriteString("identity", origin.Identity);
        ReportJson.WriteChanges(json, origin.Changes);
        json.WriteEndObject();
    }

    private static VmUsage Usage(JsonElement usage) => new(
        usage.GetProperty("runMs").GetDouble(), usage.GetProperty("cpuMs").GetDouble(), usage.GetProperty("guestBytes").GetInt64(), usage.GetProperty("workerBytes").GetInt64());

    private static HostProcess? Process(JsonElement root, string member) => root.GetProperty(member) is { ValueKind: not JsonValueKind.Null } process
        ? new HostProcess(process.GetProperty("id").GetInt32(), process.GetProperty("startTime").GetInt64())
        : null;

    private static string Text(JsonElement root, string member) => root.GetProperty(member).GetString() ?? throw new FormatException();

    /// <summary>A member that an earlier program did not write is as if it were null.</summary>
    private static string? Optional(JsonElement root, string member) => root.TryGetProperty(member, out var text) ? text.GetString() : null;

    private static TimeSpan? Milliseconds(string text) =>
        text.EndsWith("ms", StringComparison.Ordinal) && uint.TryParse(text.AsSpan(0, text.Length - 2), NumberStyles.None, CultureInfo.InvariantCulture, out uint ms) ? TimeSpan.FromMilliseconds(ms) : null;

    private static int OneOf(JsonElement root, string member, IReadOnlyList<string> names)
    {
        string text = Text(root, member);
        for (int i = 0; i < names.Count; i++)
        {
            if (names[i] == text)
                return i;
        }

        throw new FormatException();
    }

    private static List<string> Texts(JsonElement root, string member)
    {
        List<string> texts = [];
        // A member that an earlier program did not write is as if it were empty.
        foreach (var text in root.TryGetProperty(member, out var array) ? array.EnumerateArray() : default)
            texts.Add(text.GetString() ?? throw new FormatException());
        return texts;
    }

    private static void WriteProcess(Utf8JsonWriter json, string member, HostProcess? process)
    {
        if (process is not { } known)
        {
            json.WriteNull(member);
            return;
        }

        json.WriteStartObject(member);
        json.WriteNumber("id", known.Id);
        json.WriteNumber("startTime", known.StartTime);
        json.WriteEndObject();
    }

    private static void WriteEnd(Utf8JsonWriter json, VmEnd? end)
    {
        if (end is null)
        {
            json.WriteNull("end");
            return;
        }

        json.WriteStartObject("end");
        json.WriteString("outcome", end.Outcome);
        json.WriteNumber("exitCode", end.ExitCode);
        json.WriteString("how", end.How);
        json.WriteString("at", end.At);
        json.WriteString("explanation", end.Explanation);
        json.WriteString("errorId", end.ErrorId);
        json.WriteEndObject();
    }

    private static void WriteUsage(Utf8JsonWriter json, VmUsage? usage)
    {
        if (usage is null)
        {
            json.WriteNull("usage");
            return;
        }

        json.WriteStartObject("usage");
        json.WriteNumber("runMs", Math.Round(usage.RunMs, 3));
        json.WriteNumber("cpuMs", Math.Round(usage.CpuMs, 3));
        json.WriteNumber("guestBytes", usage.GuestBytes);
        json.WriteNumber("workerBytes", usage.WorkerBytes);
        json.WriteEndObject();
    }

    private static void WriteTexts(Utf8JsonWriter json, string member, IReadOnlyList<string> texts)
    {
        json.WriteStartArray(member);
        foreach (string text in texts)
            json.WriteStringValue(text);
        json.WriteEndArray();
    }
}
