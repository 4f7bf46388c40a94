namespace Kvm.Sched.Simulation;

/// <summary>What became of one job. Times in ns.</summary>
/// <param name="FirstRun">When the first of its vCPUs first ran; −1 if none did.</param>
/// <param name="Finish">When the last one finished; −1 if it did not.</param>
/// <param name="Wait">How long its vCPUs were ready without running, on average; of a finished job.</param>
/// <param name="Ran">CPU time of all its vCPUs.</param>
/// <param name="Entitled">The CPU time that weighted fair sharing would have given it while it was there and not halted.</param>
/// <param name="Served">What it was served of each resource, in ns of the whole host's: R of <c>rap</c>. 0 of what the host has no end of.</param>
public readonly record struct JobOutcome(long FirstRun, long Finish, double Wait, long Ran, double Entitled, ResourceVector Served);

/// <summary>A vCPU was on a CPU. Times in ns.</summary>
/// <param name="Cpu">Which CPU.</param>
/// <param name="Job">Which job, by its place in the file.</param>
/// <param name="Vcpu">Which vCPU of the job.</param>
/// <param name="From">From when.</param>
/// <param name="To">Until when.</param>
public readonly record struct Stay(int Cpu, int Job, int Vcpu, long From, long To);

/// <summary>What a simulation came to.</summary>
public sealed record SimulationResult
{
    /// <summary>The policy.</summary>
    public required string Policy { get; init; }

    /// <summary>Every job, in the order of the file.</summary>
    public required IReadOnlyList<JobOutcome> Jobs { get; init; }

    /// <summary>Who was where, in the order of leaving; empty unless asked for.</summary>
    public required IReadOnlyList<Stay> Stays { get; init; }

    /// <summary>True where more stays happened than were kept.</summary>
    public bool StaysCut { get; init; }

    /// <summary>The measures over all jobs.</summary>
    public required Measures Measures { get; init; }
}
