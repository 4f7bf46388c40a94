using System.CommandLine;
using Kvm.Cli.Parsing;
using Kvm.Cli.Text;
using Kvm.Manager;
using Kvm.Vmm;

namespace Kvm.Cli.Verbs.Machines;

/// <summary><c>kvmsharp inspect</c>.</summary>
internal sealed class InspectVerb : MachineVerb
{
    private readonly SwitchOption _map = new("--map", Doing, "Also every virtual resource with what backs it, while it runs: vCPU and thread, guest and host address, device and file.");

    public InspectVerb()
        : base("inspect", "Shows all that is known of a machine: its state, its processes, how it ended, its configuration.")
    {
        Add(_map);
        Examples =
        [
            ("kvmsharp inspect web --json | jq .end", "how its last run ended"),
            ("kvmsharp inspect web --map", "which thread runs which vCPU on which CPU, which host address is behind which guest address"),
        ];
    }

    protected override int Execute(VmManager manager, string name, ParseResult result, GlobalOptions global, CancellationToken cancel)
    {
        var record = manager.Get(name);
        var map = _map.IsGiven(result) ? manager.Map(name) : null;
        StandardStreams.Output(global.Json ? JsonText.Of(json =>
        {
            json.WriteStartObject();
            VmRecordJson.WriteMembers(json, record);
            if (map is { } known)
            {
                json.WritePropertyName("map");
                known.WriteTo(json);
            }

            json.WriteEndObject();
        }) : MachineText.Details(record, manager.Store.FolderOf(name)) + (map is { } shown ? ResourceMapText.Of(shown) : ""));
        return ExitCode.Success;
    }
}
