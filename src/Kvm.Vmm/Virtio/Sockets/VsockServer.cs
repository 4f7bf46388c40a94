using System.Globalization;
using Kvm.Devices.Virtio.Vsock;
using Kvm.Interop;
using Kvm.Vmm.Configuration;

namespace Kvm.Vmm.Virtio.Sockets;

/// <summary>
/// The host's ports of a guest's sockets, by Firecracker's convention: who connects to the Unix socket and says <c>CONNECT 52</c> is connected with the guest's port 52 and
/// told <c>OK</c> and the host's port; when the guest connects to the host's port 52, it reaches who listens at the socket's path with <c>_52</c> behind it.
/// One thread waits for all of them.
/// </summary>
internal sealed class VsockServer : IVsockHost, IDisposable
{
    private const ulong WakeData = 0, ListenerData = 1;
    private const int RetryMilliseconds = 100;

    /// <summary>Clients that have not said yet what they want; one too many drives out the oldest.</summary>
    private const int MostGreetings = 64;

    /// <summary>How long a guest may take to accept a connection, in ns.</summary>
    private const long Patience = 2_000_000_000;

    private const EpollEvents Edges = EpollEvents.In | EpollEvents.Out | EpollEvents.RdHup | EpollEvents.EdgeTriggered;

    private readonly string _path;
    private readonly Action<string> _failed;
    private readonly UnixListener _listener;
    private readonly EventFd _bell = new();
    private readonly Epoll _epoll = new();
    private readonly EpollEvent[] _events = new EpollEvent[64];
    private readonly Lock _lock = new();
    private readonly Dictionary<ulong, VsockSocket> _sockets = [];
    private readonly Dictionary<ulong, VsockGreeting> _greetings = [];
    private readonly List<ulong> _oldestGreetings = new(MostGreetings);
    private readonly Queue<(VsockConnection Connection, long Deadline)> _asked = new();
    private VsockDevice? _device;
    private Thread? _thread;
    private ulong _lastData = ListenerData;
    private bool _acceptPaused;
    private volatile bool _stop;

    /// <summary>Makes the socket, so that clients may come from now on.</summary>
    /// <param name="config">Its path.</param>
    /// <param name="failed">Told of an exception on the thread, which is a fault of the program.</param>
    /// <exception cref="VmmException">The socket cannot be made.</exception>
    public VsockServer(VsockConfig config, Action<string> failed)
    {
        (_path, _failed) = (config.SocketPath, failed);
        try
        {
            _listener = UnixListener.Open(config.SocketPath, backlog: 64);
        }
        catch (KvmException e)
        {
            _bell.Dispose();
            _epoll.Dispose();
            throw new VmmException(e.Errno == Errno.EADDRINUSE ? VsockErrors.InUse : VsockErrors.NoSocket, $"{VisibleText.Quote(_path)}: {Errno.TextOf(e.Errno)}", e);
        }
    }

    /// <summary>Connects the host's ports with a device and starts the thread. Once.</summary>
    public void Start(VsockDevice device)
    {
        _device = device;
        _epoll.Add(_bell.Handle.Fd, EpollEvents.In, WakeData);
        _epoll.Add(_listener.Handle.Fd, EpollEvents.In, ListenerData);
        _thread = new Thread(Main, maxStackSize: 256 << 10) { Name = "vsock", IsBackground = true };
        _thread.Start();
    }

    /// <inheritdoc/>
    public IVsockStream? Connect(VsockConnection connection, uint port)
    {
        UnixSocket? client;
        try
        {
            if (UnixSocket.TryConnect(string.Create(CultureInfo.InvariantCulture, $"{_path}_{port}"), out client, wait: false) != 0)
                return null;
        }
        // Out of descriptors: the guest hears that nobody is there.
        catch (KvmException)
        {
            return null;
        }

        if (Watch(client!, connection, isNew: true) is { } socket)
            return socket;
        client!.Dispose();
        return null;
    }

    /// <summary>Ends the thread, hangs up on who did not say what it wants, and removes the socket. Streams are the device's to end, afterwards.</summary>
    public void Dispose()
    {
        _stop = true;
        _bell.Signal();
        _thread?.Join();
        foreach (var greeting in _greetings.Values)
            greeting.Socket.Dispose();
        _listener.Dispose();
        _epoll.Dispose();
        _bell.Dispose();
    }

    /// <summary>A socket is about to be closed. Any thread.</summary>
    internal void Forget(ulong data)
    {
        lock (_lock)
            _sockets.Remove(data);
    }

