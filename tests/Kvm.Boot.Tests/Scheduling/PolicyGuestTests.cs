using Kvm.Sched;
using Kvm.Vmm.Scheduling;

namespace Kvm.Boot.Tests.Scheduling;

/// <summary>
/// Policies on real guests, several on one CPU. What is compared is the order of ends and CPU time granted, with wide margins: a busy
/// machine makes everything later, and no share another one. A guest that has to run until others wait spins until the test stops it.
/// </summary>
public sealed class PolicyGuestTests
{
    /// <summary>Rounds of about 30 ms of CPU time.</summary>
    private const long Short = 100_000_000;

    private static readonly PolicySettings s_slice5 = new() { Slice = 5_000_000 };

    [SkippableFact]
    public void Under_fcfs_guests_end_in_the_order_they_came()
    {
        using var fleet = new Fleet("fcfs");
        fleet.Start("first", UserKernel.Spin());
        fleet.Start("second", UserKernel.Count(Short));
        fleet.Start("third", UserKernel.Count(Short / 10));

        fleet.Stop("first");
        fleet.UntilEnded(3);

        fleet.Ended.Should().Equal("first", "second", "third");
    }

    [SkippableFact]
    public void Under_sjf_the_shorter_of_those_that_wait_go_first()
    {
        using var fleet = new Fleet("sjf");
        fleet.Start("running", UserKernel.Spin(), new JobSpec { Length = 600_000_000 });
        fleet.Start("long", UserKernel.Count(Short), new JobSpec { Length = 300_000_000 });
        fleet.Start("short", UserKernel.Count(Short), new JobSpec { Length = 10_000_000 });
        fleet.Start("middle", UserKernel.Count(Short), new JobSpec { Length = 100_000_000 });

        fleet.Stop("running");
        fleet.UntilEnded(4);

        fleet.Ended.Should().Equal("running", "short", "middle", "long");
    }

    [SkippableFact]
    public void Under_sjf_lengths_that_nobody_declared_are_learned_by_class()
    {
        using var fleet = new Fleet("sjf");
        foreach (string of in (string[])["long", "short"])
        {
            fleet.Start($"first {of}", UserKernel.Count(of == "long" ? 4 * Short : Short / 10), of: of);
            fleet.UntilEnded(of == "long" ? 1 : 2);
        }

        fleet.Dispatcher.Look().EstimateError.Should().BeNull("of the first of a class nothing was foretold");
        fleet.Start("running", UserKernel.Spin(), new JobSpec { Length = 600_000_000 });
        fleet.Start("second long", UserKernel.Count(Short), of: "long");
        fleet.Start("second short", UserKernel.Count(Short), of: "short");
        fleet.Start("of no class", UserKernel.Count(Short));
        var waiting = fleet.Dispatcher.Look().Vms;
        waiting.Where(vm => vm.Name.StartsWith("second", StringComparison.Ordinal)).Should().OnlyContain(vm => vm.PolicyData.EndsWith(" long as learned", StringComparison.Ordinal) && !vm.PolicyData.StartsWith("0 ms", StringComparison.Ordinal));
        waiting.Single(vm => vm.Name == "of no class").PolicyData.Should().StartWith("0 ms", "nothing is known of it");

        fleet.Stop("running");
        var view = fleet.UntilEnded(6);

        fleet.Ended.Skip(2).Should().Equal("running", "of no class", "second short", "second long");
        view.EstimateError.Should().BePositive("what they were taken for and what they took differ");
    }

    [SkippableFact]
    public void Under_srtf_a_shorter_guest_stops_a_longer_one()
    {
        using var fleet = new Fleet("srtf");
        fleet.Start("long", UserKernel.Spin(), new JobSpec { Length = 3_600_000_000_000 });
        fleet.Start("short", UserKernel.Count(Short), new JobSpec { Length = 100_000_000 });

        fleet.UntilEnded(1);

        fleet.Ended.Should().Equal("short");
    }

