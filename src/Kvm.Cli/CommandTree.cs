using System.CommandLine;
using Kvm.Cli.Parsing;
using Kvm.Cli.Verbs;
using Kvm.Cli.Verbs.Guests;
using Kvm.Cli.Verbs.Machines;
using Kvm.Cli.Verbs.Storage;

namespace Kvm.Cli;

/// <summary>All verbs and options: what is parsed, helped with and completed.</summary>
internal sealed class CommandTree
{
    private const string Everywhere = "Everywhere";

    public CommandTree()
    {
        Root = new Command("kvmsharp", "Runs virtual machines on Linux, over KVM or with a processor in software.")
        {
            Help, Json, Verbose, Version,
            new RunVerb(),
            new DoctorVerb(),
            new DiskVerb(),
            new PoolVerb(),
            new VolumeVerb(),
            new SnapshotVerb(),
            new RestoreVerb(),
            new PagerVerb(),
            new TemplateVerb(),
            new BackupVerb(),
            new CheckpointVerb(),
            new BackVerb(),
            new TranslateVerb(),
            new SchedVerb(),
            new TraceVerb(),
            new NetVerb(),
            new CreateVerb(),
            new CloneVerb(),
            new StartVerb(),
            new StopVerb(),
            new KillVerb(),
            new PauseVerb(),
            new ResumeVerb(),
            new RmVerb(),
            new PsVerb(),
            new InspectVerb(),
            new LogsVerb(),
            new ConsoleVerb(),
            new EventsVerb(),
            new ServeVerb(),
            new WorkerVerb(),
            new ExecVerb(),
            new CpVerb(),
            new AgentVerb(),
            new StatsVerb(),
            new FirecrackerVerb(),
            new ExplainVerb(),
            new LabVerb(),
            new CompletionVerb(this),
        };
        // Without an action of its own the parser would call a missing verb an error in its words.
        Root.SetAction(_ => 0);
    }

    public Command Root { get; }

    public SwitchOption Help { get; } = new("--help", Everywhere, "Says what this verb does and takes.", "-h", "-?") { Recursive = true };

    public SwitchOption Json { get; } = new("--json", Everywhere,
        "Prints one JSON document on standard output and nothing else there; messages go to standard error.")
    { Recursive = true };

    public SwitchOption Verbose { get; } = new("--verbose", Everywhere,
        "Says more; of an error also where in the program it was noticed.")
    { Recursive = true };

    public SwitchOption Version { get; } = new("--version", Everywhere, "Prints the version of the program and of its runtime.");
}
