using System.Diagnostics;

namespace Kvm.Interop.Tests.Host;

public sealed class HostThreadTests
{
    [Fact]
    public void A_thread_set_to_one_processor_runs_there()
    {
        int[] allowed = HostThread.GetAffinity(0);
        (int[] Processors, int Now) seen = ([], -1);
        Thread thread = new(() =>
        {
            HostThread.SetAffinity(0, [allowed[^1]]).Should().Be(0);
            seen = (HostThread.GetAffinity(0), HostThread.CurrentProcessor());
        });

        thread.Start();
        thread.Join();

        seen.Processors.Should().Equal(allowed[^1]);
        seen.Now.Should().Be(allowed[^1]);
        HostThread.GetAffinity(0).Should().Equal(allowed, "only that thread was moved");
    }

    [Fact]
    public void Processors_that_are_not_there_are_refused()
    {
        HostThread.SetAffinity(0, []).Should().Be(-Errno.EINVAL);
        HostThread.SetAffinity(0, [-1]).Should().Be(-Errno.EINVAL);
        HostThread.SetAffinity(0, [8192]).Should().Be(-Errno.EINVAL);
        HostThread.SetAffinity(0, [8191]).Should().Be(-Errno.EINVAL);
    }

    [Fact]
    public void The_cpu_time_of_a_thread_grows_while_it_works_and_is_gone_with_it()
    {
        int id = ThreadSignals.CurrentThreadId();
        long before = HostThread.CpuTime(id);
        Stopwatch watch = Stopwatch.StartNew();
        while (HostThread.CpuTime(id) - before < 5_000_000)
        {
            watch.Elapsed.Should().BeLessThan(TimeSpan.FromSeconds(20));
        }

        before.Should().BeGreaterThan(0);
        HostThread.CpuTime(int.MaxValue / 16).Should().Be(-1);
    }

    [Fact]
    public void Two_threads_have_two_numbers_of_this_process()
    {
        int other = 0;
        Thread thread = new(() => other = ThreadSignals.CurrentThreadId());
        thread.Start();
        thread.Join();

        int mine = ThreadSignals.CurrentThreadId();

        other.Should().NotBe(mine).And.BeGreaterThan(0);
        Directory.Exists($"/proc/self/task/{mine}").Should().BeTrue();
    }

    [Fact]
    public void The_timer_slack_of_a_thread_can_be_set()
    {
        int set = -1;
        int read = -1;
        Thread thread = new(() =>
        {
            set = HostThread.SetTimerSlack(1234);
            read = Libc.prctl(Libc.PR_GET_TIMERSLACK, 0, 0, 0, 0);
        });
        thread.Start();
        thread.Join();

        set.Should().Be(0);
        read.Should().Be(1234);
    }

    [SkippableFact]
    public void A_thread_prepared_for_a_vcpu_blocks_the_kick_signal_and_no_other()
    {
        using KvmSystem system = RealKvm.Open();
        using KvmVm vm = system.CreateVm();
        using KvmVcpu vcpu = vm.CreateVcpu(0);
        string before = "";
        string after = "";
        Thread thread = new(() =>
        {
            Unblock(ThreadSignals.KickSignal); // a new thread inherits the mask of the one that made it
            before = BlockedSignals();
            ThreadSignals.PrepareVcpuThread(vcpu);
            after = BlockedSignals();
        });

        thread.Start();
        thread.Join();

        ulong changed = Convert.ToUInt64(before, 16) ^ Convert.ToUInt64(after, 16);
        changed.Should().Be(1UL << (ThreadSignals.KickSignal - 1));
        vcpu.ClearSignalMask();
    }

    private static unsafe void Unblock(int signal)
    {
        SigSet set = SigSet.Of(signal);
        Libc.pthread_sigmask(Libc.SIG_UNBLOCK, &set, null).Should().Be(0);
    }

    private static string BlockedSignals() =>
        File.ReadLines("/proc/thread-self/status").First(line => line.StartsWith("SigBlk:", StringComparison.Ordinal))[8..].Trim();

    [SkippableFact]
    public void A_thread_made_one_of_real_time_stays_alone_in_that()
    {
        int error = 0;
        bool itself = false, child = true;
        Thread thread = new(() =>
        {
            error = HostThread.SetRealTime(1);
            itself = HostThread.IsRealTime(0);
            Thread started = new(() => child = HostThread.IsRealTime(0));
            started.Start();
            started.Join();
        });
        thread.Start();
        thread.Join();

        Skip.If(error == -Errno.EPERM, "neither CAP_SYS_NICE nor RLIMIT_RTPRIO");
        error.Should().Be(0);
        itself.Should().BeTrue();
        child.Should().BeFalse("what it starts is ordinary");
        HostThread.IsRealTime(0).Should().BeFalse();
    }

    [Fact]
    public void A_kick_reaches_a_thread_that_is_named_with_its_process()
    {
        using SemaphoreSlim kicked = new(0);
        bool drained = false;
        int id = 0;
        using ManualResetEventSlim ready = new();
        Thread thread = new(() =>
        {
            SigSet kick = SigSet.Of(ThreadSignals.KickSignal);
            Block(kick);
            id = ThreadSignals.CurrentThreadId();
            ready.Set();
            kicked.Wait();
            drained = ThreadSignals.Drain();
        });
        thread.Start();
        ready.Wait();

        ThreadSignals.Kick(Environment.ProcessId, id).Should().BeTrue();

        kicked.Release();
        thread.Join();
        drained.Should().BeTrue();
        ThreadSignals.Kick(Environment.ProcessId, 0).Should().BeFalse();
        ThreadSignals.Kick(0, id).Should().BeFalse();
        ThreadSignals.Kick(1, Environment.ProcessId).Should().BeFalse("that thread is another process's");
    }

    private static unsafe void Block(SigSet signals) => Libc.pthread_sigmask(Libc.SIG_BLOCK, &signals, null).Should().Be(0);
}
