namespace Kvm.Interop.Tests.Kvm;

/// <summary>Several vCPUs, several VMs, and the switches of a VM.</summary>
public sealed class MachineTests
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(20);

    [SkippableFact]
    public async Task An_application_processor_starts_by_init_and_sipi()
    {
        // The boot processor, 32-bit: enables its APIC, then INIT and SIPI with vector 8 to APIC 1 through the interrupt command register (SDM vol. 3, 11.6.1).
        byte[] boot =
        [
            0xc7, 0x05, 0xf0, 0x00, 0xe0, 0xfe, 0xff, 0x01, 0x00, 0x00, // mov dword [0xfee000f0], enabled, spurious vector 0xff
            0xc7, 0x05, 0x10, 0x03, 0xe0, 0xfe, 0x00, 0x00, 0x00, 0x01, // mov dword [0xfee00310], 1 << 24
            0xc7, 0x05, 0x00, 0x03, 0xe0, 0xfe, 0x00, 0x45, 0x00, 0x00, // mov dword [0xfee00300], INIT
            0xc7, 0x05, 0x00, 0x03, 0xe0, 0xfe, 0x08, 0x46, 0x00, 0x00, // mov dword [0xfee00300], SIPI 8
            .. GuestCode.Out((byte)'B'),
        ];
        using TinyGuest guest = new(boot, irqchip: true);
        GuestCode.Out((byte)'A').CopyTo(guest.Memory.Span[0x8000..]);
        guest.EnterFlatMode();
        using KvmVcpu second = guest.Vm.CreateVcpu(1);
        Task<(int Result, KvmExit Exit, byte Said)> other = StartOnThread(() =>
        {
            int result;
            do
            {
                result = second.Run();
            }
            while (result is -Errno.EINTR or -Errno.EAGAIN);
            return (result, second.RunPage.ExitReason, second.RunPage.IoData.Length == 1 ? second.RunPage.IoData[0] : (byte)0);
        });

        guest.RunToOut(0xe9).Should().Be((byte)'B');

        (await other.WaitAsync(Limit)).Should().Be((0, KvmExit.Io, (byte)'A'));
        second.GetSregs(out KvmSregs sregs);
        sregs.Cs.Base.Should().Be(0x8000);
    }

    [SkippableFact]
    public async Task Eight_machines_at_once_do_not_disturb_each_other()
    {
        using (RealKvm.Open())
        {
        }

        Task<byte[]>[] machines = [.. Enumerable.Range(0, 8).Select(i => StartOnThread(() =>
        {
            using TinyGuest guest = new([.. GuestCode.Out((byte)i), .. GuestCode.Out((byte)(i + 100)), .. GuestCode.Hlt]);
            return (byte[])[guest.RunToOut(0xe9), guest.RunToOut(0xe9)];
        }))];

        byte[][] said = await Task.WhenAll(machines).WaitAsync(Limit);

        said.Should().BeEquivalentTo(Enumerable.Range(0, 8).Select(i => new[] { (byte)i, (byte)(i + 100) }), options => options.WithStrictOrdering());
    }

    [SkippableFact]
    public async Task Collections_during_runs_neither_stop_nor_fail_them()
    {
        using KvmSystem system = RealKvm.Open();
        const int Collections = 200;
        int done = 0, collected = 0;
        Task<int> runs = StartOnThread(() =>
        {
            using TinyGuest guest = new([0xe6, 0xe9, 0xeb, 0xfc]);
            int others = 0;
            while (Volatile.Read(ref collected) < Collections)
            {
                others += guest.Run() == KvmExit.Io ? 0 : 1;
                Interlocked.Increment(ref done);
            }

            return others;
        });

        for (int before = 0; collected < Collections && !runs.IsCompleted; before = Volatile.Read(ref done))
        {
            GC.Collect();
            // The next collection comes when the guest has run again: it is to be disturbed, not starved.
            SpinWait.SpinUntil(() => Volatile.Read(ref done) > before || runs.IsCompleted);
            Volatile.Write(ref collected, collected + 1);
        }

        (await runs).Should().Be(0, "each run ends at the port, whatever the collector does meanwhile");
        done.Should().BeGreaterThanOrEqualTo(Collections);
    }

    [SkippableFact]
    public void Shared_memory_of_a_guest_shows_in_another_mapping()
    {
        using TinyGuest guest = new([.. GuestCode.DataSegment(0xf000), .. GuestCode.Store(0x0123, 0x9c), .. GuestCode.Hlt]);
        using HostMapping shared = HostMapping.Shared(0x1000, "guest-test");
        using MappingHandle other = MappingHandle.Map(0x1000, Libc.PROT_READ, Libc.MAP_SHARED, shared.File!.Fd, 0, "test");
        guest.Vm.SetUserMemoryRegion(1, 0xf0000, 0x1000, shared.Address);

        guest.Run().Should().Be(KvmExit.Hlt);

        unsafe
        {
            ((byte*)other.Address)[0x123].Should().Be(0x9c);
        }
    }

    [SkippableFact]
    public void A_split_interrupt_chip_has_local_apics_and_no_others()
    {
        using TinyGuest guest = new(
            GuestCode.Hlt,
            beforeVcpu: vm =>
            {
                Skip.If(vm.CheckExtension(KvmCap.KVM_CAP_SPLIT_IRQCHIP) == 0, "KVM_CAP_SPLIT_IRQCHIP is missing");
                vm.EnableCap(KvmCap.KVM_CAP_SPLIT_IRQCHIP, 24);
            });

        guest.Vcpu.GetLapic(out KvmLapicState lapic);

        lapic.Regs[0x30].Should().NotBe(0, "the version register is never zero");
        FluentActions.Invoking(() => guest.Vm.GetIrqchip(KvmIrqchipId.Ioapic, out _)).Should().Throw<KvmException>().Which.Errno.Should().Be(Errno.ENXIO);
    }

    [SkippableFact]
    public void The_task_priority_reports_and_the_apic_page_are_accepted_with_irqchip()
    {
        using TinyGuest guest = new(GuestCode.Hlt, irqchip: true);
        Skip.If(guest.System.CheckExtension(KvmCap.KVM_CAP_VAPIC) == 0, "KVM_CAP_VAPIC is missing");

        guest.Vcpu.TprAccessReporting(enabled: true);
        guest.Vcpu.TprAccessReporting(enabled: false);
        guest.Vcpu.SetVapicAddr(0x3000);

        FluentActions.Invoking(() => guest.Vcpu.SetVapicAddr(1)).Should().NotThrow<ArgumentException>();
    }

    [SkippableFact]
    public void Performance_events_can_be_denied_where_there_is_a_filter()
    {
        using TinyGuest guest = new(GuestCode.Hlt);
        Skip.If(guest.System.CheckExtension(KvmCap.KVM_CAP_PMU_EVENT_FILTER) == 0, "KVM_CAP_PMU_EVENT_FILTER is missing");

        guest.Vm.SetPmuEventFilter(KvmConst.KVM_PMU_EVENT_DENY, 0, [0x003c]);

        FluentActions.Invoking(() => guest.Vm.SetPmuEventFilter(77, 0, [])).Should().Throw<KvmException>().Which.Errno.Should().Be(Errno.EINVAL);
    }

    [SkippableFact]
    public void A_machine_check_is_recorded_in_its_bank()
    {
        using TinyGuest guest = new(GuestCode.Hlt);
        Skip.If(guest.System.CheckExtension(KvmCap.KVM_CAP_MCE) == 0, "KVM_CAP_MCE is missing");
        guest.Vcpu.SetupMce((guest.System.GetMceCapSupported() & ~0xffUL) | 4);
        const ulong valid = 1UL << 63;

        // Corrected (UC clear): recorded without an exception (SDM vol. 3, 16.3.2.2).
        guest.Vcpu.SetMce(new KvmX86Mce { Status = valid | 0x42, Addr = 0x1000, Bank = 2 });

        guest.Vcpu.TryGetMsr(0x401 + (2 * 4), out ulong status).Should().BeTrue();
        status.Should().Be(valid | 0x42);
    }

    [SkippableFact]
    public void One_frequency_for_the_vm_comes_back_where_it_can_be_set()
    {
        using TinyGuest guest = new(GuestCode.Hlt);
        Skip.If(guest.Vm.CheckExtension(KvmCap.KVM_CAP_VM_TSC_CONTROL) == 0, "KVM_CAP_VM_TSC_CONTROL is missing");

        guest.Vm.SetTscKhz(1_500_000);

        guest.Vm.GetTscKhz().Should().Be(1_500_000);
    }

    [SkippableFact]
    public void Nested_state_fits_the_size_the_capability_tells()
    {
        using TinyGuest guest = new(GuestCode.Hlt);
        int size = guest.System.CheckExtension(KvmCap.KVM_CAP_NESTED_STATE);
        FluentActions.Invoking(() => guest.Vcpu.GetNestedState(new byte[127])).Should().Throw<ArgumentOutOfRangeException>();
        FluentActions.Invoking(() => guest.Vcpu.SetNestedState(new byte[127])).Should().Throw<ArgumentOutOfRangeException>();
        byte[] lying = new byte[128];
        lying[4] = 129; // its size field says more than there is
        FluentActions.Invoking(() => guest.Vcpu.SetNestedState(lying)).Should().Throw<ArgumentOutOfRangeException>();
        Skip.If(size == 0, "KVM_CAP_NESTED_STATE is missing");

        guest.Vcpu.GetNestedState(new byte[size]).Should().BeInRange(128, size);
    }

    [SkippableFact]
    public void A_system_management_interrupt_can_be_sent_where_there_is_the_mode()
    {
        using TinyGuest guest = new(GuestCode.Hlt, irqchip: true);
        Skip.If(guest.System.CheckExtension(KvmCap.KVM_CAP_X86_SMM) == 0, "KVM_CAP_X86_SMM is missing");

        guest.Vcpu.Smi();

        guest.Vcpu.GetVcpuEvents(out KvmVcpuEvents events);
        (events.Smi.Pending | events.Smi.Smm).Should().NotBe(0);
    }

    [Theory]
    [InlineData(24u, 0xfee00000UL, 0x31u)]
    [InlineData(4095u, 0xffff_ffff_fee0_1234UL, 0xffff_ffffu)]
    public void A_route_to_a_message_holds_both_halves_of_the_address(uint gsi, ulong address, uint data)
    {
        KvmIrqRoutingEntry entry = KvmIrqRoutingEntry.ToMsi(gsi, address, data);

        (entry.Gsi, entry.Type, entry.U.Msi.Data).Should().Be((gsi, KvmConst.KVM_IRQ_ROUTING_MSI, data));
        ((ulong)entry.U.Msi.AddressHi << 32 | entry.U.Msi.AddressLo).Should().Be(address);
    }

    [Fact]
    public void A_route_to_a_pin_names_chip_and_pin()
    {
        KvmIrqRoutingEntry entry = KvmIrqRoutingEntry.ToPin(9, KvmIrqchipId.Ioapic, 23);

        (entry.Gsi, entry.Type, entry.U.Irqchip.Irqchip, entry.U.Irqchip.Pin).Should().Be((9u, KvmConst.KVM_IRQ_ROUTING_IRQCHIP, KvmIrqchipId.Ioapic, 23u));
    }

    [SkippableFact]
    public void A_routing_table_of_too_many_entries_is_refused()
    {
        using TinyGuest guest = new(GuestCode.Hlt, irqchip: true);

        FluentActions.Invoking(() => guest.Vm.SetGsiRouting(new KvmIrqRoutingEntry[4097])).Should().Throw<KvmException>().Which.Errno.Should().Be(Errno.EINVAL);
        FluentActions.Invoking(() => guest.Vm.SetGsiRouting(new KvmIrqRoutingEntry[65537])).Should().Throw<ArgumentOutOfRangeException>();
    }

    private static Task<T> StartOnThread<T>(Func<T> body)
    {
        TaskCompletionSource<T> done = new(TaskCreationOptions.RunContinuationsAsynchronously);
        Thread thread = new(() =>
        {
            try
            {
                done.SetResult(body());
            }
            catch (Exception e)
            {
                done.SetException(e);
            }
        })
        {
            IsBackground = true,
        };
        thread.Start();
        return done.Task;
    }
}
