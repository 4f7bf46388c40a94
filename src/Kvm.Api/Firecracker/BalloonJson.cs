using System.Text.Json;

namespace Kvm.Api.Firecracker;

/// <summary>A balloon's statistics in Firecracker's members. Thread-safe: pure functions.</summary>
internal static class BalloonJson
{
    private static (string Name, string Counter)[] Said =>
    [
        ("swap_in", "guestSwapInBytes"), ("swap_out", "guestSwapOutBytes"), ("major_faults", "guestMajorFaults"), ("minor_faults", "guestMinorFaults"),
        ("free_memory", "guestFreeBytes"), ("total_memory", "guestTotalBytes"), ("available_memory", "guestAvailableBytes"), ("disk_caches", "guestCachesBytes"),
        ("hugetlb_allocations", "guestHugePagesAllocated"), ("hugetlb_failures", "guestHugePageFailures"),
    ];

    /// <summary>Writes them; what the guest did not say is not there.</summary>
    /// <param name="json">Where they go.</param>
    /// <param name="counters">The device's counters.</param>
    public static void Write(Utf8JsonWriter json, IReadOnlyDictionary<string, long> counters)
    {
        json.WriteStartObject();
        foreach (var (name, counter) in ((string, string)[])[("target", "targetBytes"), ("actual", "actualBytes")])
        {
            long bytes = counters.GetValueOrDefault(counter);
            json.WriteNumber($"{name}_pages", bytes / 4096);
            json.WriteNumber($"{name}_mib", bytes >> 20);
        }

        foreach (var (name, counter) in Said)
        {
            if (counters.TryGetValue(counter, out long value))
                json.WriteNumber(name, value);
        }

        json.WriteEndObject();
    }
}
