using System.Diagnostics;
using Kvm.Vmm;
using Kvm.Vmm.Debugging;
using Kvm.Vmm.Reporting;
using Kvm.Vmm.Storage;
using static Iced.Intel.AssemblerRegisters;

namespace Kvm.Boot.Tests.Lifecycle;

public class PauseTests
{
    [SkippableTheory]
    [InlineData("soft")]
    [InlineData("deterministic")]
    [InlineData("kvm")]
    public void Paused_guest_stands_still_and_counts_on_when_it_is_resumed(string engine)
    {
        using var guest = new BareGuest(engine, BareGuest.Count);
        var machine = guest.Machine;
        machine.Start();
        guest.WaitUntilAbove(0);
        for (int i = 0; i < 20; i++)
        {
            machine.Pause();
            machine.IsPaused.Should().BeTrue();
            uint count = guest.Read(BareGuest.Counter);
            string memory = MemoryHash.Of(machine.Memory);
            MemoryHash.Of(machine.Memory).Should().Be(memory);
            machine.Resume();
            machine.IsPaused.Should().BeFalse();
            guest.WaitUntilAbove(count);
        }
    }

    [SkippableFact]
    public void Machine_with_two_processors_has_both_out_of_the_guest()
    {
        var stopped = new TaskCompletionSource();
        var run = LinuxGuest.Boot("small/vmlinux", EngineChoice.Soft, "programs", TimeSpan.FromMinutes(3), c => c with { Cpus = 2 },
            machine => Task.Run(() => PauseAgainAndAgain(machine, 10, stopped)));
        stopped.Task.Wait(TimeSpan.FromMinutes(1)).Should().BeTrue();
        run.Result.Outcome.Should().Be(VmOutcome.PowerOff, run.Tail);
        run.Console.Should().Contain("GUEST-DONE");
    }

    [SkippableTheory]
    [InlineData("soft")]
    [InlineData("kvm")]
    public void Machine_paused_before_its_start_waits_at_its_first_instruction(string engine)
    {
        using var guest = new BareGuest(engine, BareGuest.Count);
        guest.Machine.Pause();
        guest.Machine.Start();
        guest.Read(BareGuest.Counter).Should().Be(0);
        guest.Machine.Pause();
        guest.Machine.Resume();
        guest.WaitUntilAbove(0);
    }

    [SkippableTheory]
    [InlineData("soft")]
    [InlineData("kvm")]
    public void Halted_guest_can_be_paused_and_stopped_and_is_not_taken_for_dead(string engine)
    {
        using var guest = new BareGuest(engine, a =>
        {
            a.cli();
            a.hlt();
        });
        guest.Machine.Pause();
        guest.Machine.Start();
        // Longer than the monitor takes to notice a guest that has halted for ever.
        guest.Machine.Ended.Wait(TimeSpan.FromSeconds(1)).Should().BeFalse();
        guest.Machine.Resume();
        guest.Machine.Ended.Wait(TimeSpan.FromSeconds(60)).Should().BeTrue();
        guest.Machine.Ended.Result.Outcome.Should().Be(VmOutcome.Halted);
        guest.Machine.Pause();
        guest.Machine.IsPaused.Should().BeFalse("it has ended");
    }

    [SkippableTheory]
    [InlineData("soft")]
    [InlineData("kvm")]
    public void Time_limit_counts_on_while_paused(string engine)
    {
        using var guest = new BareGuest(engine, BareGuest.Count, c => c with { Timeout = TimeSpan.FromSeconds(1) });
        guest.Machine.Start();
        guest.Machine.Pause();
        guest.Machine.Ended.Wait(TimeSpan.FromSeconds(60)).Should().BeTrue();
        guest.Machine.Ended.Result.Outcome.Should().Be(VmOutcome.Timeout);
    }

    [SkippableTheory]
    [InlineData("soft")]
    [InlineData("kvm")]
    public void Paused_machine_can_be_stopped_and_disposed(string engine)
    {
        using var guest = new BareGuest(engine, BareGuest.Count);
        guest.Machine.Start();
        guest.Machine.Pause();
        guest.Machine.Stop(VmOutcome.StoppedByUser);
        guest.Machine.Ended.Wait(TimeSpan.FromSeconds(60)).Should().BeTrue();
        guest.Machine.Ended.Result.Outcome.Should().Be(VmOutcome.StoppedByUser);
        using var another = new BareGuest(engine, BareGuest.Count);
        another.Machine.Start();
        another.Machine.Pause();
    }

