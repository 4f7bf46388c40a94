using Kvm.Sched.Ordering;

namespace Kvm.Sched;

/// <summary>
/// Where vCPUs are bound when the kernel slices time: the least loaded CPU, of these one whose core is least loaded, of these the lowest;
/// so first over cores, then over siblings, then shared. Within the memory's NUMA node while that costs no sharing. A vCPU that wakes
/// stays where it was unless another CPU has two vCPUs less: moving costs the caches. Not thread-safe; allocates nothing.
/// </summary>
public sealed class Placement
{
    /// <summary>How much less loaded another CPU must be to be worth a move.</summary>
    public const int Hysteresis = 2;

    private const int LoadShift = 20;

    private readonly CpuTopology _topology;
    private readonly int[] _load;
    private readonly IndexedHeap[] _nodes;
    private readonly int[] _nodeOf;
    private readonly IndexedHeap _busiest = new();

    /// <summary>Makes a placement with nobody in it.</summary>
    public Placement(CpuTopology topology)
    {
        ArgumentNullException.ThrowIfNull(topology);
        _topology = topology;
        _load = new int[topology.Count];
        var positions = new HeapPositions();
        _nodes = [.. topology.Nodes.Select(_ => new IndexedHeap(positions))];
        _nodeOf = [.. Enumerable.Range(0, topology.Count).Select(cpu => topology.Nodes.ToList().IndexOf(topology[cpu].Node))];
        for (int cpu = 0; cpu < topology.Count; cpu++)
        {
            _nodes[_nodeOf[cpu]].Add(cpu, 0, cpu);
            _busiest.Add(cpu, 0, cpu);
        }
    }

    /// <summary>How many vCPUs are bound to a CPU.</summary>
    public int Load(int cpu) => _load[cpu];

    /// <summary>The CPU with the most vCPUs; the lowest of several.</summary>
    public int Longest() => _busiest.First;

    /// <summary>The CPU for a vCPU that is bound to none now.</summary>
    /// <param name="last">Where it was, or −1.</param>
    /// <param name="node">The NUMA node of its memory, or −1.</param>
    /// <param name="allowed">Where it may be; null for everywhere.</param>
    public int Choose(int last, int node, CpuSet? allowed)
    {
        int best = allowed is null ? Least(node) : LeastOf(allowed, node);
        return last >= 0 && (allowed is null || allowed.Contains(last)) && _load[last] < _load[best] + Hysteresis ? last : best;
    }

    /// <summary>One vCPU more on a CPU.</summary>
    public void Add(int cpu) => Change(cpu, 1);

    /// <summary>One vCPU less on a CPU.</summary>
    public void Remove(int cpu) => Change(cpu, -1);

    private void Change(int cpu, int by)
    {
        _load[cpu] += by;
        _busiest.Update(cpu, -_load[cpu], cpu);
        foreach (int sibling in _topology.CoreOf(cpu))
            _nodes[_nodeOf[sibling]].Update(sibling, Cost(sibling), sibling);
    }

    private long Cost(int cpu)
    {
        long core = 0;
        foreach (int sibling in _topology.CoreOf(cpu))
            core += _load[sibling];
        return ((long)_load[cpu] << LoadShift) + core;
    }

    private int Least(int node)
    {
        int best = -1;
        long bestCost = long.MaxValue;
        for (int i = 0; i < _nodes.Length; i++)
        {
            long cost = _nodes[i].FirstKey;
            bool home = _topology.Nodes[i] == node;
            // Its own node's also where the core is busier, but not where the CPU is.
            if (cost < bestCost || (home && cost >> LoadShift == bestCost >> LoadShift))
                (best, bestCost) = (_nodes[i].First, home ? cost >> LoadShift << LoadShift : cost);
        }

        return best;
    }

    private int LeastOf(CpuSet allowed, int node)
    {
        int best = -1;
        long bestCost = long.MaxValue;
        for (int cpu = allowed.First; cpu >= 0; cpu = allowed.Next(cpu))
        {
            long cost = (Cost(cpu) << 1) + (node >= 0 && _topology[cpu].Node != node ? 1 : 0);
            if (cost < bestCost)
                (best, bestCost) = (cpu, cost);
        }

        return best;
    }
}
