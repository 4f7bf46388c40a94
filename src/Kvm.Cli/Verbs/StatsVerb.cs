using System.CommandLine;
using Kvm.Cli.Parsing;
using Kvm.Cli.Running;
using Kvm.Cli.Text;
using Kvm.Vmm;
using Kvm.Vmm.Control;
using Kvm.Vmm.Host;
using Kvm.Vmm.Tracing;

namespace Kvm.Cli.Verbs;

/// <summary><c>kvmsharp stats</c>: what a running guest does.</summary>
internal sealed class StatsVerb : Verb
{
    private const string Shown = "What is shown";
    private readonly WordArgument _name = new("NAME", "The guest, as run --name NAME called it; without one, all that run, a line each.");
    private readonly ValueOption _interval = new("--interval", "DURATION", Shown, "How often, 50ms to 1h. [default: 1s]");
    private readonly ValueOption _count = new("--count", "N", Shown, "How many times. [default: until the guest ends, or a signal; without NAME until a signal]");
    private readonly ValueOption _symbols = new("--symbols", "FILE", Shown, "Names of the guest's code: a vmlinux or a System.map, where its kernel has none and none lies beside it.") { Kind = ValueKind.File };

    public StatsVerb()
        : base("stats", "Shows what a running guest exits for, what is completed for it, and where its vCPUs are, again and again; or a table of all that run.")
    {
        Add(_name);
        foreach (Option option in (Option[])[_interval, _count, _symbols])
            Add(option);
        Examples =
        [
            ("kvmsharp run vmlinux --name web & kvmsharp stats web", "a guest and what it does"),
            ("kvmsharp stats web --count 2 --json", "two JSON objects, one a line"),
            ("kvmsharp stats", "a table of all guests that run, until Ctrl-C"),
            ("kvmsharp stats --count 1 --json | jq -r .name", "the names of those that run"),
        ];
        Notes = ["While it alone is watched a guest is asked fifty times a second where its vCPUs are; otherwise watching costs nothing."];
    }

    public override int Execute(ParseResult result, GlobalOptions global)
    {
        var interval = _interval.Text(result) is { } text ? Interval(text) : TimeSpan.FromSeconds(1);
        long count = _count.Text(result) is { } number ? Quantities.Count("--count", number) : 0;
        if (_name.Text(result) is not { } name)
            return ShowAll(interval, count, global.Json);
        using var client = ControlClient.Connect(Folders.Runtime, name);
        using var signals = new SignalGuard(_ => client.Cancel(), () => { });
        client.AskStatistics(interval, count);
        var shown = global.Json ? null : new StatsText(_symbols.Text(result) is { } path ? SymbolTable.Load(path) : null, TerminalDescriptors.IsTerminal(TerminalDescriptors.Output));
        while (client.TryRead(out var answer))
            StandardStreams.Output(shown is null ? System.Text.Encoding.UTF8.GetString(answer.Span) + "\n" : shown.Of(GuestPoll.Document(answer, name)));
        return ExitCode.Success;
    }

    private static TimeSpan Interval(string text)
    {
        var interval = Quantities.Duration("--interval", text);
        return interval.TotalMilliseconds is >= 50 and <= 3_600_000 ? interval : throw Quantities.Bad("--interval", text, "is not 50ms to 1h");
    }

    /// <summary>All guests, those that come and go meanwhile too.</summary>
    private static int ShowAll(TimeSpan interval, long count, bool json)
    {
        using var stop = new CancellationTokenSource();
        using var signals = new SignalGuard(_ => stop.Cancel(), () => { });
        var poll = new GuestPoll(Folders.Runtime);
        var table = new StatsTable();
        bool clears = !json && TerminalDescriptors.IsTerminal(TerminalDescriptors.Output);
        try
        {
            for (long round = 0; count == 0 || round < count; round++)
            {
                if (round > 0 && stop.Token.WaitHandle.WaitOne(interval))
                    break;
                var answers = poll.Ask(stop.Token);
                string text = json ? string.Concat(answers.Select(Line)) : table.Of(answers);
                StandardStreams.Output(clears ? StandardStreams.InPlace(text) : json ? text : text + "\n");
            }
        }
        catch (OperationCanceledException)
        {
            // As between two rounds.
        }

        return ExitCode.Success;
    }

    private static string Line(GuestAnswer answer) => answer.Problem is not { } problem ? answer.Line + "\n" : JsonText.Line(json =>
    {
        json.WriteStartObject();
        json.WriteString("name", answer.Name);
        json.WriteString("error", problem.Error.Id);
        json.WriteString("detail", problem.Message);
        json.WriteEndObject();
    });
}
