using System.Globalization;
using System.Text;
using Iced.Intel;
using Kvm.Devices.Memory;
using Kvm.Vmm;
using Kvm.Vmm.Debugging;
using Kvm.Vmm.Reporting;
using Kvm.X86.Engine;
using Kvm.X86.State;
using static Iced.Intel.AssemblerRegisters;

namespace Kvm.Boot.Tests.Debugging;

/// <summary>Going back in a deterministic run: every state is the one that was, by the hashes of registers and memory.</summary>
public class HistoryTests
{
    private const uint Data = 0x20_0000;

    [Fact]
    public void Each_step_back_leads_to_the_state_that_was()
    {
        using var guest = new DebuggedMachine("deterministic", Writer);
        guest.Debugger.KeepHistory().Should().BeNull();
        var past = new Stack<string>();
        for (int n = 0; n < 150; n++)
        {
            past.Push(Fingerprint(guest.Debugger));
            guest.Debugger.Step(0).Reason.Should().Be(DebugStopReason.Step);
        }

        string present = Fingerprint(guest.Debugger);
        while (past.TryPop(out string? before))
        {
            guest.Debugger.StepBack().Reason.Should().Be(DebugStopReason.Step);
            Fingerprint(guest.Debugger).Should().Be(before);
        }

        guest.Debugger.StepBack().Reason.Should().Be(DebugStopReason.HistoryEnd);
        guest.State().Rip.Should().Be(TinyKernel.Entry);
        for (int n = 0; n < 150; n++)
            guest.Debugger.Step(0);
        Fingerprint(guest.Debugger).Should().Be(present, "forward again it comes to the same");
    }

    [Fact]
    public void Back_to_a_watchpoint_is_before_the_write_and_to_a_breakpoint_before_its_instruction()
    {
        using var guest = new DebuggedMachine("deterministic", Writer);
        guest.Debugger.KeepHistory().Should().BeNull();
        var end = new DebugPoint(DebugPointKind.Write, Data + (4 * 50), 4);
        guest.Debugger.Add(end).Should().BeNull();
        guest.Debugger.Continue().Should().BeNull();
        guest.Stopped().Reason.Should().Be(DebugStopReason.Watchpoint);
        guest.Debugger.Remove(end);

        var watched = new DebugPoint(DebugPointKind.Write, Data + (4 * 20), 4);
        guest.Debugger.Add(watched).Should().BeNull();
        guest.Debugger.ContinueBack().Should().Be(new DebugStop(DebugStopReason.Watchpoint, 0, watched));
        Read(guest.Debugger, Data + (4 * 20)).Should().Be(0, "it is not written yet");
        Read(guest.Debugger, Data + (4 * 19)).Should().Be(19);
        guest.Debugger.Step(0).Reason.Should().Be(DebugStopReason.Watchpoint);
        Read(guest.Debugger, Data + (4 * 20)).Should().Be(20);
        guest.Debugger.Clear();

        var top = new DebugPoint(DebugPointKind.Execute, guest.State().Rip);
        guest.Debugger.Add(top).Should().BeNull();
        guest.Debugger.ContinueBack().Should().Be(new DebugStop(DebugStopReason.Breakpoint, 0, top));
        guest.State().Gpr[1].Should().Be(19, "one time round before");
        guest.Debugger.Clear();
        guest.Debugger.ContinueBack().Reason.Should().Be(DebugStopReason.HistoryEnd);
        guest.Debugger.Place.Should().Be((0UL, 0UL));
    }

    [Fact]
    public void What_a_debugger_changes_begins_a_new_past()
    {
        using var guest = new DebuggedMachine("deterministic", Writer);
        guest.Debugger.KeepHistory().Should().BeNull();
        for (int n = 0; n < 30; n++)
            guest.Debugger.Step(0);
        guest.Debugger.TryWriteMemory(0, Data + 0x1000, [7, 0, 0, 0]).Should().BeTrue();
        guest.Debugger.Step(0);
        guest.Debugger.StepBack().Reason.Should().Be(DebugStopReason.Step);
        Read(guest.Debugger, Data + 0x1000).Should().Be(7);
        guest.Debugger.StepBack().Reason.Should().Be(DebugStopReason.HistoryEnd);
    }

