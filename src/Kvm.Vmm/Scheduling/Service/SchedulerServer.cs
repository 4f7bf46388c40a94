using System.Collections.Concurrent;
using System.Globalization;
using System.Text.Json;
using Kvm.Interop;
using Kvm.Sched.Simulation;
using Kvm.Vmm.Configuration;

namespace Kvm.Vmm.Scheduling.Service;

/// <summary>How a scheduler's process serves.</summary>
public sealed record SchedulerServerSettings
{
    /// <summary>Policy, rules and CPUs.</summary>
    public required DispatcherSettings Dispatcher { get; init; }

    /// <summary>What guests may be promised together.</summary>
    public required AdmissionLimits Limits { get; init; }

    /// <summary>Ends with the last guest, or when none came in time; else only when it is told to.</summary>
    public bool EndWithGuests { get; init; }

    /// <summary>Takes what guests do, as a trace that the simulator reads (<see cref="JobTrace"/>), from its header on; null for none.</summary>
    public TextWriter? Record { get; init; }

    /// <summary>Takes messages for people; null discards them.</summary>
    public Action<string>? Notice { get; init; }

    /// <summary>Takes what happens; null discards it.</summary>
    public Action<SchedulingEvent>? Event { get; init; }
}

/// <summary>Something happened at a scheduler.</summary>
/// <param name="Kind"><c>admitted queued refused left cpu-online cpu-offline</c>.</param>
/// <param name="Subject">The guest's name, control characters escaped, or the CPU.</param>
/// <param name="ProcessId">The guest's process; 0 for a CPU.</param>
/// <param name="Detail">More of it, or nothing.</param>
public sealed record SchedulingEvent(string Kind, string Subject, int ProcessId, string Detail);

/// <summary>
/// A dispatcher behind a Unix socket: guests of other processes register, are admitted, get the table's descriptor, and have left when
/// their connection ends. One thread; only processes of the same user and root's are served.
/// </summary>
public sealed class SchedulerServer : IDisposable
{
    private const ulong ListenerToken = 0;
    private const ulong WakeToken = 1;

    /// <summary>How soon a client is looked for again that could not be taken.</summary>
    private const int RetryMilliseconds = 200;

    /// <summary>How long a scheduler that ends with its guests waits for the first.</summary>
    private static readonly TimeSpan s_firstGuest = TimeSpan.FromSeconds(30);

    private readonly SchedulerServerSettings _settings;
    private readonly UnixSocket _listener;
    private readonly Dispatcher _dispatcher;
    private readonly Epoll _epoll = new();
    private readonly EventFd _wake = new();
    private readonly Dictionary<ulong, Connection> _connections = [];
    private readonly Reception _reception;
    private readonly ConcurrentQueue<(Seat Seat, RecordedBurst Burst)> _records = new();
    private readonly ConcurrentQueue<(int Id, bool Online)> _cpuEvents = new();
    private ulong _nextToken = 2;
    private bool _acceptsAll = true;
    private volatile bool _stopping;

    /// <summary>A server at the socket of its CPUs in a folder, or at the one that <see cref="SchedulerClient"/> gave this process.</summary>
    /// <exception cref="VmmException">The socket cannot be made, or these CPUs have a scheduler already.</exception>
    public static SchedulerServer Open(SchedulerServerSettings settings, string folder, bool inherited)
    {
        ArgumentNullException.ThrowIfNull(settings);
        if (inherited)
            return new SchedulerServer(new UnixSocket(new FdHandle(DetachedProcess.InheritedDescriptor)), settings);
        var topology = settings.Dispatcher.Topology;
        var cpus = topology.Ids;
        using var starting = LockFile.Acquire(Path.Combine(folder, SchedulerClient.LockName));
        using (var other = SchedulerClient.Find(folder, cpus))
        {
            if (other is not null)
                throw SchedulerClient.Ruled(other, settings.Dispatcher.Policy, cpus);
        }

        return new SchedulerServer(SchedulerClient.Listen(SchedulerClient.SocketPath(folder, cpus)), settings);
    }

    /// <summary>Makes the dispatcher; serves once <see cref="Run"/> is called.</summary>
    /// <param name="listener">A non-blocking socket that listens; owned from now on.</param>
    /// <param name="settings">How to serve.</param>
    public SchedulerServer(UnixSocket listener, SchedulerServerSettings settings)
    {
        ArgumentNullException.ThrowIfNull(listener);
        ArgumentNullException.ThrowIfNull(settings);
        (_listener, _settings) = (listener, settings);
        _dispatcher = new Dispatcher(settings.Dispatcher);
        _reception = new Reception(_dispatcher, settings.Limits, settings.Event);
        if (settings.Event is not null)
        {
            _dispatcher.CpuChanged = (id, online) =>
            {
                _cpuEvents.Enqueue((id, online));
                _wake.Signal();
            };
        }

        if (settings.Record is not null)
        {
            settings.Record.Write(JobTrace.Header + "\n");
            _dispatcher.WhenBurst((seat, burst) =>
            {
                _records.Enqueue((seat, burst));
                _wake.Signal();
            });
        }
    }

