namespace Kvm.Vmm.Explain;

/// <summary>
/// Every VT-x basic exit reason and every AMD-V exit code, by event. Numbers: SDM vol. 3, table C-1, and APM vol. 2, table C-1; names as
/// Linux has them in asm/vmx.h, and AMD's without VMEXIT_.
/// </summary>
public static class ExitCauses
{
    private const string Unconditional = "Instructions That Cause VM Exits Unconditionally";
    private const string Conditional = "Instructions That Cause VM Exits Conditionally";
    private const string Other = "Other Causes of VM Exits";
    private const string InKernel = "KVM does it in the kernel; the VMM sees nothing.";
    private const string NotOffered = "KVM does not offer the feature to guests: the instruction raises #UD there.";
    private const string NestedOnly = "KVM emulates it for guests that run guests of their own (run --nested), or raises #UD.";

    // KVM's numbers, so that the table reads.
    private const uint Unknown = 0, Exception = 1, Io = 2, Hypercall = 3, Debug = 4, Hlt = 5, Mmio = 6, IrqWindow = 7, Shutdown = 8, FailEntry = 9,
        Intr = 10, SetTpr = 11, TprAccess = 12, Internal = 17, Eoi = 26, Rdmsr = 29, Wrmsr = 30, DirtyRing = 31, BusLock = 33, Notify = 37, MemoryFault = 39;

