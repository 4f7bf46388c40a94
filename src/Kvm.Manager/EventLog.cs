using System.Buffers;
using System.Text.Encodings.Web;
using System.Text.Json;
using Kvm.Vmm.Host;

namespace Kvm.Manager;

/// <summary>
/// What happened to machines: lines of JSON at the end of <c>events</c> in the state folder, which becomes <c>events.old</c> when it has grown,
/// so that both have 8 MiB at most. Telling never fails and never waits long: an event that cannot be kept is lost. Thread-safe, and between processes.
/// </summary>
/// <param name="stateFolder">The folder.</param>
/// <param name="time">The clock.</param>
public sealed class EventLog(string stateFolder, TimeProvider time)
{
    private const long MostBytes = 4 << 20;

    private static readonly TimeSpan s_patience = TimeSpan.FromMilliseconds(200);

    /// <summary>The file.</summary>
    public string Path { get; } = System.IO.Path.Combine(stateFolder, "events");

    /// <summary>Adds an event.</summary>
    /// <param name="vm">The machine's name.</param>
    /// <param name="what">A state's name, or another word.</param>
    /// <param name="detail">More of it, or null.</param>
    public void Tell(string vm, string what, string? detail = null)
    {
        var line = new ArrayBufferWriter<byte>(256);
        using (var json = new Utf8JsonWriter(line, new JsonWriterOptions { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping }))
        {
            json.WriteStartObject();
            json.WriteString("time", time.GetUtcNow());
            json.WriteString("vm", vm);
            json.WriteString("event", what);
            json.WriteString("detail", detail);
            json.WriteEndObject();
        }

        line.Write("\n"u8);
        try
        {
            using var held = HostLock.TryAcquire(Path + ".lock", 0, s_patience);
            if (held is not null)
                Append(line.WrittenSpan);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // A full disk: the machine is more than its events.
        }
    }

    private void Append(ReadOnlySpan<byte> line)
    {
        using (var file = File.OpenHandle(Path, FileMode.OpenOrCreate, FileAccess.Write))
        {
            long length = RandomAccess.GetLength(file);
            if (length + line.Length <= MostBytes)
            {
                RandomAccess.Write(file, line, length);
                return;
            }
        }

        File.Move(Path, Path + ".old", overwrite: true);
        using var next = File.OpenHandle(Path, FileMode.CreateNew, FileAccess.Write);
        RandomAccess.Write(next, line, 0);
    }
}
