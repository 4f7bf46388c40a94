namespace Kvm.Interop.Tests.Kvm;

/// <summary>What is set comes back; what the guest did shows.</summary>
public sealed class VcpuStateTests
{
    [SkippableFact]
    public void General_registers_come_back_as_they_were_set()
    {
        using TinyGuest guest = new(GuestCode.Hlt);
        KvmRegs regs = new()
        {
            Rax = 1,
            Rbx = 2,
            Rcx = 3,
            Rdx = 4,
            Rsi = 5,
            Rdi = 6,
            Rsp = 7,
            Rbp = 8,
            R8 = 9,
            R9 = 10,
            R10 = 11,
            R11 = 12,
            R12 = 13,
            R13 = 14,
            R14 = 15,
            R15 = ulong.MaxValue,
            Rip = 0x1000,
            Rflags = 0x202,
        };

        guest.Vcpu.SetRegs(in regs);

        guest.Regs.Should().BeEquivalentTo(regs, options => options.ComparingByMembers<KvmRegs>());
    }

    [SkippableFact]
    public void The_guests_work_shows_in_the_registers()
    {
        // mov ax, 0x1234 ; add ax, 0x1111 ; hlt
        using TinyGuest guest = new([0xb8, 0x34, 0x12, 0x05, 0x11, 0x11, 0xf4]);

        guest.Run().Should().Be(KvmExit.Hlt);

        guest.Regs.Rax.Should().Be(0x2345);
        guest.Regs.Rip.Should().Be(TinyGuest.Origin + 7);
    }

    [SkippableFact]
    public void Special_registers_come_back_as_they_were_set()
    {
        using TinyGuest guest = new(GuestCode.Hlt);
        guest.Vcpu.GetSregs(out KvmSregs sregs);
        sregs.Ds = sregs.Ds with { Base = 0x12340, Selector = 0x1234 };
        sregs.Gdt = new KvmDtable { Base = 0x5000, Limit = 0x27 };
        sregs.Cr2 = 0xdeadbeef;

        guest.Vcpu.SetSregs(in sregs);

        guest.Vcpu.GetSregs(out KvmSregs again);
        again.Ds.Base.Should().Be(0x12340);
        again.Ds.Selector.Should().Be(0x1234);
        again.Gdt.Base.Should().Be(0x5000);
        again.Gdt.Limit.Should().Be(0x27);
        again.Cr2.Should().Be(0xdeadbeef);
    }

    [SkippableFact]
    public void Contradicting_control_registers_are_refused_by_number_and_by_exception()
    {
        using TinyGuest guest = new(GuestCode.Hlt);
        guest.Vcpu.GetSregs(out KvmSregs sregs);
        sregs.Cr4 = ulong.MaxValue;

        guest.Vcpu.TrySetSregs(in sregs).Should().Be(-Errno.EINVAL);
        FluentActions.Invoking(() => guest.Vcpu.SetSregs(in sregs)).Should().Throw<KvmException>().Which.Call.Should().Be("KVM_SET_SREGS");
    }

    [SkippableFact]
    public void The_second_form_of_special_registers_agrees_with_the_first()
    {
        using TinyGuest guest = new(GuestCode.Hlt);
        Skip.If(guest.System.CheckExtension(KvmCap.KVM_CAP_SREGS2) == 0, "KVM_CAP_SREGS2 is missing");

        guest.Vcpu.GetSregs2(out KvmSregs2 two);
        two.Cr2 = 0x4242;
        guest.Vcpu.SetSregs2(in two);

        guest.Vcpu.GetSregs(out KvmSregs one);
        one.Cr2.Should().Be(0x4242);
        one.Cs.Base.Should().Be(two.Cs.Base);
        one.Efer.Should().Be(two.Efer);
    }

