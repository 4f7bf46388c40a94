using Kvm.Vmm;
using Kvm.Vmm.Agent;

namespace Kvm.Manager.Working;

/// <summary>
/// What the worker asks its guest's agent of its own accord, on tasks that nobody waits for: a guest without an agent, or whose agent does not answer, goes without.
/// </summary>
/// <param name="machine">The guest.</param>
/// <param name="socketPath">The Unix socket of its sockets.</param>
/// <param name="time">The clock.</param>
internal sealed class AgentErrands(VirtualMachine machine, string socketPath, TimeProvider time)
{
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(10);

    /// <summary>How long a guest that listens to its power button has to do as it says.</summary>
    private static readonly TimeSpan s_buttonGrace = TimeSpan.FromSeconds(3);

    /// <summary>Its clock is behind by the time it stood still: it is set.</summary>
    public void SetClock() => Ask((agent, cancel) => agent.SetClockAsync(time.GetUtcNow(), cancel), TimeSpan.Zero);

    /// <summary>It is to power off.</summary>
    /// <param name="listens">Whether it was told so by its power button, and may be about to.</param>
    public void PowerOff(bool listens) => Ask((agent, cancel) => agent.ShutdownAsync(cancel: cancel), listens ? s_buttonGrace : TimeSpan.Zero);

    private void Ask(Func<AgentClient, CancellationToken, Task> what, TimeSpan after) => _ = Task.Run(async () =>
    {
        try
        {
            if (after > TimeSpan.Zero)
                await Task.WhenAny(machine.Ended, Task.Delay(after, time)).ConfigureAwait(false);
            if (machine.Ended.IsCompleted)
                return;
            using var limit = new CancellationTokenSource(s_patience, time);
            await using var agent = await AgentClient.ConnectAsync(socketPath, s_patience, limit.Token).ConfigureAwait(false);
            await what(agent, limit.Token).ConfigureAwait(false);
        }
        catch (Exception e) when (e is AgentException or OperationCanceledException or IOException or ObjectDisposedException)
        {
            // It has none that answers, or ends.
        }
    });
}
