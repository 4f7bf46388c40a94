namespace Kvm.Interop.Tests.Kvm;

public sealed class InterruptTests
{
    private const byte Vector = 0x24; // line 4 of a PIC whose vectors start at 0x20
    private const ushort Handler = 0x2000;

    private static TinyGuest CreateWaitingGuest(bool pit = false)
    {
        TinyGuest guest = new([], irqchip: true, beforeVcpu: pit ? vm => vm.CreatePit2() : null);
        GuestCode.InstallInterruptGuest(guest.Memory.Span, Vector, Handler);
        guest.RunToOut(0xe9).Should().Be((byte)'R');
        return guest;
    }

    [SkippableFact]
    public void Raising_a_line_runs_the_guests_handler()
    {
        using TinyGuest guest = CreateWaitingGuest();

        guest.Vm.IrqLine(4, true).Should().Be(0);
        guest.Vm.IrqLine(4, false).Should().Be(0);

        guest.RunToOut(0xe9).Should().Be((byte)'I');
    }

    [SkippableFact]
    public void The_status_of_a_raised_line_says_delivered_then_merged()
    {
        using TinyGuest guest = CreateWaitingGuest();
        Skip.If(guest.Vm.CheckExtension(KvmCap.KVM_CAP_IRQ_INJECT_STATUS) == 0, "KVM_CAP_IRQ_INJECT_STATUS is missing");

        guest.Vm.IrqLineStatus(4, true).Should().BeGreaterThan(0);
        guest.Vm.IrqLineStatus(4, false);

        guest.Vm.IrqLineStatus(4, true).Should().Be(0, "the guest has not taken the first one yet");
    }

    [SkippableFact]
    public void An_eventfd_bound_to_a_line_runs_the_guests_handler()
    {
        using TinyGuest guest = CreateWaitingGuest();
        using EventFd irq = new();
        guest.Vm.Irqfd(irq, 4);

        irq.Signal();

        guest.RunToOut(0xe9).Should().Be((byte)'I');
        guest.Vm.IrqfdRemove(irq, 4);
    }

    [SkippableFact]
    public void An_eventfd_can_be_bound_only_once()
    {
        using TinyGuest guest = CreateWaitingGuest();
        using EventFd irq = new();
        guest.Vm.Irqfd(irq, 4);

        FluentActions.Invoking(() => guest.Vm.Irqfd(irq, 5)).Should().Throw<KvmException>().Which.Errno.Should().Be(Errno.EBUSY);
    }

    [SkippableFact]
    public void A_routing_table_moves_a_line_to_another_pin()
    {
        using TinyGuest guest = CreateWaitingGuest();

        guest.Vm.SetGsiRouting([KvmIrqRoutingEntry.ToPin(20, KvmIrqchipId.PicMaster, 4)]);
        guest.Vm.IrqLine(20, true).Should().Be(0);

        guest.RunToOut(0xe9).Should().Be((byte)'I');
    }

    [SkippableFact]
    public void A_message_to_a_disabled_local_apic_is_blocked_and_without_irqchip_it_is_an_error()
    {
        using TinyGuest with = CreateWaitingGuest();
        using TinyGuest without = new(GuestCode.Hlt);

        // Spurious-vector register bit 8 is clear after reset: the APIC is software-disabled and takes no fixed interrupt.
        with.Vm.SignalMsi(0xfee00000, 0x30).Should().BeLessThanOrEqualTo(0);
        without.Vm.SignalMsi(0xfee00000, 0x30).Should().BeLessThan(0);
    }

    [SkippableFact]
    public void A_message_to_an_enabled_local_apic_runs_the_guests_handler()
    {
        using TinyGuest guest = CreateWaitingGuest();
        guest.Vcpu.GetLapic(out KvmLapicState lapic);
        lapic.Regs[0xf1] |= 1; // SVR bit 8
        guest.Vcpu.SetLapic(in lapic);

        guest.Vm.SignalMsi(0xfee00000, Vector).Should().BeGreaterThan(0);

        guest.RunToOut(0xe9).Should().Be((byte)'I');
    }

    [SkippableFact]
    public void An_eventfd_routed_to_a_message_runs_the_guests_handler()
    {
        using TinyGuest guest = CreateWaitingGuest();
        using EventFd irq = new();
        guest.Vcpu.GetLapic(out KvmLapicState lapic);
        lapic.Regs[0xf1] |= 1;
        guest.Vcpu.SetLapic(in lapic);
        guest.Vm.SetGsiRouting([KvmIrqRoutingEntry.ToMsi(24, 0xfee00000, Vector)]);
        guest.Vm.Irqfd(irq, 24);

        irq.Signal();

        guest.RunToOut(0xe9).Should().Be((byte)'I');
    }

    [SkippableFact]
    public void A_resampling_eventfd_tells_when_the_guest_acknowledges()
    {
        using TinyGuest guest = CreateWaitingGuest();
        // This handler also says 'E' once it ended the interrupt.
        byte[] handler = [.. GuestCode.Out((byte)'I'), .. GuestCode.Out(0x20, 0x20), .. GuestCode.Out((byte)'E'), 0xcf];
        handler.CopyTo(guest.Memory.Span[Handler..]);
        Skip.If(guest.Vm.CheckExtension(KvmCap.KVM_CAP_IRQFD_RESAMPLE) == 0, "KVM_CAP_IRQFD_RESAMPLE is missing");
        using EventFd irq = new();
        using EventFd resample = new();
        guest.Vm.Irqfd(irq, 4, resample);

        for (int round = 0; round < 3; round++)
        {
            irq.Signal();
            guest.RunToOut(0xe9).Should().Be((byte)'I');
            resample.Drain().Should().Be(0, "the handler has not ended the interrupt yet");
            guest.RunToOut(0xe9).Should().Be((byte)'E');
            resample.Drain().Should().Be(1);
        }
    }

