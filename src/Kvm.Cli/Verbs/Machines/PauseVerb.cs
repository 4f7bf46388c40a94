using System.CommandLine;
using Kvm.Cli.Parsing;
using Kvm.Manager;

namespace Kvm.Cli.Verbs.Machines;

/// <summary><c>kvmsharp pause</c>.</summary>
internal sealed class PauseVerb : MachineVerb
{
    public PauseVerb()
        : base("pause", "Has a machine's guest stand still; nothing that it asked for is lost.") =>
        Examples = [("kvmsharp pause web && kvmsharp resume web", "it goes on where it stopped")];

    protected override int Execute(VmManager manager, string name, ParseResult result, GlobalOptions global, CancellationToken cancel) =>
        Show(manager.Pause(name), global);
}

/// <summary><c>kvmsharp resume</c>.</summary>
internal sealed class ResumeVerb : MachineVerb
{
    public ResumeVerb()
        : base("resume", "Lets a paused machine's guest go on.") =>
        Examples = [("kvmsharp resume web", "where pause stopped it")];

    protected override int Execute(VmManager manager, string name, ParseResult result, GlobalOptions global, CancellationToken cancel) =>
        Show(manager.Resume(name), global);
}