    [Theory]
    [InlineData(8 << 20, true)]
    [InlineData(1 << 20, false)]
    public void A_budget_that_is_used_up_thins_the_checkpoints_and_what_is_left_of_the_past_is_right(long budget, bool reachesBack)
    {
        using var guest = new DebuggedMachine("deterministic", a =>
        {
            var pages = a.CreateLabel();
            var again = a.CreateLabel();
            a.xor(ecx, ecx);
            a.Label(ref again);
            a.mov(edi, Data);
            a.Label(ref pages);
            a.inc(ecx);
            a.mov(__dword_ptr[edi], ecx);
            a.add(edi, 0x1000);
            a.cmp(edi, Data + (2 << 20));
            a.jne(pages);
            a.nop(); // at Round: 512 pages are written
            a.jmp(again);
        });
        guest.Debugger.KeepHistory(budget).Should().BeNull();
        var early = Run(5_000_000);
        int snapshot = guest.Debugger.TakeSnapshot();
        Run(40_000_000);
        string late = Fingerprint(guest.Debugger);
        guest.Debugger.HistorySize.Bytes.Should().BeLessThanOrEqualTo(budget);
        guest.Debugger.StepBack().Reason.Should().Be(DebugStopReason.Step);
        guest.Debugger.Step(0);
        Fingerprint(guest.Debugger).Should().Be(late);
        string? refusal = guest.Debugger.RestoreSnapshot(snapshot);
        (refusal is null).Should().Be(reachesBack, refusal);
        if (reachesBack)
            Fingerprint(guest.Debugger).Should().Be(early, "the snapshot is the state that was");
        guest.Debugger.RestoreSnapshot(9).Should().NotBeNull();

        string Run(ulong instructions)
        {
            // As it counts its pages: five instructions each.
            var point = new DebugPoint(DebugPointKind.Execute, TinyKernel.Entry + 24);
            guest.Debugger.Add(point).Should().BeNull();
            do
            {
                guest.Debugger.Continue().Should().BeNull();
                guest.Stopped().Reason.Should().Be(DebugStopReason.Breakpoint);
            }
            while (guest.Debugger.Place!.Value.Instructions < instructions);
            guest.Debugger.Clear();
            return Fingerprint(guest.Debugger);
        }
    }

    [Fact]
    public void Machines_that_do_not_repeat_have_no_past()
    {
        using var guest = new DebuggedMachine("soft", Writer);
        guest.Debugger.KeepHistory().Should().Contain("--deterministic");
        guest.Debugger.CanGoBack.Should().BeFalse();
    }

    [SkippableTheory]
    [InlineData(1)]
    [InlineData(2)]
    public void A_kernel_goes_back_through_its_messages_and_prints_nothing_twice(int cpus)
    {
        string kernel = GuestFiles.Require("small/vmlinux");
        ulong message = Symbol("vprintk_emit"), late = Symbol("kernel_init");
        string whole = Boot(kernel, cpus, _ => { });
        string seen = Boot(kernel, cpus, debugger =>
        {
            Go(debugger, new DebugPoint(DebugPointKind.Execute, late));
            var point = new DebugPoint(DebugPointKind.Execute, message);
            var past = new Stack<((ulong, ulong)? Place, string State)>();
            debugger.Add(point).Should().BeNull();
            for (int n = 0; n < 15; n++)
            {
                debugger.Continue().Should().BeNull();
                Stopped(debugger).Point.Should().Be(point);
                past.Push((debugger.Place, Fingerprint(debugger)));
            }

            past.Pop();
            while (past.TryPop(out var before))
            {
                var stop = debugger.ContinueBack();
                stop.Reason.Should().Be(DebugStopReason.Breakpoint);
                debugger.Place.Should().Be(before.Place);
                Fingerprint(debugger).Should().Be(before.State);
            }

            string here = Fingerprint(debugger);
            for (int n = 0; n < 3; n++)
                debugger.StepBack().Reason.Should().Be(DebugStopReason.Step);
            for (int n = 0; n < 3; n++)
                debugger.Step(StepsNext(debugger));
            Fingerprint(debugger).Should().Be(here);
            debugger.Clear();
        });
        seen.Should().Be(whole, "the console has each byte once, and the boot is the one that nobody stopped");
    }

