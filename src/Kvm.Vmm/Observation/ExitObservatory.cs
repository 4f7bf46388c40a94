using System.Diagnostics;
using Kvm.Interop;
using Kvm.Vmm.Scheduling;
using Kvm.X86.Engine;

namespace Kvm.Vmm.Observation;

/// <summary>
/// What one vCPU left the guest for: counts by reason, by port, address and MSR, and how long the VMM took. Always on, in fixed memory,
/// without allocation. The vCPU's thread writes, any thread reads.
/// </summary>
/// <remarks>
/// Every exit is counted. A clock costs a tenth of what the rest of an exit does, so that of times only a sample is taken: one exit
/// in sixteen, at irregular distances, lest a guest's own rhythm decide which.
/// </remarks>
internal sealed class ExitObservatory : IAccessObserver
{
    /// <summary>Reasons with a histogram of their own; the others share the last.</summary>
    private static readonly KvmExit[] TimedReasons = [KvmExit.Io, KvmExit.Mmio, KvmExit.X86Wrmsr, KvmExit.Debug, KvmExit.InternalError];

    private const uint MostDistance = 31;

    private readonly LatencyCounts[] _latencies = [.. Enumerable.Range(0, TimedReasons.Length + 1).Select(_ => new LatencyCounts())];
    private uint _distance = 1;
    private uint _random;
    private long _began;
    private KvmExit _reason;

    /// <param name="vcpu">The vCPU's number: no two take their samples in step.</param>
    public ExitObservatory(int vcpu) => _random = unchecked((uint)vcpu * 2_654_435_761u);

    /// <summary>Exits by reason.</summary>
    public ExitCounts Counts { get; } = new();

    /// <summary>Exits by port, address and MSR.</summary>
    public AccessTable Accesses { get; } = new();

    /// <summary>Who is to see each exit itself; null while nobody traces. Set before the vCPU runs.</summary>
    public IExitTracer? Tracer { get; set; }

    /// <summary>Counts an exit; its handling begins.</summary>
    public void Begin(KvmExit reason)
    {
        _reason = reason;
        Counts.Add((uint)reason);
        if (--_distance == 0)
            BeginSample();
    }

    /// <summary>As <see cref="Begin(KvmExit)"/>, of an exit that has an address.</summary>
    public void Begin(KvmExit reason, ulong address, bool isWrite)
    {
        Accesses.Add(reason, address, isWrite);
        Begin(reason);
    }

    /// <summary>The exit is dealt with.</summary>
    public void End()
    {
        if (_began != 0)
            EndSample();
    }

    /// <inheritdoc/>
    void IAccessObserver.Begin(bool isPort, ulong address, int size, bool isWrite, ulong rip)
    {
        var reason = isPort ? KvmExit.Io : KvmExit.Mmio;
        Begin(reason, address, isWrite);
        Tracer?.Begin(reason, address, size, isWrite, rip);
    }

    /// <inheritdoc/>
    void IAccessObserver.End(ulong value)
    {
        End();
        Tracer?.End(value);
    }

    /// <summary>Adds the times to a table by the names of their reasons.</summary>
    public void AddLatenciesTo(IDictionary<string, LatencyCounts> table)
    {
        for (int i = 0; i < _latencies.Length; i++)
        {
            if (_latencies[i].Count == 0)
                continue;
            string name = i < TimedReasons.Length ? Vcpu.ExitNames.Of(TimedReasons[i]) : "other";
            if (!table.TryGetValue(name, out var all))
                table[name] = all = new LatencyCounts();
            all.Add(_latencies[i]);
        }
    }

    /// <summary>The place of a reason's histogram: that of <see cref="TimedReasons"/>, which a search would need a comparer for.</summary>
    private static int IndexOf(KvmExit reason)
    {
        int at = 0;
        while (at < TimedReasons.Length && TimedReasons[at] != reason)
            at++;
        return at;
    }

    private void BeginSample()
    {
        // Numerical Recipes' generator; its high bits are good enough for distances.
        _random = unchecked((_random * 1_664_525) + 1_013_904_223);
        _distance = 1 + (uint)((ulong)_random * MostDistance >> 32);
        _began = Stopwatch.GetTimestamp();
    }

    private void EndSample()
    {
        long ns = (long)((Stopwatch.GetTimestamp() - _began) * (1e9 / Stopwatch.Frequency));
        _began = 0;
        _latencies[IndexOf(_reason)].Add(ns);
    }
}
