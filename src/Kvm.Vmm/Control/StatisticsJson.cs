using System.Buffers;
using System.Globalization;
using System.Text.Encodings.Web;
using System.Text.Json;
using Kvm.Vmm.Host;
using Kvm.Vmm.Reporting;

namespace Kvm.Vmm.Control;

/// <summary>What a running guest tells of itself, as one line of JSON (docs/cli.md, "stats"): members are added, never renamed.</summary>
internal static class StatisticsJson
{
    private const int MostPlaces = 20;

    public static void Write(IBufferWriter<byte> to, VirtualMachine machine, RipSampler sampler)
    {
        using var json = new Utf8JsonWriter(to, new JsonWriterOptions { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping });
        json.WriteStartObject();
        json.WriteNumber("version", 1);
        json.WriteString("name", machine.Config.Name);
        json.WriteString("engine", machine.EngineName);
        json.WriteString("kernel", machine.Config.KernelPath);
        json.WriteNumber("processId", Environment.ProcessId);
        json.WriteNumber("upMs", Math.Round(ProcessClock.SinceProcessStart().TotalMilliseconds));
        WriteCounts(json, machine);
        ExitDetailJson.Write(json, ExitDetailReport.Of(machine.Vcpus.Select(vcpu => vcpu.Engine.Observatory)));
        json.WriteNumber("ripSamples", sampler.Samples);
        json.WriteStartArray("hotRips");
        foreach (var (rip, samples) in sampler.Hottest(MostPlaces))
        {
            json.WriteStartObject();
            json.WriteString("rip", string.Create(CultureInfo.InvariantCulture, $"0x{rip:x}"));
            json.WriteNumber("samples", samples);
            json.WriteEndObject();
        }

        json.WriteEndArray();
        json.WriteEndObject();
        json.Flush();
        to.Write("\n"u8);
    }

    private static void WriteCounts(Utf8JsonWriter json, VirtualMachine machine)
    {
        var exits = new SortedDictionary<string, long>(StringComparer.Ordinal);
        var completions = new SortedDictionary<string, long>(StringComparer.Ordinal);
        json.WriteStartArray("vcpus");
        foreach (var vcpu in machine.Vcpus)
        {
            var reasons = new SortedDictionary<string, long>(StringComparer.Ordinal);
            vcpu.Engine.AddCounts(reasons, completions);
            json.WriteStartObject();
            json.WriteNumber("index", vcpu.Index);
            json.WriteNumber("runMs", Math.Round(vcpu.CpuTime.TotalMilliseconds, 3));
            if (vcpu.Engine.Instructions is { } instructions)
                json.WriteNumber("instructions", instructions);
            WriteTable(json, "reasons", reasons);
            json.WriteEndObject();
            foreach (var (reason, count) in reasons)
                exits[reason] = exits.GetValueOrDefault(reason) + count;
        }

        json.WriteEndArray();
        WriteTable(json, "exits", exits);
        WriteTable(json, "completions", completions);
    }

    private static void WriteTable(Utf8JsonWriter json, string name, SortedDictionary<string, long> table)
    {
        json.WriteStartObject(name);
        foreach (var (key, count) in table)
            json.WriteNumber(key, count);
        json.WriteEndObject();
    }
}