    /// <summary>Counts in ECX and writes each number to its place.</summary>
    private static void Writer(Assembler a)
    {
        var again = a.CreateLabel();
        a.xor(ecx, ecx);
        a.Label(ref again);
        a.mov(__dword_ptr[ecx * 4 + Data], ecx);
        a.inc(ecx);
        a.cmp(ecx, 100_000);
        a.jne(again);
        a.DebugExit(1);
    }

    private static string Boot(string kernel, int cpus, Action<MachineDebugger> debug)
    {
        var output = new StringBuilder();
        var config = new VmConfig
        {
            KernelPath = kernel,
            Cpus = cpus,
            MemoryBytes = 128 << 20,
            Engine = EngineChoice.Soft,
            Deterministic = true,
            Append = "panic=-1",
            Timeout = TimeSpan.FromMinutes(10),
        };
        using var machine = VirtualMachine.Build(config, new VmHost { ConsoleOutput = text => output.Append(Encoding.Latin1.GetString(text)) });
        var debugger = machine.Debugger;
        debugger.KeepHistory().Should().BeNull();
        machine.Start();
        Stopped(debugger);
        debug(debugger);
        debugger.Continue().Should().BeNull();
        machine.Ended.Wait(TimeSpan.FromMinutes(10)).Should().BeTrue();
        machine.Ended.Result.Outcome.Should().Be(VmOutcome.Panic, "there is no init");
        return output.ToString();
    }

    private static void Go(MachineDebugger debugger, DebugPoint point)
    {
        debugger.Add(point).Should().BeNull();
        debugger.Continue().Should().BeNull();
        Stopped(debugger).Reason.Should().Be(DebugStopReason.Breakpoint);
        debugger.Remove(point);
    }

    private static DebugStop Stopped(MachineDebugger debugger)
    {
        debugger.TryWait(TimeSpan.FromMinutes(5), out var stop).Should().BeTrue();
        return stop;
    }

    /// <summary>The vCPU whose step goes one event forward: a step back tells whose it was, so the first that is not halted will do for one.</summary>
    private static int StepsNext(MachineDebugger debugger)
    {
        var state = new ArchitecturalState();
        for (int vcpu = 0; vcpu < debugger.Vcpus; vcpu++)
        {
            debugger.ReadState(vcpu, state);
            if (state.Activity == ActivityState.Running)
                return vcpu;
        }

        return 0;
    }

    private static ulong Symbol(string name) => ulong.Parse(
        File.ReadLines(GuestFiles.Require("small/System.map")).First(line => line.EndsWith(" " + name, StringComparison.Ordinal)).Split(' ')[0],
        NumberStyles.HexNumber, CultureInfo.InvariantCulture);

    private static int Read(MachineDebugger debugger, ulong address)
    {
        byte[] bytes = new byte[4];
        debugger.TryReadMemory(0, address, bytes).Should().BeTrue();
        return BitConverter.ToInt32(bytes);
    }

    /// <summary>Registers of all vCPUs and a hash of memory.</summary>
    private static string Fingerprint(MachineDebugger debugger)
    {
        var text = new StringBuilder();
        var state = new ArchitecturalState();
        for (int vcpu = 0; vcpu < debugger.Vcpus; vcpu++)
        {
            debugger.ReadState(vcpu, state);
            text.AppendJoin(' ', state.Gpr.Select(r => r.ToString("x", CultureInfo.InvariantCulture)))
                .Append(CultureInfo.InvariantCulture, $" {state.Rip:x} {state.Rflags:x} {state.Cr2:x} {state.Cr3:x} {state.Msr.Tsc:x} {state.Activity} ")
                .Append(Convert.ToHexString(System.Security.Cryptography.SHA256.HashData(state.Extended))).Append('\n');
        }

        return text.Append(MemoryHash.Of(debugger.Memory)).ToString();
    }
}
