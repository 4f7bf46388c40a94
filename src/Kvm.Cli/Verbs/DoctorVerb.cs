using System.CommandLine;
using Kvm.Cli.Parsing;
using Kvm.Cli.Text;
using Kvm.Vmm.Host;
using Kvm.Vmm.Probing;

namespace Kvm.Cli.Verbs;

/// <summary><c>kvmsharp doctor</c>: can this host run guests?</summary>
internal sealed class DoctorVerb : Verb
{
    public DoctorVerb()
        : base("doctor", "Examines whether this host can run guests: each check with its cause and the command that mends it.")
    {
        Examples =
        [
            ("kvmsharp doctor", "what works, what does not, what to do"),
            ("kvmsharp doctor --json | jq -r .backend", "for scripts: what is behind /dev/kvm"),
        ];
        Notes = ["Exit codes: 0 some engine can run guests here; 4 none can."];
    }

    public override int Execute(ParseResult result, GlobalOptions global)
    {
        var report = Doctor.Examine();
        var colour = TerminalDescriptors.IsTerminal(TerminalDescriptors.Output) && Environment.GetEnvironmentVariable("NO_COLOR") is null or "";
        StandardStreams.Output(global.Json
            ? JsonText.Of(json => DoctorJson.Write(json, report))
            : DoctorText.Of(report, colour, global.Verbose));
        return report.ExitCode;
    }
}
