using System.CommandLine;
using Kvm.Cli.Parsing;
using Kvm.Manager;

namespace Kvm.Cli.Verbs.Machines;

/// <summary><c>kvmsharp kill</c>.</summary>
internal sealed class KillVerb : MachineVerb
{
    public KillVerb()
        : base("kill", "Ends a machine at once, as pulling the plug would.") =>
        Examples = [("kvmsharp kill web", "what its guest had not written to its disks is lost")];

    protected override int Execute(VmManager manager, string name, ParseResult result, GlobalOptions global, CancellationToken cancel) =>
        Show(manager.Kill(name, cancel), global);
}