    /// <summary>All of them, in the order of VT-x's numbers, then those that only AMD-V has.</summary>
    public static IReadOnlyList<ExitCause> All { get; } =
    [
        new("exception", [new(0, "EXCEPTION_NMI")], [new(0x40, "EXCP#", 32), new(0x61, "NMI")], [Exception, Debug, Internal],
            "The guest raised an exception that the hypervisor wants to see first, or an NMI of the host came.",
            "KVM mends page faults of its shadow page tables, tells a debugger of #DB and #BP (KVM_EXIT_DEBUG), hands an NMI to the host, and gives the guest back what is its own.")
        { VmxClause = Other, SvmClause = "15.12" },
        new("external interrupt", [new(1, "EXTERNAL_INTERRUPT")], [new(0x60, "INTR")], [Intr],
            "An interrupt came for the host while the guest ran.",
            "The host's kernel serves it. Only if a signal waits for the vCPU's thread does KVM_RUN end, with EINTR: that is how a VMM gets a vCPU back (a kick).")
        { VmxClause = Other, SvmClause = "15.13.1" },
        new("triple fault", [new(2, "TRIPLE_FAULT")], [new(0x7f, "SHUTDOWN")], [Shutdown],
            "An exception came while a double fault was being delivered: the processor gives up. A PC resets then.",
            "The VMM ends or resets the guest. Here the run ends with exit code 11 and the registers.")
        { VmxClause = Other, SvmClause = "15.14.3" },
        new("INIT signal", [new(3, "INIT_SIGNAL")], [new(0x63, "INIT")], [],
            "An INIT of the host's reached the processor while a guest ran.",
            "Nothing: INITs of the guest go through its virtual APIC and never come here.")
        { VmxClause = Other, SvmClause = "15.13.4" },
        new("start-up IPI", [new(4, "SIPI_SIGNAL")], [], [],
            "A start-up IPI reached a virtual processor that hardware keeps in the state wait-for-SIPI.",
            "KVM waits in software instead, but for nested guests.") { VmxClause = Other },
        new("system-management interrupt", [new(5, "IO_SMI"), new(6, "OTHER_SMI")], [new(0x62, "SMI")], [],
            "A system-management interrupt came under a monitor for system management.",
            "Nothing: KVM leaves these to the host's firmware. It makes system management mode for guests in software.") { VmxClause = Other, SvmClause = "15.13.3" },
        new("interrupt window", [new(7, "INTERRUPT_WINDOW")], [new(0x64, "VINTR")], [IrqWindow],
            "The guest takes interrupts again (RFLAGS.IF, no shadow of sti or mov ss), as the hypervisor asked to be told.",
            "KVM injects what waits in its interrupt chips. A VMM with chips of its own asked by request_interrupt_window and injects by KVM_INTERRUPT.")
        { VmxClause = Other, SvmClause = "15.13.5" },
        new("NMI window", [new(8, "NMI_WINDOW")], [], [],
            "The guest takes NMIs again. AMD-V has no such exit: KVM intercepts IRET instead.", "KVM injects the NMI that waits.") { VmxClause = Other },
        new("task switch", [new(9, "TASK_SWITCH")], [new(0x7d, "TASK_SWITCH")], [Internal],
            "The guest used a task gate or jumped to a TSS: VT-x cannot do that itself.",
            "KVM carries the switch out step by step in its emulator; where that fails the VMM sees an internal error.")
        { VmxClause = Unconditional, SvmClause = "15.14.1" },
        new("CPUID", [new(10, "CPUID")], [new(0x72, "CPUID")], [],
            "The guest asks what its processor can do. VT-x leaves the guest for every CPUID.",
            "KVM answers from the table that the VMM gave it with KVM_SET_CPUID2: here a VMM decides what a guest may see.")
        { VmxClause = Unconditional, SvmClause = "15.9" },
        new("GETSEC", [new(11, "GETSEC")], [], [], "Safer mode extensions: the leaf functions of trusted boot.", "KVM does not offer them: #UD in the guest.") { VmxClause = Unconditional },
        new("HLT", [new(12, "HLT")], [new(0x78, "HLT"), new(0xa6, "IDLE_HLT")], [Hlt],
            "The guest has nothing to do until the next interrupt.",
            "With KVM's own local APIC the vCPU's thread sleeps in the kernel. Without it KVM_RUN ends, and the VMM waits. IDLE_HLT leaves only if no virtual interrupt waits.")
        { VmxClause = Conditional, SvmClause = "15.9" },
        new("INVD", [new(13, "INVD")], [new(0x76, "INVD")], [], "Caches thrown away without writing back: never done for a guest.", "KVM skips the instruction.")
        { VmxClause = Unconditional, SvmClause = "15.9" },
        new("INVLPG", [new(14, "INVLPG")], [new(0x79, "INVLPG")], [],
            "The guest drops one translation of its TLB. Seen only where page tables are shadowed.",
            "KVM drops the entry of its shadow page table and lets it be filled anew.") { VmxClause = Conditional, SvmClause = "15.9" },
        new("RDPMC", [new(15, "RDPMC")], [new(0x6f, "RDPMC")], [], "A performance counter is read.", "KVM answers from its virtual performance counters, or raises #GP.")
        { VmxClause = Conditional, SvmClause = "15.9" },
        new("RDTSC", [new(16, "RDTSC")], [new(0x6e, "RDTSC")], [],
            "The time-stamp counter is read. Seldom intercepted: offset and scale of the TSC are done in hardware.", InKernel) { VmxClause = Conditional, SvmClause = "15.9" },
        new("RSM", [new(17, "RSM")], [new(0x73, "RSM")], [], "Return from system management mode.", "KVM's emulator returns the guest from the mode it made in software.")
        { VmxClause = Conditional, SvmClause = "15.9" },
        new("hypercall", [new(18, "VMCALL")], [new(0x81, "VMMCALL")], [Hypercall],
            "The guest calls its hypervisor. The instruction is part of neither processor without virtualization.",
            "KVM serves its own calls (kick a vCPU, send IPIs, yield). The VMM sees only those it asked for with KVM_CAP_EXIT_HYPERCALL.")
        { VmxClause = Unconditional, SvmClause = "15.9" },
        new("instructions of VT-x",
            [new(19, "VMCLEAR"), new(20, "VMLAUNCH"), new(21, "VMPTRLD"), new(22, "VMPTRST"), new(23, "VMREAD"), new(24, "VMRESUME"), new(25, "VMWRITE"),
             new(26, "VMOFF"), new(27, "VMON"), new(50, "INVEPT"), new(53, "INVVPID")],
            [], [], "The guest is a hypervisor itself.", NestedOnly) { VmxClause = Unconditional },
        new("instructions of AMD-V",
            [], [new(0x80, "VMRUN"), new(0x82, "VMLOAD"), new(0x83, "VMSAVE"), new(0x84, "STGI"), new(0x85, "CLGI"), new(0x86, "SKINIT"), new(0x7a, "INVLPGA")],
            [], "The guest is a hypervisor itself.", NestedOnly) { SvmClause = "15.9" },
        new("control register", [new(28, "CR_ACCESS")],
            [new(0x00, "CR#_READ", 16), new(0x10, "CR#_WRITE", 16), new(0x65, "CR0_SEL_WRITE"), new(0x90, "CR#_WRITE_TRAP", 16)], [SetTpr],
            "The guest moves to or from a control register, or uses CLTS or LMSW. With EPT or nested paging few of these leave the guest: some bits of CR0 and CR4.",
            "KVM changes the paging mode with it, or its shadow page tables. CR8 without an in-kernel APIC comes to the VMM as KVM_EXIT_SET_TPR.")
        { VmxClause = Conditional, SvmClause = "15.8.1" },
        new("debug register", [new(29, "DR_ACCESS")], [new(0x20, "DR#_READ", 16), new(0x30, "DR#_WRITE", 16)], [Debug],
            "The guest uses a debug register.",
            "KVM loads the guest's debug registers and stops intercepting until the vCPU is switched away; a debugger's own breakpoints stay hidden.")
        { VmxClause = Conditional, SvmClause = "15.8.1" },
        new("port access", [new(30, "IO_INSTRUCTION")], [new(0x7b, "IOIO")], [Io],
            "The guest reads or writes a port by IN, OUT, INS or OUTS. The exit tells port, width, direction; string forms come with a count.",
            "KVM asks its own chips first (8259, 8254, I/O APIC, ioeventfds). All else is the VMM's: it finds the device on its port bus and answers in the run page.")
        { VmxClause = Conditional, SvmClause = "15.10" },
        new("read of an MSR", [new(31, "MSR_READ"), new(84, "MSR_READ_IMM")], [new(0x7c, "MSR")], [Rdmsr],
            "The guest reads a model-specific register whose bit in the MSR bitmap is set.",
            "KVM answers for those it knows. The VMM sees a read only if a filter hands it over (KVM_CAP_X86_USER_SPACE_MSR); else an unknown register raises #GP.")
        { VmxClause = Conditional, SvmClause = "15.11" },
        new("write of an MSR", [new(32, "MSR_WRITE"), new(85, "MSR_WRITE_IMM")], [new(0x7c, "MSR")], [Wrmsr],
            "The guest writes a model-specific register whose bit in the MSR bitmap is set.",
            "As for reads. Frequent ones are IA32_TSC_DEADLINE and the x2APIC's, which KVM serves on a fast path. Here a filter hands LSTAR over where system calls need repair.")
        { VmxClause = Conditional, SvmClause = "15.11" },
        new("invalid guest state", [new(33, "INVALID_STATE")], [new(ulong.MaxValue, "INVALID")], [FailEntry],
            "The processor refuses to enter the guest: a field of the VMCS or VMCB contradicts another.",
            "The VMM has set registers that no processor can have, or the host lacks unrestricted guests (real mode). It ends the guest with the reason of the hardware.")
        { VmxClause = "VM-Entry Failures During or After Loading Guest State", SvmClause = "15.5" },
        new("entry failed loading MSRs", [new(34, "MSR_LOAD_FAIL")], [], [FailEntry], "An MSR of the VM-entry load area could not be loaded.", "As for an invalid guest state.")
        { VmxClause = "VM-Entry Failures During or After Loading Guest State" },
        new("MWAIT", [new(36, "MWAIT_INSTRUCTION")], [new(0x8b, "MWAIT"), new(0x8c, "MWAIT_CONDITIONAL")], [], "The guest waits for a write to a line that it monitors.",
            "KVM takes it for a no-operation, unless the VMM lets guests keep the processor (KVM_CAP_X86_DISABLE_EXITS).") { VmxClause = Conditional, SvmClause = "15.9" },
        new("monitor trap flag", [new(37, "MONITOR_TRAP_FLAG")], [], [], "One instruction was executed, as the hypervisor asked: a single step that the guest cannot see.", InKernel)
        { VmxClause = "Monitor Trap Flag" },
        new("MONITOR", [new(39, "MONITOR_INSTRUCTION")], [new(0x8a, "MONITOR")], [], "The guest names the line that MWAIT will wait for.", "As for MWAIT.")
        { VmxClause = Conditional, SvmClause = "15.9" },
        new("PAUSE", [new(40, "PAUSE_INSTRUCTION")], [new(0x77, "PAUSE")], [],
            "The guest spins for a lock: so many PAUSEs in a short time that the holder is probably not running (pause-loop exiting).",
            "KVM yields to another vCPU of the guest that was preempted.") { VmxClause = Conditional, SvmClause = "15.14.4" },
        new("machine check at entry", [new(41, "MCE_DURING_VMENTRY")], [], [], "A machine check came while the guest was being entered.", "The host handles it.")
        { VmxClause = "Machine-Check Events During VM Entry" },
        new("TPR below threshold", [new(43, "TPR_BELOW_THRESHOLD")], [], [SetTpr, TprAccess], "The guest lowered its task priority: an interrupt that was held back may go in.",
            "KVM looks at its local APIC again.") { VmxClause = "APIC Virtualization and Virtual Interrupts" },
        new("APIC access", [new(44, "APIC_ACCESS"), new(56, "APIC_WRITE")], [new(0x402, "AVIC_NOACCEL")], [], "The guest touched a register of its local APIC that hardware does not do alone.",
            "KVM's local APIC carries it out.") { VmxClause = "APIC Virtualization and Virtual Interrupts", SvmClause = "15.29.9" },
        new("virtualized EOI", [new(45, "EOI_INDUCED")], [], [Eoi], "The guest ended a level-triggered interrupt that the hypervisor wants to know of.",
            "KVM clears the I/O APIC's remote IRR. A VMM with its own I/O APIC (split irqchip) gets the vector.") { VmxClause = "APIC Virtualization and Virtual Interrupts" },
        new("incomplete IPI", [], [new(0x401, "AVIC_INCOMPLETE_IPI")], [], "The guest sent an IPI that hardware could not deliver: a target does not run.", "KVM delivers it and wakes the target.")
        { SvmClause = "15.29.9" },
        new("descriptor tables", [new(46, "GDTR_IDTR"), new(47, "LDTR_TR")],
            [new(0x66, "IDTR_READ"), new(0x67, "GDTR_READ"), new(0x68, "LDTR_READ"), new(0x69, "TR_READ"),
             new(0x6a, "IDTR_WRITE"), new(0x6b, "GDTR_WRITE"), new(0x6c, "LDTR_WRITE"), new(0x6d, "TR_WRITE")],
            [], "LGDT, SIDT, LTR and their like, where the hypervisor intercepts them: it hides them (UMIP) or watches for changes.", "KVM emulates UMIP with it on processors without.")
        { VmxClause = Conditional, SvmClause = "15.9" },
        new("guest-physical memory", [new(48, "EPT_VIOLATION"), new(49, "EPT_MISCONFIG")], [new(0x400, "NPF")], [Mmio, MemoryFault],
            "The second stage of address translation had no entry, or not the right to the access: memory the guest had not touched yet, a page that is watched, or no memory at all. "
            + "A misconfigured entry is what KVM writes where it knows that a device lives, so that the exit is quick.",
            "Memory: KVM takes a page from the host and goes on. No memory: KVM's emulator decodes the instruction and the VMM gets KVM_EXIT_MMIO with address, width and data, "
            + "finds the device on its memory bus, and answers.")
        { VmxClause = "EPT Violations", SvmClause = "15.25.6" },
        new("RDTSCP", [new(51, "RDTSCP")], [new(0x87, "RDTSCP")], [], "RDTSC that also reads TSC_AUX.", InKernel) { VmxClause = Conditional, SvmClause = "15.9" },
        new("preemption timer", [new(52, "PREEMPTION_TIMER")], [], [], "The time the guest was given is over: a timer that counts down while it runs.", "KVM makes the guest's APIC timer with it.")
        { VmxClause = "VMX-Preemption Timer" },
        new("WBINVD", [new(54, "WBINVD")], [new(0x89, "WBINVD")], [], "The guest writes all caches back; WBNOINVD comes here too.",
            "KVM skips it unless a device that was passed through does not snoop caches.") { VmxClause = Conditional, SvmClause = "15.9" },
        new("XSETBV", [new(55, "XSETBV")], [new(0x8d, "XSETBV")], [], "The guest chooses which parts of the extended state are in use (XCR0).", "KVM checks the value and keeps it.")
        { VmxClause = Unconditional, SvmClause = "15.9" },
        new("RDRAND", [new(57, "RDRAND")], [], [], "Random numbers, where a hypervisor wants them its own way.", InKernel) { VmxClause = Conditional },
        new("RDSEED", [new(61, "RDSEED")], [], [], "As RDRAND.", InKernel) { VmxClause = Conditional },
        new("INVPCID", [new(58, "INVPCID")], [new(0xa2, "INVPCID")], [], "Translations of one address space are dropped; seen only where page tables are shadowed.", "KVM drops its shadow entries.")
        { VmxClause = Conditional, SvmClause = "15.9" },
        new("VMFUNC", [new(59, "VMFUNC")], [], [], "A VM function failed: the guest may switch between EPT tables that were prepared for it.", NestedOnly) { VmxClause = "VM Functions" },
        new("SGX", [new(60, "ENCLS"), new(70, "ENCLV")], [], [], "Instructions that make and manage enclaves.", "KVM checks ENCLS where it offers SGX to guests; ENCLV raises #UD.") { VmxClause = Conditional },
        new("page-modification log full", [new(62, "PML_FULL")], [new(0x407, "PML_FULL")], [DirtyRing],
            "The log of 512 written pages that hardware keeps is full.", "KVM empties it into the dirty bitmap or ring; a full ring of the VMM's ends KVM_RUN.") { VmxClause = "Page-Modification Logging" },
        new("XSAVES and XRSTORS", [new(63, "XSAVES"), new(64, "XRSTORS")], [], [], "The guest saves or loads supervisor state that the hypervisor intercepts.", InKernel) { VmxClause = Conditional },
        new("PCONFIG", [new(65, "PCONFIG")], [], [], "Keys of memory encryption.", NotOffered) { VmxClause = Conditional },
        new("sub-page permission", [new(66, "SPP_EVENT")], [], [], "The table of write permissions for 128-byte pieces had no entry.", NotOffered) { VmxClause = "Sub-Page Write Permissions" },
        new("user wait", [new(67, "UMWAIT"), new(68, "TPAUSE")], [], [], "A program waits for a short time in the processor.", "KVM lets guests do it, or raises #UD.") { VmxClause = Conditional },
        new("LOADIWKEY", [new(69, "LOADIWKEY")], [], [], "The internal wrapping key of Key Locker is set.", NotOffered) { VmxClause = Conditional },
        new("ENQCMD", [new(72, "ENQCMD_PASID"), new(73, "ENQCMDS_PASID")], [], [], "A command for an accelerator whose PASID could not be translated.", NotOffered) { VmxClause = Conditional },
        new("bus lock", [new(74, "BUS_LOCK")], [new(0xa5, "BUSLOCK")], [BusLock], "A locked access crossed a cache line or was uncached, which holds up the whole machine.",
            "The VMM that asked for it (KVM_CAP_X86_BUS_LOCK_EXIT) may slow the guest down; otherwise it goes on.") { VmxClause = Other, SvmClause = "15.14.5" },
        new("instruction timeout", [new(75, "NOTIFY")], [], [Notify], "The guest kept the processor from taking any event for a whole window: some loops in microcode do.",
            "The VMM that asked for it (KVM_CAP_X86_NOTIFY_VMEXIT) ends the guest or lets it go on.") { VmxClause = "Instruction Timeout" },
        new("trust domains", [new(76, "SEAMCALL"), new(77, "TDCALL")], [], [], "Calls of and to the TDX module.", "#UD in ordinary guests.") { VmxClause = Unconditional },
        new("lists of MSRs", [new(78, "RDMSRLIST"), new(79, "WRMSRLIST")], [], [], "Up to 64 registers are read or written at once.", NotOffered) { VmxClause = Conditional },
        new("MSRs by programs", [new(80, "URDMSR"), new(81, "UWRMSR")], [], [], "A program reads or writes an MSR that the kernel lets it.", NotOffered) { VmxClause = Conditional },
        new("PUSHF and POPF", [], [new(0x70, "PUSHF"), new(0x71, "POPF")], [], "The guest stores or loads its flags.", "KVM intercepts them only while it single-steps, to hide the flag TF.") { SvmClause = "15.9" },
        new("IRET", [], [new(0x74, "IRET")], [], "The guest returns from an interrupt.", "KVM waits for it where an NMI must not go in before the last one's handler has ended.") { SvmClause = "15.9" },
        new("software interrupt", [], [new(0x75, "SWINT")], [], "INT n.", "KVM does not intercept it but for nested guests.") { SvmClause = "15.9" },
        new("FERR freeze", [], [new(0x7e, "FERR_FREEZE")], [], "The processor stopped to report an x87 error the way of the 80387.", "KVM does not use it.") { SvmClause = "15.14.2" },
        new("ICEBP", [], [new(0x88, "ICEBP")], [Debug], "The instruction INT1 (0xf1), which debuggers in hardware use.", "KVM does not intercept it by default; it acts as #DB.") { SvmClause = "15.9" },
        new("RDPRU", [], [new(0x8e, "RDPRU")], [], "A program reads a processor register such as MPERF.", "KVM raises #UD.") { SvmClause = "15.9" },
        new("EFER written", [], [new(0x8f, "EFER_WRITE_TRAP")], [], "EFER was written, told afterwards: for guests whose registers are encrypted.", "KVM takes the new value over (SEV-ES).") { SvmClause = "15.35" },
        new("INVLPGB and TLBSYNC", [], [new(0xa0, "INVLPGB"), new(0xa1, "INVLPGB_ILLEGAL"), new(0xa4, "TLBSYNC")], [], "Translations are dropped on all processors at once.", NotOffered) { SvmClause = "15.9" },
        new("MCOMMIT", [], [new(0xa3, "MCOMMIT")], [], "Stores are committed to persistent memory.", NotOffered) { SvmClause = "15.9" },
        new("VMGEXIT", [], [new(0x403, "VMGEXIT")], [Hypercall, Internal], "A guest with encrypted registers (SEV-ES) calls its hypervisor by the GHCB.", "KVM unpacks the request and acts as for the exit that it names.") { SvmClause = "15.35" },
        new("VMCB busy", [], [new(ulong.MaxValue - 1, "BUSY")], [], "The encrypted save area was in use.", "KVM tries again.") { SvmClause = "15.36" },
    ];
}