    [SkippableFact]
    public void Floating_point_state_comes_back_as_it_was_set()
    {
        using TinyGuest guest = new(GuestCode.Hlt);
        guest.Vcpu.GetFpu(out KvmFpu fpu);
        fpu.Fcw = 0x27f;
        fpu.Xmm[16] = 0xab; // lowest byte of XMM1
        fpu.Mxcsr = 0x1f80;

        guest.Vcpu.SetFpu(in fpu);

        guest.Vcpu.GetFpu(out KvmFpu again);
        again.Fcw.Should().Be(0x27f);
        again.Xmm[16].Should().Be(0xab);
    }

    [SkippableFact]
    public void The_xsave_area_comes_back_as_it_was_set()
    {
        using TinyGuest guest = new(GuestCode.Hlt);
        byte[] area = new byte[guest.Vcpu.XsaveSize];
        guest.Vcpu.GetXsave(area);
        area[160 + 16] = 0xcd; // XMM1 in the legacy region (SDM vol. 1, table 10-2)
        area[512] |= 2; // XSTATE_BV: SSE state is there

        guest.Vcpu.SetXsave(area);

        byte[] again = new byte[guest.Vcpu.XsaveSize];
        guest.Vcpu.GetXsave(again);
        again[160 + 16].Should().Be(0xcd);
        guest.Vcpu.XsaveSize.Should().BeGreaterThanOrEqualTo(4096);
    }

    [SkippableFact]
    public void An_xsave_area_too_small_is_refused_here()
    {
        using TinyGuest guest = new(GuestCode.Hlt);

        FluentActions.Invoking(() => guest.Vcpu.GetXsave(new byte[4095])).Should().Throw<ArgumentOutOfRangeException>();
        FluentActions.Invoking(() => guest.Vcpu.SetXsave(new byte[4095])).Should().Throw<ArgumentOutOfRangeException>();
    }

    [SkippableFact]
    public void Xcr0_can_be_read_and_set()
    {
        using TinyGuest guest = new(GuestCode.Hlt);
        Skip.If(guest.System.CheckExtension(KvmCap.KVM_CAP_XCRS) == 0, "KVM_CAP_XCRS is missing");

        guest.Vcpu.GetXcrs(out KvmXcrs xcrs);

        xcrs.NrXcrs.Should().Be(1);
        xcrs.Xcrs[0].Xcr.Should().Be(0);
        (xcrs.Xcrs[0].Value & 1).Should().Be(1, "x87 state is always on (SDM vol. 1, 13.3)");
        guest.Vcpu.SetXcrs(in xcrs);
    }

    [SkippableFact]
    public void A_queued_exception_comes_back_and_is_taken_by_the_guest()
    {
        using TinyGuest guest = new([0x90, 0x90, 0xf4]);
        byte[] handler = [.. GuestCode.Out((byte)'U'), 0xf4];
        handler.CopyTo(guest.Memory.Span[0x2000..]);
        guest.Memory.Span[(6 * 4) + 1] = 0x20;
        guest.Vcpu.GetVcpuEvents(out KvmVcpuEvents events);
        events.Exception.Injected = 1;
        events.Exception.Nr = 6; // #UD

        guest.Vcpu.SetVcpuEvents(in events);

        guest.Vcpu.GetVcpuEvents(out KvmVcpuEvents again);
        again.Exception.Nr.Should().Be(6);
        guest.RunToOut(0xe9).Should().Be((byte)'U');
    }

    [SkippableFact]
    public void A_halted_vcpu_can_be_made_runnable()
    {
        using TinyGuest guest = new(GuestCode.Hlt, irqchip: true);
        guest.Vcpu.GetMpState().Should().Be(KvmMpStateValue.Runnable);

        guest.Vcpu.SetMpState(KvmMpStateValue.Halted);
        guest.Vcpu.GetMpState().Should().Be(KvmMpStateValue.Halted);
        guest.Vcpu.SetMpState(KvmMpStateValue.Runnable);

        guest.Vcpu.GetMpState().Should().Be(KvmMpStateValue.Runnable);
    }

