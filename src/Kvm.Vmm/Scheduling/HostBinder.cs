using Kvm.Sched;

namespace Kvm.Vmm.Scheduling;

/// <summary>
/// The policy <c>host</c> on real threads: binds each vCPU to a CPU by <see cref="Placement"/> and leaves its gate open for good; the
/// kernel slices time. Looks at what the threads ask for from time to time, and moves one where <see cref="Balancer"/> says so.
/// </summary>
internal sealed class HostBinder(CpuTopology topology)
{
    private const long Period = 200_000_000;

    /// <summary>A vCPU that moved stays for so long.</summary>
    private const long Rest = 2_000_000_000;

    private readonly Placement _placement = new(topology);
    private readonly CpuSet _online = CpuSet.All(topology.Count);
    private readonly List<Bound> _bound = [];
    private readonly double[] _demand = new double[topology.Count];
    private BoundLoad[] _loads = [];
    private long _nextLook;
    private long _lastLook;

    /// <summary>Moves so far.</summary>
    public long Moves { get; private set; }

    /// <summary>Where a vCPU is bound, or −1.</summary>
    public int CpuOf(Seat seat) => Find(seat) is >= 0 and var at ? _bound[at].Cpu : -1;

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
        int cpu = _placement.Choose(-1, job.Node, allowed);
        if (cpu < 0)
            cpu = _placement.Choose(-1, job.Node, job.Affinity);
        _placement.Add(cpu);
        _bound.Add(new Bound(seat, job.Affinity) { Cpu = cpu, Demand = seat.Probe!.Demand() });
        table.Free(seat.Slot, topology[cpu].Id);
        if (_nextLook < now)
            (_lastLook, _nextLook) = (now, now + Period);
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
        double period = Math.Max(1, now - _lastLook);
        (_lastLook, _nextLook) = (now, now + Period);
        if (_loads.Length < _bound.Count)
            _loads = new BoundLoad[Math.Max(16, _bound.Count * 2)];
        for (int i = 0; i < _bound.Count; i++)
        {
            var bound = _bound[i];
            long demand = bound.Seat.Probe!.Demand();
            _loads[i] = new BoundLoad(bound.Cpu, Math.Clamp((demand - bound.Demand) / period, 0, 1), now - bound.MovedAt >= Rest, bound.Affinity);
            bound.Demand = demand;
            bound.Seat.RanTotal = Math.Max(bound.Seat.RanTotal, bound.Seat.Probe.CpuTime() - bound.Seat.Clock);
        }

        // Those on a CPU that went away all leave it at once, of others one moves at a time.
        for (bool again = true; again;)
        {
            Array.Clear(_demand);
            var (vcpu, cpu) = Balancer.Next(topology, _online, _loads.AsSpan(0, _bound.Count), _demand);
            again = vcpu >= 0 && !_online.Contains(_bound[vcpu].Cpu);
            if (vcpu < 0)
                break;
            Move(_bound[vcpu], cpu, table, now);
            _loads[vcpu] = _loads[vcpu] with { Cpu = cpu };
        }

        return _nextLook;
    }

    private void Move(Bound bound, int cpu, GateTable table, long now)
    {
        _placement.Remove(bound.Cpu);
        _placement.Add(cpu);
        bound.Cpu = cpu;
        bound.MovedAt = now;
        Moves++;
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

        public long MovedAt { get; set; } = long.MinValue / 2;
    }
}
