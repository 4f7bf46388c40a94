using System.Buffers;
using Kvm.Interop;

namespace Kvm.Vmm.Control;

/// <summary>
/// A running guest's control socket (<see cref="ControlProtocol"/>): mode 0600 in a folder of this user's, other users' clients are sent
/// away. Its thread sleeps until somebody asks; while somebody listens it also asks the vCPUs where they are.
/// </summary>
public sealed class ControlServer : IDisposable
{
    internal const int MostClients = 32;

    // Those who wait for one of the machines of a process wait there.
    private const int MostClientsOfProcess = 1024;

    private const int SampleMs = 20;
    private const int AcceptRetryMs = 100;
    private const int LongestSleepMs = 3_600_000;
    private const ulong BellData = ulong.MaxValue, ListenerData = ulong.MaxValue - 1;

    private static readonly IControlRequest[] s_requests = [new StatisticsRequest(), new ResourceMapRequest(), new Snapshots.SnapshotRequest(), new Snapshots.Backup.BackupRequest(),
        new Snapshots.Checkpoints.CheckpointRequest(), new Snapshots.Checkpoints.BackRequest()];

    private readonly ControlTarget _target;
    private readonly IReadOnlyList<IControlRequest> _requests;
    private readonly UnixListener _listener;
    private readonly int _mostClients;
    private readonly EventFd _bell = new();
    private readonly Epoll _epoll = new();
    private readonly Dictionary<ulong, ControlClientSession> _clients = [];
    private readonly Thread _thread;
    private ulong _last;
    private long _nextSample;
    private bool _acceptsAll = true;
    private volatile bool _stop;

    private ControlServer(VirtualMachine? machine, UnixListener listener, IReadOnlyList<IControlRequest> more)
    {
        _target = new ControlTarget(machine);
        _requests = machine is null ? more : [.. s_requests, .. more];
        _listener = listener;
        _mostClients = machine is null ? MostClientsOfProcess : MostClients;
        _epoll.Add(_bell.Handle.Fd, EpollEvents.In, BellData);
        _epoll.Add(_listener.Handle.Fd, EpollEvents.In, ListenerData);
        _thread = new Thread(Main, maxStackSize: 256 << 10) { Name = "control", IsBackground = true };
        _thread.Start();
    }

    private static long Now => Environment.TickCount64;

    /// <summary>Offers a machine's socket.</summary>
    /// <param name="machine">The machine, which outlives this.</param>
    /// <param name="runtimeFolder">Where sockets are.</param>
    /// <param name="why">Why there is none, where there is none: the guest does without.</param>
    /// <param name="more">What can be asked besides statistics.</param>
    /// <returns>Null where the name is no file's, or the socket cannot be made.</returns>
    public static ControlServer? TryOpen(VirtualMachine machine, string runtimeFolder, out string? why, params IReadOnlyList<IControlRequest> more)
    {
        ArgumentNullException.ThrowIfNull(machine);
        ArgumentNullException.ThrowIfNull(runtimeFolder);
        ArgumentNullException.ThrowIfNull(more);
        why = null;
        if (ControlProtocol.PathOf(runtimeFolder, machine.Config.Name) is not { } path)
        {
            why = "its name has other characters than letters, digits, '-', '_' and '.', or more than 64";
            return null;
        }

        return TryOpen(machine, path, more, out why);
    }

    /// <summary>Offers the socket of a process that runs several machines, at which none of them is asked.</summary>
    /// <param name="path">The socket, in a folder of this user's.</param>
    /// <param name="why">Why there is none, where there is none.</param>
    /// <param name="requests">What can be asked.</param>
    public static ControlServer? TryOpenAt(string path, out string? why, params IReadOnlyList<IControlRequest> requests)
    {
        ArgumentNullException.ThrowIfNull(path);
        ArgumentNullException.ThrowIfNull(requests);
        return TryOpen(null, path, requests, out why);
    }

