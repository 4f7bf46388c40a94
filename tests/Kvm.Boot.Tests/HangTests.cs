using System.Collections.Concurrent;
using Iced.Intel;
using Kvm.Vmm;
using Kvm.Vmm.Reporting;
using static Iced.Intel.AssemblerRegisters;

namespace Kvm.Boot.Tests;

/// <summary>vCPUs that make no progress are noticed, and busy ones are not taken for such.</summary>
public class HangTests
{
    private static readonly TimeSpan s_long = TimeSpan.FromMinutes(2);

    [SkippableTheory]
    [InlineData(EngineChoice.Soft)]
    [InlineData(EngineChoice.Kvm)]
    public void Vcpu_that_loops_with_interrupts_off_is_noticed_once_and_busy_ones_never(EngineChoice engine)
    {
        if (engine == EngineChoice.Kvm)
            TinyMachine.RequireKvm();
        var told = new ConcurrentQueue<(string Guest, MachineFault Fault, string Why)>();
        using var noticed = new SemaphoreSlim(0);
        var machines = new List<VirtualMachine>();
        try
        {
            // What is busy runs longer than what hangs.
            foreach (var (name, guest) in ((string, Action<Assembler>)[])[("polls", Polls), ("interruptible", Interruptible), ("hangs", Hangs)])
                machines.Add(Start(name, guest, engine, told, noticed));
            noticed.Wait(s_long).Should().BeTrue("a vCPU hangs");
            // The others are watched for as long again: until one that was started only now is noticed.
            machines.Add(Start("hangs too", Hangs, engine, told, noticed));
            noticed.Wait(s_long).Should().BeTrue("another vCPU hangs");
            told.Select(fault => (fault.Guest, fault.Fault)).Should().Equal(("hangs", MachineFault.Hang), ("hangs too", MachineFault.Hang));
            told.First().Why.Should().Contain("vcpu0").And.Contain("0x10000").And.Contain("interrupts off");
            machines.Should().OnlyContain(machine => !machine.Ended.IsCompleted, "it is told, no more");
        }
        finally
        {
            foreach (var machine in machines)
            {
                machine.Stop(VmOutcome.StoppedByUser);
                machine.Dispose();
            }
        }
    }

    private static VirtualMachine Start(string name, Action<Assembler> guest, EngineChoice engine, ConcurrentQueue<(string, MachineFault, string)> told, SemaphoreSlim noticed)
    {
        string path = Path.GetTempFileName();
        try
        {
            File.WriteAllBytes(path, TinyKernel.Assemble(guest));
            var machine = VirtualMachine.Build(new VmConfig { KernelPath = path, Engine = engine, MemoryBytes = 2 << 20, HugePages = false, Name = name }, new VmHost
            {
                HangAfter = TimeSpan.FromSeconds(2),
                Faulted = (fault, why) =>
                {
                    told.Enqueue((name, fault, why));
                    noticed.Release();
                    return true;
                },
            });
            machine.Start();
            return machine;
        }
        finally
        {
            File.Delete(path);
        }
    }

    private static void Hangs(Assembler a)
    {
        var again = a.CreateLabel();
        a.cli();
        a.Label(ref again);
        a.jmp(again);
    }

    /// <summary>Drives a device with interrupts off, as bare guests do.</summary>
    private static void Polls(Assembler a)
    {
        var again = a.CreateLabel();
        a.cli();
        a.Label(ref again);
        a.@in(al, 0x80);
        a.jmp(again);
    }

    /// <summary>Computes for ever, and would take an interrupt if there were one.</summary>
    private static void Interruptible(Assembler a)
    {
        var again = a.CreateLabel();
        a.mov(al, unchecked((sbyte)0xff));
        a.@out(0x21, al);
        a.@out(0xa1, al);
        a.sti();
        a.Label(ref again);
        a.jmp(again);
    }
}
