using System.CommandLine;
using System.Text.Json;
using Kvm.Cli.Parsing;
using Kvm.Cli.Running;
using Kvm.Cli.Text;
using Kvm.Vmm;
using Kvm.Vmm.Configuration;
using Kvm.Vmm.Control;
using Kvm.Vmm.Host;
using Kvm.Vmm.Tracing;

namespace Kvm.Cli.Verbs;

/// <summary><c>kvmsharp stats</c>: what a running guest does.</summary>
internal sealed class StatsVerb : Verb
{
    private const string Shown = "What is shown";
    private readonly WordArgument _name = new("NAME", "The guest, as run --name NAME called it; without one, the guests that can be asked.");
    private readonly ValueOption _interval = new("--interval", "DURATION", Shown, "How often, 50ms to 1h. [default: 1s]");
    private readonly ValueOption _count = new("--count", "N", Shown, "How many times. [default: until the guest ends, or a signal]");
    private readonly ValueOption _symbols = new("--symbols", "FILE", Shown, "Names of the guest's code: a vmlinux or a System.map, where its kernel has none and none lies beside it.") { Kind = ValueKind.File };

    public StatsVerb()
        : base("stats", "Shows what a running guest exits for, what is completed for it, and where its vCPUs are, again and again.")
    {
        Add(_name);
        foreach (Option option in (Option[])[_interval, _count, _symbols])
            Add(option);
        Examples =
        [
            ("kvmsharp run vmlinux --name web & kvmsharp stats web", "a guest and what it does"),
            ("kvmsharp stats web --count 2 --json", "two JSON objects, one a line"),
            ("kvmsharp stats", "the guests that can be asked"),
        ];
        Notes = ["While it is watched a guest is asked fifty times a second where its vCPUs are; otherwise watching costs nothing."];
    }

    public override int Execute(ParseResult result, GlobalOptions global)
    {
        var interval = _interval.Text(result) is { } text ? Interval(text) : TimeSpan.FromSeconds(1);
        long count = _count.Text(result) is { } number ? Quantities.Count("--count", number) : 0;
        if (_name.Text(result) is not { } name)
            return List(global);
        using var client = ControlClient.Connect(Folders.Runtime, name);
        using var signals = new SignalGuard(_ => client.Cancel(), () => { });
        client.AskStatistics(interval, count);
        var shown = global.Json ? null : new StatsText(_symbols.Text(result) is { } path ? SymbolTable.Load(path) : null, TerminalDescriptors.IsTerminal(TerminalDescriptors.Output));
        while (client.TryRead(out var answer))
            StandardStreams.Output(shown is null ? System.Text.Encoding.UTF8.GetString(answer.Span) + "\n" : shown.Of(Document(answer, name)));
        return ExitCode.Success;
    }

    private static TimeSpan Interval(string text)
    {
        var interval = Quantities.Duration("--interval", text);
        return interval.TotalMilliseconds is >= 50 and <= 3_600_000 ? interval : throw Quantities.Bad("--interval", text, "is not 50ms to 1h");
    }

    private static JsonElement Document(ReadOnlyMemory<byte> answer, string name)
    {
        try
        {
            using var document = JsonDocument.Parse(answer);
            var root = document.RootElement.Clone();
            return root.ValueKind == JsonValueKind.Object && !root.TryGetProperty("error", out _) ? root : throw new VmmException(ControlErrors.NoGuest, $"{name} says: {VisibleText.Quote(root.ToString())}");
        }
        catch (JsonException e)
        {
            throw new VmmException(ControlErrors.NoGuest, $"{name} answers with what is no JSON", e);
        }
    }

    private static int List(GlobalOptions global)
    {
        var names = ControlClient.Names(Folders.Runtime);
        StandardStreams.Output(global.Json ? JsonText.Of(json =>
        {
            json.WriteStartObject();
            json.WriteStartArray("guests");
            foreach (string name in names)
                json.WriteStringValue(name);
            json.WriteEndArray();
            json.WriteEndObject();
        }) : string.Concat(names.Select(name => VisibleText.Escape(name) + "\n")));
        return ExitCode.Success;
    }
}