    /// <summary>Why the dispatcher is no thread of real time; null where it is.</summary>
    public string? NoRealTime => _dispatcher.NoRealTime;

    /// <summary>Serves until <see cref="Stop"/>, or until the last guest has left where the settings say so.</summary>
    public void Run()
    {
        // A dispatcher that waits for a page is no thread of real time. Without the privilege, locked memory is a small limit that other calls need.
        if (_settings.Dispatcher.RealTime && Environment.IsPrivilegedProcess)
            _ = HostThread.LockMemory();
        _epoll.Add(_listener.Handle.Fd, EpollEvents.In, ListenerToken);
        _epoll.Add(_wake.Handle.Fd, EpollEvents.In, WakeToken);
        Span<EpollEvent> events = stackalloc EpollEvent[16];
        long firstDeadline = HostClock.Monotonic() + (long)s_firstGuest.TotalNanoseconds;
        while (!_stopping && _dispatcher.Failure is null)
        {
            int count = _epoll.Wait(events, _acceptsAll ? Patience(firstDeadline) : RetryMilliseconds);
            if (!_acceptsAll)
            {
                _acceptsAll = true;
                _epoll.Modify(_listener.Handle.Fd, EpollEvents.In, ListenerToken);
            }

            for (int i = 0; i < count; i++)
                Take(events[i]);
            WriteRecords();
            TellOfCpus();
            if (_settings.EndWithGuests && _reception.Guests == 0 && (_reception.HadGuests || HostClock.Monotonic() >= firstDeadline))
                return;
        }

        if (_dispatcher.Failure is { } failure)
            _settings.Notice?.Invoke($"the dispatcher failed: {failure.Message}");
    }

    /// <summary>Makes <see cref="Run"/> return. Any thread.</summary>
    public void Stop()
    {
        _stopping = true;
        _wake.Signal();
    }

    /// <summary>Ends the dispatcher: guests that still run go on under the host's own scheduler.</summary>
    public void Dispose()
    {
        _dispatcher.Dispose();
        WriteRecords();
        foreach (var connection in _connections.Values)
            connection.Dispose();
        _listener.Dispose();
        _wake.Dispose();
        _epoll.Dispose();
    }

    private int Patience(long firstDeadline)
    {
        if (!_settings.EndWithGuests || _reception.HadGuests)
            return -1;
        return (int)Math.Clamp((firstDeadline - HostClock.Monotonic()) / 1_000_000 + 1, 0, int.MaxValue);
    }

    private void WriteRecords()
    {
        try
        {
            while (_records.TryDequeue(out var record))
            {
                var vm = record.Seat.Vm;
                // Guests of one name are several jobs.
                string name = string.Create(CultureInfo.InvariantCulture, $"{VisibleText.Escape(vm.Request.Name)}@{vm.Request.ProcessId}");
                JobTrace.Write(_settings.Record!, name, Math.Max(0, vm.Arrived - _dispatcher.Started), vm.Job, VisibleText.Escape(vm.Request.Class), record.Seat.Index, record.Burst);
            }
        }
        catch (IOException e)
        {
            _records.Clear();
            _settings.Notice?.Invoke($"the record lost lines: {HostFailureText.Of(e)}");
        }
    }

    private void Take(in EpollEvent what)
    {
        if (what.Data == ListenerToken)
            Accept();
        else if (what.Data == WakeToken)
            _wake.Drain();
        else if (_connections.TryGetValue(what.Data, out var connection))
        {
            if (what.Events.HasFlag(EpollEvents.Out))
                connection.Flush();
            if ((what.Events & ~EpollEvents.Out) != EpollEvents.None)
                Read(connection);
            if (connection.IsGone)
                Drop(connection);
            else
                _epoll.Modify(connection.Socket.Handle.Fd, connection.HasOutput ? EpollEvents.In | EpollEvents.Out : EpollEvents.In, connection.Token);
        }
    }

    private void Accept()
    {
        UnixSocket? socket;
        while ((_acceptsAll = _listener.TryAccept(out socket)) && socket is not null)
            Welcome(socket);
        // Whoever cannot be taken waits, and would be told of without end.
        if (!_acceptsAll)
            _epoll.Modify(_listener.Handle.Fd, EpollEvents.None, ListenerToken);
    }

