using System.Reflection;

namespace Kvm.Interop.Tests.Layout;

/// <summary>Layouts are proven: sizes and offsets of every structure against the C headers of this machine.</summary>
public sealed class StructureLayoutTests
{
    /// <summary>Our structure, and where C has it: a type, and for parts of a structure the path of members to it.</summary>
    private sealed record Pair(Type Managed, string Container, string Path = "", bool OpenEnded = false, string? IfDefined = null);

    private static readonly Pair[] Pairs =
    [
        new(typeof(KvmRegs), "struct kvm_regs"),
        new(typeof(KvmSegment), "struct kvm_segment"),
        new(typeof(KvmDtable), "struct kvm_dtable"),
        new(typeof(KvmSregs), "struct kvm_sregs"),
        new(typeof(KvmSregs2), "struct kvm_sregs2"),
        new(typeof(KvmFpu), "struct kvm_fpu"),
        new(typeof(KvmXcr), "struct kvm_xcr"),
        new(typeof(KvmXcrs), "struct kvm_xcrs"),
        new(typeof(KvmDebugregs), "struct kvm_debugregs"),
        new(typeof(KvmLapicState), "struct kvm_lapic_state"),
        new(typeof(KvmMpState), "struct kvm_mp_state"),
        new(typeof(KvmVcpuEventsException), "struct kvm_vcpu_events", "exception"),
        new(typeof(KvmVcpuEventsInterrupt), "struct kvm_vcpu_events", "interrupt"),
        new(typeof(KvmVcpuEventsNmi), "struct kvm_vcpu_events", "nmi"),
        new(typeof(KvmVcpuEventsSmi), "struct kvm_vcpu_events", "smi"),
        new(typeof(KvmVcpuEventsTripleFault), "struct kvm_vcpu_events", "triple_fault"),
        new(typeof(KvmVcpuEvents), "struct kvm_vcpu_events"),
        new(typeof(KvmSyncRegs), "struct kvm_sync_regs"),
        new(typeof(KvmTranslation), "struct kvm_translation"),
        new(typeof(KvmInterrupt), "struct kvm_interrupt"),
        new(typeof(KvmGuestDebugArch), "struct kvm_guest_debug_arch"),
        new(typeof(KvmGuestDebug), "struct kvm_guest_debug"),
        new(typeof(KvmX86Mce), "struct kvm_x86_mce"),
        new(typeof(KvmTprAccessCtl), "struct kvm_tpr_access_ctl"),
        new(typeof(KvmCpuidEntry2), "struct kvm_cpuid_entry2"),
        new(typeof(KvmMsrEntry), "struct kvm_msr_entry"),
        new(typeof(KvmCpuid2), "struct kvm_cpuid2"),
        new(typeof(KvmMsrs), "struct kvm_msrs"),
        new(typeof(KvmMsrList), "struct kvm_msr_list"),
        new(typeof(KvmMsrFilterRangeNative), "struct kvm_msr_filter_range"),
        new(typeof(KvmMsrFilterNative), "struct kvm_msr_filter"),
        new(typeof(KvmUserspaceMemoryRegion), "struct kvm_userspace_memory_region"),
        new(typeof(KvmIrqLevel), "struct kvm_irq_level"),
        new(typeof(KvmPicState), "struct kvm_pic_state"),
        new(typeof(KvmIoapicState), "struct kvm_ioapic_state"),
        new(typeof(KvmIrqchipChip), "struct kvm_irqchip", "chip"),
        new(typeof(KvmIrqchip), "struct kvm_irqchip"),
        new(typeof(KvmPitConfig), "struct kvm_pit_config"),
        new(typeof(KvmPitChannelState), "struct kvm_pit_channel_state"),
        new(typeof(KvmPitState2), "struct kvm_pit_state2"),
        new(typeof(KvmReinjectControl), "struct kvm_reinject_control"),
        new(typeof(KvmClockData), "struct kvm_clock_data"),
        new(typeof(KvmMsi), "struct kvm_msi"),
        new(typeof(KvmIrqRoutingIrqchip), "struct kvm_irq_routing_irqchip"),
        new(typeof(KvmIrqRoutingMsi), "struct kvm_irq_routing_msi"),
        new(typeof(KvmIrqRoutingEntryTarget), "struct kvm_irq_routing_entry", "u"),
        new(typeof(KvmIrqRoutingEntry), "struct kvm_irq_routing_entry"),
        new(typeof(KvmIrqRouting), "struct kvm_irq_routing"),
        new(typeof(KvmIrqfd), "struct kvm_irqfd"),
        new(typeof(KvmIoeventfd), "struct kvm_ioeventfd"),
        new(typeof(KvmEnableCap), "struct kvm_enable_cap"),
        new(typeof(KvmDirtyLog), "struct kvm_dirty_log"),
        new(typeof(KvmClearDirtyLog), "struct kvm_clear_dirty_log"),
        new(typeof(KvmDirtyGfn), "struct kvm_dirty_gfn"),
        new(typeof(KvmCoalescedMmioZone), "struct kvm_coalesced_mmio_zone"),
        new(typeof(KvmCoalescedMmio), "struct kvm_coalesced_mmio"),
        new(typeof(KvmCoalescedMmioRingHeader), "struct kvm_coalesced_mmio_ring"),
        new(typeof(KvmCreateDevice), "struct kvm_create_device"),
        new(typeof(KvmDeviceAttr), "struct kvm_device_attr"),
        new(typeof(KvmSignalMask), "struct kvm_signal_mask", OpenEnded: true),
        new(typeof(KvmPmuEventFilter), "struct kvm_pmu_event_filter"),
        new(typeof(KvmNestedStateHeader), "struct kvm_nested_state"),
        new(typeof(KvmStatsHeader), "struct kvm_stats_header"),
        new(typeof(KvmStatsDesc), "struct kvm_stats_desc"),
        new(typeof(KvmRunHw), "struct kvm_run", "hw"),
        new(typeof(KvmRunFailEntry), "struct kvm_run", "fail_entry"),
        new(typeof(KvmRunEx), "struct kvm_run", "ex"),
        new(typeof(KvmRunIo), "struct kvm_run", "io"),
        new(typeof(KvmDebugExitArch), "struct kvm_run", "debug.arch"),
        new(typeof(KvmRunMmio), "struct kvm_run", "mmio"),
        new(typeof(KvmRunHypercall), "struct kvm_run", "hypercall"),
        new(typeof(KvmRunTprAccess), "struct kvm_run", "tpr_access"),
        new(typeof(KvmRunInternal), "struct kvm_run", "internal"),
        new(typeof(KvmRunEmulationFailure), "struct kvm_run", "emulation_failure"),
        new(typeof(KvmRunSystemEvent), "struct kvm_run", "system_event"),
        new(typeof(KvmRunEoi), "struct kvm_run", "eoi"),
        new(typeof(KvmRunMsr), "struct kvm_run", "msr"),
        new(typeof(KvmHypervExitSynic), "struct kvm_hyperv_exit", "u.synic"),
        new(typeof(KvmHypervExitHcall), "struct kvm_hyperv_exit", "u.hcall"),
        new(typeof(KvmHypervExitUnion), "struct kvm_hyperv_exit", "u"),
        new(typeof(KvmHypervExit), "struct kvm_hyperv_exit"),
        new(typeof(KvmXenExitHcall), "struct kvm_xen_exit", "u.hcall"),
        new(typeof(KvmXenExitUnion), "struct kvm_xen_exit", "u"),
        new(typeof(KvmXenExit), "struct kvm_xen_exit"),
        new(typeof(KvmRunNotify), "struct kvm_run", "notify"),
        new(typeof(KvmRunMemoryFault), "struct kvm_run", "memory_fault", IfDefined: "KVM_EXIT_MEMORY_FAULT"),
        new(typeof(KvmRunSync), "struct kvm_run", "s"),
        new(typeof(KvmRun), "struct kvm_run"),
        new(typeof(EpollEvent), "struct epoll_event"),
        new(typeof(Timespec), "struct timespec"),
        new(typeof(Itimerspec), "struct itimerspec"),
        new(typeof(Termios), "struct termios"),
        new(typeof(Winsize), "struct winsize"),
        new(typeof(PollFd), "struct pollfd"),
        new(typeof(FileLock), "struct flock"),
        new(typeof(IoVector), "struct iovec"),
        new(typeof(Statx), "struct statx", OpenEnded: true),
        new(typeof(StatxTimestamp), "struct statx_timestamp", OpenEnded: true),
        new(typeof(Msghdr), "struct msghdr"),
        new(typeof(Cmsghdr), "struct cmsghdr", OpenEnded: true),
        new(typeof(Ucred), "struct ucred"),
        new(typeof(SockaddrUn), "struct sockaddr_un"),
        new(typeof(LandlockPathBeneathAttr), "struct landlock_path_beneath_attr"),
        new(typeof(SockFilter), "struct sock_filter"),
        new(typeof(SockFprog), "struct sock_fprog"),
        new(typeof(SchedParam), "struct sched_param"),
        new(typeof(UffdioApi), "struct uffdio_api"),
        new(typeof(UffdioRegister), "struct uffdio_register"),
        new(typeof(UffdioCopy), "struct uffdio_copy"),
        new(typeof(UffdioZeropage), "struct uffdio_zeropage"),
        new(typeof(UffdMsg), "struct uffd_msg"),
        new(typeof(IoSqringOffsets), "struct io_sqring_offsets"),
        new(typeof(IoCqringOffsets), "struct io_cqring_offsets"),
        new(typeof(IoUringParams), "struct io_uring_params"),
        new(typeof(IoUringSqe), "struct io_uring_sqe"),
        new(typeof(IoUringCqe), "struct io_uring_cqe"),
        new(typeof(IoUringProbeOp), "struct io_uring_probe_op"),
        new(typeof(IoUringProbe), "struct io_uring_probe"),
    ];

