using System.CommandLine;
using Kvm.Cli.Parsing;
using Kvm.Manager;

namespace Kvm.Cli.Verbs.Machines;

/// <summary><c>kvmsharp start</c>.</summary>
internal sealed class StartVerb : MachineVerb
{
    public StartVerb()
        : base("start", "Starts a machine in a process of its own and waits until its guest runs.") =>
        Examples = [("kvmsharp start web", "and see what it says: kvmsharp logs web")];

    protected override int Execute(VmManager manager, string name, ParseResult result, GlobalOptions global, CancellationToken cancel) =>
        Show(manager.Start(name, cancel), global);
}
