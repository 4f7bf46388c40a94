using System.Diagnostics;
using Kvm.Devices.Net;
using Kvm.Devices.Net.Switch;
using Kvm.Interop;

namespace Kvm.Vmm.Network.Switching;

/// <summary>
/// This process's part in a switch, for all of its cards that are there. Whoever gets the switch's lock serves it, on the node's thread; the others connect to its socket. When
/// it ends, by whatever, its lock is free and the next one serves: cards lose a few frames, and the switch learns anew.
/// </summary>
internal sealed class SwitchNode : IDisposable
{
    /// <summary>What <see cref="Served"/> says where the switch is another process's.</summary>
    public const string HasAnother = "another process has it";

    private const ulong BellData = ulong.MaxValue;
    // Milliseconds.
    private const int ShortPause = 5, LongPause = 200, LookAgainPause = 1000;
    private static readonly TimeSpan s_answerTime = TimeSpan.FromSeconds(5);

    private readonly string _name;
    private readonly string _socket;
    private readonly string _lock;
    private readonly SwitchHost _madeFor, _host;
    private readonly SwitchOptions _options;
    private readonly SwitchUplink? _uplink;
    private readonly Lock _gate = new(), _waking = new();
    private readonly List<SwitchBackend> _cards = [];
    private readonly EventFd _bell = new();
    private readonly Epoll _epoll = new();
    private readonly EpollEvent[] _events = new EpollEvent[64];
    private readonly TaskCompletionSource<string> _served = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Thread _thread;
    private readonly Dictionary<ulong, RemoteLink> _remote = [];
    private ulong _nextLink;
    private SwitchServer? _server;
    private bool _isOthers;
    private int _pause = ShortPause;
    private volatile bool _stop;
    private bool _isOver;

    /// <summary>Starts the thread.</summary>
    /// <param name="name">The switch's name.</param>
    /// <param name="paths">Its socket and its lock.</param>
    /// <param name="options">What bounds it, if it is this process's.</param>
    /// <param name="uplink">Its way out, if it is this process's; null for what a card asks for.</param>
    /// <param name="host">Who this is; its <see cref="SwitchHost.Wake"/> is made here.</param>
    public SwitchNode(string name, (string Socket, string Lock) paths, SwitchOptions options, SwitchUplink? uplink, SwitchHost host)
    {
        (_name, _options, _uplink) = (name, options, uplink);
        (_socket, _lock) = paths;
        (_madeFor, _host) = (host, host with { Wake = Wake });
        _epoll.Add(_bell.Handle.Fd, EpollEvents.In, BellData);
        _thread = new Thread(Main, maxStackSize: 512 << 10) { Name = $"switch-{name}", IsBackground = true };
        _thread.Start();
    }

    /// <summary>Whoever is at it, for <see cref="SwitchRegistry"/> to count.</summary>
    public int Users { get; set; }

    /// <summary>Completes when it serves the switch, with nothing, or with why it cannot.</summary>
    public Task<string> Served => _served.Task;

    /// <summary>True for whoever made it to manage the switch.</summary>
    public bool IsManagedBy(SwitchHost host) => ReferenceEquals(_madeFor, host) && host.IsManaged;

    /// <summary>The switch, where this process serves it.</summary>
    public NetworkSwitch? Switch => _server?.Switch;

    /// <summary>Has the thread look at everything again. Any thread.</summary>
    public void Wake()
    {
        lock (_waking)
        {
            // A service may still send what nobody gets any more.
            if (!_isOver)
                _bell.Signal();
        }
    }

    /// <summary>Adds a card, which is then joined or not (<see cref="SwitchBackend.Joined"/>).</summary>
    public void Add(SwitchBackend card)
    {
        lock (_gate)
            _cards.Add(card);
        Wake();
    }

    /// <summary>A card is not there any more; nobody changes its link afterwards.</summary>
    public void Remove(SwitchBackend card)
    {
        lock (_gate)
            _cards.Remove(card);
    }

    /// <summary>Ends the thread and lets the switch go, if this process serves it.</summary>
    public void Dispose()
    {
        _stop = true;
        Wake();
        _thread.Join();
        _server?.Dispose();
        _epoll.Dispose();
        lock (_waking)
        {
            _isOver = true;
            _bell.Dispose();
        }
    }

    private void Main()
    {
        try
        {
            while (!_stop)
                Turn();
        }
        // The last line of defence: an exception here would end the process with the terminal raw.
        catch (Exception e) when (e is not OutOfMemoryException)
        {
            RefuseAll($"{e.GetType().Name}: {e.Message}");
            _host.Failed($"{_thread.Name}: {e}");
        }
    }

    private void Turn()
    {
        int pause;
        try
        {
            pause = Link();
        }
        // Descriptors, memory, the folder's rights: what is there already goes on.
        catch (KvmException e)
        {
            RefuseAll(e.Message);
            pause = LookAgainPause;
        }

        if (_server is { } server)
            pause = server.Move() ? 0 : server.MustLookAgain && pause < 0 ? LookAgainPause : pause;
        int count = _epoll.Wait(_events, pause);
        foreach (ref readonly var happened in _events.AsSpan(0, count))
        {
            if (happened.Data == BellData)
                _bell.Drain();
            else if (_server is not null)
                _server.On(in happened);
            else if (_remote.Remove(happened.Data, out var link))
                link.IsOver = true;
        }
    }

