using System.Globalization;

namespace Kvm.Manager.Commands;

/// <summary>What names a command in its state folder: one number, never given twice.</summary>
/// <param name="Number">From 1, ascending in the order in which commands were taken.</param>
public readonly record struct CommandId(long Number)
{
    /// <summary>Understands <c>c12</c>.</summary>
    /// <param name="text">The text.</param>
    /// <param name="id">The id, where it is one.</param>
    public static bool TryParse(string text, out CommandId id)
    {
        ArgumentNullException.ThrowIfNull(text);
        bool is1 = text.Length is > 1 and <= 20 && text[0] == 'c' && text[1] != '0' && long.TryParse(text.AsSpan(1), NumberStyles.None, CultureInfo.InvariantCulture, out long number);
        id = is1 ? new CommandId(long.Parse(text.AsSpan(1), CultureInfo.InvariantCulture)) : default;
        return is1;
    }

    /// <inheritdoc/>
    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"c{Number}");
}

/// <summary>What has become of a command.</summary>
public enum CommandState
{
    /// <summary>Those of its machine before it are not done.</summary>
    Waiting,

    /// <summary>It is being done.</summary>
    Running,

    /// <summary>It is done.</summary>
    Done,

    /// <summary>It could not be done; <see cref="Command.Error"/> says why.</summary>
    Failed,

    /// <summary>Somebody took it back: before it began, or while it ran, and then it may have been done in part.</summary>
    Cancelled,

    /// <summary>Who did it ended before it was done. How far it came is what the machine's record tells; it is not begun again.</summary>
    Interrupted,
}

/// <summary>One command to a machine and what has become of it. Immutable.</summary>
public sealed record Command
{
    private static readonly string[] s_states = ["waiting", "running", "done", "failed", "cancelled", "interrupted"];

    /// <summary>Its id.</summary>
    public required CommandId Id { get; init; }

    /// <summary>The machine.</summary>
    public required string Vm { get; init; }

    /// <summary>What is to be done with it: one of <see cref="CommandVerbs"/>.</summary>
    public required string Verb { get; init; }

    /// <summary>With what: one object of JSON.</summary>
    public string Arguments { get; init; } = "{}";

    /// <summary>Who asked chose this: the same key of the same machine is the same command, however often it is asked for. Null without.</summary>
    public string? Key { get; init; }

    /// <summary>What has become of it.</summary>
    public CommandState State { get; init; }

    /// <summary>Somebody took it back.</summary>
    public bool CancelAsked { get; init; }

    /// <summary>When it was taken.</summary>
    public required DateTimeOffset Enqueued { get; init; }

    /// <summary>When it was begun; null before that.</summary>
    public DateTimeOffset? Begun { get; init; }

    /// <summary>When it had ended, however; null before that.</summary>
    public DateTimeOffset? Ended { get; init; }

    /// <summary>What came of it: one value of JSON; null where nothing did.</summary>
    public string? Result { get; init; }

    /// <summary>The id of what was wrong (docs/errors.md), or null.</summary>
    public string? ErrorId { get; init; }

    /// <summary>What was wrong, for people; null where nothing was.</summary>
    public string? Error { get; init; }

    /// <summary>Whether nothing becomes of it any more.</summary>
    public bool HasEnded => State is not (CommandState.Waiting or CommandState.Running);

    /// <summary>Names of <see cref="CommandState"/>, in order.</summary>
    public static IReadOnlyList<string> StateNames => s_states;

    /// <summary>The name of a state, as in files and answers.</summary>
    public static string NameOf(CommandState state) => s_states[(int)state];
}
