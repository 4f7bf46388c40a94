using FsCheck;
using FsCheck.Fluent;
using Kvm.Sched;
using Kvm.Sched.Simulation;
using Kvm.Vmm.Scheduling;

namespace Kvm.Vmm.Tests.Scheduling;

public sealed class DispatchCoreTests
{
    [Fact]
    public void The_first_that_comes_runs_and_the_second_waits()
    {
        using var host = new FakeThreads("rr");
        var a = host.Join("a")[0];
        host.Step();
        var b = host.Join("b")[0];
        host.Step();

        a.MayRun.Should().BeTrue();
        b.MayRun.Should().BeFalse();
        host.Next.Should().BeLessThanOrEqualTo(host.Now + 4_000_000, "the slice ends then");
    }

    [Fact]
    public void A_slice_that_ends_takes_the_permit_and_the_next_one_starts_when_the_CPU_is_left()
    {
        using var host = new FakeThreads("rr");
        var a = host.Enter("a");
        var b = host.Join("b")[0];
        host.Step();

        host.Step(4);
        a.MayRun.Should().BeFalse();
        a.Kicks.Should().Be(1);
        b.MayRun.Should().BeFalse("the CPU is still a's");

        a.Park(host.Now);
        host.Step();
        b.MayRun.Should().BeTrue();
        host.StateOf(a).Should().Be(VcpuState.Ready);
        host.Core.RevokeLatency.Count.Should().Be(1);
    }

    [Fact]
    public void What_a_thread_ran_is_charged_by_its_clock()
    {
        using var host = new FakeThreads("rr");
        var a = host.Enter("a");
        host.Join("b");
        host.Step(4);
        a.Clock -= 1_500_000; // somebody else had the CPU
        a.Park(host.Now);
        host.Step();

        a.Seat.RanTotal.Should().Be(2_500_000 + 1_500_000, "the slice's end was charged before the clock went back");
    }

    [Fact]
    public void A_process_that_invents_CPU_time_is_charged_no_more_than_has_passed()
    {
        using var host = new FakeThreads("rr");
        var a = host.Enter("a");
        host.Join("b");
        host.Step(2);
        a.Clock = long.MaxValue / 2;
        host.Step(2);

        a.Seat.RanTotal.Should().Be(4_000_000);
    }

    [Fact]
    public void A_vCPU_that_sleeps_for_two_looks_has_halted_and_gives_its_CPU_away()
    {
        using var host = new FakeThreads("fcfs");
        var a = host.Enter("a");
        var b = host.Join("b")[0];
        host.Step();
        a.Halt();
        host.Step(1);
        host.StateOf(a).Should().Be(VcpuState.Running, "one look is no proof");

        host.Step(1);

        host.StateOf(a).Should().Be(VcpuState.Halted);
        a.Kicks.Should().Be(0, "it stays where an interrupt finds it");
        b.MayRun.Should().BeTrue();
    }

    [Fact]
    public void A_vCPU_that_waits_outside_of_the_guest_keeps_its_CPU_for_a_while()
    {
        using var host = new FakeThreads("fcfs");
        var a = host.Enter("a");
        var b = host.Join("b")[0];
        host.Step();
        a.Block();
        for (int look = 0; look < 18; look++)
            host.Step(1);
        b.MayRun.Should().BeFalse("a collection is no reason to wait for another guest's end");

        a.Wake();
        host.Step(1);
        a.Block();
        for (int look = 0; look < 23; look++)
            host.Step(1);

        b.MayRun.Should().BeTrue("nobody waits for ever");
    }

    [Fact]
    public void A_vCPU_that_wakes_is_an_arrival_and_is_kicked_to_the_gate()
    {
        using var host = new FakeThreads("fcfs");
        var a = host.Enter("a");
        var b = host.Join("b")[0];
        host.Step();
        a.Halt();
        host.Step(1);
        host.Step(1);
        b.Enter();

        a.Wake();
        host.Step(1);

        host.StateOf(a).Should().Be(VcpuState.Ready);
        a.Kicks.Should().Be(1);
        a.MayRun.Should().BeFalse();
        a.Park(host.Now);
        b.End(host.Now);
        host.Step();
        a.MayRun.Should().BeTrue();
    }