    [SkippableFact]
    public void An_interrupt_queued_by_hand_runs_the_handler_without_irqchip()
    {
        // sti ; nop ; out 'R' ; hlt — the handler at 0x2000 says 'I'.
        using TinyGuest guest = new([0xfb, 0x90, .. GuestCode.Out((byte)'R'), 0xf4]);
        byte[] isr = [.. GuestCode.Out((byte)'I'), 0xf4];
        isr.CopyTo(guest.Memory.Span[Handler..]);
        guest.Memory.Span[(Vector * 4) + 1] = Handler >> 8;
        guest.RunToOut(0xe9).Should().Be((byte)'R');
        guest.Page.IfFlag.Should().BeTrue();
        guest.Page.ReadyForInterruptInjection.Should().BeTrue();

        guest.Vcpu.Interrupt(Vector).Should().Be(0);

        guest.RunToOut(0xe9).Should().Be((byte)'I');
    }

    [SkippableFact]
    public void Asking_for_an_interrupt_window_ends_the_run_when_the_guest_enables_interrupts()
    {
        // out 'R' ; sti ; jmp $ — a loop, for a KVM that interprets looks for windows only now and then.
        using TinyGuest guest = new([.. GuestCode.Out((byte)'R'), 0xfb, .. GuestCode.LoopForEver]);
        guest.RunToOut(0xe9);
        guest.Page.IfFlag.Should().BeFalse();

        guest.Page.RequestInterruptWindow = true;

        guest.Run().Should().Be(KvmExit.IrqWindowOpen);
        guest.Page.IfFlag.Should().BeTrue();
    }

    [SkippableFact]
    public void A_non_maskable_interrupt_takes_vector_2()
    {
        using TinyGuest guest = new([.. GuestCode.Out((byte)'R'), 0x90, 0x90, 0xf4]);
        byte[] isr = [.. GuestCode.Out((byte)'N'), 0xf4];
        isr.CopyTo(guest.Memory.Span[Handler..]);
        guest.Memory.Span[(2 * 4) + 1] = Handler >> 8;
        guest.RunToOut(0xe9).Should().Be((byte)'R');

        guest.Vcpu.Nmi();

        guest.RunToOut(0xe9).Should().Be((byte)'N');
    }

    [SkippableTheory]
    [InlineData(KvmIrqchipId.PicMaster)]
    [InlineData(KvmIrqchipId.PicSlave)]
    [InlineData(KvmIrqchipId.Ioapic)]
    public void A_chips_state_comes_back_as_it_was_set(KvmIrqchipId chip)
    {
        using TinyGuest guest = CreateWaitingGuest();
        guest.Vm.GetIrqchip(chip, out KvmIrqchip state);
        if (chip == KvmIrqchipId.Ioapic)
        {
            state.Chip.Ioapic.BaseAddress.Should().Be(0xfec00000);
            state.Chip.Ioapic.Redirtbl[7] = 0x1_0000 | 0x55; // masked, vector 0x55
        }
        else
        {
            state.Chip.Pic.Imr = 0xa5;
        }

        guest.Vm.SetIrqchip(in state);
        guest.Vm.GetIrqchip(chip, out KvmIrqchip again);

        if (chip == KvmIrqchipId.Ioapic)
        {
            again.Chip.Ioapic.Redirtbl[7].Should().Be(0x1_0055);
        }
        else
        {
            again.Chip.Pic.Imr.Should().Be(0xa5);
        }
    }

    [SkippableFact]
    public void The_masters_vectors_start_where_the_guest_put_them()
    {
        using TinyGuest guest = CreateWaitingGuest();

        guest.Vm.GetIrqchip(KvmIrqchipId.PicMaster, out KvmIrqchip state);

        state.Chip.Pic.IrqBase.Should().Be(0x20);
        state.Chip.Pic.Imr.Should().Be(0);
    }

    [SkippableFact]
    public void The_timers_state_comes_back_as_it_was_set()
    {
        using TinyGuest guest = CreateWaitingGuest(pit: true);
        KvmPitState2 state = guest.Vm.GetPit2();
        state.Channels[2].Count = 0x1234;
        state.Channels[2].Mode = 3;

        guest.Vm.SetPit2(in state);

        KvmPitState2 again = guest.Vm.GetPit2();
        again.Channels[2].Count.Should().Be(0x1234);
        again.Channels[2].Mode.Should().Be(3);
        guest.Vm.ReinjectControl(reinject: false);
        guest.Vm.ReinjectControl(reinject: true);
    }

    [SkippableFact]
    public void A_timer_without_interrupt_chips_is_refused_with_the_reason()
    {
        using KvmSystem system = RealKvm.Open();
        using KvmVm vm = system.CreateVm();

        FluentActions.Invoking(() => vm.CreatePit2()).Should().Throw<KvmException>().WithMessage("KVM_CREATE_PIT2 failed: *chips first*");
    }

    [SkippableFact]
    public void Interrupt_chips_cannot_be_made_twice()
    {
        using KvmSystem system = RealKvm.Open();
        using KvmVm vm = system.CreateVm();
        vm.CreateIrqChip();

        FluentActions.Invoking(vm.CreateIrqChip).Should().Throw<KvmException>().Which.Errno.Should().Be(Errno.EEXIST);
    }
}
