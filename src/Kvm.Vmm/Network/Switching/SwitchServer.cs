using System.Diagnostics;
using Kvm.Devices.Net;
using Kvm.Devices.Net.Switch;
using Kvm.Interop;

namespace Kvm.Vmm.Network.Switching;

/// <summary>
/// Serves a switch: cards of other processes come by a Unix socket, and the uplink is opened when somebody asks for one. Belongs to one thread, the node's, which waits for the
/// descriptors.
/// </summary>
internal sealed class SwitchServer : IDisposable
{
    /// <summary>What comes back with the listener's and the uplink's events; smaller numbers are clients'.</summary>
    private const ulong ListenerData = ulong.MaxValue - 1, UplinkData = ulong.MaxValue - 2;

    // Clients that have not said what they want yet, and how long they may take.
    private const int MostStrangers = 32;
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(5);

    private readonly LockFile _held;
    private readonly UnixListener _listener;
    private readonly Epoll _epoll;
    private readonly SwitchHost _host;
    private readonly Dictionary<ulong, Client> _clients = [];
    private readonly List<Client> _gone = [];
    private readonly int _thread = Environment.CurrentManagedThreadId;
    private readonly Action _wake;
    private ulong _nextClient;
    private int _strangers;
    private bool _mustMove;
    private bool _acceptsAll = true;
    private SwitchUplink? _uplinkIs;
    private PortPump? _uplink;

    /// <summary>Listens.</summary>
    /// <param name="held">The switch's lock, this object's from now on.</param>
    /// <param name="socket">Where to listen; a dead socket is replaced.</param>
    /// <param name="network">The switch.</param>
    /// <param name="epoll">Where the thread waits.</param>
    /// <param name="host">Whom to tell what.</param>
    /// <exception cref="KvmException">The socket cannot be made.</exception>
    public SwitchServer(LockFile held, string socket, NetworkSwitch network, Epoll epoll, SwitchHost host)
    {
        (_held, _epoll, _host, Switch) = (held, epoll, host, network);
        _wake = () =>
        {
            // Its own thread looks again before it sleeps.
            if (Environment.CurrentManagedThreadId == _thread)
                _mustMove = true;
            else
                host.Wake();
        };
        _listener = UnixListener.Open(socket, 64);
        _epoll.Add(_listener.Handle.Fd, EpollEvents.In, ListenerData);
    }

    /// <summary>The switch.</summary>
    public NetworkSwitch Switch { get; }

    /// <summary>True while somebody has to be asked again without an event.</summary>
    public bool MustLookAgain => _strangers > 0 || !_acceptsAll;

    /// <summary>Adds a port for a card, and the uplink it asks for.</summary>
    /// <returns>The port; null where there is none, and why.</returns>
    public SwitchPort? Attach(SwitchPortConfig config, MacAddress? mac, IPortListener listener, out string why)
    {
        why = EnsureUplink(config.Uplink);
        return why.Length > 0 ? null : Switch.TryAttach(OptionsOf(config, mac), listener, out why);
    }

    /// <summary>Takes note of an event of the thread's.</summary>
    public void On(in EpollEvent happened)
    {
        if (happened.Data == ListenerData)
            Accept();
        else if (happened.Data == UplinkData)
            _uplink?.Look(hungUp: false);
        else if (_clients.TryGetValue(happened.Data, out var client))
            On(client, (happened.Events & (EpollEvents.RdHup | EpollEvents.Hup | EpollEvents.Err)) != 0);
    }

    /// <summary>Moves what there is to move; true if there is more.</summary>
    public bool Move()
    {
        _mustMove = false;
        bool more = _uplink?.Move() ?? false;
        foreach (var client in _clients.Values)
        {
            more |= client.Pump?.Move() ?? false;
            if (client.Pump?.IsGone ?? Stopwatch.GetElapsedTime(client.Since) > s_patience)
                _gone.Add(client);
        }

        foreach (var client in _gone)
            Remove(client);
        _gone.Clear();
        if (!_acceptsAll)
            _epoll.Modify(_listener.Handle.Fd, EpollEvents.In, ListenerData);
        return more || (_mustMove && HasMore());
    }

    /// <summary>True if a frame came for an end that had its turn before.</summary>
    private bool HasMore()
    {
        if (_uplink?.HasMore ?? false)
            return true;
        foreach (var client in _clients.Values)
        {
            if (client.Pump?.HasMore ?? false)
                return true;
        }

        return false;
    }

    /// <summary>Hangs up on everybody and lets the switch go.</summary>
    public void Dispose()
    {
        foreach (var client in _clients.Values)
            client.Dispose();
        _clients.Clear();
        _uplink?.Dispose();
        // Who comes now finds nobody, and the lock free a moment later.
        _listener.Dispose();
        _held.Dispose();
    }

    private static PortOptions OptionsOf(SwitchPortConfig config, MacAddress? mac) => new()
    {
        Label = config.Label,
        Vlan = config.Vlan,
        Trunk = config.Trunk,
        Isolated = config.Isolated,
        IsolationGroup = config.IsolationGroup,
        Weight = config.Weight,
        Mac = mac,
    };

    private void Accept()
    {
        UnixSocket? socket;
        while ((_acceptsAll = _listener.TryAccept(out socket)) && socket is not null)
            Welcome(socket);
        // Whoever cannot be taken waits, and would be told of without end.
        if (!_acceptsAll)
            _epoll.Modify(_listener.Handle.Fd, EpollEvents.None, ListenerData);
    }

