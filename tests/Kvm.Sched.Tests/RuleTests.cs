using Kvm.Sched.Simulation;
using static Kvm.Sched.Tests.JobLists;

namespace Kvm.Sched.Tests;

/// <summary>What the rules say beyond the worked examples of the page, and bad input.</summary>
public class RuleTests
{
    [Fact]
    public void A_halted_vcpu_holds_no_CPU_and_queues_at_the_end_when_it_wakes()
    {
        SimulatedJob[] jobs = [Job("A", 0, 6) with { Burst = 2 * Ms, Halt = 3 * Ms }, Job("B", 0, 9)];
        Simulator.Run("fcfs", jobs, On(1)).Line(jobs).Should().Be("A0-2 B2-11 A11-13 A16-18");
        Simulator.Run("rr", jobs, On(1)).Line(jobs).Should().Be("A0-2 B2-6 A6-8 B8-12 A12-14 B14-15");
    }

    [Fact]
    public void A_switch_costs_what_is_said_and_counts_as_waiting()
    {
        SimulatedJob[] jobs = [Job("A", 0, 4), Job("B", 0, 4)];
        var result = Simulator.Run("rr", jobs, On(1, 2) with { SwitchCost = Ms });
        result.Line(jobs).Should().Be("A1-3 B4-6 A7-9 B10-12");
        (result.Jobs[0].Wait / Ms, result.Jobs[1].Wait / Ms, result.Measures.Switches).Should().Be((5, 8, 4));
        result.Measures.Utilization.Should().BeApproximately(8.0 / 12, 1e-9);
    }

    [Fact]
    public void Lengths_are_learned_by_class_with_the_older_half_as_heavy_as_the_new_one()
    {
        SimulatedJob[] jobs = [.. new[] { 8, 16, 4 }.Select((length, i) => Job($"W{i}", i * 100, length) with { Class = "web" })];
        var settings = On(1) with { Policy = new PolicySettings { Learn = true } };
        // Estimates: none, 8, 12; errors |8 − 16| and |12 − 4| over 16 + 4.
        Simulator.Run("sjf", jobs, settings).Measures.EstimateError.Should().BeApproximately(16.0 / 20, 1e-9);
        Simulator.Run("sjf", jobs, On(1)).Measures.EstimateError.Should().BeNull();
    }

    [Fact]
    public void With_ageing_who_waited_long_enough_goes_first()
    {
        SimulatedJob[] jobs = [Job("H", 0, 12, 3), Job("L", 0, 4, 1), Job("G", 9, 4, 3)];
        var settings = On(1) with { Policy = new PolicySettings { Ageing = 4 * Ms } };
        // At 12, L has 1 + 12/4 = 4, G has 3 + 3/4.
        Simulator.Run("priority-np", jobs, settings).Line(jobs).Should().Be("H0-12 L12-16 G16-20");
        // At 8, L has 1 + 8/4 = 3, as H has, which is earlier in the file; at 9 a decision is made, and L has more than 3.
        Simulator.Run("priority", jobs, settings).Line(jobs).Should().Be("H0-9 L9-13 H13-16 G16-20");
    }

    [Fact]
    public void A_gang_waits_for_all_its_CPUs_and_one_that_woke_late_stops_with_the_others()
    {
        SimulatedJob[] jobs = [Job("A", 0, 6), Job("G", 0, 4, vcpus: 2), Job("B", 0, 2)];
        var settings = On(2) with { Policy = new PolicySettings { Gang = true } };
        Simulator.Run("fcfs", jobs, settings).Line(jobs).Should().Be("0:A0-6 0:G6-10 1:G6-10 0:B10-12");
        Simulator.Run("fcfs", jobs, On(2)).Line(jobs).Should().Be("0:A0-6 1:G0-4 1:G4-8 0:B6-8");
    }

