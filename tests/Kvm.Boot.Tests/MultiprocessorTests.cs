using Iced.Intel;
using Kvm.Vmm.Reporting;
using static Iced.Intel.AssemblerRegisters;

namespace Kvm.Boot.Tests;

/// <summary>Application processors: started by INIT and SIPI (SDM vol. 3, 9.4.4), each on a thread of its own.</summary>
public class MultiprocessorTests
{
    private const uint LocalApic = 0xfee0_0000;
    private const uint IcrLow = LocalApic + 0x300, IcrHigh = LocalApic + 0x310, Spurious = LocalApic + 0xf0;
    private const int Trampoline = 0x8000;

    [SkippableTheory]
    [InlineData(2)]
    [InlineData(4)]
    public void Every_application_processor_starts_and_runs_its_own_code(int cpus)
    {
        TinyMachine.RequireKvm();
        var (result, console) = TinyMachine.Run(TinyKernel.Assemble(a => StartOthers(a, cpus)), c => c with { Cpus = cpus });
        result.Outcome.Should().Be(VmOutcome.DebugExit);
        console.Should().Be(new string('A', cpus - 1));
        result.Vcpus.Should().HaveCount(cpus).And.OnlyContain(v => v.Exits > 0);
    }

    [SkippableFact]
    public void Application_processors_nobody_starts_do_not_hide_that_the_guest_is_dead()
    {
        TinyMachine.RequireKvm();
        var (result, _) = TinyMachine.Run(TinyKernel.Assemble(a =>
        {
            a.cli();
            a.hlt();
        }), c => c with { Cpus = 3 });
        result.Outcome.Should().Be(VmOutcome.Halted);
    }

    [SkippableFact]
    public void Debug_exit_by_one_processor_ends_the_others_loops()
    {
        TinyMachine.RequireKvm();
        var (result, _) = TinyMachine.Run(TinyKernel.Assemble(a => StartOthers(a, cpus: 2, exitFromOther: true)), c => c with { Cpus = 2 });
        result.Outcome.Should().Be(VmOutcome.DebugExit);
        result.DebugExitValue.Should().Be(9);
    }

    /// <summary>A kernel in which every processor computes for ever.</summary>
    internal static byte[] SpinOnAll(int cpus) => TinyKernel.Assemble(a =>
    {
        StartOthers(a, cpus, spin: true);
        var again = a.CreateLabel();
        a.Label(ref again);
        a.jmp(again);
    });

    /// <summary>
    /// Copies a real-mode trampoline to 0x8000, sends INIT and SIPI to each other processor in turn, and waits until its
    /// counter has moved before the next; ends the run when all have, unless they are to compute for ever.
    /// </summary>
    private static void StartOthers(Assembler a, int cpus, bool exitFromOther = false, bool spin = false)
    {
        byte[] trampoline = AssembleTrampoline(exitFromOther, spin);
        for (int i = 0; i < trampoline.Length; i++)
            a.mov(__byte_ptr[Trampoline + i], trampoline[i]);
        a.mov(__dword_ptr[Trampoline - 4], 0);
        a.mov(__dword_ptr[Spurious], 0x1ff);
        for (int apic = 1; apic < cpus; apic++)
        {
            var wait = a.CreateLabel();
            a.mov(__dword_ptr[IcrHigh], apic << 24);
            a.mov(__dword_ptr[IcrLow], 0x4500); // INIT, assert
            a.mov(__dword_ptr[IcrHigh], apic << 24);
            a.mov(__dword_ptr[IcrLow], 0x4600 | (Trampoline >> 12)); // SIPI
            a.Label(ref wait);
            a.cmp(__dword_ptr[Trampoline - 4], apic);
            a.jne(wait);
        }

        if (!spin)
            a.DebugExit(0);
    }

    private static byte[] AssembleTrampoline(bool exit, bool spin)
    {
        var a = new Assembler(16);
        a.xor(ax, ax);
        a.mov(ds, ax);
        a.mov(dx, 0x3f8);
        a.mov(al, (sbyte)'A');
        a.@out(dx, al);
        if (exit)
        {
            a.mov(al, 9);
            a.@out(0xf4, al);
        }

        a.@lock.inc(__dword_ptr[Trampoline - 4]);
        var again = a.CreateLabel();
        a.Label(ref again);
        if (!spin)
            a.hlt();
        a.jmp(again);
        using var code = new MemoryStream();
        a.Assemble(new StreamCodeWriter(code), Trampoline);
        return code.ToArray();
    }
}
