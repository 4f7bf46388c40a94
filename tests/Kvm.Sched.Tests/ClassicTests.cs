using Kvm.Sched.Simulation;
using static Kvm.Sched.Tests.JobLists;

namespace Kvm.Sched.Tests;

/// <summary>Schedules worked by hand.</summary>
public class ClassicTests
{
    private static readonly SimulatedJob[] s_batch = [Job("A", 0, 24, 1), Job("B", 0, 3, 3), Job("C", 0, 3, 2)];

    [Theory]
    [InlineData("fcfs", "A0-24 B24-27 C27-30", 17)]
    [InlineData("sjf", "B0-3 C3-6 A6-30", 3)]
    [InlineData("srtf", "B0-3 C3-6 A6-30", 3)]
    [InlineData("priority", "B0-3 C3-6 A6-30", 3)]
    [InlineData("priority-np", "B0-3 C3-6 A6-30", 3)]
    [InlineData("rr", "A0-4 B4-7 C7-10 A10-30", 17.0 / 3)]
    [InlineData("least-runtime", "A0-4 B4-7 C7-10 A10-30", 17.0 / 3)]
    [InlineData("rap", "A0-4 B4-7 C7-10 A10-30", 17.0 / 3)]
    [InlineData("rrp", "A0-24 B24-27 C27-30", 17)]
    [InlineData("host", "A0-4 B4-7 C7-10 A10-30", 17.0 / 3)]
    [InlineData("tsp", "B0-3 C3-6 A6-30", 3)]
    public void Three_jobs_at_once(string policy, string line, double meanWait)
    {
        var result = Simulator.Run(policy, s_batch, On(1));
        result.Line(s_batch).Should().Be(line);
        (result.Measures.Wait.Mean / Ms).Should().BeApproximately(meanWait, 1e-9);
    }

    [Fact]
    public void An_arrival_at_the_end_of_a_slice_queues_before_the_preempted_job()
    {
        SimulatedJob[] jobs = [Job("A", 0, 8), Job("B", 4, 4), Job("C", 4, 4)];
        Simulator.Run("rr", jobs, On(1)).Line(jobs).Should().Be("A0-4 B4-8 C8-12 A12-16");
    }
}