    /// <summary>Fields C calls otherwise, or has only as members of an anonymous union.</summary>
    private static readonly Dictionary<(Type, string), string> Names = new()
    {
        [(typeof(UffdioRegister), nameof(UffdioRegister.Start))] = "range.start",
        [(typeof(UffdioRegister), nameof(UffdioRegister.Len))] = "range.len",
        [(typeof(UffdioZeropage), nameof(UffdioZeropage.Start))] = "range.start",
        [(typeof(UffdioZeropage), nameof(UffdioZeropage.Len))] = "range.len",
        [(typeof(UffdMsg), nameof(UffdMsg.Flags))] = "arg.pagefault.flags",
        [(typeof(UffdMsg), nameof(UffdMsg.Address))] = "arg.pagefault.address",
        [(typeof(UffdMsg), nameof(UffdMsg.Reserved4))] = "arg.reserved.reserved3",
        [(typeof(KvmRun), "Union")] = "padding",
        [(typeof(IoUringParams), "Resv0")] = "resv[0]",
        [(typeof(IoUringParams), "Resv1")] = "resv[1]",
        [(typeof(IoUringParams), "Resv2")] = "resv[2]",
        [(typeof(IoUringSqe), "Pad2")] = "__pad2",
        [(typeof(IoUringProbe), "Reserved0")] = "resv2[0]",
        [(typeof(IoUringProbe), "Reserved1")] = "resv2[1]",
        [(typeof(IoUringProbe), "Reserved2")] = "resv2[2]",
    };

