using System.CommandLine;
using Kvm.Cli.Parsing;
using Kvm.Cli.Text;
using Kvm.Manager;
using Kvm.Vmm;

namespace Kvm.Cli.Verbs.Machines;

/// <summary><c>kvmsharp inspect</c>.</summary>
internal sealed class InspectVerb : MachineVerb
{
    public InspectVerb()
        : base("inspect", "Shows all that is known of a machine: its state, its processes, how it ended, its configuration.") =>
        Examples = [("kvmsharp inspect web --json | jq .end", "how its last run ended")];

    protected override int Execute(VmManager manager, string name, ParseResult result, GlobalOptions global, CancellationToken cancel)
    {
        var record = manager.Get(name);
        if (global.Json)
            return Show(record, global);
        StandardStreams.Output(MachineText.Details(record, manager.Store.FolderOf(name)));
        return ExitCode.Success;
    }
}