    [SkippableTheory]
    [InlineData("soft")]
    [InlineData("kvm")]
    public void Guest_time_does_not_pass_while_paused(string engine)
    {
        using var guest = new BareGuest(engine, BareGuest.Count);
        var machine = guest.Machine;
        Skip.IfNot(machine.PauseStopsTime, "this host's KVM cannot move a vCPU's time stamp counter");
        machine.Start();
        guest.WaitUntilAbove(0);
        machine.Pause();
        // While it is paused a KVM's counter runs on, which tells its frequency; it is put back when the guest goes on.
        ulong first = guest.Tsc();
        long clock = Stopwatch.GetTimestamp();
        machine.Ended.Wait(TimeSpan.FromSeconds(2)).Should().BeFalse();
        double frequency = engine == "kvm" ? (guest.Tsc() - first) / Stopwatch.GetElapsedTime(clock).TotalSeconds : 1e9;
        long resumed = Stopwatch.GetTimestamp();
        machine.Resume();
        machine.Pause();
        double passed = (guest.Tsc() - first) / frequency;
        passed.Should().BeGreaterThan(0).And.BeLessThan((Stopwatch.GetElapsedTime(resumed).TotalSeconds * 1.05) + 0.01);
    }

    [SkippableTheory]
    [InlineData("soft")]
    [InlineData("kvm")]
    public void Debugger_and_pause_hold_the_guest_independently(string engine)
    {
        using var guest = new BareGuest(engine, BareGuest.Count);
        var machine = guest.Machine;
        machine.Start();
        guest.WaitUntilAbove(0);
        machine.Pause();
        var debugger = machine.Debugger;
        debugger.Stop().Reason.Should().Be(DebugStopReason.Requested);
        uint count = guest.Read(BareGuest.Counter);
        debugger.Continue().Should().BeNull();
        machine.IsPaused.Should().BeTrue();
        guest.Read(BareGuest.Counter).Should().Be(count);
        debugger.Stop();
        machine.Resume();
        guest.Read(BareGuest.Counter).Should().Be(count, "the debugger holds it");
        machine.Pause();
        debugger.Continue().Should().BeNull();
        guest.Read(BareGuest.Counter).Should().Be(count, "the pause holds it");
        machine.Resume();
        guest.WaitUntilAbove(count);
    }

    [SkippableTheory]
    [InlineData(EngineChoice.Soft, DiskAio.Threads, true)]
    [InlineData(EngineChoice.Soft, DiskAio.Threads, false)]
    [InlineData(EngineChoice.Soft, DiskAio.Uring, false)]
    public void Disk_is_whole_after_a_guest_that_was_paused_while_it_wrote(EngineChoice engine, DiskAio aio, bool inline)
    {
        using var disk = new Ext4Disk();
        var stopped = new TaskCompletionSource();
        var run = LinuxGuest.Boot("small/vmlinux", engine, "disk", TimeSpan.FromMinutes(3), c => c with
        {
            Disks = [new DiskConfig { Path = disk.FilePath, Aio = aio }],
            Entropy = true,
            InlineQueues = inline,
        }, null, ("GUEST-UP", machine => Task.Run(() => PauseAgainAndAgain(machine, 40, stopped))));
        stopped.Task.Wait(TimeSpan.FromMinutes(1)).Should().BeTrue();
        run.Result.Outcome.Should().Be(VmOutcome.PowerOff, run.Tail);
        run.Console.Should().NotContain("GUEST-FAILED").And.Contain("GUEST-DONE");
        disk.ShouldBeWhole();
    }

    private static void PauseAgainAndAgain(VirtualMachine machine, int times, TaskCompletionSource done)
    {
        try
        {
            for (int i = 0; i < times && !machine.Ended.IsCompleted; i++)
            {
                machine.Pause();
                // One that has ended may be disposed of at any moment; one that is paused does not end.
                if (!machine.IsPaused)
                    break;
                string memory = MemoryHash.Of(machine.Memory);
                MemoryHash.Of(machine.Memory).Should().Be(memory, "nobody writes a paused guest's memory");
                machine.Resume();
            }

            done.SetResult();
        }
        catch (Exception e) when (e is not OutOfMemoryException)
        {
            done.SetException(e);
        }
    }
}
