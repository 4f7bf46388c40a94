using Kvm.Vmm;
using Kvm.Vmm.Agent;
using Kvm.Vmm.Configuration;
using Kvm.Vmm.Host;

namespace Kvm.Cli.Verbs.Guests;

/// <summary>Where a guest's agent is asked, by the guest's name.</summary>
internal static class GuestNames
{
    /// <summary>How long a guest that is there may take until its agent listens.</summary>
    public static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    /// <summary>The Unix socket of a guest's sockets.</summary>
    /// <param name="name">Its name, or, with a slash, the path that --vsock was given.</param>
    /// <exception cref="VmmException">No guest can have this name.</exception>
    public static string SocketOf(string name) => name.Contains('/', StringComparison.Ordinal) ? name
        : AgentClient.PathOf(Folders.Runtime, name) ?? throw new AgentException(AgentErrors.NoAgent, $"{VisibleText.Quote(name, 80)} is no name that a guest could have");
}