    [SkippableFact]
    public void Under_priority_the_highest_number_goes_first_and_stops_others()
    {
        using var fleet = new Fleet("priority");
        fleet.Start("spins", UserKernel.Spin(), new JobSpec { Priority = 1 });
        fleet.Start("low", UserKernel.Spin(), new JobSpec { Priority = 2 });
        fleet.Start("high", UserKernel.Count(Short), new JobSpec { Priority = 9 });

        fleet.UntilEnded(1);

        fleet.Ended.Should().Equal("high");
        var view = fleet.Until(v => v.Vms.Single(vm => vm.Name == "low").Vcpus[0].State == "running");
        view.Vms.Single(vm => vm.Name == "spins").Vcpus[0].State.Should().Be("ready");
    }

    [SkippableFact]
    public void Under_priority_np_who_runs_is_not_stopped()
    {
        using var fleet = new Fleet("priority-np");
        fleet.Start("running", UserKernel.Spin(), new JobSpec { Priority = 1 });
        fleet.Start("low", UserKernel.Count(Short / 10), new JobSpec { Priority = 2 });
        fleet.Start("high", UserKernel.Count(Short / 10), new JobSpec { Priority = 9 });

        fleet.Stop("running");
        fleet.UntilEnded(3);

        fleet.Ended.Should().Equal("running", "high", "low");
    }

    [SkippableTheory]
    [InlineData("rr")]
    [InlineData("least-runtime")]
    [InlineData("tsp")]
    public void Equal_guests_get_equal_shares_of_a_CPU(string policy)
    {
        using var fleet = new Fleet(policy, s_slice5);
        foreach (string name in (string[])["a", "b", "c"])
            fleet.Start(name, UserKernel.Spin());
        if (policy == "least-runtime")
            fleet.UntilEven();

        var (from, to) = Span(fleet, 600_000_000);

        Shares(from, to, "a", "b", "c").Should().OnlyContain(share => share > 0.2 && share < 0.5);
        to.Vms.Sum(vm => vm.Vcpus.Sum(v => v.Slices)).Should().BeGreaterThan(20, "they took turns");
    }

    [SkippableFact]
    public void Under_rap_shares_follow_weights()
    {
        using var fleet = new Fleet("rap", s_slice5);
        fleet.Start("one", UserKernel.Spin(), new JobSpec { Weight = 1 });
        fleet.Start("three", UserKernel.Spin(), new JobSpec { Weight = 3 });

        var (from, to) = Span(fleet, 800_000_000);

        Shares(from, to, "one", "three")[1].Should().BeInRange(0.65, 0.85);
    }

    [SkippableFact]
    public void Under_tsp_a_higher_priority_gets_more()
    {
        using var fleet = new Fleet("tsp", s_slice5);
        fleet.Start("low", UserKernel.Spin(), new JobSpec { Priority = 0 });
        fleet.Start("high", UserKernel.Spin(), new JobSpec { Priority = 4 });

        var (from, to) = Span(fleet, 600_000_000);

        Shares(from, to, "low", "high")[1].Should().BeGreaterThan(0.55);
    }

    [SkippableFact]
    public void Under_rrp_a_guest_that_fits_goes_before_one_that_does_not()
    {
        // Without the turn of who waited for long.
        var rules = new PolicySettings { Capacity = new ResourceVector(2, Memory: 1 << 30), Ageing = PolicySettings.LongestSlice };
        using var fleet = new Fleet("rrp", rules, cpus: 2);
        fleet.Start("spins", UserKernel.Spin(), new JobSpec { Needs = new ResourceVector(0, 200 << 20) });
        fleet.Start("running", UserKernel.Spin(), new JobSpec { Needs = new ResourceVector(0, 10 << 20) });
        fleet.Start("large", UserKernel.Count(Short), new JobSpec { Needs = new ResourceVector(0, 900 << 20) });
        fleet.Start("small", UserKernel.Count(Short), new JobSpec { Needs = new ResourceVector(0, 100 << 20) });

        fleet.Stop("running");
        fleet.UntilEnded(2);

        fleet.Ended.Should().Equal("running", "small");
    }

    [SkippableFact]
    public void A_guest_that_halts_does_not_hold_its_CPU()
    {
        using var fleet = new Fleet("fcfs");
        fleet.Start("halts", HaltingKernel.Assemble(period: 50_000_000));
        fleet.Start("counts", UserKernel.Count(4 * Short));

        fleet.UntilEnded(1);

        fleet.Ended.Should().Equal("counts");
    }

