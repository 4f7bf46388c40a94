namespace Kvm.Sched.Simulation;

/// <summary>How a simulation is run. Times in ns.</summary>
public sealed record SimulationSettings
{
    /// <summary>The most jobs.</summary>
    public const int MostJobs = 1_000_000;

    /// <summary>The most slices that the lengths of the jobs are worth: more would take hours.</summary>
    public const long MostSlices = 10_000_000_000;

    /// <summary>The CPUs.</summary>
    public CpuTopology Topology { get; init; } = CpuTopology.Flat(1);

    /// <summary>What the policy is told.</summary>
    public PolicySettings Policy { get; init; } = new();

    /// <summary>What a CPU loses when it changes to another vCPU.</summary>
    public long SwitchCost { get; init; }

    /// <summary>Where given, bursts and halts are drawn from exponential distributions with the file's numbers as means, the same for the same seed.</summary>
    public ulong? Seed { get; init; }

    /// <summary>When the simulation ends though jobs have not; 0 for never.</summary>
    public long Until { get; init; }

    /// <summary>How many stays on a CPU are kept for a chart; 0 for none.</summary>
    public int MostStays { get; init; }
}