    [SkippableFact]
    public void A_second_vcpu_waits_for_its_init()
    {
        using TinyGuest guest = new(GuestCode.Hlt, irqchip: true);
        using KvmVcpu second = guest.Vm.CreateVcpu(1);

        second.Id.Should().Be(1);
        second.GetMpState().Should().Be(KvmMpStateValue.Uninitialized);
    }

    [SkippableFact]
    public void Two_vcpus_of_one_number_are_refused()
    {
        using TinyGuest guest = new(GuestCode.Hlt);

        FluentActions.Invoking(() => guest.Vm.CreateVcpu(0)).Should().Throw<KvmException>().Which.Errno.Should().Be(Errno.EEXIST);
    }

    [SkippableFact]
    public void The_bootstrap_processor_can_be_chosen()
    {
        using KvmSystem system = RealKvm.Open();
        using KvmVm vm = system.CreateVm();
        Skip.If(vm.CheckExtension(KvmCap.KVM_CAP_SET_BOOT_CPU_ID) == 0, "KVM_CAP_SET_BOOT_CPU_ID is missing");
        vm.CreateIrqChip();

        vm.SetBootCpuId(1);

        using KvmVcpu zero = vm.CreateVcpu(0);
        using KvmVcpu one = vm.CreateVcpu(1);
        one.GetMpState().Should().Be(KvmMpStateValue.Runnable);
        zero.GetMpState().Should().Be(KvmMpStateValue.Uninitialized);
    }

    [SkippableFact]
    public void Debug_registers_come_back_as_they_were_set()
    {
        using TinyGuest guest = new(GuestCode.Hlt);
        guest.Vcpu.GetDebugRegs(out KvmDebugregs registers);
        registers.Db[0] = 0x1000;
        registers.Dr7 = 0x400;

        guest.Vcpu.SetDebugRegs(in registers);

        guest.Vcpu.GetDebugRegs(out KvmDebugregs again);
        again.Db[0].Should().Be(0x1000);
    }

    [SkippableFact]
    public void The_local_apics_identifier_is_the_vcpus_number()
    {
        using TinyGuest guest = new(GuestCode.Hlt, irqchip: true);
        using KvmVcpu second = guest.Vm.CreateVcpu(3);

        second.GetLapic(out KvmLapicState state);

        state.Regs[0x23].Should().Be(3); // register 0x20, bits 31–24 (SDM vol. 3, 11.4.6)
    }

    [SkippableFact]
    public void The_cpuid_set_comes_back_and_reaches_the_guest()
    {
        // mov eax, 0x40000000 ; cpuid ; hlt — with operand-size prefix for the 32-bit move
        using TinyGuest guest = new([0x66, 0xb8, 0x00, 0x00, 0x00, 0x40, 0x0f, 0xa2, 0xf4]);
        KvmCpuidEntry2[] leaves = guest.System.GetSupportedCpuid();
        int signature = Array.FindIndex(leaves, leaf => leaf.Function == 0x40000000);
        leaves[signature].Ebx = 0x12345678;

        guest.Vcpu.SetCpuid2(leaves);

        guest.Vcpu.GetCpuid2().Should().Contain(leaf => leaf.Function == 0x40000000 && leaf.Ebx == 0x12345678);
        guest.Run().Should().Be(KvmExit.Hlt);
        guest.Regs.Rbx.Should().Be(0x12345678);
    }

    [SkippableFact]
    public void Far_too_many_cpuid_leaves_are_refused()
    {
        using TinyGuest guest = new(GuestCode.Hlt);

        FluentActions.Invoking(() => guest.Vcpu.SetCpuid2(new KvmCpuidEntry2[2000])).Should().Throw<KvmException>().Which.Errno.Should().Be(Errno.E2BIG);
        FluentActions.Invoking(() => guest.Vcpu.SetCpuid2(new KvmCpuidEntry2[100_000])).Should().Throw<ArgumentOutOfRangeException>();
    }