    private void Welcome(UnixSocket socket)
    {
        if (_strangers >= MostStrangers || !socket.HasTrustedPeer(out _))
        {
            socket.Dispose();
            return;
        }

        var client = new Client(socket, _nextClient, _epoll);
        try
        {
            client.Wait.Add(socket.Handle.Fd);
        }
        // The host has no memory for one more (epoll_ctl(2)).
        catch (KvmException)
        {
            socket.Dispose();
            return;
        }

        _clients.Add(_nextClient++, client);
        _strangers++;
    }

    private void On(Client client, bool hungUp)
    {
        client.Wait.Note();
        if (client.Pump is { } pump)
        {
            pump.Look(hungUp);
            return;
        }

        switch (client.Hello.Read(client.Socket))
        {
            case true:
                Greet(client);
                break;
            case null:
                Remove(client);
                break;
            default:
                break;
        }
    }

    /// <summary>A client said what it wants.</summary>
    private void Greet(Client client)
    {
        string why = "that is no hello of this version";
        if (SwitchHello.TryRead(client.Hello.Message, out var config, out var mac))
        {
            var stream = new StreamBackend(client.Socket, hasHeaders: true);
            stream.WatchBy(0, client);
            var pump = new PortPump(stream, _wake);
            stream.Connect(pump);
            pump.Port = Attach(config, mac, pump, out why);
            if (pump.Port is not null)
            {
                client.Pump = pump;
                _strangers--;
            }
        }

        byte[] answer = SwitchHello.Answer(why, _host.IsManaged);
        if (client.Socket.Send(answer, wait: false) != answer.Length || client.Pump is null)
            Remove(client);
    }

    private void Remove(Client client)
    {
        if (!_clients.Remove(client.Number))
            return;
        if (client.Pump is null)
            _strangers--;
        client.Dispose();
    }

    /// <summary>Opens the uplink where there is none; why it cannot be, or nothing.</summary>
    public string EnsureUplink(SwitchUplink? wanted)
    {
        if (wanted is null)
            return "";
        if (_uplinkIs is not null)
            return wanted.LeadsAs(_uplinkIs) ? Allow(wanted.AllowHost) : $"the switch's uplink is {_uplinkIs}, not {wanted}";
        try
        {
            var backend = Open(wanted);
            var pump = new PortPump(backend, _wake);
            pump.Port = Switch.TryAttach(new PortOptions { Role = PortRole.Uplink, Label = "uplink", Trunk = VlanSet.All }, pump, out string why);
            if (pump.Port is null)
            {
                pump.Dispose();
                return why;
            }

            pump.Port.Takes = backend.SendOffloads;
            backend.Configure(backend.ReceiveOffloads, 1);
            backend.Connect(pump);
            (backend as IWatchedBackend)?.WatchBy(0, new EpollWait(_epoll, UplinkData));
            (_uplink, _uplinkIs) = (pump, wanted);
            return "";
        }
        catch (Exception e) when (e is VmmException or KvmException)
        {
            return e.Message;
        }
    }

    private INetworkBackend Open(SwitchUplink wanted)
    {
        if (wanted.Tap is not null)
            return NetworkBackends.Open(new NetConfig { Kind = NetKind.Tap, Name = wanted.Tap }, _host.Failed, _host.Notice);
        var user = (wanted.User ?? new NetConfig { Kind = NetKind.User, Via = UserStack.Slirp }) with { AllowHost = wanted.AllowHost, MayAllowMore = !_host.IsManaged };
        return new UserUplink(user, config => new SlirpBackend(config, _host.Failed), _host.Notice);
    }

    /// <summary>What one card asks for is for all; of a network with rules its description alone says it.</summary>
    private string Allow(IReadOnlyList<AllowedPort> wanted)
    {
        if (_uplinkIs is not { } uplink || wanted.Except(uplink.AllowHost).FirstOrDefault() is not { } other)
            return "";
        if (_host.IsManaged)
            return $"the network does not allow port {other} of the host";
        _uplinkIs = uplink with { AllowHost = [.. uplink.AllowHost.Union(wanted)] };
        (_uplink?.Backend as UserUplink)?.Allow(_uplinkIs.AllowHost);
        return "";
    }

    /// <summary>Who connected.</summary>
    private sealed class Client(UnixSocket socket, ulong number, Epoll epoll) : IDescriptorWait, IDisposable
    {
        public UnixSocket Socket { get; } = socket;

        public ulong Number { get; } = number;

        public long Since { get; } = Stopwatch.GetTimestamp();

        public SwitchHello.Reader Hello { get; } = new();

        /// <summary>By what its socket is waited for, from the beginning.</summary>
        public EpollWait Wait { get; } = new(epoll, number);

        /// <summary>What it is at; null as long as it is a stranger.</summary>
        public PortPump? Pump { get; set; }

        /// <summary>It was added as a stranger's.</summary>
        void IDescriptorWait.Add(int fd)
        {
        }

        int IDescriptorWait.Edges => Wait.Edges;

        void IDescriptorWait.AwaitRoom(int fd, bool wanted) => Wait.AwaitRoom(fd, wanted);

        public void Dispose()
        {
            Pump?.Dispose();
            Socket.Dispose();
        }
    }
}

/// <summary>What a server knows of who it is in.</summary>
/// <param name="IsManaged">Nobody else may serve the switch.</param>
/// <param name="Wake">Wakes the thread.</param>
/// <param name="Failed">Told of a fault of the program.</param>
/// <param name="Notice">Told what a person may want to know.</param>
internal sealed record SwitchHost(bool IsManaged, Action Wake, Action<string> Failed, Action<string>? Notice)
{
    /// <summary>Called with a switch before anybody can join it, on the node's thread; again with another one where that could not be served.</summary>
    public Action<NetworkSwitch>? Prepare { get; init; }
}
