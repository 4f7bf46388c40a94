using System.Text.Json;
using Kvm.Vmm;
using Kvm.Vmm.Configuration;
using Kvm.Vmm.Host;

namespace Kvm.Manager.Commands;

/// <summary>
/// The file that commands are in: <c>commands/journal</c> in the state folder. Whatever becomes of a command is a line at its end, and flushed;
/// the last one of a command holds. What a killed process or a full disk left of a line is cut off by the next who writes; a damaged line is as if it were
/// not there. When it has grown it is written anew, with what has not ended and the last that has. Not thread-safe; between processes: all of it under <see cref="Lock"/>.
/// </summary>
internal sealed class CommandJournal
{
    /// <summary>Ended commands that are kept, of all machines; fewer where they are long.</summary>
    public const int MostEnded = 1024;

    private const int Version = 1;
    private const long MostBytes = 4 << 20, MostEndedBytes = 1 << 20;
    private const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite;

    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(30);

    private readonly SortedDictionary<long, Command> _commands = [];
    private long _position;
    private long _epoch = -1;

    public CommandJournal(string stateFolder)
    {
        Folder = System.IO.Path.Combine(stateFolder, "commands");
        Path = System.IO.Path.Combine(Folder, "journal");
        LockPath = System.IO.Path.Combine(Folder, ".lock");
    }

    public string Folder { get; }

    public string Path { get; }

    /// <summary>The file of locks: 0 is the journal's; the others are of who does a machine's commands.</summary>
    public string LockPath { get; }

    /// <summary>What there is, by number.</summary>
    public SortedDictionary<long, Command> Commands => _commands;

    /// <summary>The number of the next.</summary>
    public long Next { get; private set; } = 1;

    /// <summary>Takes the journal's lock and learns what others wrote.</summary>
    /// <exception cref="VmmException">KVM0605, KVM0606.</exception>
    public HostLock Lock(CancellationToken cancel = default) => Keep(() =>
    {
        Directory.CreateDirectory(Folder, OwnerOnly | UnixFileMode.UserExecute);
        var held = HostLock.TryAcquire(LockPath, 0, s_patience, cancel) ?? throw new VmmException(ManagerErrors.Busy, "the queue of commands is locked by another process");
        try
        {
            CatchUp();
            return held;
        }
        catch
        {
            held.Dispose();
            throw;
        }
    });

    /// <summary>Keeps what has become of a command; it lasts when this returns.</summary>
    /// <exception cref="VmmException">KVM0605: it cannot be kept, and is not.</exception>
    public void Append(Command command) => Keep(() =>
    {
        byte[] line = CommandJson.Line(json => CommandJson.WriteMembers(json, command));
        if (_epoch < 0 || _position + line.Length > MostBytes)
            Compact(with: command);
        else
            AppendLine(line, command);
        return true;
    });

    private void AppendLine(byte[] line, Command command)
    {
        using var file = File.OpenHandle(Path, FileMode.Open, FileAccess.ReadWrite);
        try
        {
            // Behind the last whole line: the rest is what somebody left who did not come to its end.
            RandomAccess.SetLength(file, _position);
            RandomAccess.Write(file, line, _position);
            RandomAccess.FlushToDisk(file);
        }
        catch (IOException)
        {
            RandomAccess.SetLength(file, _position);
            throw;
        }

        _position += line.Length;
        Take(command);
    }

    private void CatchUp()
    {
        if (!File.Exists(Path))
        {
            Forget();
            return;
        }

        using var file = File.OpenHandle(Path);
        long length = RandomAccess.GetLength(file);
        if (length > 2 * MostBytes)
            throw new VmmException(ManagerErrors.BadRecord, $"the queue of commands has {length} bytes");
        byte[] first = new byte[Math.Min(length, 200)];
        int count = RandomAccess.Read(file, first, 0);
        if (EpochOf(first.AsMemory(0, count)) is not { } epoch)
            throw new VmmException(ManagerErrors.BadRecord, $"{VisibleText.Quote(Path, 200)} is no queue of commands, or one of a later version");
        if (epoch != _epoch)
            Forget();
        _epoch = epoch;
        byte[] bytes = new byte[length - _position];
        count = RandomAccess.Read(file, bytes, _position);
        ReadLines(bytes.AsMemory(0, count));
    }

    private void ReadLines(ReadOnlyMemory<byte> bytes)
    {
        int end;
        while ((end = bytes.Span.IndexOf((byte)'\n')) >= 0)
        {
            using (var line = CommandJson.Parse(bytes[..end]))
            {
                if (line is not null && line.RootElement.TryGetProperty("next", out var next))
                    Next = Math.Max(Next, next.GetInt64());
                else if (line is not null && CommandJson.Read(line.RootElement) is { } command)
                    Take(command);
            }

            bytes = bytes[(end + 1)..];
            _position += end + 1;
        }
    }

    private void Take(Command command)
    {
        _commands[command.Id.Number] = command;
        Next = Math.Max(Next, command.Id.Number + 1);
    }

    /// <summary>Writes it anew, whole, with another command.</summary>
    private void Compact(Command with)
    {
        var all = new SortedDictionary<long, Command>(_commands) { [with.Id.Number] = with };
        List<(Command Command, byte[] Line)> kept = [];
        int ended = 0;
        long endedBytes = 0;
        foreach (var command in all.Values.Reverse())
        {
            byte[] line = CommandJson.Line(json => CommandJson.WriteMembers(json, command));
            if (!command.HasEnded || (++ended <= MostEnded && (endedBytes += line.Length) <= MostEndedBytes))
                kept.Add((command, line));
        }

        kept.Reverse();
        long next = Math.Max(Next, with.Id.Number + 1), epoch = _epoch + 1;
        byte[] content =
        [
            .. CommandJson.Line(json =>
            {
                json.WriteNumber("version", Version);
                json.WriteNumber("epoch", epoch);
                json.WriteNumber("next", next);
            }),
            .. kept.SelectMany(one => one.Line),
        ];
        DurableFile.Write(Path, content);
        Forget();
        foreach (var (command, _) in kept)
            Take(command);
        (Next, _epoch, _position) = (next, epoch, content.Length);
    }

    private void Forget()
    {
        _commands.Clear();
        (_position, _epoch, Next) = (0, -1, 1);
    }

    /// <summary>The number of the file's writing anew, from its first line; null where it is another file.</summary>
    private static long? EpochOf(ReadOnlyMemory<byte> start)
    {
        int end = start.Span.IndexOf((byte)'\n');
        using var line = end < 0 ? null : CommandJson.Parse(start[..end]);
        try
        {
            return line?.RootElement.GetProperty("version").GetInt32() == Version ? line.RootElement.GetProperty("epoch").GetInt64() : null;
        }
        catch (Exception e) when (e is KeyNotFoundException or InvalidOperationException or FormatException)
        {
            return null;
        }
    }

    private T Keep<T>(Func<T> work)
    {
        try
        {
            return work();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or JsonException)
        {
            throw new VmmException(ManagerErrors.CannotKeep, $"{VisibleText.Quote(Path, 200)}: {HostFailureText.Of(e)}", e);
        }
    }
}
