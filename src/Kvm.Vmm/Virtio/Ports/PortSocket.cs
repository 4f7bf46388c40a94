using Kvm.Devices.Virtio.Console;
using Kvm.Interop;
using Kvm.Vmm.Configuration;

namespace Kvm.Vmm.Virtio.Ports;

/// <summary>
/// The host's end of one named port: a Unix socket, one client at a time. Bytes go straight between the client's socket and the guest's buffers
/// or the device's bounded queue; neither side is read further than the other takes. What a guest sends to nobody is dropped and counted.
/// </summary>
/// <remarks>
/// The guest's side (<see cref="IConsoleSink"/>) comes on any thread, under the device's locks. Everything else is the <see cref="PortServer"/>'s
/// thread's, and the device is never called under the lock here.
/// </remarks>
internal sealed class PortSocket : IConsoleSink, IDisposable
{
    /// <summary>Bytes taken from a client at once.</summary>
    private const int InputBytes = 4096;

    private readonly Lock _lock = new();
    private readonly UnixListener _listener;
    private readonly byte[] _input = new byte[InputBytes];
    private readonly Action _wake;
    private UnixSocket? _client;
    private EpollEvents? _armed;
    private int _start;
    private int _waiting;
    private bool _outputBlocked;
    private bool _inputEnded;
    private bool _hungUp;
    private bool _draining;
    private bool _acceptPaused;
    private bool _listening;
    private long _clients;
    private long _refused;
    private long _dropped;

    /// <summary>Makes the socket and listens.</summary>
    /// <param name="config">Name and path.</param>
    /// <param name="wake">Wakes the server's thread; any thread, must not block.</param>
    /// <exception cref="VmmException">The path is taken, or no socket can be made there.</exception>
    public PortSocket(PortConfig config, Action wake)
    {
        _wake = wake;
        Name = config.Name;
        try
        {
            _listener = UnixListener.Open(config.SocketPath, backlog: 8);
        }
        catch (KvmException e)
        {
            throw new VmmException(e.Errno == Errno.EADDRINUSE ? PortErrors.InUse : PortErrors.NoSocket,
                $"port '{config.Name}', {VisibleText.Quote(config.SocketPath)}: {Errno.TextOf(e.Errno)}", e);
        }
    }

    public string Name { get; }

    /// <summary>Clients that were connected, clients that came while there was one, and bytes of the guest that nobody was there for.</summary>
    public (long Clients, long Refused, long Dropped) Counters => (Volatile.Read(ref _clients), Volatile.Read(ref _refused), Volatile.Read(ref _dropped));

    /// <summary>True if a client could not be taken for want of descriptors: <see cref="RetryAccept"/> after a while.</summary>
    public bool IsAcceptPaused => _acceptPaused;

    private bool TakesClients => !_hungUp && !_draining && !_acceptPaused;

    /// <inheritdoc/>
    public int Write(ReadOnlySpan<byte> bytes)
    {
        lock (_lock)
        {
            int sent = _client?.Send(bytes, wait: false) ?? -Errno.EPIPE;
            if (sent == bytes.Length)
                return sent;
            if (sent < 0 && sent != -Errno.EAGAIN)
            {
                // Nobody is there, or not any more, which the thread hears by itself.
                _dropped += bytes.Length;
                return bytes.Length;
            }

            _outputBlocked = true;
            _wake();
            return Math.Max(0, sent);
        }
    }

    /// <inheritdoc/>
    public void GuestOpened(bool open) => _wake();

    /// <summary>Begins to wait for clients.</summary>
    public void Start(Epoll epoll, ulong data) => epoll.Add(_listener.Handle.Fd, EpollEvents.None, data);

    /// <summary>Looks for clients again after a pause.</summary>
    public void RetryAccept() => _acceptPaused = false;

