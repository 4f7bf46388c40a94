namespace Kvm.Interop.Tests.Kvm;

public sealed class VcpuRunTests
{
    [SkippableFact]
    public void Hlt_ends_the_run_without_irqchip()
    {
        using TinyGuest guest = new(GuestCode.Hlt);

        guest.Run().Should().Be(KvmExit.Hlt);
    }

    [SkippableFact]
    public void Out_of_al_42_to_port_e9_shows_port_size_direction_and_byte()
    {
        using TinyGuest guest = new([.. GuestCode.Out(42), .. GuestCode.Hlt]);

        guest.Run().Should().Be(KvmExit.Io);
        KvmRunIo io = guest.Page.Io;
        io.Port.Should().Be(0xe9);
        io.Size.Should().Be(1);
        io.Count.Should().Be(1);
        io.Direction.Should().Be(KvmConst.KVM_EXIT_IO_OUT);
        guest.Page.IoData.ToArray().Should().Equal(42);
        guest.Run().Should().Be(KvmExit.Hlt);
    }

    [SkippableFact]
    public void In_takes_the_bytes_put_into_the_page()
    {
        // in ax, 0x60 ; hlt
        using TinyGuest guest = new([0xe5, 0x60, 0xf4]);

        guest.Run().Should().Be(KvmExit.Io);
        guest.Page.Io.Direction.Should().Be(KvmConst.KVM_EXIT_IO_IN);
        guest.Page.IoData.Length.Should().Be(2);
        guest.Page.IoData[0] = 0x34;
        guest.Page.IoData[1] = 0x12;

        guest.Run().Should().Be(KvmExit.Hlt);
        guest.Regs.Rax.Should().Be(0x1234);
    }

    [SkippableFact]
    public void A_repeated_out_delivers_every_byte_in_order()
    {
        // mov si, 0x3000 ; mov cx, 5 ; mov dx, 0xe9 ; cld ; rep outsb ; hlt
        using TinyGuest guest = new([0xbe, 0x00, 0x30, 0xb9, 0x05, 0x00, 0xba, 0xe9, 0x00, 0xfc, 0xf3, 0x6e, 0xf4]);
        "hello"u8.CopyTo(guest.Memory.Span[0x3000..]);
        List<byte> seen = [];

        while (guest.Run() == KvmExit.Io)
        {
            seen.AddRange(guest.Page.IoData.ToArray());
        }

        guest.Page.ExitReason.Should().Be(KvmExit.Hlt);
        seen.Should().Equal("hello"u8.ToArray());
    }

    [SkippableFact]
    public void A_read_of_unbacked_memory_takes_the_bytes_put_into_the_page()
    {
        // mov ax, 0xf000 ; mov ds, ax ; mov ax, [0x20] ; hlt
        using TinyGuest guest = new([.. GuestCode.DataSegment(0xf000), 0xa1, 0x20, 0x00, 0xf4]);

        guest.Run().Should().Be(KvmExit.Mmio);
        guest.Page.Mmio.PhysAddr.Should().Be(0xf0020);
        guest.Page.Mmio.IsWrite.Should().Be(0);
        guest.Page.MmioData.Length.Should().Be(2);
        guest.Page.MmioData[0] = 0xcd;
        guest.Page.MmioData[1] = 0xab;

        guest.Run().Should().Be(KvmExit.Hlt);
        (guest.Regs.Rax & 0xffff).Should().Be(0xabcd);
    }

    [SkippableFact]
    public void A_triple_fault_ends_the_run_with_shutdown()
    {
        // Protected mode with an empty interrupt table, then ud2: no gate for #UD, none for #GP, none for #DF.
        using TinyGuest guest = new([0x0f, 0x0b]);
        guest.EnterFlatMode();

        guest.Run().Should().Be(KvmExit.Shutdown);
    }

    [SkippableFact]
    public void An_instruction_kvm_cannot_emulate_ends_the_run_with_its_bytes()
    {
        // popcnt ax, ax, which a KVM that interprets kernels does not know; hlt
        using TinyGuest guest = new([0xf3, 0x0f, 0xb8, 0xc0, 0xf4]);

        KvmExit exit = guest.Run();

        Skip.If(exit == KvmExit.Hlt, "this KVM runs popcnt in kernel mode");
        exit.Should().Be(KvmExit.InternalError);
        guest.Page.Internal.Suberror.Should().Be(KvmConst.KVM_INTERNAL_ERROR_EMULATION);
        guest.Regs.Rip.Should().Be(TinyGuest.Origin, "the instruction has not been executed");
        byte[] told = guest.Page.FailedInstruction.ToArray();
        (told.Length == 0 || told.AsSpan().StartsWith(new byte[] { 0xf3, 0x0f, 0xb8, 0xc0 })).Should().BeTrue();
        guest.Page.InternalData.Length.Should().BeLessThanOrEqualTo(16);
    }

