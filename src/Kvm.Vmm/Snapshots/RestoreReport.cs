namespace Kvm.Vmm.Snapshots;

/// <summary>What stands in a restore's way, collected so that all of it is told at once.</summary>
/// <param name="allowDifferences">What the guest would only notice is left aside.</param>
internal sealed class RestoreReport(bool allowDifferences)
{
    private readonly List<string> _lacks = [];
    private readonly List<string> _damage = [];

    /// <summary>The guest would find the processor or its clock another one.</summary>
    public void Differs(string what)
    {
        if (!allowDifferences)
            _lacks.Add(what);
    }

    /// <summary>The machine has not what the state is of, or the other way round.</summary>
    public void Lacks(string what) => _lacks.Add(what);

    /// <summary>A record is none.</summary>
    public void IsDamaged(string what) => _damage.Add(what);

    /// <summary>Throws if anything stands in the way.</summary>
    /// <exception cref="VmmException">Something does.</exception>
    public void Check()
    {
        if (_damage.Count > 0)
            throw new VmmException(RestoreErrors.BadState, Text(_damage));
        if (_lacks.Count > 0)
            throw new VmmException(RestoreErrors.Lacking, "lacking: " + Text(_lacks));
    }

    private static string Text(List<string> all)
    {
        const int most = 12;
        return string.Join("; ", all.Take(most)) + (all.Count > most ? $"; and {all.Count - most} more" : "");
    }
}
