using System.Globalization;
using Kvm.Sched;
using Kvm.Sched.Simulation;

namespace Kvm.Benchmarks;

/// <summary>Prints what scripts/bench sched judges: ns and bytes per decision, events a second of the simulator.</summary>
internal static class SchedRates
{
    private const long Ms = 1_000_000;
    private static readonly TimeSpan s_row = TimeSpan.FromMilliseconds(150);

    // Processor time of this process: what a decision takes does not depend on who else is on the machine.
    private static TimeSpan Now => Environment.CpuUsage.TotalTime;

    /// <summary>Lines `decision POLICY VCPUS NS BYTES` and `simulator POLICY JOBS CPUS EVENTS-A-SECOND`.</summary>
    public static void Print()
    {
        foreach (var (vcpus, cpus) in ((int, int)[])[(64, 8), (4096, 64)])
        {
            foreach (string policy in PolicyNames.All)
                Decisions(policy, policy, vcpus, CpuTopology.Flat(cpus));
        }

        // Every VM needs something of its own of every resource.
        Decisions("rrp-distinct", "rrp", 4096, CpuTopology.Flat(64), distinct: true);
        // With nodes, caches and siblings to choose by.
        Decisions("rr-large-host", "rr", 4096, CpuTopology.Uniform(2, 8, 16, 2));

        foreach (string policy in PolicyNames.All)
            Simulations(policy, 2_000, 1);
        foreach (string policy in PolicyNames.All)
            Simulations(policy, 50_000, 1_000);
        Simulations("rrp", 50_000, 1_000, distinct: true);
        Simulations("rr", SimulationSettings.MostJobs, CpuTopology.MostCpus);
    }

    private static void Decisions(string name, string policy, int vcpus, CpuTopology topology, bool distinct = false)
    {
        var driver = new SchedDriver(policy, vcpus, topology, distinct);
        Measure(driver); // and once for the compiler
        var (ns, bytes) = Measure(driver);
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"decision {name} {vcpus} {ns:F0} {bytes}"));
    }

    private static (double Ns, long Bytes) Measure(SchedDriver driver)
    {
        long decisions = 0, bytes = GC.GetAllocatedBytesForCurrentThread();
        var start = Now;
        while (Now - start < s_row)
        {
            for (int i = 0; i < 1000; i++)
                decisions += driver.Step();
        }

        return ((Now - start).TotalNanoseconds / decisions, GC.GetAllocatedBytesForCurrentThread() - bytes);
    }

    private static void Simulations(string policy, int count, int cpus, bool distinct = false)
    {
        var random = new Random(1);
        var jobs = Enumerable.Range(0, count).Select(i => new SimulatedJob
        {
            Name = "job",
            Arrival = random.NextInt64(60L * count * Ms / cpus),
            Length = (1 + random.NextInt64(119)) * Ms,
            Burst = i % 2 == 0 ? 10 * Ms : 0,
            Halt = 20 * Ms,
            Spec = new JobSpec { Priority = i % 8, Weight = 1 + i % 4, Needs = new ResourceVector(0, distinct ? 1 + 63 * random.NextDouble() : 1 + i % 32) },
        }).ToList();
        var settings = new SimulationSettings { Topology = CpuTopology.Flat(cpus), Policy = new PolicySettings { Capacity = new ResourceVector(cpus, 64.0 * cpus) } };
        if (count <= 2_000)
            Simulator.Run(policy, jobs, settings); // once for the compiler
        var start = Now;
        long events = Simulator.Run(policy, jobs, settings).Measures.Events;
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"simulator {policy}{(distinct ? "-distinct" : "")} {count} {cpus} {events / (Now - start).TotalSeconds:F0}"));
    }
}
