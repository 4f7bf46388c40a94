using FsCheck;
using FsCheck.Fluent;
using Kvm.Interop;
using Kvm.Sched;
using Kvm.Vmm.Scheduling;

namespace Kvm.Vmm.Tests.Scheduling;

public sealed class SchedulingPartsTests
{
    [Theory]
    [InlineData("0", "0")]
    [InlineData("0-3,8\n", "0-3,8")]
    [InlineData("3,1,2", "1-3")]
    [InlineData("5,5", "5")]
    public void A_list_of_CPUs_is_read_and_written(string text, string written) => CpuList.Format(CpuList.Parse(text)!).Should().Be(written);

    [Theory]
    [InlineData("")]
    [InlineData("a")]
    [InlineData("3-1")]
    [InlineData("0-1-2")]
    [InlineData("-1")]
    [InlineData("8192")]
    [InlineData("0,,1")]
    [InlineData("0-99999999999")]
    public void What_is_no_list_of_CPUs_is_refused(string text) => CpuList.Parse(text).Should().BeNull();

    [Fact]
    public void The_least_time_not_exceeded_by_a_part_is_told_within_an_eighth() => Prop.ForAll<int[]>(times =>
    {
        var counts = new LatencyCounts();
        foreach (int time in times)
            counts.Add(time);
        if (times.Length == 0)
            return counts.Percentile(0.5) == 0;
        long[] sorted = [.. times.Select(t => (long)Math.Max(0, t)).Order()];
        long exact = sorted[(int)Math.Ceiling(0.5 * sorted.Length) - 1], told = counts.Percentile(0.5);
        return told >= exact && told <= exact + exact / 8 + 1 && counts.Longest == sorted[^1];
    }).QuickCheckThrowOnFailure();

    [Fact]
    public void Runs_of_slots_never_overlap_and_come_back() => Prop.ForAll<byte[]>(sizes =>
    {
        var slots = new SlotAllocator(100);
        var taken = new List<(int Start, int Count)>();
        foreach (byte size in sizes)
        {
            int count = size % 9 + 1;
            if (size % 2 == 0 && taken.Count > 0)
            {
                var (start, old) = taken[size % taken.Count];
                taken.Remove((start, old));
                slots.Return(start, old);
            }
            else if (slots.Take(count) is >= 0 and var first)
                taken.Add((first, count));
        }

        bool apart = taken.SelectMany(t => Enumerable.Range(t.Start, t.Count)).GroupBy(n => n).All(g => g.Count() == 1 && g.Key < 100);
        foreach (var (start, count) in taken)
            slots.Return(start, count);
        return apart && slots.Take(100) == 0;
    }).QuickCheckThrowOnFailure();

    [Theory]
    [InlineData("12 (vcpu0) R 1", ThreadActivity.Awake)]
    [InlineData("12 (vcpu0) S 1", ThreadActivity.Asleep)]
    [InlineData("12 (vcpu0) D 1", ThreadActivity.Blocked)]
    [InlineData("12 (a) R b) S 1", ThreadActivity.Asleep)]
    [InlineData("12 (vcpu0) Z 1", ThreadActivity.Gone)]
    [InlineData("12 (vcpu0)", ThreadActivity.Gone)]
    [InlineData("", ThreadActivity.Gone)]
    internal void The_state_of_a_thread_is_read_behind_its_name(string stat, ThreadActivity activity) =>
        ThreadProbe.StateIn(System.Text.Encoding.ASCII.GetBytes(stat)).Should().Be(activity);

    [Theory]
    [InlineData("16 0x3e 0xae80 0x0 0x0 0x0 0x0 0x7f5 0x7f3", false)]
    [InlineData("16 0x3e 0xae81 0x0 0x0 0x0 0x0 0x7f5 0x7f3", true)]
    [InlineData("16 0x3e", true)]
    [InlineData("202 0x7f326db29688 0x89 0xffffffff", true)]
    [InlineData("running", false)]
    [InlineData("-1 0x7f5 0x7f3", false)]
    [InlineData("", false)]
    internal void A_thread_in_another_call_than_KVM_RUN_is_outside_of_the_guest(string call, bool outside) =>
        ThreadProbe.IsOutside(System.Text.Encoding.ASCII.GetBytes(call)).Should().Be(outside);

