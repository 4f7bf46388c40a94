using System.Globalization;
using System.Text.Json;

namespace Kvm.Vmm.Reporting;

/// <summary>The member <c>exitDetails</c> of reports and statistics.</summary>
internal static class ExitDetailJson
{
    public static void Write(Utf8JsonWriter json, ExitDetailReport details)
    {
        json.WriteStartObject("exitDetails");
        json.WriteStartArray("accesses");
        foreach (var access in details.Accesses)
        {
            json.WriteStartObject();
            json.WriteString("reason", access.Reason);
            json.WriteString("address", string.Create(CultureInfo.InvariantCulture, $"0x{access.Address:x}"));
            json.WriteBoolean("write", access.IsWrite);
            json.WriteNumber("count", access.Count);
            json.WriteString("name", access.Name);
            json.WriteEndObject();
        }

        json.WriteEndArray();
        json.WriteNumber("otherAccesses", details.OtherAccesses);
        json.WriteStartObject("latency");
        foreach (var (reason, times) in details.Latencies)
        {
            json.WriteStartObject(reason);
            json.WriteNumber("samples", times.Samples);
            json.WriteNumber("meanNs", times.MeanNs);
            json.WriteNumber("p50Ns", times.MedianNs);
            json.WriteNumber("p90Ns", times.P90Ns);
            json.WriteNumber("p99Ns", times.P99Ns);
            json.WriteNumber("maxNs", times.LongestNs);
            json.WriteEndObject();
        }

        json.WriteEndObject();
        json.WriteEndObject();
    }
}
