using Kvm.Vmm.Agent;

namespace Kvm.Testing;

/// <summary>Programs in the guest, and files of it.</summary>
public sealed partial class Guest
{
    /// <summary>Runs a program in the guest to its end.</summary>
    /// <param name="words">The program, looked for in the folders of PATH, and its arguments.</param>
    /// <returns>Exit code, output and errors, 16 MiB of each at most.</returns>
    /// <exception cref="AgentException">The program cannot be started.</exception>
    /// <exception cref="GuestEndedException">The guest ended meanwhile.</exception>
    public Task<AgentResult> ExecAsync(params IReadOnlyList<string> words) => ExecAsync(new AgentCommand(words));

    /// <summary>Runs a program in the guest to its end.</summary>
    /// <param name="command">The program, its folder, its variables.</param>
    /// <param name="cancellation">Kills it.</param>
    /// <returns>Exit code, output and errors.</returns>
    /// <exception cref="AgentException">The program cannot be started.</exception>
    /// <exception cref="GuestEndedException">The guest ended meanwhile.</exception>
    public Task<AgentResult> ExecAsync(AgentCommand command, CancellationToken cancellation = default) =>
        AskAsync(agent => agent.ExecAsync(command, cancellation));

    /// <summary>Runs a program whose exit code must be 0.</summary>
    /// <param name="words">The program and its arguments.</param>
    /// <returns>Its output, without the line end at the end.</returns>
    /// <exception cref="GuestException">It returned something else; the message has its output.</exception>
    public async Task<string> CheckAsync(params IReadOnlyList<string> words)
    {
        var result = await ExecAsync(words).ConfigureAwait(false);
        return result.ExitCode == 0
            ? result.Output.TrimEnd('\n')
            : throw new GuestException($"{string.Join(' ', words)} returned {result.ExitCode} in {Name}\n{result.Output}{result.Errors}");
    }

    /// <summary>Runs a program with streams of the caller's, of any length.</summary>
    /// <param name="command">The program.</param>
    /// <param name="input">What it reads; null for nothing.</param>
    /// <param name="output">Where its standard output goes; null for nowhere.</param>
    /// <param name="errors">Where its standard error goes; null for nowhere.</param>
    /// <param name="cancellation">Kills it.</param>
    /// <returns>How it ended.</returns>
    public Task<AgentExit> RunAsync(AgentCommand command, Stream? input = null, Stream? output = null, Stream? errors = null, CancellationToken cancellation = default) =>
        AskAsync(agent => agent.RunAsync(command, input, output, errors, cancellation));

    /// <summary>Starts a program that runs beside the test. Disposing of it kills the program.</summary>
    /// <param name="words">The program and its arguments.</param>
    /// <returns>The program, with its streams; one that nobody reads holds the program up when 256 KiB of it wait.</returns>
    public Task<AgentProcess> StartProgramAsync(params IReadOnlyList<string> words) => StartProgramAsync(new AgentCommand(words));

    /// <summary>Starts a program that runs beside the test. Disposing of it kills the program.</summary>
    /// <param name="command">The program.</param>
    /// <param name="cancellation">Gives up before it has started.</param>
    /// <returns>The program, with its streams.</returns>
    public Task<AgentProcess> StartProgramAsync(AgentCommand command, CancellationToken cancellation = default) =>
        AskAsync(agent => agent.StartAsync(command, cancellation));

    /// <summary>Copies a file or a folder, with all that is in it, to the guest.</summary>
    /// <param name="hostPath">What is copied.</param>
    /// <param name="guestPath">A folder of the guest's, into which it goes under its own name; or the name it gets.</param>
    /// <param name="cancellation">Gives up.</param>
    /// <returns>What of a folder was not copied, and why: devices, sockets, pipes.</returns>
    /// <exception cref="AgentException">It cannot be read here or not be written there.</exception>
    /// <exception cref="GuestEndedException">The guest ended meanwhile.</exception>
    public Task<IReadOnlyList<string>> CopyToAsync(string hostPath, string guestPath, CancellationToken cancellation = default) =>
        AskAsync(agent => agent.CopyToAsync(hostPath, guestPath, recursive: true, cancellation));

    /// <summary>Copies a file or a folder, with all that is in it, from the guest.</summary>
    /// <param name="guestPath">What is copied.</param>
    /// <param name="hostPath">A folder of this host's, into which it goes under its own name; or the name it gets. Nothing is made outside of it.</param>
    /// <param name="cancellation">Gives up.</param>
    /// <returns>What of a folder was not copied, and why: devices, sockets, pipes.</returns>
    /// <exception cref="AgentException">It cannot be read there or not be written here.</exception>
    /// <exception cref="GuestEndedException">The guest ended meanwhile.</exception>
    public Task<IReadOnlyList<string>> CopyFromAsync(string guestPath, string hostPath, CancellationToken cancellation = default) =>
        AskAsync(agent => agent.CopyFromAsync(guestPath, hostPath, recursive: true, cancellation));

    /// <summary>What a guest's end makes of a question to its agent is the guest's end, not a lost connection.</summary>
    private Task<T> AskAsync<T>(Func<AgentClient, Task<T>> ask) => AskAsync(Run, ask);

    private async Task<T> AskAsync<T>(GuestRun run, Func<AgentClient, Task<T>> ask)
    {
        if (run.Machine.Ended.IsCompleted)
            throw await EndOfAsync(run).ConfigureAwait(false);
        try
        {
            return await ask(run.Agent!).ConfigureAwait(false);
        }
        catch (AgentException e) when (e.Error == AgentErrors.Lost || e.Error == AgentErrors.NoAgent)
        {
            // The connection breaks a moment before the machine has ended; one that breaks otherwise is the agent's fault.
            if (await Task.WhenAny(run.Machine.Ended, Task.Delay(s_farewell)).ConfigureAwait(false) != run.Machine.Ended)
                throw;
            throw await EndOfAsync(run, e).ConfigureAwait(false);
        }
    }
}