    [Fact]
    public void A_vCPU_that_wakes_while_a_CPU_is_free_gets_it_and_is_told_where()
    {
        using var host = new FakeThreads("rr", cpus: 2);
        var a = host.Enter("a");
        a.Halt();
        host.Step(20);
        host.Step(20);
        host.StateOf(a).Should().Be(VcpuState.Halted);

        a.Wake();
        host.Step(1);

        host.StateOf(a).Should().Be(VcpuState.Running);
        a.MayRun.Should().BeTrue();
        a.Kicks.Should().BePositive("it has to come by for its CPU");
    }

    [Fact]
    public void A_thread_that_dies_with_a_permit_leaves_its_CPU()
    {
        using var host = new FakeThreads("fcfs");
        var a = host.Enter("a");
        var b = host.Join("b")[0];
        host.Step();

        a.Die();
        host.Step(1);

        host.StateOf(a).Should().Be(VcpuState.Done);
        b.MayRun.Should().BeTrue();
    }

    [Fact]
    public void A_revoked_thread_that_sleeps_in_a_device_does_not_hold_up_the_next()
    {
        using var host = new FakeThreads("rr");
        var a = host.Enter("a");
        var b = host.Join("b")[0];
        host.Step(4);
        host.StateOf(a).Should().Be(VcpuState.Revoking);
        a.Halt();

        host.Step(1);
        host.Step(1);

        host.StateOf(a).Should().Be(VcpuState.Ready);
        b.MayRun.Should().BeTrue();
    }

    [Fact]
    public void A_vCPU_that_has_to_leave_hurries_until_it_has()
    {
        using var host = new FakeThreads("rr");
        host.Core.MayHurry = true;
        var a = host.Enter("a");
        host.Join("b");
        a.Hurries.Should().BeFalse();
        host.Step(4);
        a.Hurries.Should().BeTrue();

        a.Park(host.Now);
        host.Step();

        a.Hurries.Should().BeFalse();
    }

    [Fact]
    public void A_vCPU_that_cannot_leave_hurries_for_a_moment_only()
    {
        using var host = new FakeThreads("rr");
        host.Core.MayHurry = true;
        var a = host.Enter("a");
        host.Join("b");
        host.Step(4);

        host.Step(1);
        a.Hurries.Should().BeTrue();
        host.Step(2);

        a.Hurries.Should().BeFalse();
        host.StateOf(a).Should().Be(VcpuState.Revoking);
    }

    [Fact]
    public void Bursts_and_halts_are_recorded_as_the_simulator_reads_them()
    {
        using var host = new FakeThreads("fcfs");
        var trace = new StringWriter();
        trace.Write(JobTrace.Header + "\n");
        host.Core.WhenBurst = (seat, burst) => JobTrace.Write(trace, seat.Vm.Request.Name, 0, seat.Vm.Job, seat.Vm.Request.Class, seat.Index, burst);
        var a = host.Join("a", new JobSpec { Vcpus = 2 });
        host.Step();
        a[0].Enter();
        host.Step(3);
        a[0].Halt();
        host.Step(1);
        host.Step(1);
        host.StateOf(a[0]).Should().Be(VcpuState.Halted);
        host.Step(7);
        a[0].Wake();
        host.Step(1);
        host.Core.Leave(a[0].Seat.Vm, host.Now);

        var job = JobFile.Read(new StringReader(trace.ToString())).Single();

        job.Recorded![0][0].Should().Be(new RecordedBurst(3_000_000, 8_000_000));
        job.Spec.Vcpus.Should().Be(2);
    }

