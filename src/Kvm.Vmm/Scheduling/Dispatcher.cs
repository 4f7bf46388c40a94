using System.Collections.Concurrent;
using Kvm.Interop;
using Kvm.Sched;
using Kvm.Sched.Simulation;

namespace Kvm.Vmm.Scheduling;

/// <summary>
/// A thread that runs a policy over real vCPU threads: it sleeps until somebody rings the table's bell or a slice ends, and is one of real
/// time where the host permits. VMs of this process or of others may join; theirs are given <see cref="GateTable.Descriptor"/>.
/// </summary>
/// <remarks>All public members may be called from any thread.</remarks>
public sealed class Dispatcher : IDisposable
{
    /// <summary>The lowest priority of real time: before all ordinary work, behind all else.</summary>
    private const int RealTimePriority = 1;

    private readonly DispatcherSettings _settings;
    private readonly GateTable _table;
    private readonly DispatchCore _core;
    private readonly OnlineCpus? _online;
    private readonly CpuBusyTimes? _busyTimes;
    private readonly ConcurrentQueue<Action<long>> _commands = new();
    private readonly Thread _thread;
    private readonly ManualResetEventSlim _ended = new();
    private readonly CpuSet _known;
    private volatile bool _stopping;
    private long _nextBeat;

    /// <summary>Makes the table and starts the thread.</summary>
    /// <param name="settings">Policy, rules and CPUs.</param>
    /// <exception cref="ArgumentException">There is no such policy, or a setting lies outside its range.</exception>
    /// <exception cref="KvmException">The host has no memory for the table.</exception>
    public Dispatcher(DispatcherSettings settings)
        : this(settings, new OnlineCpus())
    {
    }

    internal Dispatcher(DispatcherSettings settings, OnlineCpus? online)
    {
        ArgumentNullException.ThrowIfNull(settings);
        _settings = settings;
        _online = online;
        _table = GateTable.Create(settings.Policy, settings.Slots);
        _busyTimes = settings.Policy == "host" ? new CpuBusyTimes() : null;
        try
        {
            _core = new DispatchCore(settings, _table, static (process, thread) => new ThreadProbe(process, thread), _busyTimes);
        }
        catch
        {
            _busyTimes?.Dispose();
            _table.Dispose();
            throw;
        }

        _known = CpuSet.All(settings.Topology.Count);
        Started = HostClock.Monotonic();
        _thread = new Thread(Main, maxStackSize: 256 << 10) { Name = "sched-dispatch", IsBackground = true };
        _thread.Start();
    }

    /// <summary>When it was made, on <see cref="HostClock.Monotonic"/>.</summary>
    public long Started { get; }

    /// <summary>The policy's name.</summary>
    public string Policy => _settings.Policy;

    /// <summary>What the policy was told, and the CPUs.</summary>
    public DispatcherSettings Settings => _settings;

    /// <summary>Why the thread is not one of real time, in words; null where it is.</summary>
    public string? NoRealTime { get; private set; } = "it was not asked for";

    internal GateTable Table => _table;

    /// <summary>Told of a CPU, by the host's number, that went offline or came back; on the dispatcher's thread.</summary>
    internal Action<int, bool>? CpuChanged { get; set; }

    /// <summary>A VM joins. Its vCPUs are held at their gates until the policy lets them through.</summary>
    /// <param name="request">The VM.</param>
    /// <returns>Its places; null where the table is full or the dispatcher has ended.</returns>
    internal VmSeats? Join(SchedulingRequest request) => Invoke(now => _core.Join(request, ToJob(request), now));

    /// <summary>A VM leaves.</summary>
    internal void Leave(VmSeats vm) => Invoke<object?>(now =>
    {
        _core.Leave(vm, now);
        return null;
    });

    /// <summary>Joins a VM of this process and makes its gates.</summary>
    /// <exception cref="VmmException">The table is full.</exception>
    public DispatcherPlace Join(SchedulingRequest request, Action<string>? whenLost)
    {
        var vm = Join(request) ?? throw new VmmException(SchedulingErrors.Refused, "the scheduler's table is full");
        return new DispatcherPlace(this, vm, new GateSeats(_table, vm.FirstSlot, vm.Seats.Length) { WhenLost = whenLost });
    }

    /// <summary>
    /// A place under <c>host</c> for a machine of this process where no scheduler is: it is placed on the CPUs the process may use, and moved
    /// where these, or others on the host, are busy. The dispatcher ends with the place.
    /// </summary>
    /// <exception cref="VmmException">The host has no memory for the table.</exception>
    public static DispatcherPlace JoinAlone(SchedulingRequest request)
    {
        ArgumentNullException.ThrowIfNull(request);
        Dispatcher dispatcher;
        try
        {
            dispatcher = new Dispatcher(new DispatcherSettings { Policy = "host", Topology = HostTopology.Read(CpuAffinity.Own), RealTime = false, Slots = request.Job.Vcpus });
        }
        catch (KvmException e)
        {
            throw new VmmException(SchedulingErrors.Unreachable, e.Message, e);
        }

        var vm = dispatcher.Join(request.OfThisProcess())!;
        return new DispatcherPlace(dispatcher, vm, new GateSeats(dispatcher._table, vm.FirstSlot, vm.Seats.Length), endsIt: true);
    }

