using Kvm.Sched;

namespace Kvm.Vmm.Scheduling;

/// <summary>One bound vCPU, as the balancer sees it.</summary>
/// <param name="Cpu">Where it is bound.</param>
/// <param name="Demand">What part of a CPU it ran or would have liked to run.</param>
/// <param name="Movable">False for one that was moved a short while ago.</param>
/// <param name="Allowed">Where it may be; null for everywhere.</param>
internal readonly record struct BoundLoad(int Cpu, double Demand, bool Movable, CpuSet? Allowed);

/// <summary>
/// Whether a vCPU should move: a function of what they ask for. From the CPU asked for most to the one asked for least, if that makes them
/// more equal by more than <see cref="Hysteresis"/> of a CPU and, over the time until the next look, by more than the move costs.
/// </summary>
internal static class Balancer
{
    /// <summary>Less inequality than this part of a CPU is left alone: demand swings.</summary>
    public const double Hysteresis = 0.5;

    /// <summary>What a move costs, as a part of a CPU over a look's period: caches have to be filled again. By <see cref="CpuTopology.Distance"/>.</summary>
    private static ReadOnlySpan<double> MoveCost => [0, 0.01, 0.05, 0.2, 0.5];

    /// <summary>The move to make, or (−1, −1).</summary>
    /// <param name="topology">The CPUs.</param>
    /// <param name="online">Which of them can be used.</param>
    /// <param name="loads">Who is bound where.</param>
    /// <param name="demand">What part of each CPU others take; changed.</param>
    public static (int Vcpu, int Cpu) Next(CpuTopology topology, CpuSet online, ReadOnlySpan<BoundLoad> loads, Span<double> demand)
    {
        foreach (ref readonly var load in loads)
            demand[load.Cpu] += load.Demand;
        (int vcpu, int cpu, double best) = (-1, -1, 0);
        // Of those that somebody is bound to: what others do where none of these is cannot be mended.
        int busiest = -1;
        foreach (ref readonly var load in loads)
            busiest = online.Contains(load.Cpu) && (busiest < 0 || demand[load.Cpu] > demand[busiest]) ? load.Cpu : busiest;
        for (int i = 0; i < loads.Length; i++)
        {
            ref readonly var load = ref loads[i];
            // One on a CPU that went away has to go, however little that makes equal.
            bool must = !online.Contains(load.Cpu);
            if (!must && (load.Cpu != busiest || !load.Movable || load.Demand <= 0))
                continue;
            int target = LeastOf(online, load.Allowed, demand, load.Cpu);
            if (target < 0)
                continue;
            double gap = demand[load.Cpu] - demand[target];
            double gain = gap - Math.Abs(gap - 2 * load.Demand) - MoveCost[topology.Distance(load.Cpu, target)];
            if (must)
                return (i, target);
            if (gain > Hysteresis && gain > best)
                (vcpu, cpu, best) = (i, target, gain);
        }

        return (vcpu, cpu);
    }

    private static int LeastOf(CpuSet online, CpuSet? allowed, ReadOnlySpan<double> demand, int except)
    {
        int best = -1;
        for (int cpu = online.First; cpu >= 0; cpu = online.Next(cpu))
        {
            if (cpu != except && (allowed is null || allowed.Contains(cpu)))
                best = best < 0 || demand[cpu] < demand[best] ? cpu : best;
        }

        return best;
    }
}
