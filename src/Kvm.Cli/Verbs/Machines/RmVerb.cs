using System.CommandLine;
using Kvm.Cli.Parsing;
using Kvm.Cli.Text;
using Kvm.Manager;
using Kvm.Vmm;

namespace Kvm.Cli.Verbs.Machines;

/// <summary><c>kvmsharp rm</c>.</summary>
internal sealed class RmVerb : MachineVerb
{
    private readonly SwitchOption _force = new("--force", Doing, "Ends it first where it runs, and removes it also where its record cannot be read.", "-f");

    public RmVerb()
        : base("rm", "Removes a machine: its record and its logs. Its disks stay.")
    {
        Add(_force);
        Examples =
        [
            ("kvmsharp rm web", "a machine that does not run"),
            ("kvmsharp rm --force web", "whatever it does"),
        ];
    }

    protected override int Execute(VmManager manager, string name, ParseResult result, GlobalOptions global, CancellationToken cancel)
    {
        manager.Remove(name, _force.IsGiven(result), cancel);
        StandardStreams.Output(global.Json ? JsonText.Of(json =>
        {
            json.WriteStartObject();
            json.WriteString("removed", name);
            json.WriteEndObject();
        }) : $"{name}: removed\n");
        return ExitCode.Success;
    }
}