    [Theory]
    [InlineData(50_000_000, 0, 0.5, 0)]
    [InlineData(0, 51_200_000, 0, 0.5)]
    [InlineData(50_000_000, 51_200_000, 0.5, 0.5)]
    [InlineData(long.MaxValue, 0, 0, 0)]
    [InlineData(-1, 0, 0, 0)]
    [InlineData(0, -4096, 0, 0)]
    public void What_devices_did_is_told_to_the_policy_unless_it_cannot_be(long disk, long network, double diskSeconds, double networkSeconds)
    {
        using var host = new FakeThreads("rap", rules: new PolicySettings { Capacity = new ResourceVector(1, DiskBytes: 100_000_000, Network: 102_400_000) });
        var a = host.Join("a")[0];
        host.Step();
        var seats = new GateSeats(host.Table, a.Seat.Slot, 1) { Served = () => new DeviceService(disk, 1, network) };

        seats.Publish();
        host.Step(150);

        var served = host.Core.Scheduler.Table.ReadVm(host.Core.Scheduler.Table.ReadVcpu(a.Seat.Vcpu).Vm).Served;
        (served.DiskBytes, served.Network).Should().Be((diskSeconds, networkSeconds));
    }

    [Fact]
    public void Under_rap_memory_is_divided_by_the_weights_while_it_does_not_suffice()
    {
        const double mib = 1 << 20;
        using var host = new FakeThreads("rap", rules: new PolicySettings { Capacity = new ResourceVector(1, Memory: 400 * mib) });
        var light = host.Join("light", new JobSpec { Weight = 1, Needs = new ResourceVector(0, 300 * mib) })[0];
        host.Step();
        List<ulong> left = [];
        var seats = new GateSeats(host.Table, light.Seat.Slot, 1) { LeaveMemory = left.Add };
        seats.Publish();
        left.Should().BeEmpty("there is enough for one");

        var heavy = host.Join("heavy", new JobSpec { Weight = 3, Needs = new ResourceVector(0, 300 * mib) })[0];
        host.Step();
        seats.Publish();
        seats.Publish();
        left.Should().Equal((ulong)(100 * mib));

        host.Core.Leave(heavy.Seat.Vm, host.Now);
        host.Step();
        seats.Publish();
        left.Should().Equal((ulong)(100 * mib), 0UL);
    }

    [Fact]
    public void Under_rap_devices_are_held_to_parts_of_their_limits_while_all_together_are_more_than_the_hosts()
    {
        using var host = new FakeThreads("rap", rules: new PolicySettings { Capacity = new ResourceVector(1, DiskBytes: 400, DiskOperations: 1000, Network: 800) });
        var light = host.Join("light", new JobSpec { Weight = 1, Needs = new ResourceVector(0, 0, 300, 50, 500) })[0];
        host.Step();
        List<DeviceParts> parts = [];
        var seats = new GateSeats(host.Table, light.Seat.Slot, 1) { Restrict = parts.Add };
        seats.Publish();
        parts.Should().BeEmpty("there is enough for one");

        var heavy = host.Join("heavy", new JobSpec { Weight = 3, Needs = new ResourceVector(0, 0, 300, 50, 500) })[0];
        host.Step();
        seats.Publish();
        seats.Publish();
        parts.Should().Equal(new DeviceParts(333, 0, 600));

        host.Core.Leave(heavy.Seat.Vm, host.Now);
        host.Step();
        seats.Publish();
        parts.Should().Equal(new DeviceParts(333, 0, 600), default);
        seats.Lose("test");
        parts.Should().HaveCount(3).And.EndWith(default(DeviceParts), "nobody divides them any more");
    }

    [Fact]
    public void A_VM_that_leaves_while_it_runs_makes_room()
    {
        using var host = new FakeThreads("fcfs");
        var a = host.Enter("a");
        var b = host.Join("b")[0];
        host.Step();

        host.Core.Leave(a.Seat.Vm, host.Now);
        host.Step();

        b.MayRun.Should().BeTrue();
        a.MayRun.Should().BeTrue("whatever is left of it may go on as it likes");
        host.Core.Vms.Should().HaveCount(1);
    }

