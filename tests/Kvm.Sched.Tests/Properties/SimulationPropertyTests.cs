using FsCheck;
using FsCheck.Fluent;
using Kvm.Sched.Simulation;
using static Kvm.Sched.Tests.JobLists;

namespace Kvm.Sched.Tests.Properties;

/// <summary>The property table of docs/scheduling.md, over random lists of jobs. Times lie on a grid, so that much happens at one instant.</summary>
public class SimulationPropertyTests
{
    private const int Cases = 2000;

    private static readonly Gen<SimulatedJob> s_job =
        from arrival in Gen.Choose(0, 25)
        from length in Gen.Choose(1, 12)
        from priority in Gen.Choose(0, 3)
        from weight in Gen.Choose(1, 3)
        from vcpus in Gen.Frequency((4, Gen.Constant(1)), (1, Gen.Choose(2, 3)))
        from burst in Gen.Frequency((3, Gen.Constant(0)), (1, Gen.Choose(1, 6)))
        from halt in Gen.Choose(1, 9)
        select Job("", arrival, length, priority, weight, vcpus) with { Burst = burst * Ms, Halt = halt * Ms };

    private static readonly Gen<Case> s_case =
        from jobs in s_job.NonEmptyListOf()
        from cpus in Gen.Choose(1, 3)
        from slice in Gen.Choose(1, 5)
        select new Case([.. jobs.Take(12).Select((job, i) => job with { Name = $"J{i}" })], cpus, slice);

    private static readonly Gen<Case> s_plain = s_case.Select(c => c with { Jobs = [.. c.Jobs.Select(Plain)] });

    public static TheoryData<string> Policies => [.. PolicyNames.All];

    public static TheoryData<string> WorkConserving => [.. PolicyNames.All.Where(name => name != "host")];

    [Theory]
    [MemberData(nameof(Policies))]
    public void Every_job_gets_its_length_and_no_cpu_or_vcpu_is_in_two_places(string policy) => Check(s_case, c =>
    {
        var result = Simulator.Run(policy, c.Jobs, c.Settings);
        return result.Measures.Unfinished == 0
            && c.Jobs.Select((job, i) => result.Jobs[i].Ran == job.Length * job.Spec.Vcpus && result.Jobs[i].FirstRun >= job.Arrival).All(right => right)
            && Disjoint(result.Stays.GroupBy(stay => stay.Cpu)) && Disjoint(result.Stays.GroupBy(stay => stay.Job * 8 + stay.Vcpu));
    });

    [Theory]
    [MemberData(nameof(Policies))]
    public void The_same_seed_has_the_same_schedule(string policy) => Check(s_case, c =>
    {
        var settings = c.Settings with { Seed = (ulong)c.Slice };
        var (one, two) = (Simulator.Run(policy, c.Jobs, settings), Simulator.Run(policy, c.Jobs, settings));
        return one.Stays.SequenceEqual(two.Stays) && one.Jobs.SequenceEqual(two.Jobs) && one.Measures == two.Measures;
    });

    [Theory]
    [MemberData(nameof(WorkConserving))]
    public void No_cpu_idles_while_a_vcpu_waits(string policy) => Check(s_plain, c =>
    {
        var jobs = policy == "rrp" ? [.. c.Jobs.Select(job => job with { Spec = job.Spec with { Vcpus = 1 } })] : c.Jobs;
        var result = Simulator.Run(policy, jobs, c.Settings);
        return Intervals(jobs, result).All(at =>
        {
            int busy = result.Stays.Count(stay => stay.From <= at && at < stay.To);
            int there = jobs.Select((job, i) => job.Arrival > at ? 0 : job.Spec.Vcpus - result.Stays.Where(stay => stay.Job == i).GroupBy(stay => stay.Vcpu)
                .Count(vcpu => vcpu.Max(stay => stay.To) <= at && vcpu.Sum(stay => stay.To - stay.From) == job.Length)).Sum();
            return busy == Math.Min(c.Cpus, there);
        });
    });

    [Fact]
    public void Round_robin_lets_nobody_wait_longer_than_the_others_slices() => Check(s_plain.Select(c => c with { Cpus = 1 }), c =>
    {
        c = c with { Jobs = [.. c.Jobs.Select(job => job with { Spec = job.Spec with { Vcpus = 1 } })] };
        var result = Simulator.Run("rr", c.Jobs, c.Settings);
        for (int i = 0; i < c.Jobs.Length; i++)
        {
            long since = c.Jobs[i].Arrival;
            foreach (var stay in result.Stays.Where(stay => stay.Job == i).OrderBy(stay => stay.From))
            {
                int others = Enumerable.Range(0, c.Jobs.Length).Count(j => j != i && c.Jobs[j].Arrival <= stay.From && result.Jobs[j].Finish > since);
                if (stay.From - since > others * c.Slice * Ms)
                    return false;
                since = stay.To;
            }
        }

        return true;
    });

