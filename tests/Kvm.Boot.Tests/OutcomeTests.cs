using Iced.Intel;
using Kvm.Vmm.Reporting;
using static Iced.Intel.AssemblerRegisters;

namespace Kvm.Boot.Tests;

/// <summary>Each way a guest can end, by the shortest guest that ends so.</summary>
public class OutcomeTests
{
    [SkippableTheory]
    [InlineData(0, 0)]
    [InlineData(7, 27)]
    [InlineData(100, 120)]
    [InlineData(1000, 120)]
    public void Debug_exit_value_decides_the_exit_code(uint value, int exitCode)
    {
        TinyMachine.RequireKvm();
        var (result, _) = TinyMachine.Run(TinyKernel.Assemble(a => a.DebugExit(value)));
        result.Outcome.Should().Be(VmOutcome.DebugExit);
        result.DebugExitValue.Should().Be(value);
        result.ExitCode.Should().Be(exitCode);
        result.Exits.Should().ContainKey("io");
    }

    [SkippableFact]
    public void Characters_written_to_the_serial_port_reach_the_console_in_order()
    {
        TinyMachine.RequireKvm();
        var (result, console) = TinyMachine.Run(TinyKernel.Assemble(a =>
        {
            a.mov(dx, 0x3f8);
            foreach (char c in "hello")
            {
                a.mov(al, (sbyte)c);
                a.@out(dx, al);
            }

            a.DebugExit(0);
        }));
        console.Should().Be("hello");
        result.Devices["serial0"]["bytesFromGuest"].Should().Be(5);
    }

    [SkippableFact]
    public void Power_off_by_ACPI_S5()
    {
        TinyMachine.RequireKvm();
        var (result, _) = TinyMachine.Run(TinyKernel.Assemble(a =>
        {
            a.mov(dx, Vmm.MachineLayout.AcpiPm1Control);
            a.mov(ax, (Vmm.MachineLayout.AcpiSleepTypeS5 << 10) | (1 << 13));
            a.@out(dx, ax);
            a.cli();
            a.hlt();
        }));
        result.Outcome.Should().Be(VmOutcome.PowerOff);
        result.ExitCode.Should().Be(0);
    }

    [SkippableFact]
    public void Reset_by_the_keyboard_controller()
    {
        TinyMachine.RequireKvm();
        var (result, _) = TinyMachine.Run(TinyKernel.Assemble(a =>
        {
            a.mov(al, unchecked((sbyte)0xfe));
            a.@out(0x64, al);
            a.cli();
            a.hlt();
        }));
        result.Outcome.Should().Be(VmOutcome.Reboot);
    }

    [SkippableFact]
    public void Triple_fault_is_told_with_registers()
    {
        TinyMachine.RequireKvm();
        // The interrupt table is empty, so an undefined instruction cannot be delivered, nor the double fault after it.
        var (result, _) = TinyMachine.Run(TinyKernel.Assemble(a => a.ud2()));
        result.Outcome.Should().Be(VmOutcome.TripleFault);
        result.ExitCode.Should().Be(11);
        result.Explanation.Should().Contain("rip 0000000000100000");
    }

    [SkippableFact]
    public void Halt_with_interrupts_off_is_noticed()
    {
        TinyMachine.RequireKvm();
        var (result, _) = TinyMachine.Run(TinyKernel.Assemble(a =>
        {
            a.cli();
            a.hlt();
        }));
        result.Outcome.Should().Be(VmOutcome.Halted);
        result.ExitCode.Should().Be(14);
    }

    [SkippableFact]
    public void Halt_with_interrupts_on_is_not_taken_for_the_end()
    {
        TinyMachine.RequireKvm();
        var (result, _) = TinyMachine.Run(TinyKernel.Assemble(a =>
        {
            a.sti();
            a.hlt();
        }), c => c with { Timeout = TimeSpan.FromSeconds(1.5) });
        result.Outcome.Should().Be(VmOutcome.Timeout);
    }

    [SkippableFact]
    public void Endless_loop_ends_at_the_timeout()
    {
        TinyMachine.RequireKvm();
        var (result, _) = TinyMachine.Run(TinyKernel.Assemble(EndlessLoop), c => c with { Timeout = TimeSpan.FromMilliseconds(300) });
        result.Outcome.Should().Be(VmOutcome.Timeout);
        result.ExitCode.Should().Be(13);
    }

