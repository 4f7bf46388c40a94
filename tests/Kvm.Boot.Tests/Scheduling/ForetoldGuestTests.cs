using Kvm.Sched;
using Kvm.Sched.Simulation;
using Kvm.Vmm.Scheduling;

namespace Kvm.Boot.Tests.Scheduling;

/// <summary>Real guests beside what the simulator, with the same policy objects, foretold of them: the order of ends, shares of CPU time, slices.</summary>
public sealed class ForetoldGuestTests
{
    private const long Ms = 1_000_000;

    /// <summary>Rounds of about 30 ms of CPU time.</summary>
    private const long Short = 100_000_000;

    [SkippableTheory]
    [InlineData("fcfs")]
    [InlineData("sjf")]
    [InlineData("priority-np")]
    [InlineData("rrp")]
    public void The_order_of_real_guests_is_the_one_the_simulator_foretold(string policy)
    {
        // The first runs until all others wait.
        (string Name, JobSpec Spec)[] jobs =
        [
            ("first", Spec(1, 8, 10)), ("low", Spec(2, 4, 40)), ("high", Spec(5, 3, 20)), ("middle", Spec(3, 2, 60)),
        ];
        var rules = new PolicySettings { Capacity = new ResourceVector(0, 100), Ageing = PolicySettings.LongestSlice };
        var simulated = Simulator.Run(
            policy, [.. jobs.Select((job, i) => new SimulatedJob { Name = job.Name, Arrival = i, Length = job.Spec.Length, Spec = job.Spec })],
            new SimulationSettings { Topology = CpuTopology.Flat(1), Policy = rules });
        using var fleet = new Fleet(policy, rules);
        fleet.Start(jobs[0].Name, UserKernel.Spin(), jobs[0].Spec);
        foreach (var (name, spec) in jobs.Skip(1))
            fleet.Start(name, UserKernel.Count(Short), spec);

        fleet.Stop(jobs[0].Name);
        fleet.UntilEnded(jobs.Length);

        fleet.Ended.Should().Equal(simulated.Jobs.Select((outcome, i) => (jobs[i].Name, outcome.Finish)).OrderBy(job => job.Finish).Select(job => job.Name));
    }

    /// <remarks>With wide margins: where a policy goes by the clock, what others on the host do of a slice is lost to its guest.</remarks>
    [SkippableTheory]
    [InlineData("rr", 0.2)]
    [InlineData("tsp", 0.2)]
    [InlineData("least-runtime", 0.1)]
    [InlineData("rap", 0.1)]
    public void Shares_of_real_guests_are_those_the_simulator_foretold(string policy, double margin)
    {
        JobSpec[] specs = [new JobSpec { Weight = 1, Priority = 0 }, new JobSpec { Weight = 3, Priority = 2 }, new JobSpec { Weight = 2, Priority = 1 }];
        var rules = new PolicySettings { Slice = 5 * Ms };
        var simulated = Simulator.Run(
            policy, [.. specs.Select((spec, i) => new SimulatedJob { Name = $"g{i}", Length = SimulatedJob.Endless, Spec = spec })],
            new SimulationSettings { Topology = CpuTopology.Flat(1), Policy = rules, Until = 500 * Ms, MostStays = 10_000 });
        using var fleet = new Fleet(policy, rules);
        for (int i = 0; i < specs.Length; i++)
            fleet.Start($"g{i}", UserKernel.Spin(), specs[i]);

        if (policy == "least-runtime")
            fleet.UntilEven();
        var from = fleet.Dispatcher.Look();
        var to = fleet.Until(view => Sum(view, vcpu => vcpu.Ran) - Sum(from, vcpu => vcpu.Ran) >= 500 * Ms);

        double ran = Sum(to, vcpu => vcpu.Ran) - Sum(from, vcpu => vcpu.Ran), foretold = simulated.Jobs.Sum(job => job.Ran);
        for (int i = 0; i < specs.Length; i++)
        {
            long own = to.Vms[i].Vcpus[0].Ran - from.Vms[i].Vcpus[0].Ran;
            (own / ran).Should().BeApproximately(simulated.Jobs[i].Ran / foretold, margin, $"g{i} under {policy}");
        }

        // Under rr each slice is followed by one of everybody else.
        if (policy == "rr")
        {
            var slices = to.Vms.Select((vm, i) => vm.Vcpus[0].Slices - from.Vms[i].Vcpus[0].Slices).ToList();
            var stays = simulated.Stays.GroupBy(stay => stay.Job).Select(job => job.Count()).ToList();
            (stays.Max() - stays.Min()).Should().BeLessThanOrEqualTo(1);
            ((double)slices.Max() / slices.Min()).Should().BeLessThan(1.25);
        }
    }

    private static JobSpec Spec(int priority, int length, int memory) => new() { Priority = priority, Length = length * 30 * Ms, Needs = new ResourceVector(0, memory) };

    private static double Sum(SchedulingView view, Func<VcpuView, long> what) => view.Vms.Sum(vm => vm.Vcpus.Sum(what));
}
