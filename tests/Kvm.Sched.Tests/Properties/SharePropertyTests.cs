using FsCheck;
using FsCheck.Fluent;
using Kvm.Sched.Simulation;
using static Kvm.Sched.Tests.JobLists;

namespace Kvm.Sched.Tests.Properties;

/// <summary>Shares, caps and reservations of rap, and who starves under which policy.</summary>
public class SharePropertyTests
{
    private const int Cases = 1000;

    private static readonly Gen<(SimulatedJob[] Jobs, int Cpus)> s_endless =
        from cpus in Gen.Choose(1, 4)
        from count in Gen.Choose(2, 9)
        from jobs in (from weight in Gen.Choose(1, 40) from vcpus in Gen.Frequency((3, Gen.Constant(1)), (1, Gen.Constant(2))) select Endless("E", weight / 4.0, vcpus)).ArrayOf(count)
        select (jobs, cpus);

    // A long time is one in which a slice, which cannot be divided, is less than 1 % of the smallest share.
    [Fact]
    public void Shares_under_rap_are_within_1_percent_of_the_weights_over_a_long_time() => Check(s_endless, c =>
    {
        var result = Simulator.Run("rap", c.Jobs, Until(c.Cpus, 10_000));
        return c.Jobs.Select((job, i) => Math.Abs(result.Jobs[i].Ran - result.Jobs[i].Entitled) <= Math.Max(0.01 * result.Jobs[i].Entitled, 4 * Ms * job.Spec.Vcpus)).All(near => near);
    });

    [Fact]
    public void Shares_under_rr_are_not_within_1_percent_of_the_weights()
    {
        SimulatedJob[] jobs = [Endless("A"), Endless("B", 3)];
        Simulator.Run("rr", jobs, Until(1, 20_000)).Measures.ShareError.Should().BeGreaterThan(0.3);
    }

    [Fact]
    public void A_cap_is_never_exceeded_in_a_period() => Check(
        from c in s_endless from cap in Gen.Choose(1, 15) from burst in Gen.Choose(0, 9) select (Jobs: Capped(c.Jobs, cap / 10.0, burst), c.Cpus), c =>
    {
        var result = Simulator.Run("rap", c.Jobs, Until(c.Cpus, 1_000));
        return result.Stays.SelectMany(stay => Cut(stay, 100 * Ms)).GroupBy(part => (part.Job, part.Period))
            .All(period => c.Jobs[period.Key.Job].Spec.Cap is var cap && (cap == 0 || period.Sum(part => part.Ran) <= cap * 100 * Ms));
    });

    [Fact]
    public void A_capped_job_alone_gets_its_cap()
    {
        SimulatedJob[] jobs = [Endless("A", cap: 0.35)];
        Simulator.Run("rap", jobs, Until(2, 10_000)).Measures.Utilization.Should().BeApproximately(0.35 / 2, 0.001);
    }

    [Fact]
    public void Reservations_are_met_where_they_fit() => Check(
        from c in s_endless from parts in Gen.Choose(0, 100).ArrayOf(c.Jobs.Length) select (Jobs: Reserved(c.Jobs, parts, c.Cpus), c.Cpus), c =>
    {
        var result = Simulator.Run("rap", c.Jobs, Until(c.Cpus, 5_000));
        // Within 1 %, or a slice of each vCPU, which cannot be divided.
        return c.Jobs.Select((job, i) => (Due: job.Spec.Reservation * 5_000 * Ms, result.Jobs[i].Ran, job.Spec.Vcpus))
            .All(job => job.Ran >= Math.Min(job.Due * 0.99, job.Due - 4 * Ms * job.Vcpus));
    });

    [Fact]
    public void Memory_that_dominates_takes_cpu_time_from_its_holder()
    {
        // On four CPUs a vCPU's quantum is a quarter of the host's; half of its memory is twice as much.
        SimulatedJob[] jobs = [.. Enumerable.Range(0, 8).Select(i => Endless("E") with { Spec = new JobSpec { Needs = new ResourceVector(0, i == 0 ? 50 : 1) } })];
        var settings = Until(4, 20_000);
        settings = settings with { Policy = settings.Policy with { Capacity = new ResourceVector(0, 100) } };
        var result = Simulator.Run("rap", jobs, settings);
        ((double)result.Jobs[0].Ran / result.Jobs[1].Ran).Should().BeApproximately(0.5, 0.01);
    }

    [Theory]
    [InlineData(100, 0, 0)]
    [InlineData(0, 100, 0)]
    [InlineData(0, 0, 100)]
    public void A_device_that_dominates_takes_cpu_time_from_who_uses_it(double disk, double operations, double network)
    {
        // While it runs the first one uses all of a device, which on four CPUs is four times its part of their time.
        SimulatedJob[] jobs = [.. Enumerable.Range(0, 8).Select(i => Endless("E") with { Spec = new JobSpec { Needs = i == 0 ? new ResourceVector(0, 0, disk, operations, network) : default } })];
        var settings = Until(4, 20_000);
        settings = settings with { Policy = settings.Policy with { Capacity = new ResourceVector(0, 0, disk, operations, network) } };
        var result = Simulator.Run("rap", jobs, settings);
        ((double)result.Jobs[0].Ran / result.Jobs[1].Ran).Should().BeApproximately(0.25, 0.01);
        result.Jobs[0].Served.Largest().Should().BeApproximately(result.Jobs[1].Served.Cpu, 0.01 * result.Jobs[1].Served.Cpu, "dominant shares are equal");
    }

