namespace Kvm.Sched;

/// <summary>The different sets of CPUs that vCPUs are confined to; class 0 is all of them. A class lives while somebody uses it.</summary>
internal sealed class AffinityClasses
{
    private readonly int _cpus;
    private readonly List<CpuSet?> _sets;
    private readonly List<int> _users;

    public AffinityClasses(int cpus)
    {
        _cpus = cpus;
        _sets = [CpuSet.All(cpus)];
        _users = [1];
    }

    /// <summary>One more than the highest class in use.</summary>
    public int Count => _sets.Count;

    /// <summary>True where nobody is confined.</summary>
    public bool IsOne { get; private set; } = true;

    /// <summary>The CPUs of a class in use.</summary>
    public CpuSet this[int index] => _sets[index]!;

    public bool Has(int index) => _sets[index] is not null;

    /// <summary>The class of a set, with one more user.</summary>
    public int Take(CpuSet? set)
    {
        if (set is null || set.Count == 0)
            return 0;
        var own = set;
        if (set.Capacity != _cpus)
        {
            own = new CpuSet(_cpus);
            for (int cpu = set.First; cpu >= 0 && cpu < _cpus; cpu = set.Next(cpu))
                own.Add(cpu);
        }

        if (own.Count == _cpus)
            return 0;
        int index = IndexOf(own);
        if (index < 0)
        {
            index = IndexOf(null);
            if (index < 0)
            {
                index = _sets.Count;
                _sets.Add(null);
                _users.Add(0);
            }

            _sets[index] = own.Clone();
        }

        _users[index]++;
        IsOne = false;
        return index;
    }

    // A lambda would be an object for each VM.
    private int IndexOf(CpuSet? set)
    {
        for (int i = 0; i < _sets.Count; i++)
        {
            if (set is null ? _sets[i] is null : _sets[i]?.Equals(set) == true)
                return i;
        }

        return -1;
    }

    /// <summary>One user less.</summary>
    public void Release(int index)
    {
        if (index == 0 || --_users[index] > 0)
            return;
        _sets[index] = null;
        IsOne = _sets.TrueForAll(known => known is null || known.Count == _cpus);
    }
}