    /// <summary>All VMs and CPUs at this moment.</summary>
    /// <param name="why">With the reason of each vCPU in words.</param>
    public SchedulingView Look(bool why = false) => Invoke(now => SchedulingView.Of(_core, _settings, now, why)) ?? SchedulingView.Empty(_settings);

    /// <summary>Has each burst told, on the dispatcher's thread.</summary>
    internal void WhenBurst(Action<Seat, RecordedBurst> tell) => Invoke<object?>(_ =>
    {
        _core.WhenBurst = tell;
        return null;
    });

    /// <summary>Runs something on the dispatcher's thread and waits for it; the default where that has ended.</summary>
    internal T? Invoke<T>(Func<long, T> act)
    {
        T? result = default;
        if (_ended.IsSet)
            return default;
        using var done = new ManualResetEventSlim();
        _commands.Enqueue(now =>
        {
            result = act(now);
            done.Set();
        });
        _table.Ring();
        while (!done.Wait(100))
        {
            if (_ended.IsSet && !done.IsSet)
                return default;
        }

        return result;
    }

    /// <summary>Ends the thread; every gate opens. The table's memory goes with the last gate that uses it.</summary>
    public void Dispose()
    {
        if (_stopping)
            return;
        _stopping = true;
        _table.Ring();
        _ended.Wait();
        _online?.Dispose();
        _busyTimes?.Dispose();
    }

    private void Main()
    {
        HostThread.SetName(_thread.Name!);
        try
        {
            BecomeRealTime();
            while (!_stopping)
                Turn();
        }
        // Whatever it was: guests go on under the kernel's own scheduler.
        catch (Exception e) when (e is not OutOfMemoryException)
        {
            Failure = e;
        }
        finally
        {
            _table.Close();
            _core.CalmAll();
            foreach (var vm in _core.Vms)
            {
                foreach (var seat in vm.Seats)
                    _table.Free(seat.Slot, -1);
            }

            _ended.Set();
        }
    }

    /// <summary>What ended the thread before its time, or null.</summary>
    public Exception? Failure { get; private set; }

    private void Turn()
    {
        int bell = _table.Bell;
        long now = HostClock.Monotonic();
        while (_commands.TryDequeue(out var command))
            command(now);
        if (now >= _nextBeat)
            Beat(now);
        long next = _core.Step(now);
        _table.WaitForBell(bell, Math.Min(next, _nextBeat));
    }

    private void Beat(long now)
    {
        _table.Beat(now);
        _nextBeat = now + GateTable.HeartbeatPeriod;
        if (_online is null || !_online.HasChanged())
            return;
        var topology = _settings.Topology;
        for (int cpu = 0; cpu < topology.Count; cpu++)
        {
            bool online = _online.Contains(topology[cpu].Id);
            _core.SetOnline(cpu, online, now);
            if (_known.Contains(cpu) == online)
                continue;
            if (online)
                _known.Add(cpu);
            else
                _known.Remove(cpu);
            CpuChanged?.Invoke(topology[cpu].Id, online);
        }
    }

    private void BecomeRealTime()
    {
        if (!_settings.RealTime)
            return;
        int error = HostThread.SetRealTime(RealTimePriority);
        _core.MayHurry = error == 0;
        NoRealTime = error == 0 ? null : $"the host does not permit it ({Errno.TextOf(-error)})";
        _ = HostThread.SetTimerSlack(1);
    }

    private JobSpec ToJob(SchedulingRequest request)
    {
        var topology = _settings.Topology;
        CpuSet? affinity = null;
        if (request.Affinity.Count > 0)
        {
            affinity = new CpuSet(topology.Count);
            for (int cpu = 0; cpu < topology.Count; cpu++)
            {
                if (request.Affinity.Contains(topology[cpu].Id))
                    affinity.Add(cpu);
            }
        }

        return request.Job with { Affinity = affinity, Class = ClassOf(request.Class) };
    }

    private const int MostClasses = 65_536;

    private readonly Dictionary<string, int> _classes = new(StringComparer.Ordinal);

    // VMs of no class: what one of them took says nothing of another.
    private int ClassOf(string name)
    {
        if (name.Length == 0)
            return -1;
        if (!_classes.TryGetValue(name, out int number))
            _classes[name] = number = Math.Min(_classes.Count, MostClasses - 1);
        return number;
    }
}

/// <summary>A VM's place at a scheduler; given up by disposal, after the machine has ended.</summary>
public interface ISchedulerPlace : IDisposable
{
    /// <summary>The gates, for <see cref="VmHost.Seats"/>.</summary>
    GateSeats Seats { get; }
}

/// <summary>A VM's place at a dispatcher of the same process.</summary>
public sealed class DispatcherPlace : ISchedulerPlace
{
    private readonly Dispatcher _dispatcher;
    private readonly bool _endsIt;

    internal DispatcherPlace(Dispatcher dispatcher, VmSeats vm, GateSeats seats, bool endsIt = false)
    {
        (_dispatcher, _endsIt) = (dispatcher, endsIt);
        Vm = vm;
        Seats = seats;
    }

    /// <summary>The gates, for <see cref="VmHost.Seats"/>.</summary>
    public GateSeats Seats { get; }

    internal VmSeats Vm { get; }

    /// <summary>Leaves. After the machine has ended.</summary>
    public void Dispose()
    {
        _dispatcher.Leave(Vm);
        if (_endsIt)
            _dispatcher.Dispose();
    }
}
