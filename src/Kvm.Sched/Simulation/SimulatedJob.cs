namespace Kvm.Sched.Simulation;

/// <summary>A vCPU ran and then halted; ns.</summary>
/// <param name="Ran">CPU time, above 0.</param>
/// <param name="Halted">Time.</param>
public readonly record struct RecordedBurst(long Ran, long Halted);

/// <summary>A job of the simulator: what one line of a jobs file says. Times in ns.</summary>
public sealed record SimulatedJob
{
    /// <summary>The length of a job that never ends.</summary>
    public const long Endless = long.MaxValue / 2;

    /// <summary>No time in a simulation is later: a hundred years.</summary>
    public const long LatestTime = 100L * 365 * 24 * 3_600_000_000_000;

    /// <summary>What people call it.</summary>
    public required string Name { get; init; }

    /// <summary>When it arrives.</summary>
    public long Arrival { get; init; }

    /// <summary>CPU time of each vCPU from start to end, above 0; <see cref="Endless"/> for one that never ends.</summary>
    public long Length { get; init; }

    /// <summary>CPU time after which a vCPU halts; 0 for never.</summary>
    public long Burst { get; init; }

    /// <summary>How long it halts then.</summary>
    public long Halt { get; init; }

    /// <summary>
    /// Of a recorded job, what each vCPU did: ran so long, then halted so long; the last halt is not looked at. Null for one that is described by
    /// <see cref="Length"/>, <see cref="Burst"/> and <see cref="Halt"/>; otherwise the length is the mean of the vCPUs'.
    /// </summary>
    public IReadOnlyList<IReadOnlyList<RecordedBurst>>? Recorded { get; init; }

    /// <summary>How long after its arrival it is to have ended; 0 for no deadline.</summary>
    public long Deadline { get; init; }

    /// <summary>The class of VM by which lengths are learned; empty for the one of all that name none.</summary>
    public string Class { get; init; } = "";

    /// <summary>What the policy is told, but for the length, the class and the tag.</summary>
    public JobSpec Spec { get; init; } = new();
}
