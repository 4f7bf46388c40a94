namespace Kvm.Sched.Ordering;

/// <summary>vCPUs in order, one heap for each set of CPUs that somebody is confined to. Allocates only when it grows.</summary>
internal sealed class ReadyIndex(JobTable table)
{
    private readonly HeapPositions _positions = new();
    private IndexedHeap?[] _heaps = [];

    public int Count { get; private set; }

    public bool Contains(int vcpu) => _positions.Contains(vcpu);

    public void Add(int vcpu, long key, long tie)
    {
        HeapOf(vcpu).Add(vcpu, key, tie);
        Count++;
    }

    public void Remove(int vcpu)
    {
        HeapOf(vcpu).Remove(vcpu);
        Count--;
    }

    public void Update(int vcpu, long key, long tie) => HeapOf(vcpu).Update(vcpu, key, tie);

    /// <summary>The first vCPU that may run on one of these CPUs, or −1.</summary>
    /// <param name="open">The CPUs; at least one.</param>
    /// <param name="key">Its key.</param>
    public int Best(CpuSet open, out long key)
    {
        (int best, key, long tie) = (-1, long.MaxValue, long.MaxValue);
        for (int index = 0; index < _heaps.Length; index++)
        {
            if (_heaps[index] is not { Count: > 0 } heap)
                continue;
            long k = heap.FirstKey, t = heap.FirstTie;
            if ((best < 0 || k < key || (k == key && t < tie)) && (index == 0 || table.Classes[index].FirstCommon(open) >= 0))
                (best, key, tie) = (heap.First, k, t);
        }

        return best;
    }

    private IndexedHeap HeapOf(int vcpu)
    {
        int index = table.Vcpu(vcpu).Affinity;
        if (index >= _heaps.Length)
            Array.Resize(ref _heaps, Math.Max(index + 1, table.Classes.Count));
        return _heaps[index] ??= new IndexedHeap(_positions);
    }
}
