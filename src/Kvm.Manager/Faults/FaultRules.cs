using System.Globalization;
using System.Text;

namespace Kvm.Manager.Faults;

/// <summary>What can go wrong with a machine.</summary>
public enum FaultKind
{
    /// <summary>Its guest's kernel panicked.</summary>
    Panic,

    /// <summary>Its guest did not set its watchdog back in time.</summary>
    Watchdog,

    /// <summary>A vCPU makes no progress.</summary>
    Hang,

    /// <summary>It does not answer as it should (<see cref="HealthCheck"/>).</summary>
    Unhealthy,

    /// <summary>It ended otherwise than anybody meant it to: a triple fault, an exit code, a process that died.</summary>
    Crash,
}

/// <summary>What follows a fault.</summary>
public enum FaultStep
{
    /// <summary>What follows where nothing is said: a hang and bad health are told, everything else ends the run, and <see cref="RestartPolicy"/> decides.</summary>
    Default,

    /// <summary>Nothing: the guest goes on.</summary>
    None,

    /// <summary>The guest is ended and started again, as its <see cref="RestartPolicy"/> counts and waits; without one, whenever it failed.</summary>
    Restart,

    /// <summary>As <see cref="Restart"/>, but it goes on from its last snapshot.</summary>
    Restore,

    /// <summary>The guest is left standing still.</summary>
    Pause,

    /// <summary>The guest is ended and not started again.</summary>
    Kill,
}

/// <summary>What is done about a fault.</summary>
/// <param name="Step">What follows.</param>
/// <param name="Dump">Whether the guest's memory and registers are written to a file first.</param>
public readonly record struct FaultAction(FaultStep Step, bool Dump);

/// <summary>What is done about each kind of fault of a machine. Immutable.</summary>
public sealed class FaultRules
{
    /// <summary>The kinds' names, in order.</summary>
    public static IReadOnlyList<string> Kinds { get; } = ["panic", "watchdog", "hang", "unhealthy", "crash"];

    /// <summary>The steps' names, in order; the first has none.</summary>
    public static IReadOnlyList<string> Steps { get; } = ["", "none", "restart", "restore", "pause", "kill"];

    /// <summary>A vCPU that made no progress for this long hangs, unless something else is said.</summary>
    public static readonly TimeSpan DefaultHangAfter = TimeSpan.FromSeconds(30);

    private const string Dump = "dump";

    private readonly FaultAction[] _actions = new FaultAction[Kinds.Count];

    private FaultRules()
    {
    }

    /// <summary>Nothing was said.</summary>
    public static FaultRules Default { get; } = new();

    /// <summary>How long a vCPU may make no progress.</summary>
    public TimeSpan HangAfter { get; private init; } = DefaultHangAfter;

    /// <summary>What is done about a kind.</summary>
    public FaultAction this[FaultKind kind] => _actions[(int)kind];

    /// <summary>Whether some fault has the machine started again whatever its <see cref="RestartPolicy"/> says.</summary>
    public bool StartsAgain => Array.Exists(_actions, action => action.Step is FaultStep.Restart or FaultStep.Restore);

    /// <summary>Understands <c>KIND=ACTION</c>, any number of them with commas between; a hang's KIND may be <c>hang:DURATION</c>, ACTION begin with <c>dump+</c>.</summary>
    /// <param name="text">The text.</param>
    /// <param name="rules">What it says, where nothing is wrong with it.</param>
    /// <param name="duration">Understands durations (<c>30s</c>); null for what is none.</param>
    /// <returns>What is wrong with the text, or null.</returns>
    public static string? Parse(string text, out FaultRules rules, Func<string, TimeSpan?> duration)
    {
        ArgumentNullException.ThrowIfNull(text);
        ArgumentNullException.ThrowIfNull(duration);
        rules = Default;
        var made = new FaultRules();
        var hangAfter = DefaultHangAfter;
        foreach (string rule in text.Split(',', StringSplitOptions.RemoveEmptyEntries))
        {
            if (rule.Split('=') is not [var kind, var action])
                return $"is not EVENT=ACTION: {rule}";
            if (kind.Split(':') is ["hang", var after])
            {
                if (duration(after) is not { } span || span < TimeSpan.FromSeconds(1))
                    return $"has a duration that is not one of a second or more: {after}";
                (kind, hangAfter) = ("hang", span);
            }

            int index = IndexOf(Kinds, kind);
            if (index < 0)
                return $"names {kind}; events are {string.Join(", ", Kinds)}";
            if (ActionOf(action) is not { } known)
                return $"asks for {action}; actions are {string.Join(", ", Steps.Skip(1))}, dump, and dump+ before another one";
            made._actions[index] = known;
        }

        rules = new FaultRules { HangAfter = hangAfter };
        made._actions.CopyTo(rules._actions, 0);
        return null;
    }

    /// <summary>What is done after a run that ended so.</summary>
    /// <param name="outcome">As in reports.</param>
    public FaultAction After(string outcome) => this[KindOf(outcome)];

    /// <summary>The kind of fault that ends a run so.</summary>
    /// <param name="outcome">As in reports, of a run that failed.</param>
    public static FaultKind KindOf(string outcome) => outcome switch
    {
        "panic" => FaultKind.Panic,
        "watchdog" => FaultKind.Watchdog,
        "hung" => FaultKind.Hang,
        "unhealthy" => FaultKind.Unhealthy,
        _ => FaultKind.Crash,
    };

    /// <inheritdoc/>
    /// <remarks>As <see cref="Parse"/> understands it; durations in milliseconds.</remarks>
    public override string ToString()
    {
        var text = new StringBuilder();
        for (int i = 0; i < _actions.Length; i++)
        {
            bool timed = i == (int)FaultKind.Hang && HangAfter != DefaultHangAfter;
            if (_actions[i] == default && !timed)
                continue;
            string after = timed ? string.Create(CultureInfo.InvariantCulture, $":{HangAfter.TotalMilliseconds:f0}ms") : "";
            text.Append(text.Length > 0 ? "," : "").Append(Kinds[i]).Append(after).Append('=').Append(NameOf(_actions[i]));
        }

        return text.ToString();
    }

    // A hang that is only timed is told, which is what "none" says of it too.
    private static string NameOf(FaultAction action) => (action.Dump, action.Step) switch
    {
        (false, FaultStep.Default) => Steps[(int)FaultStep.None],
        (true, FaultStep.Default) => Dump,
        (true, var step) => $"{Dump}+{Steps[(int)step]}",
        (false, var step) => Steps[(int)step],
    };

    private static FaultAction? ActionOf(string text)
    {
        if (text == Dump)
            return new FaultAction(FaultStep.Default, true);
        bool dump = text.StartsWith(Dump + "+", StringComparison.Ordinal);
        int step = IndexOf(Steps, dump ? text[(Dump.Length + 1)..] : text);
        return step > 0 ? new FaultAction((FaultStep)step, dump) : null;
    }

    private static int IndexOf(IReadOnlyList<string> names, string text)
    {
        for (int i = 0; i < names.Count; i++)
        {
            if (names[i] == text)
                return i;
        }

        return -1;
    }
}
