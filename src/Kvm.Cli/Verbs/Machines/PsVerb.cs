using System.CommandLine;
using Kvm.Cli.Parsing;
using Kvm.Cli.Text;
using Kvm.Manager;
using Kvm.Vmm;

namespace Kvm.Cli.Verbs.Machines;

/// <summary><c>kvmsharp ps</c>.</summary>
internal sealed class PsVerb : Verb
{
    private readonly SwitchOption _all = new("--all", "Which", "Those that do not run, too.", "-a");

    public PsVerb()
        : base("ps", "Lists machines that run: name, state, since when, process, how often started again, how the last run ended.")
    {
        Add(_all);
        Examples =
        [
            ("kvmsharp ps", "those that run"),
            ("kvmsharp ps --all --json | jq -r '.vms[] | select(.state == \"crashed\").name'", "those that crashed"),
        ];
    }

    public override int Execute(ParseResult result, GlobalOptions global)
    {
        bool all = _all.IsGiven(result) || global.Json;
        var entries = new VmManager(ManagerOptions.OfThisUser()).List()
            .Where(entry => all || entry.Record is null || Lifecycle.IsActive(entry.Record.State) || entry.Record.RestartAt is not null).ToList();
        StandardStreams.Output(global.Json ? JsonText.Of(json => MachineText.Write(json, entries)) : MachineText.Table(entries, DateTimeOffset.UtcNow));
        return ExitCode.Success;
    }
}