    /// <summary>Links cards that are not. Returns after how many milliseconds it is to be tried again; −1 if there is no need.</summary>
    private int Link()
    {
        List<SwitchBackend>? without = null;
        lock (_gate)
        {
            foreach (var card in _cards)
            {
                if (!IsLinked(card) && (!card.Joined.IsCompleted || card.Joined.Result.Length == 0))
                    (without ??= []).Add(card);
            }
        }

        if (_server is null && (without is not null || (_host.IsManaged && !_served.Task.IsCompleted)) && !_isOthers)
            Serve();
        if (without is null)
            return -1;
        bool all = true;
        foreach (var card in without)
            all &= _server is { } server ? LinkHere(card, server) : LinkThere(card);
        _pause = all ? ShortPause : Math.Min(2 * _pause, _server is null ? LongPause : LookAgainPause);
        return all ? -1 : _pause;
    }

    // To whoever served it before: nobody does, as this process has the lock.
    private bool IsLinked(SwitchBackend card) => card.Link is LocalLink || (_server is null && card.Link is RemoteLink { IsOver: false, Stream.IsGone: false });

    /// <summary>Serves the switch, if nobody does.</summary>
    private void Serve()
    {
        if (LockFile.TryAcquire(_lock) is not { } held)
        {
            if (_host.IsManaged)
                _served.TrySetResult(HasAnother);
            return;
        }

        try
        {
            var network = new NetworkSwitch(_options, TimeProvider.System);
            _host.Prepare?.Invoke(network);
            _server = new SwitchServer(held, _socket, network, _epoll, _host);
        }
        catch
        {
            held.Dispose();
            throw;
        }

        if (_nextLink > 0)
            _host.Notice?.Invoke($"the switch {_name} is served by this process now");
        _remote.Clear();
        _served.TrySetResult(_server.EnsureUplink(_uplink));
    }

    private bool LinkHere(SwitchBackend card, SwitchServer server)
    {
        if (server.Attach(card.Port, card.Mac, card, out string why) is { } port)
            Give(card, new LocalLink(port));
        else
            Refuse(card, why);
        return IsLinked(card);
    }

    private bool LinkThere(SwitchBackend card)
    {
        int result = UnixSocket.TryConnect(_socket, out var socket, wait: false);
        if (result != 0 || socket is null)
            return Unlinked(card);
        string? why = "whoever has it belongs to another user";
        if (socket.HasTrustedPeer(out _))
            why = Greet(socket, card);
        if (why is not { Length: 0 })
        {
            socket.Dispose();
            if (why is not null)
                Refuse(card, why);
            return Unlinked(card);
        }

        var link = new RemoteLink(new StreamBackend(socket, hasHeaders: true));
        _remote.Add(++_nextLink, link);
        _epoll.Add(socket.Handle.Fd, EpollEvents.RdHup | EpollEvents.EdgeTriggered, _nextLink);
        Give(card, link);
        return true;
    }

    /// <summary>Says how a card wants to be there. Gives nothing if it is, why it cannot be, or null if nobody said.</summary>
    private string? Greet(UnixSocket socket, SwitchBackend card)
    {
        byte[] question = SwitchHello.Ask(card.Port, card.Mac);
        if (socket.Send(question, wait: false) != question.Length)
            return null;
        var reader = new SwitchHello.Reader();
        Span<PollFd> readable = [new PollFd { Fd = socket.Handle.Fd, Events = PollFd.POLLIN }];
        long began = Stopwatch.GetTimestamp();
        while (!_stop && Stopwatch.GetElapsedTime(began) < s_answerTime)
        {
            Descriptor.Poll(readable, 100);
            switch (reader.Read(socket))
            {
                // Without who knows its rules a switch that had some is none.
                case true when SwitchHello.TryReadAnswer(reader.Message, out string refusal, out bool managed) && (managed || !_isOthers || refusal.Length > 0):
                    _isOthers |= managed;
                    return refusal;
                case false:
                    continue;
                default:
                    return null;
            }
        }

        return null;
    }

    private bool Unlinked(SwitchBackend card)
    {
        // Else somebody serves it again in a moment, and the guest need not know.
        if (_isOthers)
            card.SetUp(false);
        return false;
    }

    /// <summary>Gives a card its link, if it is still there.</summary>
    private void Give(SwitchBackend card, ICardLink link)
    {
        lock (_gate)
        {
            if (_cards.Contains(card))
                card.Change(link);
            else
                link.Dispose();
        }

        card.SetUp(true);
        card.Say("");
    }

    private void Refuse(SwitchBackend card, string why)
    {
        if (!card.Say(why))
            _host.Notice?.Invoke($"the switch {_name} does not take a card back: {why}");
    }

    private void RefuseAll(string why)
    {
        _served.TrySetResult(why);
        lock (_gate)
        {
            foreach (var card in _cards)
                card.Say(why);
        }
    }
}
