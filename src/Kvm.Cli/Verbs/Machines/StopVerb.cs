using System.CommandLine;
using Kvm.Cli.Parsing;
using Kvm.Manager;

namespace Kvm.Cli.Verbs.Machines;

/// <summary><c>kvmsharp stop</c>.</summary>
internal sealed class StopVerb : MachineVerb
{
    private static readonly TimeSpan s_timeout = TimeSpan.FromSeconds(30);

    private readonly ValueOption _timeout = new("--timeout", "DURATION", Doing, "How long the guest may take to power off before it is ended. [default: 30s]");

    public StopVerb()
        : base("stop", "Presses a machine's power button, and ends it where its guest does not power off in time.")
    {
        Add(_timeout);
        Examples =
        [
            ("kvmsharp stop web", "the guest saves what it has and powers off"),
            ("kvmsharp stop web --timeout 5s --json", "how: \"stop\" if it did, \"stop-timeout\" if it was ended"),
        ];
    }

    protected override int Execute(VmManager manager, string name, ParseResult result, GlobalOptions global, CancellationToken cancel) =>
        Show(manager.Stop(name, _timeout.Text(result) is { } text ? Quantities.Duration("--timeout", text) : s_timeout, cancel), global);
}