    [Fact]
    public void Slots_are_given_again_and_a_full_table_is_said()
    {
        using var host = new FakeThreads("rr");
        var big = host.Core.Join(new SchedulingRequest(), new JobSpec { Vcpus = 60 }, host.Now)!;

        host.Core.Join(new SchedulingRequest(), new JobSpec { Vcpus = 5 }, host.Now).Should().BeNull();
        host.Core.Leave(big, host.Now);

        host.Core.Join(new SchedulingRequest(), new JobSpec { Vcpus = 64 }, host.Now).Should().NotBeNull();
    }

    [Fact]
    public void A_CPU_that_goes_offline_is_left_at_once()
    {
        using var host = new FakeThreads("rr", cpus: 2);
        var a = host.Enter("a");
        int cpu = host.Core.Scheduler.Table.ReadVcpu(a.Seat.Vcpu).Cpu;

        host.Core.SetOnline(cpu, false, host.Now);
        host.Step(1);
        a.MayRun.Should().BeFalse();
        a.Park(host.Now);
        host.Step();

        a.MayRun.Should().BeTrue();
        host.Core.Scheduler.Table.ReadVcpu(a.Seat.Vcpu).Cpu.Should().Be(1 - cpu);
    }

    [Fact]
    public void A_cgroup_that_may_not_use_all_CPUs_is_told()
    {
        using var host = new FakeThreads("rr", cpus: 2);

        SchedulingText.Table(host.View(), FakeThreads.Service with { CpuQuota = 1.5 }).Should().Contain("the cgroup of the scheduler may use 1.5 CPUs");
        SchedulingText.Json(host.View(), FakeThreads.Service with { CpuQuota = 1.5 }).Should().Contain("\"cpuQuota\":1.5");
        SchedulingText.Table(host.View(), FakeThreads.Service).Should().NotContain("cgroup");
    }

    [Theory]
    [InlineData("rr")]
    [InlineData("fcfs")]
    [InlineData("rap")]
    [InlineData("rrp")]
    public void A_vCPU_whose_only_CPU_goes_away_waits_with_that_reason_and_runs_there_when_it_is_back(string policy)
    {
        using var host = new FakeThreads(policy, cpus: 2);
        var pinned = host.Join("pinned", new JobSpec { Affinity = Cpu(1) })[0];
        host.Step();
        pinned.Enter();
        host.Core.SetOnline(1, false, host.Now);
        host.Step(1);
        pinned.MayRun.Should().BeFalse();
        pinned.Park(host.Now);
        host.Step();

        pinned.MayRun.Should().BeFalse();
        host.Shown("pinned").State.Should().Be("no-cpu");
        host.Why("pinned").Should().MatchRegex(@"^pinned vCPU 0 waits since \d+ ms: none of the CPUs it may run on can be used now .* \(CPUs 1\)\. It ran ");

        host.Core.SetOnline(1, true, host.Now);
        host.Step(1);
        pinned.MayRun.Should().BeTrue();
        host.Table.CpuOf(pinned.Seat.Slot).Should().Be(1);
        host.Shown("pinned").State.Should().Be("running");
    }

    [Fact]
    public void Under_rrp_one_that_no_CPU_is_there_for_holds_nobody_back_however_long_it_waits()
    {
        using var host = new FakeThreads("rrp", cpus: 2);
        host.Core.SetOnline(1, false, host.Now);
        var stranded = host.Join("stranded", new JobSpec { Affinity = Cpu(1) })[0];
        host.Step();
        host.Step(5_000);

        var other = host.Join("other")[0];
        host.Step();

        other.MayRun.Should().BeTrue();
        stranded.MayRun.Should().BeFalse();
    }

