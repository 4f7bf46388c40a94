using System.Diagnostics;
using System.Text;
using System.Text.Json;
using Kvm.Vmm;
using Kvm.Vmm.Configuration;
using Kvm.Vmm.Host;

namespace Kvm.Manager.Commands;

/// <summary>
/// What machines are to be made to do, one after another, kept so that it outlives whoever asked and whoever does it (docs/manager.md, "Commands"). Taken
/// commands are done by a <see cref="CommandRunner"/>, of this process or another. Thread-safe, and between processes.
/// </summary>
/// <param name="options">Where machines are.</param>
/// <param name="verbs">What can be asked for; <see cref="CommandVerbs.Standard"/> where it is null.</param>
public sealed class CommandQueue(ManagerOptions options, CommandVerbs? verbs = null)
{
    /// <summary>Commands of one machine that wait or run at most.</summary>
    public const int MostOfOne = 64;

    /// <summary>The longest arguments, in bytes.</summary>
    public const int MostArgumentBytes = 64 << 10;

    /// <summary>The longest key.</summary>
    public const int MostKeyLength = 128;

    private const int MostWaiting = 4096;
    private const long MostWaitingBytes = 2 << 20;

    /// <summary>How often it is looked whether a process is gone, which no file tells.</summary>
    private static readonly TimeSpan s_look = TimeSpan.FromSeconds(1);

    private readonly Lock _lock = new();
    private readonly CommandJournal _journal = new(options.StateFolder);

    /// <summary>What can be asked for.</summary>
    public CommandVerbs Verbs { get; } = verbs ?? CommandVerbs.Standard;

    internal ManagerOptions Options => options;

    private DateTimeOffset Now => options.Time.GetUtcNow();

    /// <summary>Takes a command: when this returns it is on the disk, and is done once or told as interrupted, whatever ends meanwhile.</summary>
    /// <param name="vm">The machine; for <c>create</c> its name.</param>
    /// <param name="verb">One of <see cref="Verbs"/>.</param>
    /// <param name="arguments">One object of JSON of at most <see cref="MostArgumentBytes"/>; empty for none.</param>
    /// <param name="key">Of at most <see cref="MostKeyLength"/> characters: where that machine has a command of this key it is that one, and nothing new is taken.</param>
    /// <returns>Its id.</returns>
    /// <exception cref="VmmException">KVM0602, KVM0615: it is no command; KVM0616: too many wait; KVM0605: it cannot be kept, and was not taken.</exception>
    public CommandId Enqueue(string vm, string verb, ReadOnlyMemory<byte> arguments = default, string? key = null)
    {
        VmName.Check(vm);
        ArgumentNullException.ThrowIfNull(verb);
        string text = Check(verb, arguments);
        if (key is { Length: 0 or > MostKeyLength } || key?.Any(char.IsControl) == true)
            throw new VmmException(ManagerErrors.BadCommand, $"a key has 1 to {MostKeyLength} characters");
        return Change(commands =>
        {
            if (key is not null && commands.Values.FirstOrDefault(known => known.Vm == vm && known.Key == key) is { } same)
                return same.Verb == verb ? same.Id : throw new VmmException(ManagerErrors.BadCommand, $"the key is that of {same.Id}, which is another command");
            var open = commands.Values.Where(command => !command.HasEnded).ToList();
            if (open.Count(command => command.Vm == vm) >= MostOfOne)
                throw new VmmException(ManagerErrors.QueueFull, $"{MostOfOne} commands of {vm} wait");
            if (open.Count >= MostWaiting || open.Sum(command => (long)command.Arguments.Length) + text.Length > MostWaitingBytes)
                throw new VmmException(ManagerErrors.QueueFull, $"{open.Count} commands wait");
            var taken = new Command { Id = new CommandId(_journal.Next), Vm = vm, Verb = verb, Arguments = text, Key = key, Enqueued = Now };
            _journal.Append(taken);
            return taken.Id;
        });
    }

    /// <summary>What has become of a command; null where there is none of that id: it was never taken, or has ended long ago.</summary>
    public Command? Get(CommandId id)
    {
        var command = Known(id);
        if (command is not { State: CommandState.Running })
            return command;
        // Whoever did it may be gone; who does not hold its machine's lock does it no more.
        using (var free = TryLockRunner(command.Vm))
        {
            if (free is not null)
                Interrupt(command.Vm);
        }

        return Known(id);
    }

    /// <summary>Commands that are known, in the order in which they were taken.</summary>
    /// <param name="vm">Those of one machine; null for all.</param>
    public IReadOnlyList<Command> List(string? vm = null) => Change(commands => commands.Values.Where(command => vm is null || command.Vm == vm).ToList());

