using System.CommandLine;
using System.Text.Json;
using Kvm.Cli.Parsing;
using Kvm.Cli.Running;
using Kvm.Cli.Text;
using Kvm.Manager;
using Kvm.Vmm;
using Kvm.Vmm.Configuration;

namespace Kvm.Cli.Verbs.Machines;

/// <summary><c>kvmsharp events</c>.</summary>
internal sealed class EventsVerb : Verb
{
    private readonly WordArgument _name = new("NAME", "One machine; without it all.");
    private readonly SwitchOption _follow = new("--follow", "Which", "Those that happen from now on, as they happen, instead of those that did.", "-f");

    public EventsVerb()
        : base("events", "Shows what happened to machines: made, started, paused, ended and how.")
    {
        Add(_name);
        Add(_follow);
        Examples =
        [
            ("kvmsharp events web", "its story"),
            ("kvmsharp events --follow --json", "an object a line, as it happens"),
        ];
    }

    public override int Execute(ParseResult result, GlobalOptions global) => Cancellable.Run(cancel =>
    {
        string? name = _name.Text(result);
        if (name is not null)
            VmName.Check(name);
        foreach (string line in new VmManager(ManagerOptions.OfThisUser()).Events.Read(_follow.IsGiven(result), cancel))
        {
            if (Parse(line) is not { } told || (name is not null && told.GetProperty("vm").GetString() != name))
                continue;
            StandardStreams.Output(global.Json ? line + "\n" : Text(told));
        }

        cancel.ThrowIfCancellationRequested();
        return ExitCode.Success;
    });

    private static string Text(JsonElement told) => VisibleText.Escape(
        $"{told.GetProperty("time").GetDateTimeOffset():yyyy-MM-dd HH:mm:ss.fff'Z'}  {told.GetProperty("vm")}  {told.GetProperty("event")}{(told.GetProperty("detail").GetString() is { } detail ? $"  {detail}" : "")}") + "\n";

    /// <summary>The line as an event; null for one that is none.</summary>
    private static JsonElement? Parse(string line)
    {
        try
        {
            using var document = JsonDocument.Parse(line);
            var told = document.RootElement.Clone();
            return told.TryGetProperty("time", out _) && told.TryGetProperty("vm", out _) && told.TryGetProperty("event", out _) && told.TryGetProperty("detail", out _) ? told : null;
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            return null;
        }
    }
}