    [Fact]
    public void Under_host_a_vCPU_whose_only_CPU_goes_away_is_said_to_be_the_kernels_and_bound_again_when_it_is_back()
    {
        using var host = new FakeThreads("host", cpus: 2);
        var pinned = host.Join("pinned", new JobSpec { Affinity = Cpu(1) })[0];
        host.Step();
        pinned.Enter();

        host.Core.SetOnline(1, false, host.Now);
        host.Step(300);
        host.Shown("pinned").State.Should().Be("no-cpu");
        host.Why("pinned").Should().StartWith("pinned vCPU 0 runs where the kernel has it: none of the CPUs it may run on can be used now (CPUs 1).");

        int kicks = pinned.Kicks;
        host.Core.SetOnline(1, true, host.Now);
        host.Shown("pinned").State.Should().Be("bound");
        pinned.Kicks.Should().Be(kicks + 1, "its thread has to be bound again");
        host.Table.CpuOf(pinned.Seat.Slot).Should().Be(1);
    }

    [Fact]
    public void A_thread_that_cannot_be_put_on_its_CPU_is_told_wherever_one_looks()
    {
        using var host = new FakeThreads("rr");
        var a = host.Enter("a");
        host.Table.NoteAffinityFailure(a.Seat.Slot);
        host.Table.NoteAffinityFailure(a.Seat.Slot);

        host.Shown("a").AffinityFailures.Should().Be(2);
        host.Why("a").Should().Contain("It could not be put on its CPU 2 times: its process may not use it.");
        SchedulingText.Table(host.View(), FakeThreads.Service).Should().Contain("\na vCPU 0 could not be put on its CPU 2 times");
        SchedulingText.Json(host.View(), FakeThreads.Service).Should().Contain("\"affinityFailures\":2");
    }

    [Fact]
    public void Under_host_every_gate_is_open_and_CPUs_are_spread()
    {
        using var host = new FakeThreads("host", cpus: 2);
        var threads = Enumerable.Range(0, 4).Select(i => host.Join($"{i}")[0]).ToList();
        host.Step();

        threads.Should().OnlyContain(t => t.MayRun);
        threads.GroupBy(t => host.Table.CpuOf(t.Seat.Slot)).Should().HaveCount(2).And.OnlyContain(g => g.Count() == 2);
    }

    [Fact]
    public void Under_host_a_CPU_that_goes_offline_is_emptied()
    {
        using var host = new FakeThreads("host", cpus: 2);
        var threads = Enumerable.Range(0, 3).Select(i => host.Join($"{i}")[0]).ToList();
        host.Step();

        host.Core.SetOnline(0, false, host.Now);
        host.Step(300);

        threads.Should().OnlyContain(t => host.Table.CpuOf(t.Seat.Slot) == 1);
    }

    [Fact]
    public void Under_host_a_vCPU_leaves_a_CPU_that_others_keep_busy()
    {
        string stat = Path.GetTempFileName();
        File.WriteAllText(stat, "cpu  0 0 0 0\ncpu0 0 0 0 0\ncpu1 0 0 0 0\n");
        using var busy = new CpuBusyTimes(stat);
        using var host = new FakeThreads("host", cpus: 2, busyTimes: busy);
        var a = host.Enter("a");
        host.Table.CpuOf(a.Seat.Slot).Should().Be(0);

        // In 200 ms it gets half of CPU 0 and waits for the other half; CPU 1 is idle.
        File.WriteAllText(stat, "cpu  20 0 0 20\ncpu0 20 0 0 0\ncpu1 0 0 0 20\n");
        a.Asked += 100_000_000;
        a.Clock -= 100_000_000;
        host.Step(200);

        host.Table.CpuOf(a.Seat.Slot).Should().Be(1);
        File.Delete(stat);
    }