    private static ControlServer? TryOpen(VirtualMachine? machine, string path, IReadOnlyList<IControlRequest> more, out string? why)
    {
        why = null;
        try
        {
            Directory.CreateDirectory(Path.GetDirectoryName(path)!, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
            return new ControlServer(machine, UnixListener.Open(path, backlog: MostClients), more);
        }
        catch (Exception e) when (e is KvmException or IOException or UnauthorizedAccessException or ArgumentException)
        {
            why = e is KvmException { Errno: Errno.EADDRINUSE } ? "another guest has its name" : e.Message;
            return null;
        }
    }

    /// <summary>Hangs up on clients and removes the socket.</summary>
    public void Dispose()
    {
        _stop = true;
        _bell.Signal();
        _thread.Join();
        foreach (var client in _clients.Values)
            client.Dispose();
        _listener.Dispose();
        _epoll.Dispose();
        _bell.Dispose();
    }

    private void Main()
    {
        Span<EpollEvent> events = new EpollEvent[MostClients + 2];
        while (!_stop)
        {
            int count = _epoll.Wait(events, Patience());
            long now = Now;
            foreach (ref readonly var happened in events[..Math.Max(0, count)])
                OnEvent(happened);
            foreach (var (data, client) in _clients.Where(c => c.Value.Due <= now).ToList())
                Keep(data, client.Advance(now));
            if (!_acceptsAll)
                Accept();
            Sample(now);
        }
    }

    /// <summary>How long nothing is to be done, in ms; −1 for ever.</summary>
    private int Patience()
    {
        if (_clients.Count == 0 && _acceptsAll)
            return -1;
        long due = _acceptsAll ? long.MaxValue : Now + AcceptRetryMs;
        foreach (var client in _clients.Values)
            due = Math.Min(due, client.Due);
        if (_clients.Values.Any(client => client.Samples))
            due = Math.Min(due, _nextSample);
        return (int)Math.Clamp(due - Now, 0, LongestSleepMs);
    }

    private void OnEvent(in EpollEvent happened)
    {
        if (happened.Data == BellData)
            _bell.Drain();
        else if (happened.Data == ListenerData)
            Accept();
        else if (_clients.TryGetValue(happened.Data, out var client))
            Keep(happened.Data, ((happened.Events & ~EpollEvents.Out) == 0 || client.Receive(Begin)) && client.Send());
    }

    private (ControlReply? Reply, string? Problem) Begin(ReadOnlyMemory<byte> line)
    {
        string? problem = ControlProtocol.Begin(line.Span, _requests, _target, out var reply);
        reply?.Attach(() => _bell.Signal());
        return (reply, problem);
    }

    private void Accept()
    {
        while ((_acceptsAll = _listener.TryAccept(out var socket)) && socket is not null)
            Welcome(socket);
        // Whoever cannot be taken for want of descriptors waits, and would be told of without end: looked for again after a while.
        _epoll.Modify(_listener.Handle.Fd, _acceptsAll ? EpollEvents.In : EpollEvents.None, ListenerData);
    }

    private void Welcome(UnixSocket socket)
    {
        if (_clients.Count == _mostClients || !socket.HasTrustedPeer(out _))
        {
            socket.Dispose();
            return;
        }

        var client = new ControlClientSession(socket, Now);
        _clients[++_last] = client;
        _epoll.Add(client.Fd, EpollEvents.In, _last);
    }

    /// <summary>Goes on with a client or hangs up on it.</summary>
    private void Keep(ulong data, bool keep)
    {
        if (!_clients.TryGetValue(data, out var client))
            return;
        if (keep)
        {
            _epoll.Modify(client.Fd, client.IsBehind ? EpollEvents.In | EpollEvents.Out : EpollEvents.In, data);
            return;
        }

        _epoll.Remove(client.Fd);
        _clients.Remove(data);
        client.Dispose();
    }

    private void Sample(long now)
    {
        bool listens = _clients.Values.Any(client => client.Samples);
        if (listens && now < _nextSample)
            return;
        _target.Sample(listens);
        _nextSample = now + SampleMs;
    }
}
