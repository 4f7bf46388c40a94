namespace Kvm.Sched;

/// <summary>What a policy can be told; times in ns. A policy reads what its rule names and nothing else (docs/scheduling.md).</summary>
public sealed record PolicySettings
{
    /// <summary>The shortest slice, 10 µs: shorter ones would go into switching alone.</summary>
    public const long ShortestSlice = 10_000;

    /// <summary>The longest slice, an hour.</summary>
    public const long LongestSlice = 3_600_000_000_000;

    /// <summary>The fixed slice of <c>rr</c>, <c>least-runtime</c>, <c>rap</c> and <c>host</c>, the base of <c>tsp</c>, 4 ms.</summary>
    public long Slice { get; init; } = 4_000_000;

    /// <summary>
    /// <c>priority</c>, <c>priority-np</c>: waiting so long is worth one step of priority; 0 for never. <c>rrp</c>: a job that waited so long
    /// goes first and holds others back; 0 for its default of a second.
    /// </summary>
    public long Ageing { get; init; }

    /// <summary>Policies that run to the end: after so long at a stretch a vCPU goes behind all others; 0 for never.</summary>
    public long Limit { get; init; }

    /// <summary><c>tsp</c>: how often everybody goes to the highest level, 1 s.</summary>
    public long Boost { get; init; } = 1_000_000_000;

    /// <summary><c>rap</c>: the time over which caps hold, 100 ms.</summary>
    public long Period { get; init; } = 100_000_000;

    /// <summary>Every VM of several vCPUs is a gang.</summary>
    public bool Gang { get; init; }

    /// <summary><c>sjf</c>, <c>srtf</c>: lengths are learned by class also where they are declared.</summary>
    public bool Learn { get; init; }

    /// <summary>What the host has; <see cref="ResourceVector.Cpu"/> is the topology's count. Amounts of 0 are taken as without end.</summary>
    public ResourceVector Capacity { get; init; }
}
