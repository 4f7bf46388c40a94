namespace Kvm.Sched.Simulation;

/// <summary>Mean, median and 99th percentile (the nearest rank) of a time, in ns.</summary>
public readonly record struct Distribution(double Mean, double P50, double P99, double Max)
{
    /// <summary>Of these numbers, which are put in order; all zero where there are none.</summary>
    internal static Distribution Of(double[] values)
    {
        if (values.Length == 0)
            return default;
        Array.Sort(values);
        return new Distribution(values.Average(), Rank(values, 0.5), Rank(values, 0.99), values[^1]);
    }

    private static double Rank(double[] values, double part) => values[Math.Max(0, (int)Math.Ceiling(part * values.Length) - 1)];
}

/// <summary>The measures of a simulation. Turnaround, wait and response are over finished jobs; times in ns.</summary>
public sealed record Measures
{
    /// <summary>From arrival to end.</summary>
    public Distribution Turnaround { get; init; }

    /// <summary>Ready and not running.</summary>
    public Distribution Wait { get; init; }

    /// <summary>From arrival to the first run.</summary>
    public Distribution Response { get; init; }

    /// <summary>Jain's index of what each job got over what weighted fair sharing would have given it: 1 is equal, 1/n is all to one.</summary>
    public double Jain { get; init; }

    /// <summary>How far, on average, a job's CPU time was from what weighted fair sharing would have given it, as a part of that.</summary>
    public double ShareError { get; init; }

    /// <summary>CPU time of jobs over the time of all CPUs, from the first arrival to the end.</summary>
    public double Utilization { get; init; }

    /// <summary>How often a CPU went on with another vCPU than the one before.</summary>
    public long Switches { get; init; }

    /// <summary>How often a vCPU went on on another CPU than the one before.</summary>
    public long Migrations { get; init; }

    /// <summary>Jobs that had a deadline and did not make it.</summary>
    public long DeadlineMisses { get; init; }

    /// <summary>Jobs that finished.</summary>
    public int Finished { get; init; }

    /// <summary>Jobs that arrived and did not finish, or never arrived.</summary>
    public int Unfinished { get; init; }

    /// <summary>The instant of the last event.</summary>
    public long End { get; init; }

    /// <summary>Events simulated: arrivals, wakes, halts, ends of slices and of jobs.</summary>
    public long Events { get; init; }

    /// <summary>How far learned lengths were from real ones, as a part of these; null where none was learned.</summary>
    public double? EstimateError { get; init; }
}
