using System.Diagnostics;
using Kvm.Vmm;
using Kvm.Vmm.Agent;
using Kvm.Vmm.Snapshots;

namespace Kvm.Testing;

/// <summary>A guest at one moment: its processors, its devices and its memory, in the memory of this process. Immutable; disks are not part of it.</summary>
public sealed class GuestSnapshot
{
    internal GuestSnapshot(MachineSnapshot machine, long console) => (Machine, Console) = (machine, console);

    /// <summary>What the guest had printed by then (<see cref="GuestConsole.Position"/>).</summary>
    public long Console { get; }

    internal MachineSnapshot Machine { get; }
}

/// <summary>The guest as it was.</summary>
public sealed partial class Guest
{
    /// <summary>How long a guest that goes on from a snapshot may take until its agent answers.</summary>
    private static readonly TimeSpan s_return = TimeSpan.FromSeconds(30);

    /// <summary>Takes the guest's state, for <see cref="RestoreAsync"/>: it stands still meanwhile, and goes on. What it writes to disks later is not undone by a restore.</summary>
    /// <param name="cancellation">Gives up before it is taken.</param>
    /// <exception cref="GuestEndedException">The guest has ended.</exception>
    /// <exception cref="VmmException">Its state is not to be had.</exception>
    public async Task<GuestSnapshot> SnapshotAsync(CancellationToken cancellation = default)
    {
        await _changing.WaitAsync(cancellation).ConfigureAwait(false);
        try
        {
            var run = Run;
            if (run.Machine.Ended.IsCompleted)
                throw await EndOfAsync(run).ConfigureAwait(false);
            return await Task.Run(() => Take(run.Machine), cancellation).ConfigureAwait(false);
        }
        finally
        {
            _changing.Release();
        }
    }

    /// <summary>
    /// Sets the guest back to a state, whether it runs or has ended: programs that were running then run, and what was asked of it since fails. Its connections by sockets (AF_VSOCK)
    /// have ended, its clock is right, and its agent answers. What it printed since is forgotten.
    /// </summary>
    /// <param name="snapshot">One of this guest's, or of one with the same options.</param>
    /// <param name="cancellation">Gives up; the guest has ended then.</param>
    /// <exception cref="GuestEndedException">It ended before its agent answered.</exception>
    /// <exception cref="VmmException">The state is not this machine's.</exception>
    public async Task RestoreAsync(GuestSnapshot snapshot, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(snapshot);
        await _changing.WaitAsync(cancellation).ConfigureAwait(false);
        try
        {
            await Run.DisposeAsync().ConfigureAwait(false);
            _console.Rewind(snapshot.Console);
            await BeginAsync(() => GuestMachine.Restore(_config, _console, snapshot.Machine), returns: true, cancellation).ConfigureAwait(false);
        }
        finally
        {
            _changing.Release();
        }
    }

    /// <summary>
    /// Connects with the agent of a guest that goes on, and sets its clock. The guest learns by an event that its connections have ended, and ends all it has by then: a connection that outlives a
    /// question was made afterwards.
    /// </summary>
    private async Task<AgentClient> ReconnectAsync(CancellationToken cancellation)
    {
        for (long start = Stopwatch.GetTimestamp(); ;)
        {
            AgentClient? agent = null;
            try
            {
                agent = await AgentClient.ConnectAsync(SocketPath, s_return, cancellation).ConfigureAwait(false);
                await agent.SetClockAsync(DateTimeOffset.UtcNow, cancellation).ConfigureAwait(false);
                return agent;
            }
            catch (AgentException e) when (agent is not null && e.Error == AgentErrors.Refused)
            {
                // Not the guest's administrator: its clock stays.
                return agent;
            }
            catch (Exception e)
            {
                if (agent is not null)
                    await agent.DisposeAsync().ConfigureAwait(false);
                if (e is not AgentException { Error: var error } || error != AgentErrors.Lost || Stopwatch.GetElapsedTime(start) > s_return)
                    throw;
            }
        }
    }

    private GuestSnapshot Take(VirtualMachine machine)
    {
        machine.Pause();
        try
        {
            return new GuestSnapshot(machine.Save(), _console.Position);
        }
        finally
        {
            machine.Resume();
        }
    }
}
