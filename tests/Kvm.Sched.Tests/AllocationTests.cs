namespace Kvm.Sched.Tests;

public class AllocationTests
{
    private const int Cpus = 4;

    public static TheoryData<string> Policies => [.. PolicyNames.All];

    [Theory]
    [MemberData(nameof(Policies))]
    public void Decisions_allocate_nothing(string policy)
    {
        var scheduler = Filled(policy);
        long now = 0;
        Allocation.Of(i =>
        {
            now += 1_000_000;
            int cpu = i % Cpus, vcpu = scheduler.VcpuOn(cpu);
            if (vcpu >= 0 && i % 3 == 0)
            {
                scheduler.Halted(vcpu, now, 1_000_000);
                Apply(scheduler, now);
                scheduler.Woken(vcpu, now);
            }
            else
            {
                scheduler.SliceEnded(cpu, now, 1_000_000);
            }

            Apply(scheduler, now);
        }).Should().Be(0);
    }

    [Theory]
    [MemberData(nameof(Policies))]
    public void A_vm_that_takes_the_place_of_one_that_ended_allocates_nothing(string policy)
    {
        var scheduler = Filled(policy);
        long now = 0;
        Allocation.Of(i =>
        {
            now += 1_000_000;
            if (scheduler.VcpuOn(i % Cpus) is >= 0 and var vcpu)
            {
                scheduler.Finished(vcpu, now, 1_000_000);
                scheduler.Arrive(Spec(i), now);
            }

            Apply(scheduler, now);
        }).Should().Be(0);
    }

    private static Scheduler Filled(string policy)
    {
        var scheduler = new Scheduler(policy, CpuTopology.Flat(Cpus), new PolicySettings { Ageing = PolicySettings.LongestSlice, Capacity = new ResourceVector(0, 100) });
        for (int i = 0; i < 64; i++)
            scheduler.Arrive(Spec(i), 0);
        Apply(scheduler, 0);
        return scheduler;
    }

    private static JobSpec Spec(int i) => new()
    {
        Priority = i % 5,
        Weight = 1 + i % 3,
        Length = 10_000_000 + i % 7,
        Needs = new ResourceVector(0, 1 + i % 11),
        Cap = i % 4 == 0 ? 0.5 : 0,
        Reservation = i % 6 == 0 ? 0.01 : 0,
    };

    private static void Apply(Scheduler scheduler, long now)
    {
        for (bool again = true; again;)
        {
            again = false;
            foreach (ref readonly var decision in scheduler.Decide(now))
            {
                if (decision.Kind != DecisionKind.Revoke)
                    continue;
                scheduler.Parked(decision.Vcpu, now, 0);
                again = true;
            }
        }
    }
}
