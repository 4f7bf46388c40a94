using System.Diagnostics;
using Kvm.Interop;

namespace Kvm.Vmm.Host;

/// <summary>
/// A process that this one started and that outlives it: in a session of its own, its outputs in a file. It has a line (<see cref="StartLine"/>)
/// by which it says once that it is up, or has given up. Not thread-safe.
/// </summary>
public sealed class StartedProcess : IDisposable
{
    private readonly UnixSocket _line;

    private StartedProcess(HostProcess process, UnixSocket line) => (Process, _line) = (process, line);

    /// <summary>The process.</summary>
    public HostProcess Process { get; }

    /// <summary>Starts a program with this process's environment.</summary>
    /// <param name="program">The program's file.</param>
    /// <param name="arguments">Its arguments.</param>
    /// <param name="logPath">Takes both its outputs; made anew.</param>
    /// <exception cref="IOException">It cannot be started.</exception>
    public static StartedProcess Start(string program, IReadOnlyList<string> arguments, string logPath)
    {
        try
        {
            var (own, other) = UnixSocket.Pair();
            using (other)
            {
                int id = DetachedProcess.Start(program, arguments, logPath, other.Handle);
                // Its child it is until waited for: the number is no other's yet, even if it has ended.
                return new StartedProcess(HostProcess.Find(id) ?? new HostProcess(id, -1), own);
            }
        }
        catch (KvmException e)
        {
            throw new IOException(e.Message, e);
        }
    }

    /// <summary>Waits until it says something, or has ended.</summary>
    /// <param name="patience">How long at most.</param>
    /// <param name="cancel">Ends the wait.</param>
    /// <returns>True if it did; false where it is silent still.</returns>
    /// <exception cref="OperationCanceledException">The wait was ended.</exception>
    public bool WaitForWord(TimeSpan patience, CancellationToken cancel = default)
    {
        using var ending = cancel.Register(_line.Shutdown);
        var waited = Stopwatch.StartNew();
        while (true)
        {
            int left = (int)Math.Clamp(Math.Ceiling((patience - waited.Elapsed).TotalMilliseconds), 0, int.MaxValue);
            int ready = Descriptor.Poll([new PollFd { Fd = _line.Handle.Fd, Events = PollFd.POLLIN }], left);
            cancel.ThrowIfCancellationRequested();
            if (ready > 0)
                return true;
            if (left == 0)
                return false;
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _line.Dispose();
        PidFd.Reap(Process.Id);
    }
}

/// <summary>The started process's end of what <see cref="StartedProcess.WaitForWord"/> waits for.</summary>
public sealed class StartLine : IDisposable
{
    private readonly UnixSocket _socket;

    private StartLine(UnixSocket socket) => _socket = socket;

    /// <summary>Takes the descriptor that this process was started with. Once, before another descriptor is opened.</summary>
    /// <returns>Null where it was started without.</returns>
    public static StartLine? Take()
    {
        if (!Descriptor.IsOpen(DetachedProcess.InheritedDescriptor))
            return null;
        using var inherited = new FdHandle(DetachedProcess.InheritedDescriptor);
        // What this process starts in turn must not hold the line.
        return new StartLine(new UnixSocket(inherited.Duplicate()));
    }

    /// <summary>Says that it is decided: it runs, or has given up and said why elsewhere.</summary>
    public void Say()
    {
        if (!_socket.Handle.IsClosed)
            _ = _socket.Send("\n"u8, wait: false);
        _socket.Dispose();
    }

    /// <inheritdoc/>
    public void Dispose() => _socket.Dispose();
}
