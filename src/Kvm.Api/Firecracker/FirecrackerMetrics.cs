using System.Buffers;
using System.Globalization;
using System.Text.Encodings.Web;
using System.Text.Json;
using Kvm.Vmm;

namespace Kvm.Api.Firecracker;

/// <summary>
/// Firecracker's metrics, as far as this program counts the same: a line of JSON in the file of <c>/metrics</c> each minute, when a client wants it, and at the end. As with
/// Firecracker counters say what came since the last line, and latencies the last one in microseconds. Thread-safe.
/// </summary>
internal sealed class FirecrackerMetrics : IDisposable
{
    private static readonly TimeSpan s_period = TimeSpan.FromMinutes(1);

    private readonly Lock _gate = new();
    private readonly string _id;
    private readonly Func<(VirtualMachine Machine, VmConfig Config)?> _machine;
    private readonly FirecrackerLog _log;
    private readonly TimeProvider _time;
    private readonly RequestCounts _requests = new();
    private readonly SortedDictionary<string, long> _latencies = new(StringComparer.Ordinal);
    private readonly Dictionary<string, long> _last = new(StringComparer.Ordinal);
    private MetricsBody? _settings;
    private LineFile? _file;
    private ITimer? _timer;

    /// <summary>Makes them; nothing is written yet.</summary>
    /// <param name="id">The microVM's id.</param>
    /// <param name="machine">The machine and what it is, while there is one.</param>
    /// <param name="log">The log, whose losses are counted too.</param>
    /// <param name="time">The clock.</param>
    public FirecrackerMetrics(string id, Func<(VirtualMachine Machine, VmConfig Config)?> machine, FirecrackerLog log, TimeProvider? time = null)
    {
        (_id, _machine, _log, _time) = (id, machine, log, time ?? TimeProvider.System);
        foreach (string name in (string[])["full_create_snapshot", "diff_create_snapshot", "load_snapshot", "pause_vm", "resume_vm"])
            _latencies[name] = 0;
    }

    /// <summary>How long the process had been there when it listened, if its parent said when it was started, in microseconds.</summary>
    public long StartupMicroseconds { get; set; }

    /// <summary>Begins to write.</summary>
    /// <exception cref="VmmException">KVM0724.</exception>
    public void Open(MetricsBody settings)
    {
        var file = new LineFile(settings.MetricsPath);
        lock (_gate)
        {
            (_settings, _file) = (settings, file);
            _timer = _time.CreateTimer(_ => Flush(), null, s_period, s_period);
        }
    }

    /// <summary>Counts a request.</summary>
    /// <param name="method">Its method.</param>
    /// <param name="path">Its path.</param>
    /// <param name="failed">It was refused.</param>
    public void Count(string method, string path, bool failed)
    {
        lock (_gate)
            _requests.Add(method, path, failed);
    }

    /// <summary>Notes how long something took.</summary>
    /// <param name="name">Its metric.</param>
    /// <param name="time">The time.</param>
    public void Took(string name, TimeSpan time)
    {
        lock (_gate)
            _latencies[name] = (long)time.TotalMicroseconds;
    }

    /// <summary>Writes a line; nothing happens where no file was named.</summary>
    public void Flush()
    {
        lock (_gate)
        {
            if (_file is null)
                return;
            var buffer = new ArrayBufferWriter<byte>(4096);
            using (var json = new Utf8JsonWriter(buffer, new JsonWriterOptions { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping }))
                Write(json);
            _file.Add([.. buffer.WrittenSpan, (byte)'\n']);
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        lock (_gate)
        {
            _timer?.Dispose();
            _file?.Dispose();
            _file = null;
        }
    }

    private void Write(Utf8JsonWriter json)
    {
        json.WriteStartObject();
        json.WriteNumber("utc_timestamp_ms", _time.GetUtcNow().ToUnixTimeMilliseconds());
        if (_settings!.EmitId)
            json.WriteString("id", _id);
        if (_settings.Properties is { } properties)
        {
            json.WriteStartObject("properties");
            foreach (var (name, value) in properties)
                json.WriteString(name, value);
            json.WriteEndObject();
        }

        json.WriteStartObject("api_server");
        json.WriteNumber("process_startup_time_us", StartupMicroseconds);
        json.WriteEndObject();
        foreach (var (group, counts) in _requests.Groups)
            WriteGroup(json, group, counts);
        json.WriteStartObject("latencies_us");
        foreach (var (name, value) in _latencies)
            json.WriteNumber(name, value);
        json.WriteEndObject();
        WriteGroup(json, "logger", [new("missed_log_count", _log.Lost), new("missed_metrics_count", _file!.Lost)]);
        if (_machine() is { } machine)
            WriteDevices(json, machine.Config, machine.Machine.DeviceCounters());
        json.WriteEndObject();
    }

    private void WriteDevices(Utf8JsonWriter json, VmConfig config, SortedDictionary<string, IReadOnlyDictionary<string, long>> counters)
    {
        foreach (var (prefix, group, ids) in ((string, string, string[])[])
            [("disk", "block", [.. config.Disks.Select(disk => disk.Id ?? "")]), ("net", "net", [.. config.Networks.Select(card => card.Id ?? "")])])
        {
            SortedDictionary<string, long> sum = new(StringComparer.Ordinal);
            for (int i = 0; i < ids.Length; i++)
            {
                if (!counters.TryGetValue(string.Create(CultureInfo.InvariantCulture, $"{prefix}{i}"), out var device))
                    continue;
                var counts = DeviceMetrics.Of(group, device);
                WriteGroup(json, $"{group}_{ids[i]}", counts);
                foreach (var (name, value) in counts)
                    sum[name] = sum.GetValueOrDefault(name) + value;
            }

            WriteGroup(json, group, sum);
        }

        foreach (var (device, group) in ((string, string)[])[("serial0", "uart"), ("vsock0", "vsock"), ("balloon0", "balloon"), ("rng0", "entropy")])
        {
            if (counters.TryGetValue(device, out var found))
                WriteGroup(json, group, DeviceMetrics.Of(group, found));
        }
    }

    /// <summary>Writes what came to each counter since the last line.</summary>
    private void WriteGroup(Utf8JsonWriter json, string group, IEnumerable<KeyValuePair<string, long>> counts)
    {
        json.WriteStartObject(group);
        foreach (var (name, value) in counts)
        {
            string key = $"{group}.{name}";
            json.WriteNumber(name, value - _last.GetValueOrDefault(key));
            _last[key] = value;
        }

        json.WriteEndObject();
    }
}