    private void Welcome(UnixSocket socket)
    {
        if (!socket.HasTrustedPeer(out var peer) || peer.ProcessId <= 0)
        {
            socket.Dispose();
            return;
        }

        var connection = new Connection(socket, _nextToken++, peer.ProcessId);
        _connections.Add(connection.Token, connection);
        _epoll.Add(socket.Handle.Fd, EpollEvents.In, connection.Token);
    }

    private void Read(Connection connection)
    {
        while (connection.Next() is { } message)
        {
            using (message)
                Answer(connection, message.RootElement);
        }
    }

    private void Answer(Connection connection, JsonElement message)
    {
        switch (Wire.Text(message, "op"))
        {
            case "hello":
                connection.Send(Wire.Frame(json =>
                {
                    json.WriteString("policy", _dispatcher.Policy);
                    json.WriteString("cpus", CpuList.Format(_settings.Dispatcher.Topology.Ids));
                    RulesForm.Write(json, _settings.Dispatcher.Rules);
                    json.WriteNumber("processId", Environment.ProcessId);
                }));
                break;
            case "register" when connection.Guest is null:
                Register(connection, message);
                break;
            case "show":
                Show(connection, Wire.Text(message, "format"));
                break;
            case "why":
                string name = Wire.Text(message, "vm") ?? "", why = SchedulingText.Why(_dispatcher.Look(why: true), name) + _reception.Why(name);
                connection.Send(why.Length == 0 ? Fault(SchedulingErrors.NoSuchVm, "") : TextAnswer(why));
                break;
            default:
                connection.Send(Fault(SchedulingErrors.Unreachable, "this scheduler does not know what was asked"));
                break;
        }
    }

    private void Show(Connection connection, string? format)
    {
        var view = _dispatcher.Look();
        var service = _reception.View();
        connection.Send(TextAnswer(format switch
        {
            "json" => SchedulingText.Json(view, service),
            "prometheus" => PrometheusText.Of(view, service),
            _ => SchedulingText.Table(view, service),
        }));
    }

    private void Register(Connection connection, JsonElement message)
    {
        var request = RegistrationForm.Read(message, connection.ProcessId);
        if (request.Affinity.Count > 0 && !request.Affinity.Intersect(_settings.Dispatcher.Topology.Ids).Any())
        {
            connection.Send(Fault(SchedulingErrors.NoSuchCpu, $"{CpuList.Format(request.Affinity)} are none of this scheduler's {CpuList.Format(_settings.Dispatcher.Topology.Ids)}"));
            return;
        }

        var guest = new Applicant(request, connection.Token);
        var answer = _reception.Ask(guest, Wire.Text(message, "admission") == "queue", out string why);
        if (answer == AdmissionAnswer.Refused)
        {
            connection.Send(Fault(SchedulingErrors.Refused, why));
            return;
        }

        connection.Guest = guest;
        connection.Send(answer == AdmissionAnswer.Admitted ? Admitted(guest.Vm!) : Wire.Frame(json =>
        {
            json.WriteString("status", "queued");
            json.WriteNumber("position", _reception.Waiting);
            json.WriteString("detail", why);
        }), answer == AdmissionAnswer.Admitted ? _dispatcher.Table.Descriptor : null);
    }

    private void Drop(Connection connection)
    {
        _connections.Remove(connection.Token);
        connection.Dispose();
        if (connection.Guest is not { } guest)
            return;
        _reception.Leave(guest);
        while (_reception.Next(out string why) is { } next)
        {
            var waiting = _connections[next.Token];
            if (next.Vm is { } vm)
                waiting.Send(Admitted(vm), _dispatcher.Table.Descriptor);
            else
            {
                waiting.Guest = null;
                waiting.Send(Fault(SchedulingErrors.Refused, why));
            }

            if (waiting.HasOutput)
                _epoll.Modify(waiting.Socket.Handle.Fd, EpollEvents.In | EpollEvents.Out, waiting.Token);
        }
    }

    private static byte[] Admitted(VmSeats vm) => Wire.Frame(json =>
    {
        json.WriteString("status", "admitted");
        json.WriteNumber("firstSlot", vm.FirstSlot);
        json.WriteNumber("count", vm.Seats.Length);
    });

    private void TellOfCpus()
    {
        while (_cpuEvents.TryDequeue(out var cpu))
            _settings.Event?.Invoke(new SchedulingEvent(cpu.Online ? "cpu-online" : "cpu-offline", cpu.Id.ToString(CultureInfo.InvariantCulture), 0, ""));
    }

    private static byte[] TextAnswer(string text) => Wire.Frame(json => json.WriteString("text", text));

    private static byte[] Fault(ErrorInfo error, string detail) => Wire.Frame(json =>
    {
        json.WriteString("status", "refused");
        json.WriteString("error", error.Id);
        json.WriteString("detail", detail);
    });
}
