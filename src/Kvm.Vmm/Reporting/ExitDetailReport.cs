using Kvm.Interop;
using Kvm.Vmm.Explain;
using Kvm.Vmm.Observation;
using Kvm.Vmm.Scheduling;
using Kvm.Vmm.Vcpu;

namespace Kvm.Vmm.Reporting;

/// <summary>Accesses of one kind to one port, address or MSR.</summary>
/// <param name="Reason">The exit's name: <c>io</c>, <c>mmio</c>, <c>wrmsr</c> …</param>
/// <param name="Address">The port, guest-physical address or MSR.</param>
/// <param name="IsWrite">The guest wrote.</param>
/// <param name="Count">How often.</param>
/// <param name="Name">What has its place there; null where nothing is known of it.</param>
public sealed record AccessReport(string Reason, ulong Address, bool IsWrite, long Count, string? Name);

/// <summary>How long the VMM took for exits of one reason, by a sample of them.</summary>
/// <param name="Samples">How many were timed.</param>
/// <param name="MeanNs">Their mean.</param>
/// <param name="MedianNs">Half took no longer, to an eighth.</param>
/// <param name="P90Ns">Nine of ten took no longer.</param>
/// <param name="P99Ns">Ninety-nine of a hundred took no longer.</param>
/// <param name="LongestNs">The longest.</param>
public sealed record LatencyReport(long Samples, long MeanNs, long MedianNs, long P90Ns, long P99Ns, long LongestNs);

/// <summary>What the exits of all vCPUs went to and how long the VMM took for them.</summary>
public sealed record ExitDetailReport
{
    /// <summary>Entries of <see cref="Accesses"/> at most.</summary>
    public const int MostAccesses = 64;

    /// <summary>The accesses there were most of, most first.</summary>
    public IReadOnlyList<AccessReport> Accesses { get; init; } = [];

    /// <summary>Accesses that are not in the list.</summary>
    public long OtherAccesses { get; init; }

    /// <summary>Times by reason; <c>other</c> for the rest.</summary>
    public IReadOnlyDictionary<string, LatencyReport> Latencies { get; init; } = new Dictionary<string, LatencyReport>();

    /// <summary>Sums up what vCPUs counted; they may still run.</summary>
    internal static ExitDetailReport Of(IEnumerable<ExitObservatory> vcpus)
    {
        var accesses = new Dictionary<AccessKey, long>();
        var latencies = new SortedDictionary<string, LatencyCounts>(StringComparer.Ordinal);
        long others = 0;
        foreach (var vcpu in vcpus)
        {
            vcpu.Accesses.AddTo(accesses);
            others += vcpu.Accesses.Others;
            vcpu.AddLatenciesTo(latencies);
        }

        // Equal counts in the order of their addresses: two equal runs give equal reports.
        var sorted = accesses.OrderByDescending(a => a.Value).ThenBy(a => a.Key.Reason).ThenBy(a => a.Key.Address).ThenBy(a => a.Key.IsWrite).ToList();
        return new ExitDetailReport
        {
            Accesses = [.. sorted.Take(MostAccesses).Select(a => new AccessReport(ExitNames.Of(a.Key.Reason), a.Key.Address, a.Key.IsWrite, a.Value, NameOf(a.Key)))],
            OtherAccesses = others + sorted.Skip(MostAccesses).Sum(a => a.Value),
            Latencies = new SortedDictionary<string, LatencyReport>(latencies.ToDictionary(l => l.Key, l => Of(l.Value)), StringComparer.Ordinal),
        };
    }

    private static LatencyReport Of(LatencyCounts counts) => new(counts.Count, counts.Sum / Math.Max(1, counts.Count),
        counts.Percentile(0.5), counts.Percentile(0.9), counts.Percentile(0.99), counts.Longest);

    private static string? NameOf(AccessKey key) => key.Reason switch
    {
        KvmExit.Io => AddressNames.OfPort(key.Address),
        KvmExit.Mmio => AddressNames.OfMemory(key.Address),
        _ => AddressNames.OfMsr(key.Address),
    };
}