    [Theory]
    [InlineData("host", 0)]
    [InlineData("fcfs", 0)]
    [InlineData("rr", 0)]
    [InlineData("tsp", 0)]
    [InlineData("rap", 0)]
    [InlineData("rrp", 0)]
    [InlineData("priority", 20)]
    [InlineData("priority-np", 20)]
    public void A_stream_of_higher_priorities_starves_nobody(string policy, int ageing) => Check(Stream(), stream =>
    {
        var result = Simulator.Run(policy, stream, Ageing(ageing));
        return result.Jobs[0].Finish is >= 0 and var finish && finish < 2_500 * Ms;
    });

    [Theory]
    [InlineData("priority")]
    [InlineData("priority-np")]
    [InlineData("sjf")]
    [InlineData("srtf")]
    [InlineData("least-runtime")]
    public void A_stream_of_better_ones_keeps_a_job_waiting_where_nothing_forbids_it(string policy)
    {
        SimulatedJob[] stream = [Job("old", 0, 100, 0), .. Enumerable.Range(0, 800).Select(i => Job("new", i * 5, 5, 3))];
        Simulator.Run(policy, stream, Ageing(0)).Jobs[0].Finish.Should().BeGreaterThan(4_000 * Ms);
    }

    [Fact]
    public void A_large_job_starts_under_rrp_though_small_ones_fit_better() => Check(Stream(), stream =>
    {
        stream[0] = stream[0] with { Spec = stream[0].Spec with { Vcpus = 4 } };
        var settings = Ageing(100) with { Topology = CpuTopology.Flat(4) };
        var aged = Simulator.Run("rrp", [.. stream, .. stream[1..], .. stream[1..], .. stream[1..]], settings);
        return aged.Jobs[0].FirstRun is >= 0 and var start && start <= 200 * Ms;
    });

    [Theory]
    [InlineData("fcfs")]
    [InlineData("sjf")]
    [InlineData("srtf")]
    [InlineData("priority")]
    [InlineData("priority-np")]
    [InlineData("rrp")]
    public void A_limit_lets_others_finish_beside_a_job_that_never_ends(string policy) => Check(s_endless, c =>
    {
        SimulatedJob[] jobs = [.. Enumerable.Range(0, c.Cpus).Select(_ => Endless("E") with { Spec = new JobSpec { Priority = 9 } }), .. c.Jobs.Select((_, i) => Job("J", i, 20 + i))];
        var settings = Until(c.Cpus, 10_000);
        bool limited = Simulator.Run(policy, jobs, settings with { Policy = settings.Policy with { Limit = 10 * Ms } }).Measures.Finished == c.Jobs.Length;
        // Without one they wait for ever, unless their lengths are known and the endless one's is not.
        return limited && Simulator.Run(policy, jobs, settings).Measures.Finished == 0;
    });

    private static Gen<SimulatedJob[]> Stream() =>
        from lengths in Gen.Choose(2, 8).ArrayOf(800)
        select (SimulatedJob[])[Job("old", 0, 20), .. lengths.Select((length, i) => Job("new", lengths.Take(i).Sum(), length, 3))];

    private static SimulatedJob[] Capped(SimulatedJob[] jobs, double cap, int burst) =>
        [.. jobs.Select((job, i) => job with { Burst = burst * Ms, Halt = 3 * Ms, Spec = job.Spec with { Cap = i % 2 == 0 ? cap : 0, Gang = i % 4 == 0 } })];

    private static SimulatedJob[] Reserved(SimulatedJob[] jobs, int[] parts, int cpus)
    {
        double sum = Math.Max(1, parts.Sum());
        return [.. jobs.Select((job, i) => job with { Spec = job.Spec with { Reservation = Math.Min(job.Spec.Vcpus, parts[i] / sum * cpus) } })];
    }

    private static IEnumerable<(int Job, long Period, long Ran)> Cut(Stay stay, long period)
    {
        for (long from = stay.From; from < stay.To; from = (from / period + 1) * period)
            yield return (stay.Job, from / period, Math.Min(stay.To, (from / period + 1) * period) - from);
    }

    private static SimulationSettings Until(int cpus, double ms) => On(cpus) with { Until = (long)(ms * Ms) };

    private static SimulationSettings Ageing(int ms) => On(1) with { MostStays = 0, Policy = new PolicySettings { Ageing = ms * Ms, Boost = 100 * Ms } };

    private static void Check<T>(Gen<T> cases, Func<T, bool> holds) => Prop.ForAll(cases.ToArbitrary(), holds).Check(Config.QuickThrowOnFailure.WithMaxTest(Cases));
}