    /// <summary>A client waits: it becomes the port's, or is sent away if there is one. It waits on while the last one's bytes are on their way.</summary>
    public void Accept(ConsoleDevice device, int port)
    {
        if (!TakesClients)
            return;
        if (!_listener.TryAccept(out var stream))
            _acceptPaused = true;
        if (stream is null)
            return;
        if (_client is not null)
        {
            _refused++;
            stream.Dispose();
            return;
        }

        (_inputEnded, _armed, _start, _waiting) = (false, null, 0, 0);
        _clients++;
        lock (_lock)
            _client = stream;
        device.SetHostOpen(port, true);
    }

    /// <summary>Something happened to the client's socket.</summary>
    public void OnEvents(EpollEvents events, ConsoleDevice device, int port)
    {
        if ((events & (EpollEvents.Hup | EpollEvents.Err)) != 0)
            _hungUp = true;
        if ((events & (EpollEvents.Out | EpollEvents.Hup | EpollEvents.Err)) == 0)
            return;
        lock (_lock)
            _outputBlocked = false;
        device.OutputReady(port);
    }

    /// <summary>Moves what can be moved, a bounded amount, and says what is waited for now.</summary>
    /// <param name="epoll">The thread's set.</param>
    /// <param name="listenerData">The listener's events' data.</param>
    /// <param name="clientData">The client's events' data.</param>
    /// <param name="device">The console device.</param>
    /// <param name="port">The port's number in it.</param>
    public void Advance(Epoll epoll, ulong listenerData, ulong clientData, ConsoleDevice device, int port)
    {
        bool open = device.IsGuestOpen(port);
        if (_client is not null)
        {
            if (open)
                MoveInput(device, port);
            // A client that is gone is listened to until its last byte, if there is somebody to tell it to.
            if (_hungUp && (!open || (_inputEnded && _waiting == 0)))
                Disconnect(epoll);
            else
                Arm(epoll, clientData, open && !_inputEnded && _waiting == 0);
        }

        // The guest hears of the end when it has taken what came before.
        if (_draining && !(open && device.WatchInput(port)))
        {
            _draining = false;
            device.SetHostOpen(port, false);
            // What was blocked goes nowhere now.
            device.OutputReady(port);
        }

        if (TakesClients == _listening)
            return;
        _listening = TakesClients;
        epoll.Modify(_listener.Handle.Fd, _listening ? EpollEvents.In : EpollEvents.None, listenerData);
    }

    public void Dispose()
    {
        lock (_lock)
        {
            _client?.Dispose();
            _client = null;
        }

        _listener.Dispose();
    }

    private void MoveInput(ConsoleDevice device, int port)
    {
        if (_waiting == 0 && !_inputEnded)
        {
            int count = _client!.Receive(_input, out var descriptor, wait: false);
            descriptor?.Dispose();
            if (count > 0)
                (_start, _waiting) = (0, count);
            else if (count != -Errno.EAGAIN)
                _inputEnded = true;
        }

        if (_waiting == 0)
            return;
        int taken = device.SendInput(port, _input.AsSpan(_start, _waiting));
        _start += taken;
        _waiting -= taken;
    }

    private void Disconnect(Epoll epoll)
    {
        if (_armed is not null)
            epoll.Remove(_client!.Handle.Fd);
        _armed = null;
        lock (_lock)
        {
            _client!.Dispose();
            _client = null;
            _outputBlocked = false;
        }

        (_hungUp, _draining) = (false, true);
    }

    /// <summary>A socket that hung up says so without end: it stays in the set only as long as it is read.</summary>
    private void Arm(Epoll epoll, ulong data, bool input)
    {
        bool output;
        lock (_lock)
            output = _outputBlocked;
        EpollEvents? wanted = (input ? EpollEvents.In : EpollEvents.None) | (output ? EpollEvents.Out : EpollEvents.None);
        if (_hungUp && !input)
            wanted = null;
        if (wanted == _armed)
            return;
        int fd = _client!.Handle.Fd;
        if (wanted is not { } events)
            epoll.Remove(fd);
        else if (_armed is null)
            epoll.Add(fd, events, data);
        else
            epoll.Modify(fd, events, data);
        _armed = wanted;
    }
}