    [SkippableFact]
    public void Every_structure_has_the_size_and_the_offsets_of_the_header()
    {
        CProgram.SkipUnlessPossible();

        Compare(Pairs, out int compared).Should().BeEmpty();

        compared.Should().BeGreaterThan(500);
    }

    [SkippableFact]
    public void The_union_of_kvm_run_starts_where_each_of_its_members_does()
    {
        CProgram.SkipUnlessPossible();
        CProgram program = new();
        string[] members = [.. ManagedLayout.FieldsOf(typeof(KvmRunUnion)).Select(f => ManagedLayout.ToC(f.Name))];
        foreach (string member in members)
        {
            program.Print(member, $"offsetof(struct kvm_run, {member})", member == "memory_fault" ? "KVM_EXIT_MEMORY_FAULT" : null);
        }

        program.Print("size", "sizeof(((struct kvm_run *)0)->padding)");
        Dictionary<string, ulong> c = program.Run();

        ulong start = (ulong)ManagedLayout.OffsetOf(typeof(KvmRun).GetField("Union")!);
        c.Where(p => p.Key != "size").Should().OnlyContain(p => p.Value == start).And.HaveCountGreaterThanOrEqualTo(members.Length - 1);
        c["size"].Should().Be((ulong)ManagedLayout.SizeOf(typeof(KvmRunUnion)));
    }

