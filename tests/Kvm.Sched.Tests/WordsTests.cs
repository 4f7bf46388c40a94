using static Kvm.Sched.Tests.JobLists;

namespace Kvm.Sched.Tests;

/// <summary>What people are told, and the targets of resources that are not CPU time.</summary>
public class WordsTests
{
    [Theory]
    [InlineData("host", "runs on CPU 0: it was first", "bound to CPU 0 with 2 vCPUs")]
    [InlineData("fcfs", "runs on CPU 0", "waits since 3 ms: others have gone before it since it arrived (fcfs: ready since 3 ms)")]
    [InlineData("sjf", "(sjf: 10 ms long)", "(sjf: 20 ms long)")]
    [InlineData("srtf", "(srtf: 10 ms left)", "(srtf: 20 ms left)")]
    [InlineData("priority", "(priority: priority 5)", "(priority: priority 3.3)")]
    [InlineData("rr", "(rr: slice 4 ms, 1 in the queue)", "waits since 3 ms")]
    [InlineData("tsp", "level 5 of priority 5, 4 ms of its slice left", "level 3 of priority 3, 4 ms of its slice left")]
    [InlineData("least-runtime", "(least-runtime: has run 0 ms)", "has run 0 ms")]
    [InlineData("rap", "(rap: virtual time 0 s at weight 1; served cpu 0 + 0.004 s)", "0 of its cap left")]
    [InlineData("rrp", "its VM has what it needs", "needs more than is free")]
    public void Each_policy_says_why_one_runs_and_the_other_waits(string policy, string runs, string waits)
    {
        var scheduler = new Scheduler(policy, CpuTopology.Flat(1), new PolicySettings { Ageing = policy == "priority" ? 10 * Ms : 0 });
        int one = scheduler.Table.ReadVm(scheduler.Arrive(new JobSpec { Priority = 5, Length = 10 * Ms }, 0)).FirstVcpu;
        int other = scheduler.Table.ReadVm(scheduler.Arrive(new JobSpec { Priority = 3, Length = 20 * Ms, Cap = 0.5 }, 0)).FirstVcpu;
        scheduler.Decide(0);
        scheduler.Why(one, 3 * Ms).Should().Contain(runs);
        scheduler.Why(other, 3 * Ms).Should().Contain(waits.Replace("0 of its cap", "50 ms of its cap", StringComparison.Ordinal));
        scheduler.Halted(other, 4 * Ms, 0);
        scheduler.Why(other, 4 * Ms).Should().Be("is halted and needs no CPU");
    }

    [Fact]
    public void A_revoked_vcpu_and_the_one_that_takes_its_CPU_are_told_apart_until_it_parks()
    {
        var scheduler = new Scheduler("priority", CpuTopology.Flat(1), new PolicySettings());
        int low = scheduler.Table.ReadVm(scheduler.Arrive(new JobSpec(), 0)).FirstVcpu;
        scheduler.Decide(0);
        int high = scheduler.Table.ReadVm(scheduler.Arrive(new JobSpec { Priority = 1 }, Ms)).FirstVcpu;
        scheduler.Decide(Ms).ToArray().Should().Equal(new Decision(DecisionKind.Revoke, low, 0, 0, DecisionReason.Preempted));
        scheduler.Why(low, Ms).Should().StartWith("is leaving CPU 0: another went before it");
        scheduler.Why(high, Ms).Should().StartWith("is next on CPU 0");
        scheduler.ReservedFor(high).Should().Be(0);
        scheduler.Decide(Ms).Length.Should().Be(0);
        scheduler.Parked(low, 2 * Ms, 2 * Ms);
        scheduler.Decide(2 * Ms).ToArray().Should().Equal(new Decision(DecisionKind.Run, high, 0, long.MaxValue, DecisionReason.First));
        (scheduler.Table.ReadVcpu(low).Ran, scheduler.Table.ReadVcpu(high).Waited).Should().Be((2 * Ms, Ms));
    }

    [Theory]
    [InlineData("rap", 100, new[] { 10.0, 60.0, 30.0 })]
    [InlineData("rap", 95, new[] { 10.0, 56.6666, 28.3333 })]
    [InlineData("rap", 40, new[] { 9.3333, 18.6666, 12.0 })]
    [InlineData("rap", 1000, new[] { 10.0, 80.0, 60.0 })]
    [InlineData("rr", 40, new[] { 10.0, 80.0, 60.0 })]
    public void Memory_is_divided_by_weight_between_reservations_and_needs(string policy, double host, double[] expected)
    {
        var scheduler = new Scheduler(policy, CpuTopology.Flat(1), new PolicySettings { Capacity = new ResourceVector(0, host) });
        scheduler.Arrive(new JobSpec { Needs = new ResourceVector(0, 10), Reserved = new ResourceVector(0, 8) }, 0);
        scheduler.Arrive(new JobSpec { Needs = new ResourceVector(0, 80), Weight = 2 }, 0);
        scheduler.Arrive(new JobSpec { Needs = new ResourceVector(0, 60), Reserved = new ResourceVector(0, 12) }, 0);
        var targets = new ResourceTarget[3];
        scheduler.Targets(targets).Should().Be(3);
        for (int i = 0; i < 3; i++)
            targets[i].Amount.Memory.Should().BeApproximately(expected[i], 0.001);
    }
}
