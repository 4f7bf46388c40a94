using System.CommandLine;
using System.Globalization;
using Kvm.Cli.Parsing;
using Kvm.Cli.Text;
using Kvm.Manager;
using Kvm.Manager.Networks;
using Kvm.Manager.Working;
using Kvm.Vmm;
using Kvm.Vmm.Configuration;

namespace Kvm.Cli.Verbs.Machines;

/// <summary><c>kvmsharp worker</c>: what <c>start</c> starts. Nobody types it.</summary>
internal sealed class WorkerVerb : Verb
{
    private readonly WordArgument _name = new("NAME", "The machine.");
    private readonly WordArgument _role = new("ROLE", "run, supervise, host or network.");
    private readonly WordArgument _generation = new("GENERATION", "The start that the process is for.");
    private readonly WordArgument _state = new("STATE", "The state folder.");
    private readonly WordArgument _runtime = new("RUNTIME", "The runtime folder.");

    public WorkerVerb()
        : base("worker", "Runs a machine that start has written down.")
    {
        Hidden = true;
        foreach (var argument in (Argument[])[_name, _role, _generation, _state, _runtime])
            Add(argument);
    }

    public override int Execute(ParseResult result, GlobalOptions global)
    {
        if (_name.Text(result) is not { } name || _state.Text(result) is not { } state || _runtime.Text(result) is not { } runtime
            || !long.TryParse(_generation.Text(result), NumberStyles.None, CultureInfo.InvariantCulture, out long generation))
            throw new VmmException(UsageErrors.Incomplete, "worker is started by start");
        // For whatever else asks for the folders, and for what this process starts in turn.
        Environment.SetEnvironmentVariable("KVMSHARP_STATE", state);
        Environment.SetEnvironmentVariable("KVMSHARP_RUNTIME", runtime);
        // All its paths are from the root on; the folder it was started in is not held.
        Directory.SetCurrentDirectory("/");
        var options = ManagerOptions.OfThisUser();
        return _role.Text(result) switch
        {
            "supervise" => Supervisor.Run(options, name, generation),
            "host" => SharedHostServer.Run(options, Tell),
            NetworkHost.Role => NetworkHost.Run(options, name, generation, Tell),
            var role => Worker.Run(options, name, generation, confined: role == "confined", Tell),
        };
    }

    private static void Tell(string message) => StandardStreams.Error($"kvmsharp: {VisibleText.Escape(message)}\n");
}
