using System.Globalization;
using System.Text.Json;
using Kvm.Vmm;
using Kvm.Vmm.Configuration;
using Kvm.Vmm.Control;
using Kvm.Vmm.Host;

namespace Kvm.Manager.Working;

/// <summary>
/// How the process is found that runs the machines made with <c>--shared</c>: one for each state folder, started when the first such machine is,
/// asked at a socket of the runtime folder (<see cref="SharedHostServer"/>). Thread-safe: no state.
/// </summary>
internal static class SharedHost
{
    /// <summary>What the process calls itself instead of a machine's name.</summary>
    public const string Role = "host";

    private const int MostTries = 5;

    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(60);

    /// <summary>The socket. Two state folders in one runtime folder have two.</summary>
    public static string SocketOf(ManagerOptions options) =>
        Path.Combine(options.RuntimeFolder, string.Create(CultureInfo.InvariantCulture, $"host-{VmStore.PlaceOf(options.StateFolder) & 0xffff_ffff:x8}.sock"));

    /// <summary>What the process says to people.</summary>
    public static string LogOf(ManagerOptions options) => Path.Combine(options.StateFolder, "host.log");

    /// <summary>Has the process take a machine, whose record is to name it when its lock is let go. Starts the process where there is none.</summary>
    /// <param name="options">Where machines are.</param>
    /// <param name="name">The machine, whose lock the caller holds.</param>
    /// <param name="generation">The start.</param>
    /// <param name="cancel">Ends the wait.</param>
    /// <returns>The process, and what to wait at for the machine to be up.</returns>
    /// <exception cref="VmmException">KVM0607: there is no such process, and none can be started.</exception>
    public static SharedPlace Take(ManagerOptions options, string name, long generation, CancellationToken cancel)
    {
        for (int i = 0; i < MostTries; i++)
        {
            var client = Connect(options) ?? StartOne(options, cancel);
            try
            {
                client.Ask(string.Create(CultureInfo.InvariantCulture, $"start {name} {generation}"));
                if (client.TryRead(out var line) && ProcessOf(line) is { } process)
                    return new SharedPlace(client, process);
            }
            catch (VmmException e) when (e.Error == ControlErrors.NoGuest)
            {
                // As below.
            }

            // It ended just now, as one does that has had no machine for a while: the next one is ours to start.
            client.Dispose();
        }

        throw new VmmException(ManagerErrors.NoWorker, $"{name}: the process of shared machines ends as soon as it is started; see {VisibleText.Quote(LogOf(options), 200)}");
    }

    /// <summary>Waits until a start of a machine has ended and its record says so.</summary>
    /// <param name="options">Where machines are.</param>
    /// <param name="record">The machine.</param>
    /// <param name="patience">How long at most.</param>
    /// <param name="cancel">Ends the wait.</param>
    /// <returns>False where it has not; true also where the process has ended.</returns>
    public static bool WaitForEnd(ManagerOptions options, VmRecord record, TimeSpan patience, CancellationToken cancel)
    {
        using var client = Connect(options);
        if (client is null)
            return record.Worker is not { IsAlive: true };
        bool Ended()
        {
            client.Ask(string.Create(CultureInfo.InvariantCulture, $"ended {record.Name} {record.Generation}"));
            return client.TryRead(out _);
        }

        return Within(client, patience, Ended, cancel) || record.Worker is not { IsAlive: true };
    }

    /// <summary>Does something that blocks on a client, for as long as this.</summary>
    public static bool Within(ControlClient client, TimeSpan patience, Func<bool> work, CancellationToken cancel)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        limit.CancelAfter(patience);
        using var ending = limit.Token.Register(client.Cancel);
        bool done;
        try
        {
            done = work();
        }
        catch (VmmException e) when (e.Error == ControlErrors.NoGuest)
        {
            done = false;
        }

        cancel.ThrowIfCancellationRequested();
        return done;
    }

    private static ControlClient? Connect(ManagerOptions options) => ControlClient.TryConnectTo(SocketOf(options), "the process of shared machines");

    private static ControlClient StartOne(ManagerOptions options, CancellationToken cancel)
    {
        try
        {
            Directory.CreateDirectory(options.RuntimeFolder, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
            // One starts it, the others find it.
            using var starting = HostLock.TryAcquire(SocketOf(options) + ".lock", 0, s_patience, cancel);
            if (Connect(options) is { } other)
                return other;
            using var process = StartedProcess.Start(options.Program, ["worker", Role, Role, "0", options.StateFolder, options.RuntimeFolder], LogOf(options));
            process.WaitForWord(s_patience, cancel);
            return Connect(options) ?? throw new VmmException(ManagerErrors.NoWorker, $"the process of shared machines does not answer; see {VisibleText.Quote(LogOf(options), 200)}");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new VmmException(ManagerErrors.NoWorker, $"the process of shared machines cannot be started: {HostFailureText.Of(e)}", e);
        }
    }

    private static HostProcess? ProcessOf(ReadOnlyMemory<byte> line)
    {
        try
        {
            using var answer = JsonDocument.Parse(line);
            return answer.RootElement.TryGetProperty("taken", out _)
                ? new HostProcess(answer.RootElement.GetProperty("process").GetInt32(), answer.RootElement.GetProperty("startTime").GetInt64())
                : null;
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException or KeyNotFoundException or FormatException)
        {
            return null;
        }
    }
}

/// <summary>A machine's place in the process that runs it. Not thread-safe.</summary>
/// <param name="client">The connection on which the machine's start was asked for.</param>
/// <param name="process">The process.</param>
internal sealed class SharedPlace(ControlClient client, HostProcess process) : ILaunched
{
    /// <inheritdoc/>
    public HostProcess Process => process;

    /// <inheritdoc/>
    public bool WaitForWord(TimeSpan patience, CancellationToken cancel) => SharedHost.Within(client, patience, () => client.TryRead(out _), cancel);

    /// <inheritdoc/>
    public void Dispose() => client.Dispose();
}

/// <summary>What runs a machine that was started: a process of its own, or one that has others too.</summary>
internal interface ILaunched : IDisposable
{
    /// <summary>The process.</summary>
    HostProcess Process { get; }

    /// <summary>Waits until the machine runs or has failed.</summary>
    /// <returns>False where that is not known: it takes longer, or the process has ended.</returns>
    bool WaitForWord(TimeSpan patience, CancellationToken cancel);
}

/// <summary>A process of a machine's own.</summary>
internal sealed class OwnProcess(StartedProcess started) : ILaunched
{
    /// <inheritdoc/>
    public HostProcess Process => started.Process;

    /// <inheritdoc/>
    public bool WaitForWord(TimeSpan patience, CancellationToken cancel) => started.WaitForWord(patience, cancel);

    /// <inheritdoc/>
    public void Dispose() => started.Dispose();
}
