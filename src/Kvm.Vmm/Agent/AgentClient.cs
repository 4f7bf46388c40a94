using System.Buffers.Binary;
using System.Diagnostics;
using Kvm.Vmm.Configuration;

namespace Kvm.Vmm.Agent;

/// <summary>
/// Asks a guest's agent (docs/agent-protocol.md) for programs to be run and files to be copied, by the Unix socket of the guest's sockets. Everything may be
/// called by any thread, as often at once as one likes: each program and each copy has a connection of its own.
/// </summary>
public sealed class AgentClient : IAsyncDisposable
{
    /// <summary>How long a guest that is being started may have no socket yet.</summary>
    private static readonly TimeSpan s_absence = TimeSpan.FromSeconds(2);

    private readonly string _path;
    private readonly AgentLink _link;
    private readonly SemaphoreSlim _asking = new(1, 1);

    private AgentClient(string path, AgentLink link) => (_path, _link) = (path, link);

    /// <summary>How long an agent that answered before may not answer, as when hundreds are asking at once. 10 s unless said.</summary>
    public TimeSpan Patience { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>Where the socket of a guest's sockets is that runs with an agent: <c>vms/NAME.vsock</c> below the runtime folder.</summary>
    /// <param name="runtimeFolder">The runtime folder (<see cref="Host.Folders.Runtime"/>).</param>
    /// <param name="name">The guest's name.</param>
    /// <returns>The path; null for a name that is no file's.</returns>
    public static string? PathOf(string runtimeFolder, string name)
    {
        ArgumentNullException.ThrowIfNull(runtimeFolder);
        ArgumentNullException.ThrowIfNull(name);
        return Control.ControlProtocol.PathOf(runtimeFolder, name) is { } path ? Path.ChangeExtension(path, ".vsock") : null;
    }

    /// <summary>Connects with a guest's agent, as soon as it is there: when this returns, programs can be run.</summary>
    /// <param name="socketPath">The Unix socket of the guest's sockets (<see cref="Virtio.Sockets.VsockConfig.SocketPath"/>).</param>
    /// <param name="patience">How long the guest may take until its agent listens.</param>
    /// <param name="cancel">Gives up.</param>
    /// <exception cref="AgentException"><see cref="AgentErrors.NoAgent"/>: there is no such socket, not after 2 s either, or nobody listened in time; <see cref="AgentErrors.BadProtocol"/>: somebody else does.</exception>
    public static async Task<AgentClient> ConnectAsync(string socketPath, TimeSpan patience, CancellationToken cancel = default)
    {
        ArgumentException.ThrowIfNullOrEmpty(socketPath);
        var link = await AgentLink.OpenAsync(socketPath, patience, patience < s_absence ? patience : s_absence, AgentFrame.Ping, default, cancel).ConfigureAwait(false);
        var client = new AgentClient(socketPath, link);
        try
        {
            await client.ExpectAsync(AgentFrame.Ping, cancel).ConfigureAwait(false);
            return client;
        }
        catch
        {
            link.Dispose();
            throw;
        }
    }

    /// <summary>Asks for an answer.</summary>
    /// <param name="cancel">Gives up; the connection is of no use for this any more.</param>
    /// <returns>The time it took.</returns>
    /// <exception cref="AgentException">The guest is gone.</exception>
    public async Task<TimeSpan> PingAsync(CancellationToken cancel = default)
    {
        long start = Stopwatch.GetTimestamp();
        await AskAsync(AgentFrame.Ping, default, AgentFrame.Ping, cancel).ConfigureAwait(false);
        return Stopwatch.GetElapsedTime(start);
    }

    /// <summary>Sets the guest's clock, as after a restore.</summary>
    /// <param name="time">The time.</param>
    /// <param name="cancel">Gives up.</param>
    /// <exception cref="AgentException">The guest is gone, or refuses (<see cref="AgentErrors.Refused"/>).</exception>
    public Task SetClockAsync(DateTimeOffset time, CancellationToken cancel = default)
    {
        byte[] payload = new byte[8];
        BinaryPrimitives.WriteInt64LittleEndian(payload, (time - DateTimeOffset.UnixEpoch).Ticks * 100);
        return AskAsync(AgentFrame.Clock, payload, AgentFrame.Done, cancel);
    }

    /// <summary>Has the guest power off or reboot in order. Returns when it has begun to.</summary>
    /// <param name="reboot">To reboot.</param>
    /// <param name="cancel">Gives up.</param>
    /// <exception cref="AgentException">The guest is gone.</exception>
    public Task ShutdownAsync(bool reboot = false, CancellationToken cancel = default) =>
        AskAsync(AgentFrame.Shutdown, new byte[] { reboot ? (byte)1 : (byte)0, 0, 0, 0 }, AgentFrame.Done, cancel);

    /// <summary>Starts a program, whose streams are the caller's to read.</summary>
    /// <param name="command">The program.</param>
    /// <param name="cancel">Gives up before it has started.</param>
    /// <exception cref="AgentException">It cannot be started (<see cref="AgentErrors.NoProgram"/>), or the guest is gone.</exception>
    /// <exception cref="ArgumentException">The command is longer than 64 KiB, or has a zero in a text.</exception>
    public Task<AgentProcess> StartAsync(AgentCommand command, CancellationToken cancel = default)
    {
        ArgumentNullException.ThrowIfNull(command);
        return AgentProcess.StartAsync(_path, Patience, command, cancel);
    }

    /// <summary>Runs a program to its end and keeps what it writes (<see cref="AgentCommand.MostCaptured"/>). It finds no input.</summary>
    /// <param name="command">The program.</param>
    /// <param name="cancel">Kills it.</param>
    /// <exception cref="AgentException">It cannot be started (<see cref="AgentErrors.NoProgram"/>), or the guest is gone.</exception>
    public Task<AgentResult> ExecAsync(AgentCommand command, CancellationToken cancel = default) => ExecAsync(command, null, cancel);

    /// <summary>Runs a program to its end and keeps what it writes (<see cref="AgentCommand.MostCaptured"/>).</summary>
    /// <param name="command">The program.</param>
    /// <param name="input">What it reads, to its end; null for nothing.</param>
    /// <param name="cancel">Kills it.</param>
    /// <exception cref="AgentException">It cannot be started (<see cref="AgentErrors.NoProgram"/>), or the guest is gone.</exception>
    public async Task<AgentResult> ExecAsync(AgentCommand command, Stream? input, CancellationToken cancel = default)
    {
        ArgumentNullException.ThrowIfNull(command);
        CapturedStream output = new(command.MostCaptured), errors = new(command.MostCaptured);
        var exit = await RunAsync(command, input, output, errors, cancel).ConfigureAwait(false);
        return new AgentResult(exit, output.Bytes, errors.Bytes, output.IsTruncated || errors.IsTruncated);
    }

    /// <summary>Runs a program of these words to its end and keeps what it writes.</summary>
    /// <param name="words">The program and its arguments.</param>
    /// <exception cref="AgentException">It cannot be started (<see cref="AgentErrors.NoProgram"/>), or the guest is gone.</exception>
    public Task<AgentResult> ExecAsync(params IReadOnlyList<string> words) => ExecAsync(new AgentCommand(words));

    /// <summary>Runs a program to its end with streams of the caller's.</summary>
    /// <param name="command">The program.</param>
    /// <param name="input">What it reads, to its end; null for nothing. Read no further once the program has ended, but for a read that has begun.</param>
    /// <param name="output">Where its standard output goes; null for nowhere.</param>
    /// <param name="errors">Where its standard error goes; null for nowhere.</param>
    /// <param name="cancel">Kills it.</param>
    /// <exception cref="AgentException">It cannot be started (<see cref="AgentErrors.NoProgram"/>), or the guest is gone.</exception>
    public async Task<AgentExit> RunAsync(AgentCommand command, Stream? input, Stream? output, Stream? errors, CancellationToken cancel = default)
    {
        ArgumentNullException.ThrowIfNull(command);
        await using var process = await StartAsync(input is null ? command : command with { HasInput = true }, cancel).ConfigureAwait(false);
        using var killed = cancel.Register(static process => ((AgentProcess)process!).Kill(), process);
        using var feeding = new CancellationTokenSource();
        var fed = input is null ? Task.CompletedTask : FeedAsync(input, process.Input, feeding.Token);
        try
        {
            await Task.WhenAll(process.Output.CopyToAsync(output ?? Stream.Null, CancellationToken.None), process.Errors.CopyToAsync(errors ?? Stream.Null, CancellationToken.None)).ConfigureAwait(false);
            return await process.Ended.ConfigureAwait(false);
        }
        catch (AgentException) when (cancel.IsCancellationRequested)
        {
            throw new OperationCanceledException(cancel);
        }
        finally
        {
            await feeding.CancelAsync().ConfigureAwait(false);
            // A read of a terminal that nobody types at does not end, and is nobody's to wait for.
            _ = fed.ContinueWith(static task => _ = task.Exception, CancellationToken.None, TaskContinuationOptions.OnlyOnFaulted, TaskScheduler.Default);
        }
    }

    /// <summary>Copies a file or a folder to the guest, with its permissions and its time of change.</summary>
    /// <param name="hostPath">What is copied. A link is followed to what it is; links in a folder are copied as links.</param>
    /// <param name="guestPath">A folder that is there, into which it goes under its own name; or the name it gets.</param>
    /// <param name="recursive">Folders with all that is in them; else they are refused.</param>
    /// <param name="cancel">Gives up. What was copied until then stays; half a file does not.</param>
    /// <returns>What of a folder was not copied, and why: devices, sockets, pipes, what may not be read; the first 1,000.</returns>
    /// <exception cref="AgentException">It cannot be read here (<see cref="AgentErrors.HostFile"/>) or not be written there (<see cref="AgentErrors.GuestFile"/>), or the guest is gone.</exception>
    public async Task<IReadOnlyList<string>> CopyToAsync(string hostPath, string guestPath, bool recursive = false, CancellationToken cancel = default)
    {
        ArgumentException.ThrowIfNullOrEmpty(hostPath);
        ArgumentException.ThrowIfNullOrEmpty(guestPath);
        using var source = HostPath.Source(hostPath);
        using var link = await AgentLink.OpenAsync(_path, Patience, TimeSpan.Zero, AgentFrame.Put, AgentProtocol.Copy(guestPath, recursive), cancel).ConfigureAwait(false);
        var sender = new TreeSender(link, recursive);
        await sender.SendAsync(source, cancel).ConfigureAwait(false);
        return sender.Skipped;
    }

    /// <summary>Copies a file or a folder from the guest, with its permissions and its time of change. Whatever the guest sends, nothing is made outside of what is named here.</summary>
    /// <param name="guestPath">What is copied. A link is followed to what it is; links in a folder are copied as links.</param>
    /// <param name="hostPath">A folder that is there, into which it goes under its own name; or the name it gets.</param>
    /// <param name="recursive">Folders with all that is in them; else they are refused.</param>
    /// <param name="cancel">Gives up. What was copied until then stays; half a file does not.</param>
    /// <returns>What of a folder was not copied, and why: devices, sockets, pipes, what may not be read; the first 1,000.</returns>
    /// <exception cref="AgentException">It cannot be read there (<see cref="AgentErrors.GuestFile"/>) or not be written here (<see cref="AgentErrors.HostFile"/>), or the guest is gone.</exception>
    public async Task<IReadOnlyList<string>> CopyFromAsync(string guestPath, string hostPath, bool recursive = false, CancellationToken cancel = default)
    {
        ArgumentException.ThrowIfNullOrEmpty(guestPath);
        ArgumentException.ThrowIfNullOrEmpty(hostPath);
        using var target = HostPath.Target(hostPath, guestPath);
        using var link = await AgentLink.OpenAsync(_path, Patience, TimeSpan.Zero, AgentFrame.Get, AgentProtocol.Copy(guestPath, recursive), cancel).ConfigureAwait(false);
        var receiver = new TreeReceiver(link, recursive);
        await receiver.ReceiveAsync(target, cancel).ConfigureAwait(false);
        return receiver.Skipped;
    }

    /// <inheritdoc/>
    public ValueTask DisposeAsync()
    {
        _link.Dispose();
        return ValueTask.CompletedTask;
    }

    private static async Task FeedAsync(Stream from, Stream to, CancellationToken cancel)
    {
        await from.CopyToAsync(to, cancel).ConfigureAwait(false);
        await to.DisposeAsync().ConfigureAwait(false);
    }

    private async Task AskAsync(AgentFrame kind, ReadOnlyMemory<byte> payload, AgentFrame answer, CancellationToken cancel)
    {
        await _asking.WaitAsync(cancel).ConfigureAwait(false);
        try
        {
            await _link.SendAsync(kind, payload, cancel).ConfigureAwait(false);
            await ExpectAsync(answer, cancel).ConfigureAwait(false);
        }
        catch (OperationCanceledException)
        {
            // The answer that comes later would be taken for that of the next question.
            _link.Dispose();
            throw;
        }
        finally
        {
            _asking.Release();
        }
    }

    private async Task ExpectAsync(AgentFrame answer, CancellationToken cancel)
    {
        var (kind, payload) = await _link.ReceiveAsync(cancel).ConfigureAwait(false);
        if (kind == AgentFrame.Failed)
            throw AgentProtocol.Failure(payload.Span, AgentErrors.Refused);
        if (kind != answer)
            throw AgentException.Bad(string.Create(System.Globalization.CultureInfo.InvariantCulture, $"it answers with a frame of kind {(byte)kind}, not {(byte)answer}"));
    }
}
