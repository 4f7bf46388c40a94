namespace Kvm.Vmm.Observation;

/// <summary>Exits counted by reason in a fixed table: no allocation, no lock. One vCPU thread writes, any thread reads.</summary>
internal sealed class ExitCounts
{
    /// <summary>KVM's exit reasons are small numbers; whatever is above is counted in the last place.</summary>
    private const int Reasons = 64;

    private readonly long[] _counts = new long[Reasons];

    /// <summary>All exits.</summary>
    public long Total { get; private set; }

    /// <summary>Counts one exit.</summary>
    public void Add(uint reason)
    {
        Total++;
        _counts[Math.Min(reason, Reasons - 1)]++;
    }

    /// <summary>Exits of one reason.</summary>
    public long this[uint reason] => _counts[Math.Min(reason, Reasons - 1)];

    /// <summary>Adds what was counted to a table by name.</summary>
    public void AddTo(IDictionary<string, long> table, Func<uint, string> name)
    {
        for (uint reason = 0; reason < Reasons; reason++)
        {
            if (_counts[reason] == 0)
                continue;
            string key = name(reason);
            table.TryGetValue(key, out long before);
            table[key] = before + _counts[reason];
        }
    }
}
