using Kvm.Sched.Simulation;
using static Kvm.Sched.Tests.JobLists;

namespace Kvm.Sched.Tests;

public class JobTraceTests
{
    private static IReadOnlyList<SimulatedJob> Read(string text) => JobFile.Read(new StringReader(text));

    [Fact]
    public void A_trace_is_written_read_and_replayed_burst_by_burst()
    {
        var writer = new StringWriter();
        writer.Write(JobTrace.Header + "\n");
        var spec = new JobSpec { Priority = 2, Weight = 1.5 };
        JobTrace.Write(writer, "web, \"old\"", 0, spec, "", 0, new RecordedBurst(2 * Ms, 3 * Ms));
        JobTrace.Write(writer, "db", Ms, new JobSpec(), "", 0, new RecordedBurst(4_500_000, 0));
        JobTrace.Write(writer, "web, \"old\"", 0, spec, "", 0, new RecordedBurst(0, 3 * Ms));
        JobTrace.Write(writer, "web, \"old\"", 0, spec, "", 1, new RecordedBurst(Ms, 0));
        JobTrace.Write(writer, "web, \"old\"", 0, spec, "", 0, new RecordedBurst(Ms, 9 * Ms));
        var jobs = Read(writer.ToString());
        jobs.Select(job => (job.Name, job.Arrival, job.Length, job.Spec.Vcpus, job.Spec.Priority, job.Spec.Weight))
            .Should().Equal(("web, \"old\"", 0, 2 * Ms, 2, 2, 1.5), ("db", Ms, 4_500_000, 1, 0, 1));
        var result = Simulator.Run("fcfs", jobs, On(1));
        result.Stays.Select(stay => (stay.Job, stay.Vcpu, InMs(stay.From), InMs(stay.To)))
            .Should().Equal((0, 0, "0", "2"), (0, 1, "2", "3"), (1, 0, "3", "7.5"), (0, 0, "7.5", "8.5"));
        InMs(result.Jobs[0].Wait).Should().Be("2.25");
    }

    [Theory]
    [InlineData(JobTrace.Header + "\nA,0,0,1,,,,,,,1,5,0\n", 2, "vcpu")]
    [InlineData(JobTrace.Header + "\nA,0,0,1,,,,,,,0,0,0\n", 2, "run")]
    [InlineData(JobTrace.Header + "\nA,0,0,1,,,,,,,0,,0\n", 2, "run")]
    [InlineData(JobTrace.Header + "\nA,0,0,1,,,,,,,5000,1,0\n", 2, "vcpu")]
    [InlineData(JobTrace.Header + "\nA,0,0,1,,,,,,,0,3000000000000,0\nA,0,0,1,,,,,,,0,3000000000000,0\n", 3, "run")]
    public void A_trace_that_cannot_be_is_refused_by_line_and_column(string text, int line, string column)
    {
        var error = FluentActions.Invoking(() => Read(text)).Should().Throw<JobFileException>().Which;
        (error.Line, error.Column).Should().Be((line, column));
    }

    [Fact]
    public void All_that_a_policy_was_told_of_a_VM_comes_back()
    {
        CpuSet.TryParse("0,2", 4, out var cpus, out _).Should().BeTrue();
        var spec = new JobSpec
        {
            Vcpus = 2,
            Priority = -3,
            Weight = 0.125,
            Needs = new ResourceVector(0, 3L << 30),
            Affinity = cpus,
            Cap = 1.5,
            Reservation = 0.001,
            Gang = true,
        };
        var writer = new StringWriter();
        writer.Write(JobTrace.Header + "\n");
        for (int vcpu = 0; vcpu < 2; vcpu++)
            JobTrace.Write(writer, " a \"b\",c", 7 * Ms, spec, "x,y #1", vcpu, new RecordedBurst(Ms, 2 * Ms));

        var job = Read(writer.ToString()).Single();

        (job.Spec with { Affinity = null }).Should().Be(spec with { Affinity = null });
        job.Spec.Affinity!.ToString().Should().Be("0,2");
        (job.Name, job.Class, job.Arrival).Should().Be((" a \"b\",c", "x,y #1", 7 * Ms));
        job.Recorded!.Select(vcpu => vcpu.Single()).Should().Equal(new RecordedBurst(Ms, 2 * Ms), new RecordedBurst(Ms, 2 * Ms));
    }

    [Fact]
    public void A_VM_that_may_run_everywhere_is_confined_nowhere()
    {
        var writer = new StringWriter();
        writer.Write(JobTrace.Header + "\n");
        JobTrace.Write(writer, "a", 0, new JobSpec { Affinity = CpuSet.All(2) }, "", 0, new RecordedBurst(Ms, 0));

        Read(writer.ToString()).Single().Spec.Affinity.Should().BeNull();
    }

    [Fact]
    public void A_recorded_simulation_replayed_under_its_own_policy_is_itself()
    {
        SimulatedJob[] jobs = [Job("A", 0, 17) with { Burst = 4 * Ms, Halt = 2 * Ms }, Job("B", 1, 9), Job("C", 3, 11) with { Burst = 3 * Ms, Halt = 7 * Ms }];
        var writer = new StringWriter();
        writer.Write(JobTrace.Header + "\n");
        foreach (var job in jobs)
        {
            long burst = job.Burst > 0 ? job.Burst : job.Length;
            for (long left = job.Length; left > 0; left -= burst)
                JobTrace.Write(writer, job.Name, job.Arrival, job.Spec, "", 0, new RecordedBurst(Math.Min(left, burst), job.Halt));
        }

        var replayed = Read(writer.ToString());
        foreach (string policy in PolicyNames.All)
        {
            var (original, again) = (Simulator.Run(policy, jobs, On(1)), Simulator.Run(policy, replayed, On(1)));
            again.Stays.Should().Equal(original.Stays, policy);
            again.Jobs.Should().Equal(original.Jobs, policy);
        }
    }
}
