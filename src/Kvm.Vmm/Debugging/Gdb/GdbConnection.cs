using System.Net.Sockets;

namespace Kvm.Vmm.Debugging.Gdb;

/// <summary>
/// A debugger at the other end of a socket: its packets go to a <see cref="GdbSession"/>, the replies come back. The thread that reads the
/// socket also waits for short steps; for the end of anything longer another one waits, so that Ctrl-C and hanging up are heard.
/// </summary>
internal sealed class GdbConnection : IDisposable
{
    /// <summary>Most steps are made by then, and spare the change of threads.</summary>
    private static readonly TimeSpan s_short = TimeSpan.FromMilliseconds(5);

    /// <summary>A guest that has ended is told of at once; this is for a debugger that reads nothing.</summary>
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(2);

    private readonly Socket _socket;
    private readonly GdbSession _session;
    private readonly PacketReader _reader = new();
    private readonly object _lock = new();
    private readonly AutoResetEvent _resumed = new(false);
    private readonly Thread _watcher;
    private bool _running;
    private bool _over;
    private bool _hasReply;

    public GdbConnection(Socket socket, GdbSession session)
    {
        _socket = socket;
        _session = session;
        _watcher = new Thread(Watch, maxStackSize: 256 << 10) { Name = "gdb-watch", IsBackground = true };
    }

    /// <summary>Serves the debugger until it goes, on the calling thread. True if it hung up without a word.</summary>
    public bool Serve()
    {
        _watcher.Start();
        byte[] buffer = new byte[1 << 16];
        bool detached = false;
        try
        {
            while (!detached && _socket.Receive(buffer) is > 0 and var count)
                detached = Take(buffer.AsSpan(0, count));
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException)
        {
            // It is gone.
        }

        bool running;
        lock (_lock)
        {
            _over = true;
            running = _running;
        }

        if (running)
            _session.Interrupt();
        _resumed.Set();
        _watcher.Join();
        return !detached;
    }

    /// <summary>After <see cref="Serve"/>, of a debugger that vanished.</summary>
    public void Abandon() => _session.Abandon();

    /// <summary>Hangs up, once a debugger that waits for a stop was told of it, or does not take it; any thread.</summary>
    public void HangUp()
    {
        lock (_lock)
        {
            if (_running)
                Monitor.Wait(_lock, s_patience);
        }

        _socket.Dispose();
    }

    public void Dispose()
    {
        _socket.Dispose();
        _resumed.Dispose();
    }

    /// <summary>Bytes of the debugger's. True when it has said goodbye.</summary>
    private bool Take(ReadOnlySpan<byte> bytes)
    {
        while (true)
        {
            var found = _reader.Next(ref bytes);
            lock (_lock)
            {
                switch (found)
                {
                    case PacketEvent.None:
                        return false;
                    case PacketEvent.Interrupt when _running:
                        _session.Interrupt();
                        break;
                    case PacketEvent.Nak when _hasReply && !_running:
                        Send(_session.Reply.Span);
                        break;
                    case PacketEvent.Corrupt or PacketEvent.TooLong when !_session.NoAcks:
                        Send("-"u8);
                        break;
                    case PacketEvent.Packet when !_running:
                        if (!_session.NoAcks)
                            Send("+"u8);
                        if (Answer())
                            return true;
                        break;
                }
            }
        }
    }

    private bool Answer()
    {
        var answer = _session.Handle(_reader.Content);
        if (answer == GdbAnswer.Killed)
            return true;
        if (answer == GdbAnswer.Running && !_session.Wait(s_short))
        {
            _running = true;
            _resumed.Set();
            return false;
        }

        _hasReply = true;
        Send(_session.Reply.Span);
        return answer == GdbAnswer.Detached;
    }

    private void Watch()
    {
        while (true)
        {
            _resumed.WaitOne();
            lock (_lock)
            {
                if (!_running)
                {
                    if (_over)
                        return;
                    continue;
                }
            }

            // Only this thread uses the session now.
            _session.Wait(Timeout.InfiniteTimeSpan);
            lock (_lock)
            {
                _hasReply = true;
                try
                {
                    Send(_session.Reply.Span);
                }
                catch (Exception e) when (e is SocketException or ObjectDisposedException)
                {
                    // The thread that reads hears of it too.
                }

                _running = false;
                Monitor.PulseAll(_lock);
                if (_over)
                    return;
            }
        }
    }

    private void Send(ReadOnlySpan<byte> bytes)
    {
        while (!bytes.IsEmpty)
            bytes = bytes[_socket.Send(bytes)..];
    }
}
