namespace Kvm.Interop.Tests.Kvm;

/// <summary>A guest's whole state, read through every call and set in another VM, goes on where it was.</summary>
public sealed class MoveTests
{
    /// <summary>again: inc ax ; out 0xe9, al ; jmp again.</summary>
    private static readonly byte[] Counter = [0x40, 0xe6, 0xe9, 0xeb, 0xfb];

    [SkippableFact]
    public void A_counting_guest_goes_on_in_another_vm_without_losing_or_repeating_a_number()
    {
        using TinyGuest source = Create();
        byte last = 0;
        for (int i = 0; i < 25; i++)
        {
            last = source.RunToOut(0xe9);
        }

        last.Should().Be(25);
        using TinyGuest target = Create();
        CopyVcpu(source, target);
        CopyMachine(source, target);
        source.Memory.Span.CopyTo(target.Memory.Span);

        target.RunToOut(0xe9).Should().Be(26);
        target.RunToOut(0xe9).Should().Be(27);
    }

    [SkippableFact]
    public void A_write_that_was_not_completed_is_repeated_and_one_that_was_is_not()
    {
        using TinyGuest guest = Create();
        guest.RunToOut(0xe9).Should().Be(1);
        guest.Page.ImmediateExit = true;
        guest.Vcpu.Run().Should().Be(-Errno.EINTR);
        guest.Page.ImmediateExit = false;

        // The write is complete now: the instruction pointer is behind it.
        guest.Regs.Rip.Should().Be(TinyGuest.Origin + 3);
        guest.RunToOut(0xe9).Should().Be(2);
    }

    private static TinyGuest Create() => new(Counter, irqchip: true, beforeVcpu: vm => vm.CreatePit2());

    private static void CopyVcpu(TinyGuest source, TinyGuest target)
    {
        // What KVM still owes the guest for its last exit is completed first (api.rst, KVM_RUN).
        source.Page.ImmediateExit = true;
        source.Vcpu.Run().Should().Be(-Errno.EINTR);
        KvmVcpu from = source.Vcpu;
        KvmVcpu to = target.Vcpu;

        to.SetCpuid2(source.System.GetSupportedCpuid());
        from.GetSregs(out KvmSregs sregs);
        to.SetSregs(in sregs);
        from.GetRegs(out KvmRegs regs);
        to.SetRegs(in regs);
        byte[] xsave = new byte[from.XsaveSize];
        from.GetXsave(xsave);
        to.SetXsave(xsave);
        from.GetXcrs(out KvmXcrs xcrs);
        to.SetXcrs(in xcrs);
        from.GetDebugRegs(out KvmDebugregs debug);
        to.SetDebugRegs(in debug);
        from.GetLapic(out KvmLapicState lapic);
        to.SetLapic(in lapic);
        foreach (uint index in source.System.GetMsrIndexList())
        {
            if (from.TryGetMsr(index, out ulong value))
            {
                to.TrySetMsr(index, value);
            }
        }

        to.SetMpState(from.GetMpState());
        from.GetVcpuEvents(out KvmVcpuEvents events);
        to.SetVcpuEvents(in events);
    }

    private static void CopyMachine(TinyGuest source, TinyGuest target)
    {
        foreach (KvmIrqchipId chip in Enum.GetValues<KvmIrqchipId>())
        {
            source.Vm.GetIrqchip(chip, out KvmIrqchip state);
            target.Vm.SetIrqchip(in state);
        }

        KvmPitState2 pit = source.Vm.GetPit2();
        target.Vm.SetPit2(in pit);
        target.Vm.SetClock(new KvmClockData { Clock = source.Vm.GetClock().Clock });
    }
}
