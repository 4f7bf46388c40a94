namespace Kvm.Sched.Tests;

public class PlacementTests
{
    [Fact]
    public void VCPUs_spread_over_cores_then_siblings_then_share()
    {
        var topology = CpuTopology.Uniform(1, 1, 3, 2);
        var placement = new Placement(topology);
        Place(placement, 8, -1).Should().Equal(0, 2, 4, 1, 3, 5, 0, 2);
    }

    [Fact]
    public void VCPUs_stay_in_the_node_of_their_memory_while_that_costs_no_sharing()
    {
        var placement = new Placement(CpuTopology.Uniform(2, 1, 2, 1));
        Place(placement, 5, 1).Should().Equal(2, 3, 0, 1, 2);
    }

    [Fact]
    public void VCPUs_of_a_VM_stay_in_the_cache_of_its_first_and_another_VM_begins_in_an_emptier_one()
    {
        // Two caches of three cores.
        var placement = new Placement(CpuTopology.Uniform(1, 2, 3, 1));
        int Put(int near)
        {
            int cpu = placement.Choose(-1, -1, null, near);
            placement.Add(cpu);
            return cpu;
        }

        int one = Put(-1), other = Put(-1);
        (one, other).Should().Be((0, 3));
        Put(other).Should().Be(4);
        Put(one).Should().Be(1);
        Put(other).Should().Be(5);
        Put(other).Should().Be(2, "a CPU of its own goes before the cache");
    }

    [Fact]
    public void The_node_of_the_memory_goes_before_the_cache_of_the_first_vCPU_and_a_core_of_its_own_before_both()
    {
        // Two nodes of two cores of two threads.
        var placement = new Placement(CpuTopology.Uniform(2, 1, 2, 2));
        placement.Add(0);
        placement.Choose(-1, node: 1, null, near: 0).Should().Be(4);
        placement.Choose(-1, node: -1, null, near: 0).Should().Be(2, "not the first's sibling");
        placement.Add(2);
        placement.Choose(-1, node: -1, null, near: 0).Should().Be(4);
    }

    [Fact]
    public void Nobody_is_placed_where_no_CPU_is_allowed() => new Placement(CpuTopology.Flat(2)).Choose(-1, -1, new CpuSet(2)).Should().Be(-1);

    [Fact]
    public void A_new_VM_goes_to_the_node_of_its_memory_and_its_other_vCPUs_near_the_first()
    {
        // Two nodes of two caches of two cores.
        var scheduler = new Scheduler("rr", CpuTopology.Uniform(2, 2, 2, 1), new PolicySettings());
        int vm = scheduler.Arrive(new JobSpec { Vcpus = 3, Node = 1 }, 0);
        scheduler.Decide(0);
        int first = scheduler.Table.ReadVm(vm).FirstVcpu;
        Enumerable.Range(first, 3).Select(vcpu => scheduler.Table.ReadVcpu(vcpu).Cpu).Should().Equal(4, 5, 6);
    }

    [Fact]
    public void A_vcpu_that_wakes_moves_only_where_it_is_two_vcpus_emptier()
    {
        var placement = new Placement(CpuTopology.Flat(2));
        placement.Add(0);
        placement.Choose(0, -1, null).Should().Be(0);
        placement.Add(0);
        placement.Choose(0, -1, null).Should().Be(1);
    }

    [Fact]
    public void A_confined_vcpu_goes_to_the_emptiest_CPU_it_may_use()
    {
        var placement = new Placement(CpuTopology.Flat(4));
        CpuSet.TryParse("2-3", 4, out var allowed, out _).Should().BeTrue();
        placement.Add(2);
        placement.Choose(-1, -1, allowed).Should().Be(3);
        placement.Choose(0, -1, allowed).Should().Be(3);
        placement.Choose(2, -1, allowed).Should().Be(2);
    }

    [Fact]
    public void Another_policy_prefers_the_last_CPU_then_a_near_one_on_a_core_of_its_own()
    {
        // Two caches of two cores of two threads.
        var scheduler = new Scheduler("rr", CpuTopology.Uniform(1, 2, 2, 2), new PolicySettings());
        int Run()
        {
            int vm = scheduler.Arrive(new JobSpec(), 0);
            scheduler.Decide(0);
            return scheduler.Table.ReadVm(vm).FirstVcpu;
        }

        int[] vcpus = [Run(), Run(), Run(), Run(), Run()];
        vcpus.Select(vcpu => scheduler.Table.ReadVcpu(vcpu).Cpu).Should().Equal(0, 2, 4, 6, 1);
        scheduler.Halted(vcpus[1], 1, 1);
        scheduler.Halted(vcpus[2], 1, 1);
        scheduler.Woken(vcpus[2], 2);
        scheduler.Decide(2);
        scheduler.Table.ReadVcpu(vcpus[2]).Cpu.Should().Be(4);
        // Its CPU taken by another, it goes beside a busy sibling in its cache; to a core of its own elsewhere if there is one.
        scheduler.Halted(vcpus[2], 3, 1);
        var four = new CpuSet(8);
        four.Add(4);
        scheduler.Arrive(new JobSpec { Affinity = four }, 3);
        scheduler.Decide(3);
        scheduler.Woken(vcpus[2], 4);
        scheduler.Decide(4);
        scheduler.Table.ReadVcpu(vcpus[2]).Cpu.Should().Be(2);
        scheduler.Halted(vcpus[2], 5, 1);
        scheduler.Woken(vcpus[1], 5);
        scheduler.Decide(5);
        scheduler.Table.ReadVcpu(vcpus[1]).Cpu.Should().Be(2);
        scheduler.Woken(vcpus[2], 6);
        scheduler.Decide(6);
        scheduler.Table.ReadVcpu(vcpus[2]).Cpu.Should().Be(3);
    }

    private static List<int> Place(Placement placement, int count, int node)
    {
        List<int> cpus = [];
        for (int i = 0; i < count; i++)
        {
            int cpu = placement.Choose(-1, node, null);
            placement.Add(cpu);
            cpus.Add(cpu);
        }

        return cpus;
    }
}