    [SkippableFact]
    public void A_guest_that_halts_and_wakes_again_and_again_runs_behind_one_that_spins()
    {
        using var fleet = new Fleet("rr", s_slice5);
        fleet.Start("spins", UserKernel.Spin());
        fleet.Start("halts", HaltingKernel.Assemble(period: 5_000_000));

        // However little of the CPU a busy host leaves to either at first.
        fleet.Until(v => v.Vms.Count == 2 && v.Vms[1].Vcpus[0].Slices > 5 && Fleet.Ran(v, "spins") > Fleet.Ran(v, "halts"));
    }

    [SkippableFact]
    public void Two_guests_on_two_CPUs_run_side_by_side_and_each_stays_where_it_is()
    {
        using var fleet = new Fleet("rr", s_slice5, cpus: 2);
        fleet.Start("a", UserKernel.Spin());
        fleet.Start("b", UserKernel.Spin());

        var view = fleet.Until(v => v.Vms.All(vm => vm.Vcpus[0].Ran > 100_000_000));

        view.Vms.Select(vm => vm.Vcpus[0].Cpu).Should().BeEquivalentTo(fleet.Cpus);
        view.Vms.Should().OnlyContain(vm => vm.Vcpus[0].Migrations == 0);
    }

    [SkippableFact]
    public void A_guest_confined_to_a_CPU_runs_on_no_other()
    {
        using var fleet = new Fleet("rr", s_slice5, cpus: 2);
        int only = fleet.Cpus[1];
        fleet.Start("a", UserKernel.Spin(), affinity: [only]);
        fleet.Start("b", UserKernel.Spin(), affinity: [only]);

        var view = fleet.Until(v => v.Vms.All(vm => vm.Vcpus[0].Ran > 50_000_000));

        view.Vms.Should().OnlyContain(vm => vm.Vcpus[0].Cpu == only && vm.Vcpus[0].Migrations == 0);
    }

    [SkippableFact]
    public void Under_host_two_guests_on_two_CPUs_are_apart()
    {
        using var fleet = new Fleet("host", cpus: 2);
        fleet.Start("a", UserKernel.Spin());
        fleet.Start("b", UserKernel.Spin());

        var view = fleet.Dispatcher.Look();

        view.Vms.Select(vm => vm.Vcpus[0].Cpu).Should().BeEquivalentTo(fleet.Cpus);
        view.Vms.Should().OnlyContain(vm => vm.Vcpus[0].State == "bound");
    }

    [SkippableFact]
    public void A_guest_of_two_processors_of_which_one_never_starts_does_not_hold_two_CPUs()
    {
        using var fleet = new Fleet("fcfs", cpus: 2);
        fleet.Start("two", UserKernel.Spin(), new JobSpec { Vcpus = 2 });
        fleet.Start("one", UserKernel.Count(Short));

        fleet.UntilEnded(1);

        fleet.Ended.Should().Equal("one");
    }

    [SkippableFact]
    public void Guests_go_on_when_their_dispatcher_ends()
    {
        using var fleet = new Fleet("fcfs");
        fleet.Start("spins", UserKernel.Spin());
        fleet.Start("counts", UserKernel.Count(Short));

        fleet.Dispatcher.Dispose();

        fleet.Result("counts").Outcome.Should().Be(Vmm.Reporting.VmOutcome.DebugExit);
    }

    /// <summary>Two moments between which the CPU was given away for so long.</summary>
    private static (SchedulingView From, SchedulingView To) Span(Fleet fleet, long ns)
    {
        var from = fleet.Dispatcher.Look();
        long before = Total(from);
        return (from, fleet.Until(view => Total(view) - before >= ns));
    }

    private static long Total(SchedulingView view) => view.Vms.Sum(vm => vm.Vcpus.Sum(vcpu => vcpu.Ran));

    private static List<double> Shares(SchedulingView from, SchedulingView to, params string[] names)
    {
        double all = Total(to) - Total(from);
        return [.. names.Select(name => (Fleet.Ran(to, name) - Fleet.Ran(from, name)) / all)];
    }
}