    /// <summary>Waits until a command has ended.</summary>
    /// <param name="id">The command.</param>
    /// <param name="patience">How long at most.</param>
    /// <param name="cancel">Ends the wait; the command goes on.</param>
    /// <returns>How it is then; it may not have ended.</returns>
    /// <exception cref="VmmException">KVM0617: there is none.</exception>
    /// <exception cref="OperationCanceledException">The wait was ended.</exception>
    public Command Wait(CommandId id, TimeSpan patience, CancellationToken cancel = default)
    {
        Command? last = null;
        foreach (var command in Follow(id, patience, cancel))
            last = command;
        cancel.ThrowIfCancellationRequested();
        return last ?? throw new VmmException(ManagerErrors.NoSuchCommand, id.ToString());
    }

    /// <summary>A command as it is, and whenever something has become of it, until it has ended.</summary>
    /// <param name="id">The command; of one that is not there nothing comes.</param>
    /// <param name="patience">How long at most.</param>
    /// <param name="cancel">Ends it.</param>
    public IEnumerable<Command> Follow(CommandId id, TimeSpan patience, CancellationToken cancel = default)
    {
        var waited = Stopwatch.StartNew();
        using var watch = Watch();
        Command? last = null;
        while (!cancel.IsCancellationRequested && Get(id) is { } command)
        {
            if (command != last)
                yield return command;
            last = command;
            var left = patience - waited.Elapsed;
            if (command.HasEnded || left <= TimeSpan.Zero)
                yield break;
            watch.Wait(left < s_look ? left : s_look, cancel);
        }
    }

    /// <summary>Takes a command back: one that waits is not begun, one that runs is asked to end where it is.</summary>
    /// <returns>How it is; null where there is none. One that has ended is left as it is.</returns>
    /// <exception cref="VmmException">KVM0605: it cannot be written down.</exception>
    public Command? Cancel(CommandId id) => Change(commands =>
    {
        if (commands.GetValueOrDefault(id.Number) is not { HasEnded: false, CancelAsked: false } command)
            return commands.GetValueOrDefault(id.Number);
        var next = command with { CancelAsked = true };
        _journal.Append(command.State == CommandState.Waiting ? next with { State = CommandState.Cancelled, Ended = Now } : next);
        return commands[id.Number];
    });

    /// <summary>What tells that something has become of a command.</summary>
    internal FileFollower Watch() => Change(_ => new FileFollower(_journal.Path, fromEnd: true));

    /// <summary>Who has it does a machine's commands; null while another does.</summary>
    internal HostLock? TryLockRunner(string vm) => HostLock.TryAcquire(_journal.LockPath, 1 + (VmStore.PlaceOf(vm) >> 1), TimeSpan.Zero);

    /// <summary>Says of commands whose process is gone that they were interrupted. For who has the machine's lock, before the first.</summary>
    internal void Interrupt(string vm) => Change(commands =>
    {
        foreach (var command in commands.Values.Where(command => command.Vm == vm && command.State == CommandState.Running).ToList())
            _journal.Append(command with { State = CommandState.Interrupted, Ended = Now, Error = "its process ended before it was done" });
        return true;
    });

    /// <summary>Begins a machine's next command; null where none waits. For who has its lock.</summary>
    internal Command? Begin(string vm) => Change(commands =>
    {
        if (commands.Values.FirstOrDefault(command => command.Vm == vm && command.State == CommandState.Waiting) is not { } next)
            return null;
        var begun = next with { State = CommandState.Running, Begun = Now };
        _journal.Append(begun);
        return begun;
    });

    /// <summary>Writes down what came of a command that was begun.</summary>
    internal void End(CommandId id, Func<Command, Command> how) => Change(commands =>
    {
        if (commands.GetValueOrDefault(id.Number) is { State: CommandState.Running } command)
            _journal.Append(how(command) with { Ended = Now });
        return true;
    });

    private Command? Known(CommandId id) => Change(commands => commands.GetValueOrDefault(id.Number));

    private string Check(string verb, ReadOnlyMemory<byte> arguments)
    {
        if (arguments.Length > MostArgumentBytes)
            throw new VmmException(ManagerErrors.BadCommand, $"the arguments have {arguments.Length} bytes, more than {MostArgumentBytes}");
        try
        {
            using var parsed = JsonDocument.Parse(arguments.IsEmpty ? "{}"u8.ToArray() : arguments, new JsonDocumentOptions { MaxDepth = 16 });
            Verbs.Check(verb, parsed.RootElement);
            // A journal's line has no line ends within.
            return Encoding.UTF8.GetString(Compact(parsed.RootElement));
        }
        catch (JsonException e)
        {
            throw new VmmException(ManagerErrors.BadCommand, $"the arguments of {VisibleText.Quote(verb, 64)} are no JSON", e);
        }
    }

    private static ReadOnlySpan<byte> Compact(JsonElement element)
    {
        var text = new System.Buffers.ArrayBufferWriter<byte>(256);
        using (var json = new Utf8JsonWriter(text))
            element.WriteTo(json);
        return text.WrittenSpan;
    }

    private T Change<T>(Func<SortedDictionary<long, Command>, T> work)
    {
        lock (_lock)
        {
            using (_journal.Lock())
                return work(_journal.Commands);
        }
    }
}
