using System.Globalization;
using System.Text;
using System.Text.Json;
using Microsoft.Win32.SafeHandles;

namespace Kvm.Manager;

/// <summary>An event's place in the log: which file, by the time of its first line, and where in it.</summary>
/// <param name="Epoch">The time of the file's first event, in ticks of 100 ns.</param>
/// <param name="Offset">Bytes before the event.</param>
public readonly record struct EventPlace(long Epoch, long Offset)
{
    /// <summary>Understands what <see cref="ToString"/> writes; null for anything else.</summary>
    public static EventPlace? Parse(string? text) => text?.Split('-') is [var epoch, var offset]
        && long.TryParse(epoch, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out long file)
        && long.TryParse(offset, NumberStyles.None, CultureInfo.InvariantCulture, out long at) ? new EventPlace(file, at) : null;

    /// <inheritdoc/>
    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"{Epoch:x}-{Offset}");
}

/// <summary>
/// Reads the log of events from a place on, at its own pace: it keeps nothing but the place. Who is slower than the log forgets is told once that events are
/// missing, and goes on with the oldest that is kept. Not thread-safe.
/// </summary>
/// <param name="log">The log's file (<see cref="EventLog.Path"/>).</param>
/// <param name="after">The place behind the last event that is known; null to begin with the next that is told.</param>
public sealed class EventCursor(string log, EventPlace? after)
{
    private const int MostAtOnce = 64 << 10, TimeBytes = 128;

    private EventPlace? _place = after;
    private bool _begun = after is not null;

    /// <summary>Begins with the oldest event that is kept.</summary>
    public static EventCursor FromStart(string log) => new(log, null) { _begun = true };

    /// <summary>How often events were missing.</summary>
    public int Gaps { get; private set; }

    /// <summary>The next events, some of them; none where there are none yet.</summary>
    /// <returns>Each line with the place behind it, from which a later cursor goes on.</returns>
    public IReadOnlyList<(EventPlace Next, string Line)> Read()
    {
        using var current = LogFile.TryOpen(log);
        using var old = LogFile.TryOpen(log + ".old");
        if (!_begun)
            _place = (current ?? old)?.End;
        _begun = true;
        if (current is not null && Has(current))
            return Lines(current);
        if (old is not null && _place is null)
            _place = old.Start;
        // The file became log.old meanwhile: first what is left of it there.
        if (old is not null && Has(old) && Lines(old) is { Count: > 0 } rest)
            return rest;
        if (current is null)
            return [];
        if (_place is { } lost && lost.Epoch != old?.Start.Epoch)
        {
            Gaps++;
            _place = (old ?? current).Start;
            return Lines(old ?? current);
        }

        _place = current.Start;
        return Lines(current);
    }

    private bool Has(LogFile file) => _place is { } place && place.Epoch == file.Start.Epoch && place.Offset <= file.End.Offset;

    private List<(EventPlace Next, string Line)> Lines(LogFile file)
    {
        var place = _place!.Value;
        byte[] buffer = new byte[MostAtOnce];
        int count = file.Read(buffer, place.Offset);
        List<(EventPlace, string)> lines = [];
        int start = 0, length;
        while ((length = buffer.AsSpan(start, count - start).IndexOf((byte)'\n')) >= 0)
        {
            string line = Encoding.UTF8.GetString(buffer, start, length);
            start += length + 1;
            lines.Add((place with { Offset = place.Offset + start }, line));
        }

        // No line is that long: somebody else's bytes.
        if (start == 0 && count == buffer.Length)
            start = count;
        _place = place with { Offset = place.Offset + start };
        return lines;
    }

    /// <summary>A file of the log that has an event at least.</summary>
    private sealed class LogFile : IDisposable
    {
        private readonly SafeFileHandle _file;

        private LogFile(SafeFileHandle file, long epoch)
        {
            _file = file;
            Start = new EventPlace(epoch, 0);
            End = new EventPlace(epoch, RandomAccess.GetLength(file));
        }

        public EventPlace Start { get; }

        public EventPlace End { get; }

        public static LogFile? TryOpen(string path)
        {
            SafeFileHandle? file = null;
            try
            {
                file = File.OpenHandle(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
                Span<byte> first = stackalloc byte[TimeBytes];
                var line = new Utf8JsonReader(first[..RandomAccess.Read(file, first, 0)], isFinalBlock: false, default);
                if (line.Read() && line.Read() && line.ValueTextEquals("time") && line.Read())
                    return new LogFile(file, line.GetDateTimeOffset().UtcTicks);
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException or JsonException or InvalidOperationException or FormatException)
            {
                // Not there, or nothing in it yet, or somebody else's.
            }

            file?.Dispose();
            return null;
        }

        public int Read(Span<byte> buffer, long offset) => RandomAccess.Read(_file, buffer, offset);

        public void Dispose() => _file.Dispose();
    }
}
