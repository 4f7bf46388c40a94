using Kvm.Sched;

namespace Kvm.Vmm.Scheduling;

/// <summary>
/// The policy <c>host</c> on real threads: binds each vCPU to a CPU by <see cref="Placement"/> and leaves its gate open for good; the
/// kernel slices time. Looks at what the threads ask for from time to time, and moves one where <see cref="Balancer"/> says so.
/// </summary>
internal sealed class HostBinder(CpuTopology topology, CpuBusyTimes? busyTimes = null)
{
    private const long Period = 200_000_000;

    /// <summary>A vCPU that moved stays for so long.</summary>
    private const long Rest = 2_000_000_000;

    private readonly Placement _placement = new(topology);
    private readonly CpuSet _online = CpuSet.All(topology.Count);
    private readonly List<Bound> _bound = [];
    private readonly double[] _demand = new double[topology.Count];

    /// <summary>What part of each CPU others than these vCPUs take.</summary>
    private readonly double[] _others = new double[topology.Count];

    private readonly long[] _busy = new long[topology[topology.Count - 1].Id + 1];
    private readonly long[] _busyBefore = new long[topology[topology.Count - 1].Id + 1];
    private BoundLoad[] _loads = [];
    private long _nextLook;
    private long _lastLook;

    /// <summary>Where a vCPU is bound, or −1.</summary>
    public int CpuIndexOf(Seat seat) => Find(seat) is >= 0 and var at ? _bound[at].Cpu : -1;

    /// <summary>Whether none of the CPUs a vCPU may run on can be used, so that the kernel alone says where it runs.</summary>
    public bool IsStranded(Seat seat) => Find(seat) is >= 0 and var at && !_online.Contains(_bound[at].Cpu) && Usable(_bound[at].Affinity) is { Count: 0 };

    public void SetOnline(int cpu, bool online, GateTable table)
    {
        if (_online.Contains(cpu) == online)
            return;
        _nextLook = 0;
        if (!online)
        {
            _online.Remove(cpu);
            return;
        }

        _online.Add(cpu);
        // Those that had no other are bound to it still, but not by the kernel.
        foreach (var bound in _bound)
        {
            if (bound.Cpu == cpu)
                Bind(bound, table);
        }
    }

    public void Add(Seat seat, in JobSpec job, GateTable table, long now)
    {
        var allowed = Usable(job.Affinity);
        int near = seat.Index > 0 ? CpuIndexOf(seat.Vm.Seats[0]) : -1;
        int cpu = _placement.Choose(-1, job.Node, allowed, near);
        if (cpu < 0)
            cpu = _placement.Choose(-1, job.Node, job.Affinity, near);
        _placement.Add(cpu);
        _bound.Add(new Bound(seat, job.Affinity) { Cpu = cpu, Demand = seat.Probe!.Demand(), Ran = seat.Probe.CpuTime() });
        table.Free(seat.Slot, topology[cpu].Id);
        if (_nextLook >= now)
            return;
        (_lastLook, _nextLook) = (now, now + Period);
        busyTimes?.Look(_busyBefore);
    }

    public void Remove(Seat seat)
    {
        if (Find(seat) is not (>= 0 and var at))
            return;
        _placement.Remove(_bound[at].Cpu);
        _bound.RemoveAt(at);
    }

    /// <summary>Looks, and moves one where that is worth it.</summary>
    /// <returns>When to look again.</returns>
    public long Step(GateTable table, long now)
    {
        if (_bound.Count == 0)
            return long.MaxValue;
        if (now < _nextLook)
            return _nextLook;
        Look(now);
        // Those on a CPU that went away all leave it at once, of others one moves at a time.
        for (bool again = true; again;)
        {
            _others.CopyTo(_demand, 0);
            var (vcpu, cpu) = Balancer.Next(topology, _online, _loads.AsSpan(0, _bound.Count), _demand);
            again = vcpu >= 0 && !_online.Contains(_bound[vcpu].Cpu);
            if (vcpu < 0)
                break;
            Move(_bound[vcpu], cpu, table, now);
            _loads[vcpu] = _loads[vcpu] with { Cpu = cpu };
        }

        return _nextLook;
    }

    /// <summary>What each vCPU asked for since the last look, and what others took of the CPUs.</summary>
    private void Look(long now)
    {
        double period = Math.Max(1, now - _lastLook);
        // A CPU that came or went is no reason to judge by a moment.
        bool judge = period >= Period / 2;
        (_lastLook, _nextLook) = (now, now + Period);
        if (_loads.Length < _bound.Count)
            _loads = new BoundLoad[Math.Max(16, _bound.Count * 2)];
        busyTimes?.Look(_busy);
        for (int cpu = 0; cpu < _others.Length; cpu++)
            _others[cpu] = _busy[topology[cpu].Id] - _busyBefore[topology[cpu].Id];
        for (int i = 0; i < _bound.Count; i++)
        {
            var bound = _bound[i];
            long demand = bound.Seat.Probe!.Demand(), ran = bound.Seat.Probe.CpuTime();
            _loads[i] = new BoundLoad(bound.Cpu, Math.Clamp((demand - bound.Demand) / period, 0, 1), judge && now - bound.MovedAt >= Rest, bound.Affinity);
            _others[bound.Cpu] -= Math.Max(0, ran - bound.Ran);
            bound.Seat.WaitedTotal += Math.Max(0, demand - bound.Demand - (ran - bound.Ran));
            bound.Seat.RanTotal += Math.Max(0, ran - bound.Seat.Clock);
            (bound.Seat.Clock, bound.Seat.ChargedAt) = (Math.Max(ran, bound.Seat.Clock), now);
            (bound.Demand, bound.Ran) = (demand, ran);
        }

        for (int cpu = 0; cpu < _others.Length; cpu++)
            _others[cpu] = Math.Clamp(_others[cpu] / period, 0, 1);
        _busy.CopyTo(_busyBefore, 0);
    }

    private void Move(Bound bound, int cpu, GateTable table, long now)
    {
        _placement.Remove(bound.Cpu);
        _placement.Add(cpu);
        bound.Cpu = cpu;
        bound.MovedAt = now;
        bound.Seat.Moves++;
        Bind(bound, table);
    }

    private void Bind(Bound bound, GateTable table)
    {
        table.Free(bound.Seat.Slot, topology[bound.Cpu].Id);
        bound.Seat.Probe!.Kick();
    }

    private CpuSet? Usable(CpuSet? affinity)
    {
        if (affinity is null && _online.Count == topology.Count)
            return null;
        var usable = new CpuSet(topology.Count);
        for (int cpu = _online.First; cpu >= 0; cpu = _online.Next(cpu))
        {
            if (affinity is null || affinity.Contains(cpu))
                usable.Add(cpu);
        }

        return usable;
    }

    private int Find(Seat seat) => _bound.FindIndex(bound => bound.Seat == seat);

    private sealed class Bound(Seat seat, CpuSet? affinity)
    {
        public Seat Seat { get; } = seat;

        public CpuSet? Affinity { get; } = affinity;

        public int Cpu { get; set; }

        public long Demand { get; set; }

        public long Ran { get; set; }

        public long MovedAt { get; set; } = long.MinValue / 2;
    }
}