    [Fact]
    public void Under_host_what_a_vCPU_ran_and_waited_and_its_moves_are_shown_and_remembered_once_it_has_ended()
    {
        using var host = new FakeThreads("host", cpus: 2);
        var a = host.Enter("a");
        host.Step(200);
        a.Asked += 50_000_000;
        host.Step(200);
        host.Core.SetOnline(0, false, host.Now);
        host.Step(200);

        var shown = host.Shown("a");
        (shown.Ran, shown.Waited, shown.Migrations, shown.Cpu).Should().Be((600_000_000, 50_000_000, 1, 1));
        host.Why("a").Should().EndWith("It ran 600 ms and waited 50 ms.\n");

        host.Step(100);
        a.End(host.Now);
        host.Core.Leave(a.Seat.Vm, host.Now);
        var ended = host.View().Ended.Single();
        (ended.Ran, ended.Waited).Should().Be((700_000_000, 50_000_000));
    }

    [Fact]
    public void Under_host_a_vCPU_that_has_its_CPU_to_itself_stays()
    {
        string stat = Path.GetTempFileName();
        File.WriteAllText(stat, "cpu  0\ncpu0 0\ncpu1 0\n");
        using var busy = new CpuBusyTimes(stat);
        using var host = new FakeThreads("host", cpus: 2, busyTimes: busy);
        var a = host.Enter("a");

        for (int look = 1; look <= 20; look++)
        {
            File.WriteAllText(stat, $"cpu  {look * 20}\ncpu0 {look * 20}\ncpu1 0\n");
            host.Step(200);
        }

        host.Table.CpuOf(a.Seat.Slot).Should().Be(0);
        File.Delete(stat);
    }

    private static CpuSet Cpu(int cpu)
    {
        var set = new CpuSet(2);
        set.Add(cpu);
        return set;
    }

    [Fact]
    public void A_step_allocates_nothing()
    {
        using var host = new FakeThreads("rr", cpus: 2);
        var threads = Enumerable.Range(0, 6).Select(i => host.Join($"{i}")[0]).ToArray();
        host.Step();
        long now = host.Now;

        Allocation.Of(_ =>
        {
            foreach (var thread in threads)
            {
                if (thread.MayRun && !thread.Runs)
                    thread.Enter();
                else if (!thread.MayRun && thread.Runs)
                    thread.Park(now);
            }

            host.Core.Step(now += 1_000_000);
        }, times: 2_000).Should().Be(0);
        host.Core.Decisions[(int)DecisionKind.Revoke].Should().BeGreaterThan(100, "they took turns");
    }

    [Theory]
    [InlineData("rr")]
    [InlineData("fcfs")]
    [InlineData("priority")]
    [InlineData("srtf")]
    [InlineData("tsp")]
    [InlineData("least-runtime")]
    [InlineData("rap")]
    [InlineData("rrp")]
    [InlineData("host")]
    public void Whatever_threads_write_into_the_table_the_dispatcher_goes_on(string policy)
    {
        Prop.ForAll<byte[]>(noise =>
        {
            using var host = new FakeThreads(policy, cpus: 2, new PolicySettings { Limit = 3_000_000 });
            var threads = Enumerable.Range(0, 5).SelectMany(i => host.Join($"{i}", new JobSpec { Vcpus = i % 2 + 1, Length = 10_000_000 })).ToArray();
            host.Step();
            for (int i = 0; i < noise.Length; i++)
            {
                var thread = threads[i % threads.Length];
                if (noise[i] % 3 == 0)
                {
                    int at = i;
                    host.Table.Scribble(bytes => bytes.Slice(GateHeader.Bytes + (thread.Seat.Slot * GateSlot.Bytes) + (noise[at] % GateSlot.Bytes), 1)[0] ^= (byte)(noise[at] * 7));
                }
                else if (thread.MayRun && !thread.Runs && thread.Does != ThreadActivity.Gone)
                    thread.Enter();
                else if (thread.Does != ThreadActivity.Gone)
                    thread.Park(host.Now);
                host.Step(noise[i] % 5);
            }

            return host.Core.Scheduler.Table.Vcpus >= 0;
        }).QuickCheckThrowOnFailure();
    }
}
