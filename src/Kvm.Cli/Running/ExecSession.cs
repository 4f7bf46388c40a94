using System.Runtime.InteropServices;
using Kvm.Cli.Parsing;
using Kvm.Cli.Text;
using Kvm.Cli.Verbs.Guests;
using Kvm.Vmm;
using Kvm.Vmm.Agent;
using Kvm.Vmm.Host;
using Microsoft.Win32.SafeHandles;

namespace Kvm.Cli.Running;

/// <summary>A program in a guest with this process's streams, terminal and signals. Used once.</summary>
internal sealed class ExecSession : IDisposable
{
    private const int NoSuchFile = 2, NotExecutable = 126, NotFound = 127, SigHup = 1, SigPipe = 13;

    private readonly AgentCommand _command;
    private readonly TimeSpan? _timeout;
    private readonly GlobalOptions _global;
    private readonly CancellationTokenSource _ending = new();
    private TerminalMode? _terminal;
    private volatile AgentProcess? _process;
    private int _signal;
    private bool _timedOut;

    public ExecSession(AgentCommand command, TimeSpan? timeout, GlobalOptions global) => (_command, _timeout, _global) = (command, timeout, global);

    /// <summary>The size of this process's terminal; 24 lines of 80 where it has none.</summary>
    public static TerminalSize Size() =>
        TerminalDescriptors.TryGetSize(TerminalDescriptors.Input, out ushort columns, out ushort rows) ? new TerminalSize(rows, columns) : new TerminalSize(24, 80);

    /// <summary>Runs the program.</summary>
    /// <param name="path">The guest's socket.</param>
    /// <returns>The exit code.</returns>
    public int Run(string path)
    {
        using var signals = new SignalGuard(OnSignal, () => _terminal?.Enter());
        using var resized = PosixSignalRegistration.Create(PosixSignal.SIGWINCH, _ => TellSize());
        using var late = _timeout is { } limit ? new Timer(OnLate, null, limit, Timeout.InfiniteTimeSpan) : null;
        LastResort.Restore = () => _terminal?.Restore();
        try
        {
            return RunAsync(path).GetAwaiter().GetResult();
        }
        catch (OperationCanceledException)
        {
            return _timedOut ? throw new AgentException(AgentErrors.TimedOut, $"it ran for {_timeout!.Value.TotalSeconds} s") : 128 + _signal;
        }
        catch (AgentException e) when (e.Error == AgentErrors.NoProgram)
        {
            StandardStreams.Error(ErrorText.Of(e, _global.Verbose));
            return e.GuestErrno == NoSuchFile ? NotFound : NotExecutable;
        }
    }

    public void Dispose()
    {
        _terminal?.Dispose();
        _ending.Dispose();
    }

    private async Task<int> RunAsync(string path)
    {
        await using var client = await AgentClient.ConnectAsync(path, GuestNames.Patience, _ending.Token).ConfigureAwait(false);
        if (_global.Json)
            return await KeepAsync(client).ConfigureAwait(false);
        await using var process = await client.StartAsync(_command, _ending.Token).ConfigureAwait(false);
        _process = process;
        using var ended = _ending.Token.Register(() => _ = process.DisposeAsync().AsTask());
        if (_command.Terminal is not null && _command.HasInput)
            _terminal = TerminalMode.TryEnter(TerminalDescriptors.Input);
        if (_command.HasInput)
            _ = FeedAsync(process.Input);
        else if (_command.Terminal is null)
            await process.Input.DisposeAsync().ConfigureAwait(false);
        try
        {
            await Task.WhenAll(ShowAsync(process.Output, TerminalDescriptors.Output), ShowAsync(process.Errors, TerminalDescriptors.Error)).ConfigureAwait(false);
            _ending.Token.ThrowIfCancellationRequested();
            return (await process.Ended.ConfigureAwait(false)).ExitCode;
        }
        catch (AgentException) when (_ending.IsCancellationRequested)
        {
            throw new OperationCanceledException(_ending.Token);
        }
        finally
        {
            _terminal?.Restore();
        }
    }

    /// <summary>The program's output as a JSON document behind its end.</summary>
    private async Task<int> KeepAsync(AgentClient client)
    {
        using var input = _command.HasInput ? StandardInput() : null;
        var result = await client.ExecAsync(_command, input, _ending.Token).ConfigureAwait(false);
        StandardStreams.Output(JsonText.Of(json =>
        {
            json.WriteStartObject();
            json.WriteNumber("exitCode", result.ExitCode);
            json.WriteNumber("signal", result.Exit.Signal);
            json.WriteString("output", result.Output);
            json.WriteString("errors", result.Errors);
            json.WriteBoolean("truncated", result.IsTruncated);
            json.WriteEndObject();
        }));
        return result.ExitCode;
    }

    private async Task ShowAsync(Stream from, int fd)
    {
        using var to = new DescriptorStream(fd);
        try
        {
            await from.CopyToAsync(to).ConfigureAwait(false);
        }
        // Nobody reads it any more, which ends a program as it would here.
        catch (IOException)
        {
            Interlocked.CompareExchange(ref _signal, SigPipe, 0);
            await _ending.CancelAsync().ConfigureAwait(false);
        }
    }

    /// <summary>Reads on a thread of the pool, and for as long as this process lives: a read of a terminal cannot be ended.</summary>
    private static async Task FeedAsync(Stream to)
    {
        try
        {
            using var input = StandardInput();
            await input.CopyToAsync(to).ConfigureAwait(false);
            await to.DisposeAsync().ConfigureAwait(false);
        }
        // The program or its guest has ended, which is told elsewhere; or the terminal is gone.
        catch (Exception e) when (e is AgentException or IOException or ObjectDisposedException)
        {
        }
    }

    private static FileStream StandardInput() => new(new SafeFileHandle(TerminalDescriptors.Input, ownsHandle: false), FileAccess.Read, bufferSize: 1);

    private void TellSize()
    {
        if (_command.Terminal is not null && _process is { } process)
            _ = process.ResizeAsync(Size()).AsTask().ContinueWith(static task => _ = task.Exception, TaskScheduler.Default);
    }

    /// <summary>The first signal is the program's; the second one, and a lost terminal, end this process, and with it the program.</summary>
    private void OnSignal(int signal)
    {
        bool isFirst = Interlocked.CompareExchange(ref _signal, signal, 0) == 0;
        if (isFirst && signal != SigHup && _process is { } process)
            _ = process.SignalAsync(signal).AsTask().ContinueWith(static task => _ = task.Exception, TaskScheduler.Default);
        else
            _ending.Cancel();
    }

    private void OnLate(object? state)
    {
        _timedOut = true;
        _ending.Cancel();
    }
}