    [SkippableFact]
    public void Single_step_ends_the_run_after_each_instruction()
    {
        using TinyGuest guest = new([0x90, 0x90, 0xf4]);
        guest.Vcpu.SetGuestDebug(new KvmGuestDebug { Control = KvmConst.KVM_GUESTDBG_ENABLE | KvmConst.KVM_GUESTDBG_SINGLESTEP });

        for (ulong step = 1; step <= 2; step++)
        {
            guest.Run().Should().Be(KvmExit.Debug);
            guest.Page.Debug.Pc.Should().Be(TinyGuest.Origin + step);
            (guest.Page.Debug.Dr6 & 1 << 14).Should().Be(1 << 14, "DR6.BS says single step (SDM vol. 3, 18.2.3)");
        }

        guest.Vcpu.SetGuestDebug(default);
        guest.Run().Should().Be(KvmExit.Hlt);
    }

    [SkippableFact]
    public void A_hardware_breakpoint_ends_the_run_at_its_address()
    {
        using TinyGuest guest = new([0x90, 0x90, 0x90, 0xf4]);
        KvmGuestDebug debug = new() { Control = KvmConst.KVM_GUESTDBG_ENABLE | KvmConst.KVM_GUESTDBG_USE_HW_BP };
        debug.Arch.Debugreg[0] = TinyGuest.Origin + 2;
        debug.Arch.Debugreg[7] = 0x401; // DR7: G0/L0, bit 10 set

        guest.Vcpu.SetGuestDebug(in debug);

        guest.Run().Should().Be(KvmExit.Debug);
        guest.Page.Debug.Pc.Should().Be(TinyGuest.Origin + 2);
        (guest.Page.Debug.Dr6 & 1).Should().Be(1);
    }

    [SkippableFact]
    public void An_immediate_exit_returns_EINTR_without_running_the_guest()
    {
        using TinyGuest guest = new(GuestCode.LoopForEver);
        guest.Page.ImmediateExit = true;

        guest.Vcpu.Run().Should().Be(-Errno.EINTR);

        guest.Page.ImmediateExit.Should().BeTrue();
        guest.Regs.Rip.Should().Be(TinyGuest.Origin);
    }

    [SkippableFact]
    public void An_immediate_exit_completes_the_pending_read_first()
    {
        // in al, 0x60 ; jmp $
        using TinyGuest guest = new([0xe4, 0x60, 0xeb, 0xfe]);
        guest.Run().Should().Be(KvmExit.Io);
        guest.Page.IoData[0] = 0x99;
        guest.Page.ImmediateExit = true;

        guest.Vcpu.Run().Should().Be(-Errno.EINTR);

        guest.Regs.Rax.Should().Be(0x99);
        guest.Regs.Rip.Should().Be(TinyGuest.Origin + 2);
    }

    [SkippableFact]
    public void Ten_thousand_port_writes_allocate_nothing()
    {
        // again: out 0xe9, al ; jmp again
        using TinyGuest guest = new([0xe6, 0xe9, 0xeb, 0xfc]);
        int interrupted = 0;

        Allocation.Of(_ => interrupted = CountPortWrites(guest, 10_000), 1).Should().Be(0);

        interrupted.Should().BeLessThan(1000);
    }

    [SkippableFact]
    public void Reading_and_writing_registers_and_lines_allocates_nothing()
    {
        using TinyGuest guest = new(GuestCode.Hlt, irqchip: true);

        Allocation.Of(_ => TouchRegisters(guest, 1000), 1).Should().Be(0);
    }