    /// <summary>Watches a client from now on; what is there already is told as well. Null where the host has no room for it.</summary>
    private VsockSocket? Watch(UnixSocket client, VsockConnection? connection, bool isNew)
    {
        VsockSocket socket;
        lock (_lock)
        {
            socket = new VsockSocket(this, client, ++_lastData) { Connection = connection };
            _sockets.Add(socket.Data, socket);
        }

        if (TryWatch(client, Edges, socket.Data, isNew))
            return socket;
        Forget(socket.Data);
        return null;
    }

    private bool TryWatch(UnixSocket client, EpollEvents events, ulong data, bool isNew)
    {
        try
        {
            if (isNew)
                _epoll.Add(client.Handle.Fd, events, data);
            else
                _epoll.Modify(client.Handle.Fd, events, data);
            return true;
        }
        catch (KvmException)
        {
            return false;
        }
    }

    private void Main()
    {
        try
        {
            while (!_stop)
                Turn(_device!);
        }
        // The last line of defence: an exception here would end the process with the terminal raw.
        catch (Exception e) when (e is not OutOfMemoryException)
        {
            _failed($"vsock: {e}");
        }
    }

    private void Turn(VsockDevice device)
    {
        int count = _epoll.Wait(_events, Timeout());
        if (_acceptPaused)
            PauseAccept(false);
        foreach (ref readonly var happened in _events.AsSpan(0, count))
        {
            if (happened.Data == WakeData)
                _bell.Drain();
            else if (happened.Data == ListenerData)
                Accept();
            else if (_greetings.TryGetValue(happened.Data, out var greeting))
                Listen(device, happened.Data, greeting);
            else
                Tell(device, happened);
        }

        for (long now = HostClock.Monotonic(); _asked.TryPeek(out var asked) && asked.Deadline <= now;)
            device.GiveUp(_asked.Dequeue().Connection);
    }

    private int Timeout()
    {
        if (_acceptPaused)
            return RetryMilliseconds;
        return _asked.TryPeek(out var asked) ? (int)Math.Max(0, (asked.Deadline - HostClock.Monotonic()) / 1_000_000 + 1) : -1;
    }

    private void Tell(VsockDevice device, in EpollEvent happened)
    {
        VsockSocket? socket;
        lock (_lock)
            _sockets.TryGetValue(happened.Data, out socket);
        if (socket?.Connection is not { } connection)
            return;
        var events = happened.Events;
        device.OnReady(
            connection,
            (events & (EpollEvents.In | EpollEvents.RdHup)) != 0,
            (events & EpollEvents.Out) != 0,
            (events & (EpollEvents.Hup | EpollEvents.Err)) != 0);
    }

    // ---- Clients ------------------------------------------------------------------------------------------------------

    private void Accept()
    {
        UnixSocket? client;
        bool canMore;
        while ((canMore = _listener.TryAccept(out client)) && client is not null)
            Greet(client);
        if (!canMore)
            PauseAccept(true);
    }

    private void PauseAccept(bool pause)
    {
        _acceptPaused = pause;
        _epoll.Modify(_listener.Handle.Fd, pause ? EpollEvents.None : EpollEvents.In, ListenerData);
    }

    private void Greet(UnixSocket client)
    {
        if (_greetings.Count >= MostGreetings)
            TakeGreeting(_oldestGreetings[0]).Socket.Dispose();
        ulong data;
        lock (_lock)
            data = ++_lastData;
        if (!TryWatch(client, EpollEvents.In, data, isNew: true))
        {
            client.Dispose();
            return;
        }

        _greetings.Add(data, new VsockGreeting(client));
        _oldestGreetings.Add(data);
    }

    private VsockGreeting TakeGreeting(ulong data)
    {
        _greetings.Remove(data, out var greeting);
        _oldestGreetings.Remove(data);
        return greeting!;
    }

    private void Listen(VsockDevice device, ulong data, VsockGreeting greeting)
    {
        bool? complete = greeting.TryRead(out uint port);
        if (complete == false)
            return;
        TakeGreeting(data);
        if (complete is null || Watch(greeting.Socket, null, isNew: false) is not { } socket)
        {
            greeting.Socket.Dispose();
            return;
        }

        socket.Connection = device.Connect(port, socket);
        if (socket.Connection is { } connection)
            _asked.Enqueue((connection, HostClock.Monotonic() + Patience));
    }
}
