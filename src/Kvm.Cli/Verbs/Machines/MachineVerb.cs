using System.CommandLine;
using Kvm.Cli.Parsing;
using Kvm.Cli.Running;
using Kvm.Cli.Text;
using Kvm.Manager;
using Kvm.Vmm;
using Kvm.Vmm.Configuration;

namespace Kvm.Cli.Verbs.Machines;

/// <summary>A verb that does something to one machine of the state folder, by its name.</summary>
internal abstract class MachineVerb : Verb
{
    protected const string Doing = "How";

    private readonly WordArgument _name = new("NAME", "The machine.");

    protected MachineVerb(string name, string description)
        : base(name, description) => Add(_name);

    public sealed override int Execute(ParseResult result, GlobalOptions global)
    {
        string name = VmName.Check(_name.Text(result) ?? throw new VmmException(UsageErrors.Incomplete, $"{Name} needs a NAME"));
        return Cancellable.Run(cancel => Execute(new VmManager(ManagerOptions.OfThisUser()), name, result, global, cancel));
    }

    protected abstract int Execute(VmManager manager, string name, ParseResult result, GlobalOptions global, CancellationToken cancel);

    /// <summary>Says what a machine is now.</summary>
    protected static int Show(VmRecord record, GlobalOptions global) => MachineText.Show(record, MachineText.Line(record), global);
}