    [Fact]
    public void A_thread_that_waits_for_a_lock_is_blocked()
    {
        using var go = new ManualResetEventSlim();
        int id = 0;
        var thread = new Thread(() =>
        {
            Volatile.Write(ref id, ThreadSignals.CurrentThreadId());
            go.WaitHandle.WaitOne();
        });
        thread.Start();
        SpinWait.SpinUntil(() => Volatile.Read(ref id) != 0);
        using var probe = new ThreadProbe(Environment.ProcessId, id);

        SpinWait.SpinUntil(() => probe.Activity() == ThreadActivity.Blocked, TimeSpan.FromSeconds(30)).Should().BeTrue();

        go.Set();
        thread.Join();
    }

    [Fact]
    public void A_thread_of_this_process_is_watched()
    {
        using var probe = new ThreadProbe(Environment.ProcessId, ThreadSignals.CurrentThreadId());

        probe.Activity().Should().Be(ThreadActivity.Awake, "it asks");
        probe.CpuTime().Should().BePositive();
        probe.Demand().Should().BePositive();
    }

    [Fact]
    public void Watching_a_thread_allocates_nothing()
    {
        using var probe = new ThreadProbe(Environment.ProcessId, ThreadSignals.CurrentThreadId());

        Allocation.Of(_ =>
        {
            probe.Activity();
            probe.CpuTime();
            probe.Demand();
        }, times: 200).Should().Be(0);
    }

    [Fact]
    public void A_thread_that_is_not_there_is_gone()
    {
        using var probe = new ThreadProbe(Environment.ProcessId, 0);

        probe.Activity().Should().Be(ThreadActivity.Gone);
        probe.Demand().Should().Be(-1);
        probe.Kick().Should().BeFalse();
    }

    [Fact]
    public void The_hosts_list_of_online_CPUs_changes_once()
    {
        using var online = new OnlineCpus();

        online.HasChanged().Should().BeTrue();
        online.HasChanged().Should().BeFalse();
        online.Contains(HostThread.GetAffinity(0)[0]).Should().BeTrue();
    }

    [Fact]
    public void A_CPU_that_leaves_the_list_or_the_cpuset_cannot_be_used()
    {
        string path = Path.GetTempFileName();
        int[] cpuset = [0, 1, 2, 3];
        File.WriteAllText(path, "0-3\n");
        using var cpus = new OnlineCpus(path, () => cpuset);
        cpus.HasChanged().Should().BeTrue();
        cpus.Contains(3).Should().BeTrue();

        File.WriteAllText(path, "0-2\n");
        cpus.HasChanged().Should().BeTrue();
        cpus.Contains(3).Should().BeFalse();
        cpuset = [0, 2];
        Enumerable.Range(0, 10).Any(_ => cpus.HasChanged()).Should().BeTrue();

        Enumerable.Range(0, 4).Where(cpus.Contains).Should().Equal(0, 2);
        cpus.IsOnline(1).Should().BeTrue();
        File.Delete(path);
    }

    [Fact]
    public void The_hosts_own_topology_has_its_CPUs()
    {
        int[] cpus = HostThread.GetAffinity(0);

        var topology = HostTopology.Read(cpus);

        Enumerable.Range(0, topology.Count).Select(cpu => topology[cpu].Id).Should().Equal(cpus);
    }

    [Fact]
    public void CPUs_of_which_nothing_is_known_share_nothing() => HostTopology.Read([0, 1], "/nothing").IsFlat.Should().BeFalse("each has a cache of its own");

    [Fact]
    public void The_balancer_moves_one_of_two_that_share_a_CPU_while_another_is_free() =>
        Next(2, Bound(0, 1), Bound(0, 1)).Should().Be((0, 1));

    [Fact]
    public void The_balancer_leaves_three_on_two_CPUs_alone() =>
        Next(2, Bound(0, 1), Bound(0, 1), Bound(1, 1)).Should().Be((-1, -1));

