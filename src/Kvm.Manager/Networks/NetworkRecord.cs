using System.Buffers;
using System.Text.Json;
using Kvm.Vmm.Host;

namespace Kvm.Manager.Networks;

/// <summary>A network of the state folder: what is known of it beside its description. Immutable.</summary>
/// <param name="Name">Its name.</param>
public sealed record NetworkRecord(string Name)
{
    private const int Version = 1, MostDepth = 8;

    /// <summary>It is started with the host, or the service that does that.</summary>
    public bool AutoStart { get; init; }

    /// <summary>Somebody started it, and nobody stopped it since.</summary>
    public bool IsStarted { get; init; }

    /// <summary>Starts so far.</summary>
    public long Generation { get; init; }

    /// <summary>How often in a row its process ended by itself.</summary>
    public int Failures { get; init; }

    /// <summary>The process that serves it, or null.</summary>
    public HostProcess? Process { get; init; }

    /// <summary>The boot of the host in which that process is.</summary>
    public string BootId { get; init; } = "";

    /// <summary>When it was started last.</summary>
    public DateTimeOffset Since { get; init; }

    /// <summary>Why it is not there though it was started, or null.</summary>
    public string? Problem { get; init; }

    /// <summary>Whether its process is there.</summary>
    public bool Runs => Process is { IsAlive: true } && BootId == HostProcess.BootId;

    internal byte[] ToBytes()
    {
        var bytes = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(bytes, new JsonWriterOptions { Indented = true }))
        {
            json.WriteStartObject();
            json.WriteNumber("version", Version);
            json.WriteString("name", Name);
            json.WriteBoolean("autostart", AutoStart);
            json.WriteBoolean("started", IsStarted);
            json.WriteNumber("generation", Generation);
            json.WriteNumber("failures", Failures);
            json.WriteNumber("process", Process?.Id ?? 0);
            json.WriteNumber("processStart", Process?.StartTime ?? 0);
            json.WriteString("bootId", BootId);
            json.WriteString("since", Since);
            json.WriteString("problem", Problem);
            json.WriteEndObject();
        }

        return bytes.WrittenSpan.ToArray();
    }

    /// <summary>Understands a record.</summary>
    /// <exception cref="FormatException">It is none.</exception>
    internal static NetworkRecord Parse(ReadOnlyMemory<byte> bytes, string name)
    {
        try
        {
            using var document = JsonDocument.Parse(bytes, new JsonDocumentOptions { MaxDepth = MostDepth });
            var root = document.RootElement;
            int process = root.GetProperty("process").GetInt32();
            return root.GetProperty("version").GetInt32() > Version || root.GetProperty("name").GetString() != name ? throw new FormatException() : new NetworkRecord(name)
            {
                AutoStart = root.GetProperty("autostart").GetBoolean(),
                IsStarted = root.GetProperty("started").GetBoolean(),
                Generation = root.GetProperty("generation").GetInt64(),
                Failures = root.GetProperty("failures").GetInt32(),
                Process = process == 0 ? null : new HostProcess(process, root.GetProperty("processStart").GetInt64()),
                BootId = root.GetProperty("bootId").GetString() ?? "",
                Since = root.GetProperty("since").GetDateTimeOffset(),
                Problem = root.GetProperty("problem").GetString(),
            };
        }
        catch (Exception e) when (e is JsonException or KeyNotFoundException or InvalidOperationException)
        {
            throw new FormatException(e.Message, e);
        }
    }
}
