using Kvm.Sched.Ordering;

namespace Kvm.Sched;

/// <summary>
/// Where vCPUs are bound when the kernel slices time. In this order: the least loaded CPU; one in the NUMA node of the VM's memory; one
/// whose core is least loaded; one near the VM's first vCPU, in its last-level cache before its node; one whose cache serves the fewest
/// vCPUs; the lowest. So first over cores, then over siblings, then shared. A vCPU that wakes stays where it was unless another CPU has
/// two vCPUs less: moving costs the caches. Not thread-safe; allocates nothing.
/// </summary>
public sealed class Placement
{
    /// <summary>How much less loaded another CPU must be to be worth a move.</summary>
    public const int Hysteresis = 2;

    private const int LoadShift = 20;
    private const long CoreMask = (1L << LoadShift) - 1;

    private readonly CpuTopology _topology;
    private readonly int[] _load;

    /// <summary>The CPUs of each last-level cache, by how loaded CPU and core are.</summary>
    private readonly IndexedHeap[] _caches;

    private readonly int[] _cacheOf;
    private readonly int[] _cacheLoad;
    private readonly IndexedHeap _busiest = new();

    /// <summary>Makes a placement with nobody in it.</summary>
    public Placement(CpuTopology topology)
    {
        ArgumentNullException.ThrowIfNull(topology);
        _topology = topology;
        _load = new int[topology.Count];
        _cacheOf = new int[topology.Count];
        var caches = new Dictionary<(int Node, int Cache), int>();
        for (int cpu = 0; cpu < topology.Count; cpu++)
        {
            var key = (topology[cpu].Node, topology[cpu].Cache);
            if (!caches.TryGetValue(key, out _cacheOf[cpu]))
                caches[key] = _cacheOf[cpu] = caches.Count;
        }

        var positions = new HeapPositions();
        _caches = [.. Enumerable.Range(0, caches.Count).Select(_ => new IndexedHeap(positions))];
        _cacheLoad = new int[caches.Count];
        for (int cpu = 0; cpu < topology.Count; cpu++)
        {
            _caches[_cacheOf[cpu]].Add(cpu, 0, cpu);
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
    /// <param name="near">Where the first vCPU of its VM is, or −1.</param>
    /// <returns>−1 where no CPU is allowed.</returns>
    public int Choose(int last, int node, CpuSet? allowed, int near = -1)
    {
        int best = allowed is null ? Least(node, near) : LeastOf(allowed, node, near);
        return last >= 0 && (allowed is null || allowed.Contains(last)) && _load[last] < _load[best] + Hysteresis ? last : best;
    }

    /// <summary>One vCPU more on a CPU.</summary>
    public void Add(int cpu) => Change(cpu, 1);

    /// <summary>One vCPU less on a CPU.</summary>
    public void Remove(int cpu) => Change(cpu, -1);

    private void Change(int cpu, int by)
    {
        _load[cpu] += by;
        _cacheLoad[_cacheOf[cpu]] += by;
        _busiest.Update(cpu, -_load[cpu], cpu);
        foreach (int sibling in _topology.CoreOf(cpu))
            _caches[_cacheOf[sibling]].Update(sibling, Cost(sibling), sibling);
    }

    private long Cost(int cpu)
    {
        long core = 0;
        foreach (int sibling in _topology.CoreOf(cpu))
            core += _load[sibling];
        return ((long)_load[cpu] << LoadShift) + core;
    }

    /// <summary>Of two CPUs the one with the smaller rank is the better place; of equal ones the lower.</summary>
    private (long Load, bool Away, long Core, int Distance, int Cache) Rank(int cpu, int node, int near)
    {
        long cost = Cost(cpu);
        // A sibling is no nearer than another core of the cache: that it is on a busy core is said already.
        int distance = near < 0 ? 0 : Math.Max(2, _topology.Distance(cpu, near));
        return (cost >> LoadShift, node >= 0 && _topology[cpu].Node != node, cost & CoreMask, distance, _cacheLoad[_cacheOf[cpu]]);
    }

    private int Least(int node, int near)
    {
        int best = _caches[0].First;
        var bestRank = Rank(best, node, near);
        for (int i = 1; i < _caches.Length; i++)
            Better(_caches[i].First, node, near, ref best, ref bestRank);
        return best;
    }

    private int LeastOf(CpuSet allowed, int node, int near)
    {
        int best = allowed.First;
        if (best < 0)
            return -1;
        var bestRank = Rank(best, node, near);
        for (int cpu = allowed.Next(best); cpu >= 0; cpu = allowed.Next(cpu))
            Better(cpu, node, near, ref best, ref bestRank);
        return best;
    }

    private void Better(int cpu, int node, int near, ref int best, ref (long, bool, long, int, int) bestRank)
    {
        var rank = Rank(cpu, node, near);
        if (rank.CompareTo(bestRank) < 0)
            (best, bestRank) = (cpu, rank);
    }
}