    [Theory]
    [InlineData("sjf")]
    [InlineData("srtf")]
    public void Shortest_first_has_the_least_mean_turnaround_of_all_orders_of_a_batch(string policy) => Check(s_plain, c =>
    {
        SimulatedJob[] batch = [.. c.Jobs.Take(6).Select(job => job with { Arrival = 0, Spec = job.Spec with { Vcpus = 1 } })];
        var result = Simulator.Run(policy, batch, On(1));
        return Math.Abs(result.Measures.Turnaround.Mean * batch.Length - Orders([.. batch.Select(job => job.Length)]).Min()) < 1;
    });

    [Fact]
    public void Shortest_remaining_time_has_no_worse_mean_turnaround_than_any_other_policy() => Check(s_plain, c =>
    {
        SimulatedJob[] jobs = [.. c.Jobs.Select(job => job with { Spec = job.Spec with { Vcpus = 1 } })];
        double best = Simulator.Run("srtf", jobs, On(1)).Measures.Turnaround.Mean;
        return PolicyNames.All.All(policy => Simulator.Run(policy, jobs, On(1, c.Slice)).Measures.Turnaround.Mean >= best - 1e-3);
    });

    [Fact]
    public void Nobody_of_lower_priority_runs_while_a_higher_one_waits() => Check(s_plain, c =>
    {
        var result = Simulator.Run("priority", c.Jobs, c.Settings);
        return Intervals(c.Jobs, result).All(at =>
        {
            var running = result.Stays.Where(stay => stay.From <= at && at < stay.To).ToList();
            return running.All(low => c.Jobs.Select((job, i) => (job, i)).All(high => high.job.Spec.Priority <= c.Jobs[low.Job].Spec.Priority
                || Done(high.i, result, at) + running.Count(stay => stay.Job == high.i) == high.job.Spec.Vcpus || high.job.Arrival > at));
        });

        int Done(int job, SimulationResult result, long at) => result.Stays.Where(stay => stay.Job == job && stay.To <= at).GroupBy(stay => stay.Vcpu)
            .Count(vcpu => vcpu.Sum(stay => stay.To - stay.From) == c.Jobs[job].Length);
    });

    [Fact]
    public void Without_preemption_who_starts_has_the_highest_priority_of_those_that_wait() => Check(s_plain, c =>
    {
        SimulatedJob[] jobs = [.. c.Jobs.Select(job => job with { Spec = job.Spec with { Vcpus = 1 } })];
        var result = Simulator.Run("priority-np", jobs, c.Settings);
        return result.Stays.All(stay => jobs.Select((job, i) => (job, i)).All(other => other.job.Arrival > stay.From || result.Jobs[other.i].FirstRun <= stay.From
            || other.job.Spec.Priority < jobs[stay.Job].Spec.Priority
            || (other.job.Spec.Priority == jobs[stay.Job].Spec.Priority && (other.job.Arrival, other.i).CompareTo((jobs[stay.Job].Arrival, stay.Job)) > 0)));
    });

    [Theory]
    [MemberData(nameof(WorkConserving))]
    public void All_vcpus_of_a_gang_run_in_the_same_slices(string policy) => Check(s_plain, c =>
    {
        var settings = c.Settings with { Topology = CpuTopology.Flat(3), Policy = c.Settings.Policy with { Gang = true } };
        var result = Simulator.Run(policy, c.Jobs, settings);
        return result.Measures.Unfinished == 0 && result.Stays.GroupBy(stay => (stay.Job, stay.From, stay.To)).All(slice => slice.Count() == c.Jobs[slice.Key.Job].Spec.Vcpus);
    });

    private static SimulatedJob Plain(SimulatedJob job) => job with { Burst = 0, Halt = 0 };

    private static bool Disjoint<T>(IEnumerable<IGrouping<T, Stay>> groups) => groups.All(group =>
    {
        var stays = group.OrderBy(stay => stay.From).ToList();
        return stays.Zip(stays.Skip(1)).All(pair => pair.First.To <= pair.Second.From);
    });

    /// <summary>The starts of the times between which nothing changes.</summary>
    private static IEnumerable<long> Intervals(IEnumerable<SimulatedJob> jobs, SimulationResult result) =>
        jobs.Select(job => job.Arrival).Concat(result.Stays.SelectMany(stay => (long[])[stay.From, stay.To])).Distinct();

    /// <summary>The sum of turnarounds of each order.</summary>
    private static IEnumerable<double> Orders(long[] lengths)
    {
        if (lengths.Length == 0)
            return [0];
        return lengths.SelectMany((first, i) => Orders([.. lengths[..i], .. lengths[(i + 1)..]]).Select(rest => rest + (double)first * lengths.Length));
    }

    private static void Check(Gen<Case> cases, Func<Case, bool> holds) =>
        Prop.ForAll(cases.ToArbitrary(), holds).Check(Config.QuickThrowOnFailure.WithMaxTest(Cases));

    internal sealed record Case(SimulatedJob[] Jobs, int Cpus, int Slice)
    {
        public SimulationSettings Settings => On(Cpus, Slice);

        public override string ToString() => $"{Cpus} CPUs, slice {Slice} ms\n" + string.Join('\n', Jobs.Select(job =>
            $"{job.Name},{InMs(job.Arrival)},{InMs(job.Length)},{job.Spec.Priority},{job.Spec.Weight},{job.Spec.Vcpus},{InMs(job.Burst)},{InMs(job.Halt)}"));
    }
}
