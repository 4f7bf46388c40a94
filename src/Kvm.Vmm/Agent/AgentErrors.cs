namespace Kvm.Vmm.Agent;

/// <summary>The errors of talking to a guest's agent, KVM0480–KVM0489 (exit code 1 unless said).</summary>
public static class AgentErrors
{
    /// <summary>Nobody answers at the agent's port.</summary>
    public static readonly ErrorInfo NoAgent = new("KVM0480", "no agent answers in the guest",
        "The guest has ended or is still starting, has no agent or no sockets (run --agent), or belongs to another user.",
        "Start it with one: kvmsharp run KERNEL --agent --name NAME; put one into a guest of your own: docs/agent-protocol.md");

    /// <summary>The connection ended before what was asked for had.</summary>
    public static readonly ErrorInfo Lost = new("KVM0481", "the guest went away in the middle",
        "It powered off, crashed, was stopped or restored, or its agent was killed.",
        "See how it ended: its console, and the report of run --report FILE");

    /// <summary>What comes is nothing that an agent says.</summary>
    public static readonly ErrorInfo BadProtocol = new("KVM0482", "the guest's agent does not keep to the protocol",
        "Another program listens at its port, its version is another one, or the guest means harm.",
        "Take the agent of this version: kvmsharp agent > kvmsharp-agent");

    /// <summary>The program cannot be started.</summary>
    public static readonly ErrorInfo NoProgram = new("KVM0483", "the guest cannot start the program",
        "The guest has no such program or folder, it may not be executed, or there is no memory or terminal for it.",
        "Name it by its whole path; see what there is: kvmsharp exec NAME ls -l /bin");

    /// <summary>A file in the guest.</summary>
    public static readonly ErrorInfo GuestFile = new("KVM0484", "a file of the guest's cannot be copied",
        "It is not there, may not be read or written, is no file or folder, or the guest has no room for it.",
        "See what is there: kvmsharp exec NAME ls -la PATH; a folder needs cp -r");

    /// <summary>A file of the host's.</summary>
    public static readonly ErrorInfo HostFile = new("KVM0485", "a file of this host's cannot be copied",
        "It is not there, may not be read or written, is no file or folder, or the disk is full.",
        "Check it and its folder: ls -la PATH; df PATH; a folder needs cp -r");

    /// <summary>The agent may not do it, or cannot.</summary>
    public static readonly ErrorInfo Refused = new("KVM0486", "the guest's agent cannot do that",
        "It does not run as the guest's administrator, or the guest's kernel refuses.",
        "Start the agent as root; see what the guest's kernel says: kvmsharp exec NAME dmesg");

    /// <summary>The agent is not in this build.</summary>
    public static readonly ErrorInfo NotBuiltIn = new("KVM0487", "this build has no agent in it",
        "It was compiled where scripts/guest-kernel had not made the agent.",
        "Make it and build again: scripts/guest-kernel agent; scripts/build --force");

    /// <summary>The program took too long.</summary>
    public static readonly ErrorInfo TimedOut = new("KVM0488", "the program took too long and was killed",
        "It ran longer than --timeout allows.",
        "Give it more time: kvmsharp exec --timeout 10m NAME CMD")
    { ExitCode = ExitCode.Timeout };

    /// <summary>All errors of this class in ascending order of id.</summary>
    public static IReadOnlyList<ErrorInfo> All => [NoAgent, Lost, BadProtocol, NoProgram, GuestFile, HostFile, Refused, NotBuiltIn, TimedOut];
}
