namespace Kvm.Sched;

/// <summary>Where one CPU stands.</summary>
/// <param name="Id">The host's number of it.</param>
/// <param name="Core">Which core; CPUs of one core are siblings and share its execution units.</param>
/// <param name="Cache">Which last-level cache.</param>
/// <param name="Node">Which NUMA node.</param>
public readonly record struct CpuPlace(int Id, int Core, int Cache, int Node);

/// <summary>The CPUs that a scheduler gives away, in the order of the host's numbers, and what they share. Immutable.</summary>
public sealed class CpuTopology
{
    /// <summary>More CPUs than any host has.</summary>
    public const int MostCpus = 10_000;

    private readonly CpuPlace[] _places;
    private readonly int[][] _siblings;
    private readonly CpuSet[] _sameCache;
    private readonly CpuSet[] _sameNode;
    private readonly Dictionary<int, CpuSet> _byNode = [];

    /// <summary>Makes a topology.</summary>
    /// <param name="places">At least one and at most <see cref="MostCpus"/> places. Core, cache and node are only compared with one another.</param>
    public CpuTopology(IReadOnlyList<CpuPlace> places)
    {
        ArgumentNullException.ThrowIfNull(places);
        ArgumentOutOfRangeException.ThrowIfZero(places.Count);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(places.Count, MostCpus);
        _places = [.. places];
        var cores = Enumerable.Range(0, _places.Length).GroupBy(cpu => _places[cpu].Core).ToDictionary(core => core.Key, core => core.ToArray());
        _siblings = [.. _places.Select(place => cores[place.Core])];
        _sameCache = SetsOf(place => place.Cache);
        _sameNode = SetsOf(place => place.Node);
        Ids = [.. _places.Select(place => place.Id)];
        Nodes = [.. _places.Select(place => place.Node).Distinct().Order()];
        for (int cpu = 0; cpu < _places.Length; cpu++)
            _byNode[_places[cpu].Node] = _sameNode[cpu];
        IsFlat = cores.Count == _places.Length && Nodes.Count == 1 && _places.All(place => place.Cache == _places[0].Cache);
    }

    /// <summary>The number of CPUs.</summary>
    public int Count => _places.Length;

    /// <summary>The host's numbers of them.</summary>
    public IReadOnlyList<int> Ids { get; }

    /// <summary>True where no CPU is nearer to another than to a third.</summary>
    public bool IsFlat { get; }

    /// <summary>The NUMA nodes in ascending order.</summary>
    public IReadOnlyList<int> Nodes { get; }

    /// <summary>Where a CPU stands, by its index.</summary>
    public CpuPlace this[int cpu] => _places[cpu];

    /// <summary>CPUs that share nothing.</summary>
    public static CpuTopology Flat(int cpus) => Uniform(1, 1, cpus, 1);

    /// <summary>Equal nodes of equal caches of equal cores of equal threads; CPUs of a core follow one another.</summary>
    public static CpuTopology Uniform(int nodes, int caches, int cores, int threads)
    {
        var places = new List<CpuPlace>();
        for (int node = 0; node < nodes; node++)
        {
            for (int cache = node * caches; cache < (node + 1) * caches; cache++)
            {
                for (int core = cache * cores; core < (cache + 1) * cores; core++)
                {
                    for (int thread = 0; thread < threads; thread++)
                        places.Add(new CpuPlace(places.Count, core, cache, node));
                }
            }
        }

        return new CpuTopology(places);
    }

    /// <summary>The CPUs of this CPU's core, itself included.</summary>
    public ReadOnlySpan<int> CoreOf(int cpu) => _siblings[cpu];

    /// <summary>The CPUs that share this CPU's last-level cache, itself included; not to be changed.</summary>
    internal CpuSet CacheOf(int cpu) => _sameCache[cpu];

    /// <summary>The CPUs of this CPU's NUMA node, itself included; not to be changed.</summary>
    internal CpuSet NodeOf(int cpu) => _sameNode[cpu];

    /// <summary>The CPUs of a NUMA node, or null where none of these is in it; not to be changed.</summary>
    internal CpuSet? OfNode(int node) => _byNode.GetValueOrDefault(node);

    /// <summary>How far two CPUs are apart: 0 the same, 1 one core, 2 one last-level cache, 3 one node, 4 further.</summary>
    public int Distance(int one, int other)
    {
        if (one == other)
            return 0;
        ref readonly CpuPlace a = ref _places[one], b = ref _places[other];
        return a.Core == b.Core ? 1 : a.Cache == b.Cache ? 2 : a.Node == b.Node ? 3 : 4;
    }

    /// <summary>For each CPU the set of those that have the same of something; equal sets are one object.</summary>
    private CpuSet[] SetsOf(Func<CpuPlace, int> what)
    {
        var sets = new Dictionary<int, CpuSet>();
        for (int cpu = 0; cpu < _places.Length; cpu++)
        {
            if (!sets.TryGetValue(what(_places[cpu]), out var set))
                sets.Add(what(_places[cpu]), set = new CpuSet(_places.Length));
            set.Add(cpu);
        }

        return [.. _places.Select(place => sets[what(place)])];
    }
}