    [SkippableFact]
    public void Endless_loop_ends_when_the_user_stops_it()
    {
        TinyMachine.RequireKvm();
        var (result, _) = TinyMachine.Run(TinyKernel.Assemble(EndlessLoop), null, vm => vm.Stop(VmOutcome.StoppedByUser));
        result.Outcome.Should().Be(VmOutcome.StoppedByUser);
        result.ExitCode.Should().Be(0);
    }

    [SkippableFact]
    public void Panic_told_to_pvpanic_is_never_reported_as_success()
    {
        TinyMachine.RequireKvm();
        var (result, _) = TinyMachine.Run(TinyKernel.Assemble(a =>
        {
            a.mov(dx, Vmm.MachineLayout.Pvpanic);
            a.mov(al, 1);
            a.@out(dx, al);
            a.mov(al, unchecked((sbyte)0xfe));
            a.@out(0x64, al);
            a.cli();
            a.hlt();
        }));
        result.Outcome.Should().Be(VmOutcome.Panic);
        result.ExitCode.Should().Be(10);
    }

    [SkippableFact]
    public void Panic_line_on_the_console_before_a_reset_is_a_panic()
    {
        TinyMachine.RequireKvm();
        var (result, _) = TinyMachine.Run(TinyKernel.Assemble(a =>
        {
            a.mov(dx, 0x3f8);
            foreach (char c in "Kernel panic - not syncing: no init\n")
            {
                a.mov(al, (sbyte)c);
                a.@out(dx, al);
            }

            a.mov(al, unchecked((sbyte)0xfe));
            a.@out(0x64, al);
            a.hlt();
        }));
        result.Outcome.Should().Be(VmOutcome.Panic);
    }

    [SkippableFact]
    public void Write_to_read_only_memory_changes_nothing_and_the_guest_goes_on()
    {
        TinyMachine.RequireKvm();
        var (result, _) = TinyMachine.Run(TinyKernel.Assemble(a =>
        {
            a.mov(__dword_ptr[0xffff_f000], 0x1234_5678);
            a.mov(eax, __dword_ptr[0xffff_f000]);
            a.and(eax, 0x3f);
            a.@out(0xf4, eax);
            a.cli();
            a.hlt();
        }));
        result.DebugExitValue.Should().Be(0xf4 & 0x3f, "the ROM is full of HLT");
        result.Devices["bus"]["unclaimedMmio"].Should().Be(1);
    }

    [SkippableFact]
    public void Jump_to_the_reset_vector_is_a_reboot()
    {
        TinyMachine.RequireKvm();
        var (result, _) = TinyMachine.Run(TinyKernel.Assemble(a =>
        {
            a.mov(eax, 0xffff_fff0);
            a.jmp(eax);
        }));
        result.Outcome.Should().Be(VmOutcome.Reboot);
    }

    [SkippableFact]
    public void Unclaimed_memory_reads_ones_and_is_counted()
    {
        TinyMachine.RequireKvm();
        var (result, _) = TinyMachine.Run(TinyKernel.Assemble(a =>
        {
            a.mov(eax, __dword_ptr[0xd000_0000]);
            a.and(eax, 0x1f);
            a.@out(0xf4, eax);
            a.cli();
            a.hlt();
        }));
        result.DebugExitValue.Should().Be(0x1f);
        result.Devices["bus"]["unclaimedMmio"].Should().Be(1);
        result.Exits["mmio"].Should().Be(1);
    }

    [SkippableTheory]
    [InlineData(0x80, true)]
    [InlineData(0x3f8, true)]
    [InlineData(0x3fd, false)]
    [InlineData(0xcfc, false)]
    [InlineData(0x608, false)]
    [InlineData(0x71, false)]
    public void Port_accesses_allocate_nothing(int port, bool write)
    {
        TinyMachine.RequireKvm();
        AllocatedBy(port, write, exits: 10_000).Should().BeLessThan(1_000, "ending a run allocates a little once, ten thousand accesses nothing");
    }

    private static long AllocatedBy(int port, bool write, int exits)
    {
        var (result, _) = TinyMachine.Run(TinyKernel.Assemble(a =>
        {
            var again = a.CreateLabel();
            a.mov(ecx, exits);
            a.mov(dx, (short)port);
            a.Label(ref again);
            if (write)
                a.@out(dx, al);
            else
                a.@in(al, dx);
            a.dec(ecx);
            a.jne(again);
            a.DebugExit(0);
        }), quiet: true);
        result.Exits["io"].Should().Be(exits + 1);
        return result.Vcpus.Single().AllocatedBytes;
    }

    private static void EndlessLoop(Assembler a)
    {
        var again = a.CreateLabel();
        a.Label(ref again);
        a.jmp(again);
    }
}