    [SkippableFact]
    public void The_statistics_of_a_vcpu_count_its_exits()
    {
        using TinyGuest guest = new([.. GuestCode.Out(1), .. GuestCode.Out(2), .. GuestCode.Hlt]);
        Skip.If(guest.Vm.CheckExtension(KvmCap.KVM_CAP_BINARY_STATS_FD) == 0, "KVM_CAP_BINARY_STATS_FD is missing");
        using KvmStats stats = guest.Vcpu.OpenStats();
        while (guest.Run() != KvmExit.Hlt)
        {
        }

        KvmStat[] counters = stats.Read();

        counters.Select(c => c.Name).Should().Contain("exits").And.OnlyHaveUniqueItems();
        counters.Single(c => c.Name == "exits").Value.Should().BeGreaterThanOrEqualTo(3);
    }

    [SkippableFact]
    public void The_statistics_of_a_vm_have_names()
    {
        using TinyGuest guest = new(GuestCode.Hlt);
        Skip.If(guest.Vm.CheckExtension(KvmCap.KVM_CAP_BINARY_STATS_FD) == 0, "KVM_CAP_BINARY_STATS_FD is missing");
        using KvmStats stats = guest.Vm.OpenStats();

        stats.Read().Should().NotBeEmpty().And.OnlyContain(c => c.Name.Length > 2);
    }

    [SkippableFact]
    public void A_capability_that_cannot_be_switched_on_is_named_in_the_error()
    {
        using TinyGuest guest = new(GuestCode.Hlt);

        FluentActions.Invoking(() => guest.Vm.EnableCap(KvmCap.KVM_CAP_USER_MEMORY))
            .Should().Throw<KvmException>().WithMessage("KVM_ENABLE_CAP(KVM_CAP_USER_MEMORY) failed: EINVAL*");
        FluentActions.Invoking(() => guest.Vcpu.EnableCap(KvmCap.KVM_CAP_USER_MEMORY)).Should().Throw<KvmException>();
        FluentActions.Invoking(() => guest.Vm.EnableCap(KvmCap.KVM_CAP_USER_MEMORY, 1, 2, 3, 4, 5)).Should().Throw<ArgumentOutOfRangeException>();
    }

    [SkippableFact]
    public void An_unknown_device_cannot_be_made()
    {
        using TinyGuest guest = new(GuestCode.Hlt);

        guest.Vm.CanCreateDevice(9999).Should().BeFalse();
        FluentActions.Invoking(() => guest.Vm.CreateDevice(9999)).Should().Throw<KvmException>().Which.Errno.Should().Be(Errno.ENODEV);
    }

    [SkippableFact]
    public void A_vfio_device_can_be_made_where_the_kernel_has_it()
    {
        using TinyGuest guest = new(GuestCode.Hlt);
        Skip.IfNot(guest.Vm.CanCreateDevice(KvmConst.KVM_DEV_TYPE_VFIO), "this KVM has no VFIO device");

        using KvmDevice device = guest.Vm.CreateDevice(KvmConst.KVM_DEV_TYPE_VFIO);

        device.HasAttribute(KvmConst.KVM_DEV_VFIO_GROUP, KvmConst.KVM_DEV_VFIO_GROUP_ADD).Should().BeTrue();
        device.HasAttribute(77, 77).Should().BeFalse();
    }

    /// <summary>Runs until so many port writes were seen; returns the number of runs that a signal of the runtime cut short.</summary>
    private static int CountPortWrites(TinyGuest guest, int writes)
    {
        int interrupted = 0;
        while (writes > 0)
        {
            int result = guest.Vcpu.Run();
            if (result == -Errno.EINTR)
            {
                interrupted++;
            }
            else if (result == 0 && guest.Page.ExitReason == KvmExit.Io && guest.Page.IoData.Length == 1)
            {
                writes--;
            }
            else
            {
                return int.MaxValue;
            }
        }

        return interrupted;
    }

    private static void TouchRegisters(TinyGuest guest, int times)
    {
        while (times-- > 0)
        {
            guest.Vcpu.GetRegs(out KvmRegs regs);
            guest.Vcpu.SetRegs(in regs);
            guest.Vcpu.GetSregs(out KvmSregs sregs);
            guest.Vcpu.SetSregs(in sregs);
            guest.Vcpu.GetVcpuEvents(out KvmVcpuEvents events);
            guest.Vcpu.SetVcpuEvents(in events);
            guest.Vm.IrqLine(4, true);
            guest.Vm.IrqLine(4, false);
            guest.Vm.SignalMsi(0xfee00000, 0x30);
            guest.Vcpu.TryGetMsr(0x174, out _);
        }
    }
}
