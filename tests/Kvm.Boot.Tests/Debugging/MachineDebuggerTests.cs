using Iced.Intel;
using Kvm.Vmm.Debugging;
using Kvm.Vmm.Reporting;
using Kvm.X86.Engine;
using static Iced.Intel.AssemblerRegisters;

namespace Kvm.Boot.Tests.Debugging;

/// <summary>The seam for debuggers, on every engine.</summary>
public class MachineDebuggerTests
{
    private const uint Data = 0x20_0000;

    [SkippableTheory]
    [InlineData("soft")]
    [InlineData("deterministic")]
    [InlineData("kvm")]
    public void The_guest_waits_at_its_first_instruction_and_steps_one_by_one(string engine)
    {
        using var guest = new DebuggedMachine(engine, a =>
        {
            a.mov(eax, 0x11);
            a.inc(eax);
            a.@out(0x80, eax);
            a.inc(eax);
            a.DebugExit(3);
        });
        guest.State().Rip.Should().Be(TinyKernel.Entry);
        foreach (var (offset, value) in ((uint, ulong)[])[(5, 0x11), (6, 0x12), (8, 0x12), (9, 0x13)])
        {
            guest.Debugger.Step(0).Should().Be(new DebugStop(DebugStopReason.Step, 0));
            guest.State().Rip.Should().Be(TinyKernel.Entry + offset);
            guest.State().Gpr[0].Should().Be(value);
        }

        guest.End().DebugExitValue.Should().Be(3);
        guest.Debugger.TryWait(TimeSpan.Zero, out var stop).Should().BeTrue();
        stop.Reason.Should().Be(DebugStopReason.Ended);
    }

    [SkippableTheory]
    [InlineData("soft", 1)]
    [InlineData("soft", 7)]
    [InlineData("deterministic", 7)]
    [InlineData("kvm", 1)]
    [InlineData("kvm", 7)]
    public void Breakpoints_are_hit_in_their_order_and_memory_shows_the_guests_own_code(string engine, int count)
    {
        using var guest = new DebuggedMachine(engine, a =>
        {
            for (int i = 0; i < count; i++)
                a.inc(ecx);
            a.DebugExit(5);
        }, config => config with { Cpus = 2 });
        for (uint i = 0; i < count; i++)
            guest.Debugger.Add(new DebugPoint(DebugPointKind.Execute, TinyKernel.Entry + i)).Should().BeNull();
        for (uint i = 1; i < count; i++)
        {
            guest.Debugger.Continue().Should().BeNull();
            guest.Stopped().Should().Be(new DebugStop(DebugStopReason.Breakpoint, 0, new DebugPoint(DebugPointKind.Execute, TinyKernel.Entry + i)));
            byte[] code = new byte[count];
            guest.Debugger.TryReadMemory(0, TinyKernel.Entry, code).Should().BeTrue();
            code.Should().AllBeEquivalentTo((byte)0x41, "a byte of INC ECX, not a planted one");
        }

        guest.End().DebugExitValue.Should().Be(5);
    }

    [SkippableTheory]
    [InlineData("soft")]
    [InlineData("deterministic")]
    [InlineData("kvm")]
    public void A_watchpoint_stops_behind_the_write_or_is_refused_with_what_to_type(string engine)
    {
        using var guest = new DebuggedMachine(engine, a =>
        {
            a.mov(__dword_ptr[Data], 1);
            a.nop();
            a.DebugExit(6);
        });
        string? refusal = guest.Debugger.Add(new DebugPoint(DebugPointKind.Write, Data, 4));
        if (refusal is not null)
        {
            engine.Should().Be("kvm");
            refusal.Should().Contain("--engine soft");
        }
        else
        {
            guest.Debugger.Continue().Should().BeNull();
            guest.Stopped().Reason.Should().Be(DebugStopReason.Watchpoint);
            guest.State().Rip.Should().Be(TinyKernel.Entry + 10);
        }

        guest.End().DebugExitValue.Should().Be(6);
    }

    [SkippableTheory]
    [InlineData("soft")]
    [InlineData("deterministic")]
    [InlineData("kvm")]
    public void A_running_guest_is_stopped_changed_and_goes_on(string engine)
    {
        using var guest = new DebuggedMachine(engine, a =>
        {
            var again = a.CreateLabel();
            a.Label(ref again);
            a.mov(eax, __dword_ptr[Data]);
            a.or(eax, ebx);
            a.je(again);
            a.DebugExit(7);
        }, config => config with { Cpus = 2 });
        var state = guest.State();
        state.Gpr[3] = 0;
        guest.Debugger.WriteState(0, state);
        guest.Debugger.Continue().Should().BeNull();
        guest.Debugger.Stop().Reason.Should().Be(DebugStopReason.Requested);
        guest.State().Rip.Should().BeInRange(TinyKernel.Entry, TinyKernel.Entry + 10);
        guest.Debugger.TryWriteMemory(0, Data, [1, 0, 0, 0]).Should().BeTrue();
        guest.Debugger.TryReadMemory(0, 0xf000_0000, new byte[4]).Should().BeFalse("nothing is there");
        guest.End().DebugExitValue.Should().Be(7);
    }

    [SkippableTheory]
    [InlineData("soft")]
    [InlineData("deterministic")]
    [InlineData("kvm")]
    public void A_triple_fault_stops_for_the_debugger_before_it_ends_the_guest(string engine)
    {
        using var guest = new DebuggedMachine(engine, a =>
        {
            a.mov(__word_ptr[Data], 0);
            a.lidt(__[Data]);
            a.mov(eax, 0x1234);
            a.ud2();
        });
        bool back = guest.Debugger.KeepHistory() is null;
        back.Should().Be(engine == "deterministic");
        guest.Debugger.Continue().Should().BeNull();
        guest.Stopped().Should().Be(new DebugStop(DebugStopReason.Fault, 0));
        if (back)
        {
            guest.Debugger.StepBack().Reason.Should().Be(DebugStopReason.Step);
            guest.State().Gpr[0].Should().Be(0x1234);
            guest.State().Rip.Should().Be(TinyKernel.Entry + 21, "the instruction that faults is the next one");
            guest.Debugger.Continue().Should().BeNull();
            guest.Stopped().Reason.Should().Be(DebugStopReason.Fault, "forward it comes there again");
        }

        guest.End().Outcome.Should().Be(VmOutcome.TripleFault);
    }

    [SkippableTheory]
    [InlineData("soft")]
    [InlineData("deterministic")]
    [InlineData("kvm")]
    public void A_machine_that_stands_still_can_be_ended(string engine)
    {
        using var guest = new DebuggedMachine(engine, a => a.DebugExit(1));
        guest.Machine.Stop(VmOutcome.StoppedByUser);
        guest.Machine.Ended.Wait(TimeSpan.FromSeconds(60)).Should().BeTrue();
        guest.Machine.Ended.Result.Outcome.Should().Be(VmOutcome.StoppedByUser);
        guest.Debugger.Continue().Should().NotBeNull("it has ended");
    }
}
