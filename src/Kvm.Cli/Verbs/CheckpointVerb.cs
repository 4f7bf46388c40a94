using System.CommandLine;
using System.Globalization;
using System.Text;
using System.Text.Json;
using Kvm.Cli.Parsing;
using Kvm.Cli.Text;
using Kvm.Vmm;
using Kvm.Vmm.Control;
using Kvm.Vmm.Host;

namespace Kvm.Cli.Verbs;

/// <summary><c>kvmsharp checkpoint</c>: moments of a running guest in memory, for <c>kvmsharp back</c>.</summary>
internal sealed class CheckpointVerb : Verb
{
    private const string Keeping = "start";

    private static readonly string[] s_actions = ["start", "take", "ls", "stop"];

    private readonly WordArgument _action = new("ACTION", "start, take, ls or stop.") { Kind = ValueKind.OneOf, Values = s_actions };
    private readonly WordArgument _name = new("NAME", "The guest, as run --name NAME called it.");
    private readonly ValueOption _interval = new("--interval", "DURATION", Keeping, "How often one is taken; 0 for only by take. [default: 1s]");
    private readonly ValueOption _budget = new("--budget", "SIZE", Keeping, "The most memory they take: the guest's in use, and what it writes. [default: 512M]");

    public CheckpointVerb()
        : base("checkpoint", "Keeps moments of a running guest in memory, to which kvmsharp back returns.")
    {
        Add(_action);
        Add(_name);
        Add(_interval);
        Add(_budget);
        Examples =
        [
            ("kvmsharp checkpoint start web-1", "one each second from now on"),
            ("kvmsharp checkpoint ls web-1", "which there are"),
            ("kvmsharp back web-1 10s", "as it was ten seconds ago"),
            ("kvmsharp checkpoint stop web-1", "gives their memory back"),
        ];
        Notes = ["A guest that can write a disk has no way back: its disk would stay as it is."];
    }

    public override int Execute(ParseResult result, GlobalOptions global)
    {
        string action = Deed(_action, result);
        string name = _name.Text(result) ?? throw new VmmException(UsageErrors.Incomplete, $"checkpoint {action} needs the NAME of a running guest");
        string request = action;
        if (action == "start")
        {
            var interval = _interval.Text(result) is { } text ? Quantities.Duration("--interval", text) : TimeSpan.FromSeconds(1);
            ulong budget = _budget.Text(result) is { } size ? Quantities.Size("--budget", size) : 512UL << 20;
            request = string.Create(CultureInfo.InvariantCulture, $"start {(long)interval.TotalMilliseconds} {budget}");
        }

        using var client = ControlClient.Connect(Folders.Runtime, name);
        var answer = client.AskOnce($"checkpoint {request}") ?? throw new VmmException(ControlErrors.NoGuest, $"{name} has ended");
        StandardStreams.Output(global.Json ? answer.GetRawText() + "\n" : Text(answer.GetProperty("checkpoints")));
        return ExitCode.Success;
    }

    /// <summary>A moment on a line.</summary>
    internal static string Line(in JsonElement moment) => string.Create(CultureInfo.InvariantCulture,
        $"{moment.GetProperty("number").GetInt64(),6}  {moment.GetProperty("agoMs").GetInt64() / 1000.0,10:0.000} s ago  {moment.GetProperty("pages").GetInt32(),8} pages\n");

    private static string Text(in JsonElement moments)
    {
        if (moments.GetArrayLength() == 0)
            return "There are no checkpoints.\n";
        var text = new StringBuilder();
        foreach (var moment in moments.EnumerateArray())
            text.Append(Line(moment));
        return text.ToString();
    }
}

/// <summary><c>kvmsharp back</c>: a running guest goes on from a moment it was in.</summary>
internal sealed class BackVerb : Verb
{
    private readonly WordArgument _name = new("NAME", "The guest, as run --name NAME called it.");
    private readonly WordArgument _where = new("WHERE", "A checkpoint's number (kvmsharp checkpoint ls), or how long ago, such as 10s; the newest where it is not said.");

    public BackVerb()
        : base("back", "Has a running guest go on from a checkpoint in memory: memory, processors and devices as they were.")
    {
        Add(_name);
        Add(_where);
        Examples =
        [
            ("kvmsharp checkpoint start web-1", "keeps moments to go back to, one each second"),
            ("kvmsharp back web-1", "to the newest"),
            ("kvmsharp back web-1 10s", "to the newest one that is ten seconds old, or the oldest there is"),
            ("kvmsharp back web-1 7", "to checkpoint 7; later ones are forgotten"),
        ];
    }

    public override int Execute(ParseResult result, GlobalOptions global)
    {
        string name = _name.Text(result) ?? throw new VmmException(UsageErrors.Incomplete, "back needs the NAME of a running guest");
        string where = _where.Text(result) ?? "";
        string request = long.TryParse(where, NumberStyles.None, CultureInfo.InvariantCulture, out long number)
            ? string.Create(CultureInfo.InvariantCulture, $"number {number}")
            : string.Create(CultureInfo.InvariantCulture, $"ago {(where.Length == 0 ? 0 : (long)Quantities.Duration("WHERE", where).TotalMilliseconds)}");
        using var client = ControlClient.Connect(Folders.Runtime, name);
        var answer = client.AskOnce($"back {request}") ?? throw new VmmException(ControlErrors.NoGuest, $"{name} has ended");
        StandardStreams.Output(global.Json ? answer.GetRawText() + "\n" : CheckpointVerb.Line(answer));
        return ExitCode.Success;
    }
}
