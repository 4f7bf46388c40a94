using System.Buffers;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using Kvm.Vmm.Host;

namespace Kvm.Manager;

/// <summary>
/// What happened to machines: lines of JSON at the end of <c>events/log</c> in the state folder, which becomes <c>log.old</c> when it has grown,
/// so that both have 8 MiB at most. Telling never fails and never waits long: an event that cannot be kept is lost. Thread-safe, and between processes.
/// </summary>
/// <param name="stateFolder">The folder.</param>
/// <param name="time">The clock.</param>
public sealed class EventLog(string stateFolder, TimeProvider time)
{
    private const long MostBytes = 4 << 20;

    private static readonly TimeSpan s_longestWait = TimeSpan.FromMinutes(1);
    private static readonly TimeSpan s_patience = TimeSpan.FromMilliseconds(200);

    /// <summary>The file.</summary>
    public string Path { get; } = System.IO.Path.Combine(stateFolder, "events", "log");

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
            Directory.CreateDirectory(System.IO.Path.GetDirectoryName(Path)!, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
            using var held = HostLock.TryAcquire(Path + ".lock", 0, s_patience);
            if (held is not null)
                Append(line.WrittenSpan);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // A full disk: the machine is more than its events.
        }
    }

    /// <summary>Lines as they are told.</summary>
    /// <param name="follow">Goes on with what is told from now on, until it is cancelled; else ends with the last one that is there.</param>
    /// <param name="cancel">Ends it.</param>
    public IEnumerable<string> Read(bool follow, CancellationToken cancel = default)
    {
        byte[] buffer = new byte[64 << 10];
        int filled = 0;
        Directory.CreateDirectory(System.IO.Path.GetDirectoryName(Path)!);
        if (!follow && File.Exists(Path + ".old"))
        {
            foreach (string line in File.ReadLines(Path + ".old"))
                yield return line;
        }

        using var follower = new FileFollower(Path, fromEnd: follow);
        while (!cancel.IsCancellationRequested)
        {
            int count = follower.Read(buffer.AsSpan(filled));
            filled += count;
            int end;
            while ((end = buffer.AsSpan(0, filled).IndexOf((byte)'\n')) >= 0)
            {
                yield return Encoding.UTF8.GetString(buffer, 0, end);
                filled -= end + 1;
                buffer.AsSpan(end + 1, filled).CopyTo(buffer);
            }

            // No line is that long: somebody else's bytes.
            if (filled == buffer.Length)
                filled = 0;
            if (count == 0 && !follow)
                yield break;
            if (count == 0)
                follower.Wait(s_longestWait, cancel);
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
