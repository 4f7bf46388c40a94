using System.Buffers.Binary;

namespace Kvm.Vmm.Agent;

/// <summary>
/// A program that runs in a guest. Its streams are read and written by whoever holds this, each by one at a time; a stream that nobody reads holds up
/// the program when 256 KiB of it wait, and not the other streams.
/// </summary>
public sealed class AgentProcess : IAsyncDisposable
{
    /// <summary>What waits of each stream at most, in bytes.</summary>
    internal const int Window = 256 << 10;

    private readonly AgentLink _link;
    private readonly AgentOutputStream _output, _errors;
    private readonly AgentInputStream? _input;
    private readonly TaskCompletionSource<AgentExit> _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Task _reading;

    private AgentProcess(AgentLink link, int processId, int room, bool hasInput)
    {
        _link = link;
        ProcessId = processId;
        _output = new AgentOutputStream(Window, count => GiveRoomAsync(1, count));
        _errors = new AgentOutputStream(Window, count => GiveRoomAsync(2, count));
        _input = hasInput ? new AgentInputStream(link, room) : null;
        _reading = ReadAsync();
    }

    /// <summary>The program's number in the guest.</summary>
    public int ProcessId { get; }

    /// <summary>What it reads (<see cref="AgentCommand.HasInput"/> or a terminal); disposing of it is the end it finds. Else <see cref="Stream.Null"/>.</summary>
    public Stream Input => (Stream?)_input ?? Stream.Null;

    /// <summary>What it writes to its standard output, or to its terminal.</summary>
    public Stream Output => _output;

    /// <summary>What it writes to its standard error.</summary>
    public Stream Errors => _errors;

    /// <summary>
    /// How it ended, as soon as it has and what it wrote until then has come here, read or not. Fails with an <see cref="AgentException"/> where the guest is gone
    /// (<see cref="AgentErrors.Lost"/>).
    /// </summary>
    public Task<AgentExit> Ended => _ended.Task;

    /// <summary>Sends a signal to it and the programs it started (its process group).</summary>
    /// <param name="signal">1 to 64.</param>
    /// <param name="cancel">Gives up waiting for others that send.</param>
    /// <exception cref="AgentException">The guest is gone.</exception>
    public ValueTask SignalAsync(int signal, CancellationToken cancel = default)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(signal, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(signal, 64);
        byte[] payload = new byte[4];
        BinaryPrimitives.WriteInt32LittleEndian(payload, signal);
        return _link.SendAsync(AgentFrame.Signal, payload, cancel);
    }

    /// <summary>Tells its terminal's new size.</summary>
    /// <param name="size">The size.</param>
    /// <param name="cancel">Gives up waiting for others that send.</param>
    /// <exception cref="AgentException">The guest is gone.</exception>
    public ValueTask ResizeAsync(TerminalSize size, CancellationToken cancel = default)
    {
        byte[] payload = new byte[4];
        BinaryPrimitives.WriteUInt16LittleEndian(payload, size.Rows);
        BinaryPrimitives.WriteUInt16LittleEndian(payload.AsSpan(2), size.Columns);
        return _link.SendAsync(AgentFrame.Resize, payload, cancel);
    }

    /// <summary>Hangs up; a program that runs still is killed by the agent, with all of its process group.</summary>
    public async ValueTask DisposeAsync()
    {
        Kill();
        await _reading.ConfigureAwait(false);
    }

    /// <summary>Hangs up. Any thread.</summary>
    internal void Kill() => _link.Dispose();

    /// <summary>Starts a program.</summary>
    internal static async Task<AgentProcess> StartAsync(string path, TimeSpan patience, AgentCommand command, CancellationToken cancel)
    {
        var link = await AgentLink.OpenAsync(path, patience, TimeSpan.Zero, AgentFrame.Exec, AgentProtocol.Exec(command, Window), cancel).ConfigureAwait(false);
        try
        {
            var (kind, payload) = await link.ReceiveAsync(cancel).ConfigureAwait(false);
            if (kind == AgentFrame.Failed)
                throw AgentProtocol.Failure(payload.Span, AgentErrors.NoProgram);
            if (kind != AgentFrame.Started || AgentProtocol.Pair(payload.Span) is not var (id, room) || id > int.MaxValue || room > int.MaxValue)
                throw AgentException.Bad($"it answers with a frame of kind {kind} where a program was to be started");
            return new AgentProcess(link, (int)id, (int)room, command.HasInput || command.Terminal is not null);
        }
        catch
        {
            link.Dispose();
            throw;
        }
    }

    private async Task ReadAsync()
    {
        try
        {
            while (true)
            {
                var (kind, payload) = await _link.ReceiveAsync(CancellationToken.None).ConfigureAwait(false);
                if (kind != AgentFrame.Exited)
                {
                    Take(kind, payload.Span);
                    continue;
                }

                var (code, signal) = AgentProtocol.Pair(payload.Span) ?? throw AgentException.Bad("it does not say how a program ended");
                End(null);
                _ended.TrySetResult(new AgentExit((int)(code & 0xff), (int)(signal & 0x7f)));
                return;
            }
        }
        catch (Exception e)
        {
            End(e);
            _ended.TrySetException(e);
            // Who does not ask how it ended is not told by the finalizer either.
            _ = _ended.Task.Exception;
        }
        finally
        {
            _link.Dispose();
        }
    }

    private void Take(AgentFrame kind, ReadOnlySpan<byte> payload)
    {
        bool isRight = kind switch
        {
            AgentFrame.Output => _output.Push(payload),
            AgentFrame.Errors => _errors.Push(payload),
            AgentFrame.Credit => AgentProtocol.Pair(payload) is (0, var bytes) && (_input is null || _input.AddRoom(bytes)),
            AgentFrame.InputEnd => true,
            _ => false,
        };
        if (kind == AgentFrame.InputEnd)
            _input?.End();
        if (!isRight)
            throw AgentException.Bad($"a frame of kind {kind} with {payload.Length} bytes is not one that is waited for");
    }

    private void End(Exception? failure)
    {
        _output.End(failure);
        _errors.End(failure);
        _input?.End();
    }

    private async ValueTask GiveRoomAsync(uint stream, int bytes)
    {
        try
        {
            await _link.SendAsync(AgentFrame.Credit, AgentProtocol.OfPair(stream, (uint)bytes), CancellationToken.None).ConfigureAwait(false);
        }
        // It ended meanwhile; whoever reads finds out.
        catch (AgentException)
        {
        }
    }
}