    [SkippableFact]
    public void Without_paging_an_address_translates_to_itself()
    {
        using TinyGuest guest = new(GuestCode.Hlt);

        KvmTranslation translation = guest.Vcpu.Translate(0x3456);

        translation.Valid.Should().Be(1);
        translation.PhysicalAddress.Should().Be(0x3456);
    }

    [SkippableFact]
    public void The_tsc_frequency_can_be_read_and_set_to_itself()
    {
        using TinyGuest guest = new(GuestCode.Hlt);

        int kilohertz = guest.Vcpu.GetTscKhz();

        kilohertz.Should().BeGreaterThan(100_000);
        guest.Vcpu.SetTscKhz((uint)kilohertz).Should().Be(0);
    }

    [SkippableFact]
    public void The_tsc_offset_comes_back_as_it_was_set()
    {
        using TinyGuest guest = new(GuestCode.Hlt);
        Skip.IfNot(guest.Vcpu.HasTscOffset, "the vCPU has no TSC offset attribute");

        guest.Vcpu.SetTscOffset(0xffff_0000_0000_0000);

        Skip.If(!RealKvm.HasHardware && guest.Vcpu.GetTscOffset() == 0, "this KVM accepts a TSC offset and ignores it");
        guest.Vcpu.GetTscOffset().Should().Be(0xffff_0000_0000_0000);
    }

    [SkippableFact]
    public void The_paused_clock_of_a_guest_that_has_none_is_an_error_by_number()
    {
        using TinyGuest guest = new(GuestCode.Hlt);
        Skip.If(guest.System.CheckExtension(KvmCap.KVM_CAP_KVMCLOCK_CTRL) == 0, "KVM_CAP_KVMCLOCK_CTRL is missing");

        guest.Vcpu.KvmclockCtrl().Should().Be(-Errno.EINVAL);
    }

    [SkippableFact]
    public void The_vms_clock_goes_on_from_where_it_was_set()
    {
        using TinyGuest guest = new(GuestCode.Hlt);
        Skip.If(guest.System.CheckExtension(KvmCap.KVM_CAP_ADJUST_CLOCK) == 0, "KVM_CAP_ADJUST_CLOCK is missing");
        const ulong anHour = 3_600_000_000_000;

        guest.Vm.SetClock(new KvmClockData { Clock = anHour });

        guest.Vm.GetClock().Clock.Should().BeInRange(anHour, anHour + (anHour / 2));
    }

    [SkippableFact]
    public void Machine_check_banks_can_be_set_up_within_what_is_supported()
    {
        using TinyGuest guest = new(GuestCode.Hlt);
        Skip.If(guest.System.CheckExtension(KvmCap.KVM_CAP_MCE) == 0, "KVM_CAP_MCE is missing");
        ulong supported = guest.System.GetMceCapSupported();

        guest.Vcpu.SetupMce((supported & ~0xffUL) | 4);

        guest.Vcpu.TryGetMsr(0x179, out ulong mcgCap).Should().BeTrue(); // IA32_MCG_CAP
        (mcgCap & 0xff).Should().Be(4);
    }

    [SkippableFact]
    public void Registers_exchanged_through_the_run_page_are_those_of_the_guest()
    {
        using TinyGuest guest = new([0x40, 0xf4]); // inc ax ; hlt
        ulong supported = (ulong)guest.Vm.CheckExtension(KvmCap.KVM_CAP_SYNC_REGS);
        Skip.If((supported & KvmConst.KVM_SYNC_X86_REGS) == 0, "KVM_CAP_SYNC_REGS is missing");
        guest.Page.SyncRegs.Regs = guest.Regs with { Rax = 41 };
        guest.Page.KvmDirtyRegs = KvmConst.KVM_SYNC_X86_REGS;
        guest.Page.KvmValidRegs = KvmConst.KVM_SYNC_X86_REGS;

        guest.Run().Should().Be(KvmExit.Hlt);

        guest.Page.SyncRegs.Regs.Rax.Should().Be(42);
    }
}