    [Fact]
    public void A_confined_job_waits_for_its_CPU_while_others_pass()
    {
        var one = new CpuSet(CpuTopology.MostCpus);
        one.Add(1);
        SimulatedJob[] jobs = [Job("A", 0, 6), Job("B", 0, 6), Job("P", 0, 2) with { Spec = new JobSpec { Affinity = one } }, Job("C", 0, 2)];
        Simulator.Run("fcfs", jobs, On(2)).Line(jobs).Should().Be("0:A0-6 1:B0-6 0:C6-8 1:P6-8");
        Simulator.Run("sjf", jobs, On(2)).Line(jobs).Should().Be("0:C0-2 1:P0-2 0:A2-8 1:B2-8");
        Simulator.Obstacle("rr", jobs, On(1)).Should().Be("job P may run on CPUs 1 only, and there are 1");
    }

    [Fact]
    public void Deadlines_that_were_missed_are_counted()
    {
        SimulatedJob[] jobs = [Job("A", 0, 5) with { Deadline = 5 * Ms }, Job("B", 0, 5) with { Deadline = 9 * Ms }, Job("C", 0, 5)];
        Simulator.Run("fcfs", jobs, On(1)).Measures.DeadlineMisses.Should().Be(1);
    }

    [Fact]
    public void A_boost_brings_back_who_was_overtaken()
    {
        SimulatedJob[] jobs = [Job("L", 0, 40, 0), .. Enumerable.Range(0, 60).Select(i => Job("H", i * 4, 4, 1))];
        var settings = On(1) with { Policy = new PolicySettings { Boost = 50 * Ms } };
        var result = Simulator.Run("tsp", jobs, settings);
        // The level of who runs then is no lower.
        result.Stays.Where(stay => stay.Job == 0).Min(stay => stay.From).Should().Be(52 * Ms);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(9_999)]
    [InlineData(31_536_000_000_000_000)]
    [InlineData(0)]
    [InlineData(-1)]
    public void Slices_outside_the_range_are_refused(long slice) =>
        FluentActions.Invoking(() => new Scheduler("rr", CpuTopology.Flat(1), new PolicySettings { Slice = slice })).Should().Throw<ArgumentOutOfRangeException>();

    [Fact]
    public void What_would_never_end_is_refused()
    {
        Simulator.Obstacle("rr", [Endless("A")], On(1)).Should().Contain("job A never ends");
        Simulator.Obstacle("rr", [Job("A", 0, 1e11)], On(1, 0.01)).Should().Contain("slices");
        Simulator.Obstacle("fcfs", [.. Enumerable.Repeat(Job("A", 0, 2e12), 3)], On(1, 3_600_000)).Should().Contain("hundred years");
        var small = On(1) with { Policy = new PolicySettings { Capacity = new ResourceVector(1, 100) } };
        SimulatedJob[] large = [Job("A", 0, 1) with { Spec = new JobSpec { Needs = new ResourceVector(0, 101) } }];
        Simulator.Obstacle("rrp", large, small).Should().Contain("job A needs more memory");
        Simulator.Obstacle("rr", large, small).Should().BeNull();
        Simulator.Obstacle("rap", [Job("A", 0, 1) with { Spec = new JobSpec { Cap = 0.00001 } }], On(1)).Should().Contain("job A may run less than 10 us in a period");
        Simulator.Obstacle("tsp", [Job("A", 0, 1e11)], On(1, 3_600_000) with { Policy = new PolicySettings { Slice = PolicySettings.LongestSlice, Boost = 10_000 } })
            .Should().Contain("slices");
        FluentActions.Invoking(() => Simulator.Run("rr", [Endless("A")], On(1))).Should().Throw<ArgumentException>();
        FluentActions.Invoking(() => Simulator.Run("lifo", [], On(1))).Should().Throw<ArgumentException>();
    }

    [Fact]
    public void No_jobs_are_no_error()
    {
        foreach (string policy in PolicyNames.All)
            Simulator.Run(policy, [], On(1)).Measures.Should().BeEquivalentTo(new Measures { Jain = 1 });
    }

    [Fact]
    public void A_hundred_thousand_vms_may_queue()
    {
        var scheduler = new Scheduler("tsp", CpuTopology.Flat(2), new PolicySettings());
        for (int i = 0; i < 100_000; i++)
            scheduler.Arrive(new JobSpec { Priority = i % 3 }, i);
        scheduler.Decide(100_000).Length.Should().Be(2);
        scheduler.Table.Vms.Should().Be(100_000);
    }
}