    [Fact]
    public void The_balancer_leaves_small_differences_alone() => Next(2, Bound(0, 0.3), Bound(0, 0.2)).Should().Be((-1, -1));

    [Fact]
    public void The_balancer_leaves_one_that_moved_lately() =>
        Next(2, Bound(0, 1) with { Movable = false }, Bound(0, 1) with { Movable = false }).Should().Be((-1, -1));

    [Fact]
    public void The_balancer_respects_where_one_may_be()
    {
        var only0 = new CpuSet(2);
        only0.Add(0);

        Next(2, Bound(0, 1) with { Allowed = only0 }, Bound(0, 1)).Should().Be((1, 1));
    }

    [Fact]
    public void The_balancer_never_goes_back_and_forth() => Prop.ForAll<byte[]>(demands =>
    {
        var loads = demands.Take(12).Select((d, i) => Bound(i % 3, d / 255.0)).ToArray();
        for (int moves = 0; moves < 40; moves++)
        {
            var (vcpu, cpu) = Next(3, loads);
            if (vcpu < 0)
                return true;
            loads[vcpu] = loads[vcpu] with { Cpu = cpu };
        }

        return false;
    }).QuickCheckThrowOnFailure();

    [Fact]
    public void The_balancer_counts_what_others_do_and_looks_at_CPUs_somebody_is_bound_to() =>
        // CPU 0 is others' alone; of CPU 1 they have a fifth.
        Balancer.Next(CpuTopology.Flat(3), CpuSet.All(3), [Bound(1, 1)], [2, 0.2, 0]).Should().Be((-1, -1), "it would gain less than half of a CPU");

    [Fact]
    public void The_balancer_moves_one_that_shares_its_CPU_with_others() =>
        Balancer.Next(CpuTopology.Flat(3), CpuSet.All(3), [Bound(1, 1)], [2, 0.5, 0]).Should().Be((0, 2));

    [Fact]
    public void How_long_each_CPU_was_busy_is_read_without_the_time_of_guests_twice()
    {
        string path = Path.GetTempFileName();
        File.WriteAllText(path, "cpu  9 9 9 9 9 9 9 9 9 9\ncpu0 1 2 3 1000 2000 4 5 6 70 80\ncpu2 7 0 0 5\ncpu9 1 1 1 1\nintr 5\ncpu1 5\n");
        using var times = new CpuBusyTimes(path);
        long[] busy = new long[4];

        times.Look(busy);

        busy.Should().Equal(210_000_000, 0, 70_000_000, 0);
        File.Delete(path);
    }

    [Fact]
    public void A_host_that_tells_no_times_has_none()
    {
        using var times = new CpuBusyTimes("/nothing");
        long[] busy = new long[1];

        times.Look(busy);

        busy.Should().Equal(0);
    }

    [Fact]
    public void The_hosts_own_CPUs_were_busy_and_looking_allocates_nothing()
    {
        using var times = new CpuBusyTimes();
        long[] busy = new long[HostThread.GetAffinity(0)[^1] + 1];

        times.Look(busy);

        busy.Sum().Should().BePositive();
        Allocation.Of(_ => times.Look(busy), times: 50).Should().Be(0);
    }

    [Theory]
    [InlineData("Name:\tx\nMems_allowed_list:\t1\n", 1)]
    [InlineData("Mems_allowed_list:\t0-1\n", -1)]
    [InlineData("Mems_allowed_list:\t\n", -1)]
    [InlineData("", -1)]
    public void Memory_is_on_a_node_where_it_can_be_on_no_other(string status, int node)
    {
        string path = Path.GetTempFileName();
        File.WriteAllText(path, status);

        HostMemory.Node(path).Should().Be(node);
        File.Delete(path);
    }

    private static BoundLoad Bound(int cpu, double demand) => new(cpu, demand, true, null);

    private static (int Vcpu, int Cpu) Next(int cpus, params BoundLoad[] loads) =>
        Balancer.Next(CpuTopology.Flat(cpus), CpuSet.All(cpus), loads, new double[cpus]);
}
