namespace Kvm.Api.Firecracker;

/// <summary>Which of a device's counters are Firecracker's, and what they are called there. Thread-safe: pure functions.</summary>
internal static class DeviceMetrics
{
    private static (string Metric, string Counter)[] Names(string group) => group switch
    {
        "block" =>
        [
            ("execute_fails", "errors"), ("flush_count", "flushes"), ("queue_event_count", "notificationExits"), ("rate_limiter_throttled_events", "held"),
            ("read_bytes", "bytesRead"), ("read_count", "reads"), ("write_bytes", "bytesWritten"), ("write_count", "writes"),
        ],
        "net" =>
        [
            ("no_rx_avail_buffer", "receiveStalls"), ("rx_bytes_count", "bytesReceived"), ("rx_fails", "receiveDropped"), ("rx_packets_count", "framesReceived"),
            ("rx_rate_limiter_throttled", "receiveHeld"), ("tx_bytes_count", "bytesSent"), ("tx_fails", "sendDropped"), ("tx_malformed_frames", "malformed"),
            ("tx_packets_count", "framesSent"), ("tx_rate_limiter_throttled", "sendHeld"), ("tx_spoofed_mac_count", "spoofed"),
        ],
        "uart" => [("read_count", "bytesToGuest"), ("write_count", "bytesFromGuest")],
        "vsock" => [("conns_added", "connections"), ("rx_bytes_count", "bytesToGuest"), ("tx_bytes_count", "bytesFromGuest")],
        "balloon" => [("free_page_report_freed", "reportedBytes"), ("stats_updates_count", "statistics")],
        _ => [("entropy_bytes", "bytesGiven")],
    };

    /// <summary>Them.</summary>
    /// <param name="group">What Firecracker calls the kind of device.</param>
    /// <param name="counters">The device's counters.</param>
    public static List<KeyValuePair<string, long>> Of(string group, IReadOnlyDictionary<string, long> counters) =>
        [.. Names(group).Select(name => KeyValuePair.Create(name.Metric, counters.GetValueOrDefault(name.Counter)))];
}

/// <summary>Requests by Firecracker's names. Not thread-safe.</summary>
internal sealed class RequestCounts
{
    private readonly SortedDictionary<string, SortedDictionary<string, long>> _groups = new(StringComparer.Ordinal)
    {
        ["get_api_requests"] = Zeros(["balloon", "hotplug_memory", "instance_info", "machine_cfg", "mmds", "vmm_version"], fails: false),
        ["patch_api_requests"] = Zeros(["drive", "hotplug_memory", "machine_cfg", "mmds", "network", "pmem"]),
        ["put_api_requests"] = Zeros(["actions", "boot_source", "cpu_cfg", "drive", "hotplug_memory", "logger", "machine_cfg", "metrics", "mmds", "network", "pmem", "serial", "vsock"]),
    };

    /// <summary>All counters, by group.</summary>
    public IReadOnlyDictionary<string, SortedDictionary<string, long>> Groups => _groups;

    /// <summary>Counts one; what has no counter is not counted.</summary>
    public void Add(string method, string path, bool failed)
    {
        if (NameOf(path) is not { } name || !_groups.TryGetValue($"{method.ToLowerInvariant()}_api_requests", out var group))
            return;
        foreach (string counter in failed ? (string[])[$"{name}_count", $"{name}_fails"] : [$"{name}_count"])
        {
            if (group.TryGetValue(counter, out long count))
                group[counter] = count + 1;
        }
    }

    private static string? NameOf(string path) => path.Split('/', StringSplitOptions.RemoveEmptyEntries) switch
    {
        [] => "instance_info",
        ["version", ..] => "vmm_version",
        ["machine-config", ..] => "machine_cfg",
        ["cpu-config", ..] => "cpu_cfg",
        ["boot-source", ..] => "boot_source",
        ["drives", ..] => "drive",
        ["network-interfaces", ..] => "network",
        ["hotplug", "memory", ..] => "hotplug_memory",
        [("actions" or "balloon" or "logger" or "metrics" or "mmds" or "pmem" or "serial" or "vsock") and var name, ..] => name,
        _ => null,
    };

    private static SortedDictionary<string, long> Zeros(string[] names, bool fails = true)
    {
        SortedDictionary<string, long> counters = new(StringComparer.Ordinal);
        foreach (string name in names)
        {
            counters[$"{name}_count"] = 0;
            if (fails)
                counters[$"{name}_fails"] = 0;
        }

        return counters;
    }
}
