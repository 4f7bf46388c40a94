using Kvm.Interop;

namespace Kvm.Vmm.Host;

/// <summary>Types on the guest's console.</summary>
/// <param name="input">The bytes, valid during the call.</param>
/// <returns>How many were taken.</returns>
public delegate int ConsoleTyper(ReadOnlySpan<byte> input);

/// <summary>Reads a descriptor from a thread of its own and types what it holds on the guest's console.</summary>
/// <remarks>
/// A guest that takes nothing must not keep Ctrl-A x from being seen, so an attached terminal is always read: what does not fit
/// into the queue is dropped and counted. A pipe or a file is read only while there is room.
/// </remarks>
public sealed class TerminalInput : IDisposable
{
    private const int QueueSize = 16 << 10;
    private const int ReadSize = 1024;

    private readonly int _fd;
    private readonly bool _attached;
    private readonly ConsoleTyper _type;
    private readonly EventFd _wake = new();
    private readonly Lock _wakeLock = new();
    private readonly TerminalKeys _keys = new();
    private readonly byte[] _queue = new byte[QueueSize];
    private readonly byte[] _read = new byte[ReadSize];
    private readonly byte[] _passed = new byte[TerminalKeys.MostPassedOn(ReadSize)];
    private Thread? _thread;
    private int _queued;
    private long _lost;
    private bool _ended;
    private bool _disposed;
    private volatile bool _stop;

    /// <summary>Prepares to read; nothing is read before <see cref="Start"/>.</summary>
    /// <param name="fd">The descriptor, which stays the caller's.</param>
    /// <param name="attached">True for a terminal in raw mode: Ctrl-A is obeyed, and its end is a hang-up.</param>
    /// <param name="type">Takes what belongs to the guest.</param>
    public TerminalInput(int fd, bool attached, ConsoleTyper type)
    {
        _fd = fd;
        _attached = attached;
        _type = type;
    }

    /// <summary>Called on the reading thread for each command typed.</summary>
    public Action<TerminalCommand> Command { get; init; } = static _ => { };

    /// <summary>Called on the reading thread, once, if an attached terminal went away.</summary>
    public Action HungUp { get; init; } = static () => { };

    /// <summary>Bytes typed that neither the guest nor the queue took.</summary>
    public long LostBytes => Volatile.Read(ref _lost);

    /// <summary>Starts to read. A descriptor that is at its end already, such as /dev/null, gets no thread.</summary>
    public void Start()
    {
        if (!_attached && IsAtEnd())
            return;
        _thread = new Thread(Main, maxStackSize: 256 << 10) { Name = "console-input", IsBackground = true };
        _thread.Start();
    }

    /// <summary>Tells that the guest takes input again. Any thread; never blocks.</summary>
    public void GuestIsReady()
    {
        lock (_wakeLock)
        {
            if (!_disposed)
                _wake.Signal();
        }
    }

    /// <summary>Stops reading and waits for the thread. Not from the callbacks.</summary>
    public void Dispose()
    {
        _stop = true;
        GuestIsReady();
        // Somebody who shares the descriptor may have taken what the thread was about to read: it then waits in read, harmless.
        if (_thread is not null && !_thread.Join(200))
            return;
        lock (_wakeLock)
        {
            _disposed = true;
            _wake.Dispose();
        }
    }

    /// <summary>A first look that does not wait; what it reads is kept for the thread.</summary>
    private bool IsAtEnd()
    {
        Span<PollFd> fds = [new PollFd { Fd = _fd, Events = PollFd.POLLIN }];
        if (Descriptor.Poll(fds, 0) > 0)
            ReadOnce();
        return _ended;
    }

    private void Main()
    {
        Span<PollFd> fds = stackalloc PollFd[2];
        while (!_stop && !(_ended && _queued == 0))
        {
            var reads = !_ended && (_attached || _queued + _passed.Length <= QueueSize);
            fds[0] = new PollFd { Fd = reads ? _fd : -1, Events = PollFd.POLLIN };
            fds[1] = new PollFd { Fd = _wake.Handle.Fd, Events = PollFd.POLLIN };
            Descriptor.Poll(fds, -1);
            if (fds[1].Revents != 0)
                _wake.Drain();
            if (fds[0].Revents != 0)
                ReadOnce();
            TypeQueue();
        }
    }

    private void ReadOnce()
    {
        var count = Descriptor.Read(_fd, _read);
        if (count == -Errno.EAGAIN)
            return;
        if (count <= 0)
        {
            // The end of a file, or an error such as EIO of a terminal whose other side is gone.
            _ended = true;
            if (_attached)
                HungUp();
            return;
        }

        var typed = _read.AsSpan(0, count);
        if (_attached)
            typed = _passed.AsSpan(0, _keys.Feed(typed, _passed, Command));
        var fits = Math.Min(typed.Length, QueueSize - _queued);
        typed[..fits].CopyTo(_queue.AsSpan(_queued));
        _queued += fits;
        Interlocked.Add(ref _lost, typed.Length - fits);
    }

    private void TypeQueue()
    {
        if (_queued == 0 || _stop)
            return;
        var taken = _type(_queue.AsSpan(0, _queued));
        _queued -= taken;
        if (taken > 0 && _queued > 0)
            _queue.AsSpan(taken, _queued).CopyTo(_queue);
    }
}
