using System.Text.Json;

namespace Kvm.Vmm.Probing;

/// <summary>The doctor's report as JSON (docs/cli.md, "doctor"): members are added, never renamed.</summary>
public static class DoctorJson
{
    /// <summary>Writes the report as one JSON object.</summary>
    /// <param name="json">Where the value goes.</param>
    /// <param name="report">What to tell.</param>
    public static void Write(Utf8JsonWriter json, DoctorReport report)
    {
        ArgumentNullException.ThrowIfNull(json);
        ArgumentNullException.ThrowIfNull(report);
        json.WriteStartObject();
        json.WriteNumber("exitCode", report.ExitCode);
        json.WriteStartObject("advice");
        json.WriteString("engine", report.Advice);
        json.WriteString("why", report.AdviceReason);
        json.WriteEndObject();
        json.WriteStartArray("engines");
        foreach (var engine in report.Engines)
        {
            json.WriteStartObject();
            json.WriteString("name", engine.Name);
            json.WriteBoolean("usable", engine.Usable);
            json.WriteString("why", engine.Why);
            json.WriteEndObject();
        }

        json.WriteEndArray();
        json.WriteString("backend", report.Backend);
        json.WriteBoolean("nested", report.Nested);
        WriteNumber(json, "apiVersion", report.ApiVersion);
        WriteChecks(json, report.Checks);
        WriteProbes(json, report.Probes);
        WriteCapabilities(json, report.Capabilities);
        json.WriteEndObject();
    }

    /// <summary>The name of a status in JSON and text.</summary>
    /// <param name="status">A defined status.</param>
    public static string NameOf(DoctorStatus status) => status switch
    {
        DoctorStatus.Ok => "ok",
        DoctorStatus.Warning => "warning",
        _ => "failed",
    };

    private static void WriteChecks(Utf8JsonWriter json, IReadOnlyList<DoctorCheck> checks)
    {
        json.WriteStartArray("checks");
        foreach (var check in checks)
        {
            json.WriteStartObject();
            json.WriteString("id", check.Id);
            json.WriteString("title", check.Title);
            json.WriteString("status", NameOf(check.Status));
            json.WriteString("finding", check.Finding);
            json.WriteString("cause", check.Cause);
            json.WriteString("fix", check.Fix);
            json.WriteEndObject();
        }

        json.WriteEndArray();
    }

    private static void WriteProbes(Utf8JsonWriter json, DoctorProbes probes)
    {
        json.WriteStartObject("probes");
        WriteFlag(json, "realMode", probes.RealMode);
        WriteFlag(json, "protectedMode", probes.ProtectedMode);
        WriteFlag(json, "longMode", probes.LongMode);
        WriteFlag(json, "userMode", probes.UserMode);
        WriteNumber(json, "exitMicroseconds", probes.ExitMicroseconds);
        WriteNumber(json, "nanosecondsPerKernelInstruction", probes.Profile?.NanosecondsPerKernelInstruction);
        WriteFlag(json, "kernelInterpreted", probes.Profile?.KernelInterpreted);
        WriteFlag(json, "givesUpOnInstructions", probes.Profile?.GivesUpOnInstructions);
        WriteFlag(json, "syscallBroken", probes.Profile?.SyscallBroken);
        json.WriteEndObject();
    }

    private static void WriteCapabilities(Utf8JsonWriter json, IReadOnlyList<DoctorCapability> capabilities)
    {
        json.WriteStartArray("capabilities");
        foreach (var capability in capabilities)
        {
            json.WriteStartObject();
            json.WriteString("name", capability.Name);
            json.WriteNumber("value", capability.Value);
            json.WriteString("gives", capability.Gives);
            json.WriteBoolean("used", capability.Used);
            json.WriteEndObject();
        }

        json.WriteEndArray();
    }

    private static void WriteFlag(Utf8JsonWriter json, string name, bool? value)
    {
        if (value is { } flag)
            json.WriteBoolean(name, flag);
        else
            json.WriteNull(name);
    }

    private static void WriteNumber(Utf8JsonWriter json, string name, double? value)
    {
        if (value is { } number)
            json.WriteNumber(name, Math.Round(number, 3));
        else
            json.WriteNull(name);
    }
}
