using Kvm.Devices.Virtio.Console;
using Kvm.Interop;

namespace Kvm.Vmm.Virtio.Ports;

/// <summary>
/// The thread behind the named ports of a machine: an epoll loop over their sockets and clients, and an eventfd by which the guest's side says
/// that something changed. Allocates nothing but for a new client.
/// </summary>
internal sealed class PortServer : IDisposable
{
    private const ulong WakeData = ulong.MaxValue;
    private const int ClientBit = 1 << 16;
    private const int RetryMilliseconds = 100;

    private readonly Action<string> _failed;
    private readonly PortSocket[] _ports;
    private readonly EventFd _bell = new();
    private readonly Epoll _epoll = new();
    private readonly EpollEvent[] _events;
    private ConsoleDevice? _device;
    private Thread? _thread;
    private volatile bool _stop;

    /// <summary>Makes the sockets, so that clients may come from now on.</summary>
    /// <param name="ports">At least one.</param>
    /// <param name="failed">Told of an exception on the thread, which is a fault of the program.</param>
    /// <exception cref="VmmException">A socket cannot be made.</exception>
    public PortServer(IReadOnlyList<PortConfig> ports, Action<string> failed)
    {
        _failed = failed;
        _ports = new PortSocket[ports.Count];
        _events = new EpollEvent[2 * ports.Count + 1];
        try
        {
            for (int i = 0; i < _ports.Length; i++)
                _ports[i] = new PortSocket(ports[i], Wake);
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>The ports, in their order.</summary>
    public IReadOnlyList<PortSocket> Ports => _ports;

    /// <summary>Connects the sockets with a device and starts the thread. Once.</summary>
    /// <param name="device">The device, whose ports are the sockets' in their order.</param>
    public void Start(ConsoleDevice device)
    {
        _device = device;
        device.InputSpaceAvailable += _ => Wake();
        _epoll.Add(_bell.Handle.Fd, EpollEvents.In, WakeData);
        for (int i = 0; i < _ports.Length; i++)
            _ports[i].Start(_epoll, (ulong)i);
        _thread = new Thread(Main, maxStackSize: 256 << 10) { Name = "ports", IsBackground = true };
        _thread.Start();
    }

    /// <summary>Ends the thread, hangs up on clients and removes the sockets. The guest must not run any more.</summary>
    public void Dispose()
    {
        _stop = true;
        Wake();
        _thread?.Join();
        foreach (var port in _ports)
            port?.Dispose();
        _epoll.Dispose();
        _bell.Dispose();
    }

    private void Wake() => _bell.Signal();

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
            _failed($"ports: {e}");
        }
    }

    private void Turn(ConsoleDevice device)
    {
        bool paused = false;
        foreach (var port in _ports)
            paused |= port.IsAcceptPaused;
        int count = _epoll.Wait(_events, paused ? RetryMilliseconds : -1);
        // Who hung up first, so that a client who comes back at once is not taken for a second one.
        foreach (ref readonly var happened in _events.AsSpan(0, count))
        {
            if (happened.Data == WakeData)
                _bell.Drain();
            else if ((happened.Data & ClientBit) != 0)
                _ports[IndexIn(happened)].OnEvents(happened.Events, device, IndexIn(happened));
        }

        foreach (ref readonly var happened in _events.AsSpan(0, count))
        {
            if ((happened.Data & ClientBit) == 0)
                _ports[IndexIn(happened)].Accept(device, IndexIn(happened));
        }

        for (int i = 0; i < _ports.Length; i++)
        {
            if (count == 0)
                _ports[i].RetryAccept();
            _ports[i].Advance(_epoll, (ulong)i, (ulong)(i | ClientBit), device, i);
        }
    }

    private static int IndexIn(in EpollEvent happened) => (int)(happened.Data & (ClientBit - 1));
}
