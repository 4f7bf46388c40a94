using System.CommandLine;
using Kvm.Cli.Parsing;
using Kvm.Cli.Running;
using Kvm.Vmm;
using Kvm.Vmm.Agent;
using Kvm.Vmm.Host;

namespace Kvm.Cli.Verbs.Guests;

/// <summary><c>kvmsharp agent</c>: the agent, to be put into a guest.</summary>
internal sealed class AgentVerb : Verb
{
    public AgentVerb()
        : base("agent", "Writes the guest's agent, a static program for Linux on x86-64, to standard output.")
    {
        Examples =
        [
            ("kvmsharp agent > rootfs/usr/local/bin/kvmsharp-agent; chmod +x rootfs/usr/local/bin/kvmsharp-agent", "for a guest of your own (docs/agent-protocol.md says how it is started)"),
        ];
    }

    public override int Execute(ParseResult result, GlobalOptions global)
    {
        if (TerminalDescriptors.IsTerminal(TerminalDescriptors.Output))
            throw new VmmException(UsageErrors.Incomplete, "the agent is a program, nothing to read: kvmsharp agent > kvmsharp-agent");
        using var output = new DescriptorStream(TerminalDescriptors.Output);
        output.Write(GuestAgent.Program());
        return ExitCode.Success;
    }
}
