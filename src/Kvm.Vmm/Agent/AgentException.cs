namespace Kvm.Vmm.Agent;

/// <summary>What was asked of a guest's agent did not come about: one of <see cref="AgentErrors"/>.</summary>
/// <param name="error">The kind of failure.</param>
/// <param name="detail">This occurrence, one line.</param>
/// <param name="inner">The exception behind it, or null.</param>
public sealed class AgentException(ErrorInfo error, string detail, Exception? inner = null) : VmmException(error, detail, inner)
{
    /// <summary>The guest's error number (errno), where the guest said one; else 0.</summary>
    public int GuestErrno { get; init; }

    /// <summary>The connection ended in the middle.</summary>
    internal static AgentException Lost(Exception? inner = null) => new(AgentErrors.Lost, "the connection with its agent has ended", inner);

    /// <summary>The agent said what no agent says.</summary>
    internal static AgentException Bad(string what) => new(AgentErrors.BadProtocol, what);
}