    [Fact]
    public void Every_structure_of_the_assembly_is_compared_with_a_header()
    {
        Type[] partsOfOthers = [typeof(KvmRunUnion), typeof(SigSet)];
        // Longer than the header of Linux 6.1 has it; a kernel takes it as long as what it does not know is 0.
        Type[] newer = [typeof(LandlockRulesetAttr)];
        Type[] notOfC = [typeof(KvmMsrFilterRange), typeof(KvmCapInfo), typeof(KvmStat), typeof(VariableStruct), typeof(PeerIdentity), typeof(FolderEntry)];

        ManagedLayout.Structures().Should().BeSubsetOf([.. Pairs.Select(p => p.Managed), .. partsOfOthers, .. newer, .. notOfC]);
        ManagedLayout.Structures().Should().Contain(Pairs.Select(p => p.Managed));
    }

    [SkippableFact]
    public void Two_different_structures_are_told_apart()
    {
        CProgram.SkipUnlessPossible();

        Compare([new Pair(typeof(KvmDtable), "struct kvm_segment")], out _).Should().NotBeEmpty();
        Compare([new Pair(typeof(KvmPitState2), "struct kvm_pit_state")], out _, "flags", "reserved").Should().ContainSingle(m => m.Contains("size"));
    }

    [SkippableFact]
    public void A_signal_set_is_as_large_as_the_librarys()
    {
        CProgram.SkipUnlessPossible();
        CProgram program = new();
        program.Print("size", "sizeof(sigset_t)");

        program.Run()["size"].Should().Be((ulong)ManagedLayout.SizeOf(typeof(SigSet)));
    }

    private static List<string> Compare(Pair[] pairs, out int compared, params string[] without)
    {
        CProgram program = new();
        List<(string Key, string What, ulong Ours)> expected = [];
        foreach (Pair pair in pairs)
        {
            string at = pair.Path.Length == 0 ? pair.Container : $"((({pair.Container} *)0)->{pair.Path})";
            string prefix = pair.Path.Length == 0 ? "" : pair.Path + ".";
            string start = pair.Path.Length == 0 ? "0" : $"offsetof({pair.Container}, {pair.Path})";
            if (!pair.OpenEnded)
            {
                Add($"sizeof({at})", $"{pair.Managed.Name} size", (ulong)ManagedLayout.SizeOf(pair.Managed), pair.IfDefined);
            }

            foreach (FieldInfo field in ManagedLayout.FieldsOf(pair.Managed))
            {
                string name = Names.GetValueOrDefault((pair.Managed, field.Name), ManagedLayout.ToC(field.Name));
                if (without.Contains(name))
                {
                    continue;
                }

                string what = $"{pair.Managed.Name}.{field.Name}";
                Add($"offsetof({pair.Container}, {prefix}{name}) - {start}", $"{what} offset", (ulong)ManagedLayout.OffsetOf(field), pair.IfDefined);
                if (!pair.OpenEnded)
                {
                    Add($"sizeof((({pair.Container} *)0)->{prefix}{name})", $"{what} width", (ulong)ManagedLayout.SizeOf(field.FieldType), pair.IfDefined);
                }
            }
        }

        Dictionary<string, ulong> c = program.Run();
        compared = c.Count;
        return [.. expected
            .Where(e => c.TryGetValue(e.Key, out ulong theirs) && theirs != e.Ours)
            .Select(e => $"{e.What}: {e.Ours} here, {c[e.Key]} in C")];

        void Add(string expression, string what, ulong ours, string? ifDefined)
        {
            string key = $"v{expected.Count}";
            expected.Add((key, what, ours));
            program.Print(key, expression, ifDefined);
        }
    }
}
