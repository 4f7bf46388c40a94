using System.Globalization;

namespace Kvm.Vmm.Explain;

/// <summary>The three tables of exits, made from <see cref="ExitCauses"/> and from KVM's own list.</summary>
public static class ExitTables
{
    private static readonly string[] KvmNames =
    [
        "UNKNOWN", "EXCEPTION", "IO", "HYPERCALL", "DEBUG", "HLT", "MMIO", "IRQ_WINDOW_OPEN", "SHUTDOWN", "FAIL_ENTRY", "INTR", "SET_TPR", "TPR_ACCESS",
        "S390_SIEIC", "S390_RESET", "DCR", "NMI", "INTERNAL_ERROR", "OSI", "PAPR_HCALL", "S390_UCONTROL", "WATCHDOG", "S390_TSCH", "EPR", "SYSTEM_EVENT",
        "S390_STSI", "IOAPIC_EOI", "HYPERV", "ARM_NISV", "X86_RDMSR", "X86_WRMSR", "DIRTY_RING_FULL", "AP_RESET_HOLD", "X86_BUS_LOCK", "XEN", "RISCV_SBI",
        "RISCV_CSR", "NOTIFY", "LOONGARCH_IOCSR", "MEMORY_FAULT", "TDX",
    ];

    /// <summary>What the reasons of this architecture mean, and what this VMM does about each (src/Kvm.Vmm/Vcpu/ExitDispatcher.cs).</summary>
    private static readonly (uint Number, string Meaning, string Vmm)[] X86 =
    [
        (0, "The hardware left the guest for a reason that KVM does not know.", "Ends the run with the number (exit code 12)."),
        (1, "An exception of the guest that nobody asked for.", "Ends the run (exit code 12)."),
        (2, "The guest reads or writes a port. The run page has port, width, direction and count; the data stand at data_offset.",
            "Reads or writes each element on the port bus; answers are in place when KVM_RUN is called again."),
        (3, "A hypercall that the VMM asked for.", "Asks for none: ends the run (exit code 12)."),
        (4, "A breakpoint or single step that the VMM armed with KVM_SET_GUEST_DEBUG.", "Tells the debugger, or repairs a system call where the host's KVM delivers it wrong."),
        (5, "The guest executed HLT, and no interrupt chip of KVM's waits for it.", "KVM's chips are always there, so that it is not seen."),
        (6, "The guest reads or writes memory that no slot backs: a device's register. The run page has address, width, direction and up to eight bytes.",
            "Reads or writes on the memory bus. KVM completes the instruction when KVM_RUN is called again."),
        (7, "The guest takes interrupts now, as the VMM asked.", "Goes on: KVM's chips inject."),
        (8, "The guest shut down: a triple fault.", "Ends the run (exit code 11)."),
        (9, "The hardware refused to enter the guest.", "Ends the run with the hardware's reason (exit code 12)."),
        (10, "A signal waits for the vCPU's thread; KVM_RUN itself returned EINTR.", "Takes the signal, looks at the requests of other threads, goes on."),
        (11, "The guest set its task priority, without an in-kernel APIC.", "Goes on."),
        (12, "The guest touched its TPR, where the VMM asked for it.", "Goes on."),
        (16, "An NMI was the reason, on some hardware.", "Goes on."),
        (17, "KVM could not emulate an instruction (suberror 1) or could not deliver an event.",
            "An instruction is completed by the software processor (docs/engine.md); what that cannot do either ends the run (exit code 12)."),
        (24, "The guest asked for a reset or a shutdown by a way that KVM knows.", "Ends the run (exit code 12): none of them is offered on this architecture."),
        (26, "The guest ended a level-triggered interrupt, with an I/O APIC in the VMM.", "Goes on: the I/O APIC is KVM's."),
        (27, "Hyper-V's synthetic interrupt controller or hypercalls.", "Ends the run (exit code 12)."),
        (29, "A read of an MSR that a filter hands over, or of an unknown one.", "No filter of reads is armed: ends the run (exit code 12)."),
        (30, "A write of an MSR that a filter hands over.", "LSTAR where system calls need repair, IA32_TSC_DEADLINE where ticks are spaced."),
        (31, "The ring of dirty pages is full.", "Not used: ends the run (exit code 12)."),
        (32, "A processor of an encrypted guest waits to be started.", "Not used."),
        (33, "The guest locked the bus.", "Goes on."),
        (34, "A hypercall or timer of Xen's.", "Not used."),
        (37, "The guest kept the processor from taking events.", "Ends the run (exit code 12)."),
        (39, "A page of guest memory could not be had.", "Ends the run with the address (exit code 12)."),
        (40, "A request of a trust domain.", "Not used."),
    ];

    /// <summary>VT-x's basic exit reasons in ascending order.</summary>
    public static IReadOnlyList<Topic> Vmx { get; } = FromHardware(TopicTable.VmxExit);

    /// <summary>AMD-V's exit codes in ascending order; the negative ones are last.</summary>
    public static IReadOnlyList<Topic> Svm { get; } = FromHardware(TopicTable.SvmExit);

    /// <summary>KVM's exit reasons in ascending order, those of other architectures among them.</summary>
    public static IReadOnlyList<Topic> Kvm { get; } = [.. KvmNames.Select(KvmTopic)];

    /// <summary>The event behind one of KVM's exit reasons, the likeliest where there are several; null for those without one.</summary>
    /// <param name="number">A number of KVM_EXIT_….</param>
    public static ExitCause? CauseOfKvm(uint number) => number is 0 or 17 ? null : ExitCauses.All.FirstOrDefault(cause => cause.Kvm.Contains(number));

    /// <summary>The name of one of KVM's exit reasons: <c>KVM_EXIT_IO</c>.</summary>
    /// <param name="number">Any number; unknown ones go by it.</param>
    public static string KvmName(uint number) => number < KvmNames.Length ? $"KVM_EXIT_{KvmNames[number]}" : $"KVM_EXIT_{number}";

    /// <summary>A number as AMD's manual writes it: hexadecimal, and negative at the end of the range.</summary>
    internal static string SvmNumber(ulong number) =>
        number > long.MaxValue ? unchecked((long)number).ToString(CultureInfo.InvariantCulture) : string.Create(CultureInfo.InvariantCulture, $"0x{number:x}");

    private static Topic KvmTopic(string name, int number)
    {
        int known = Array.FindIndex(X86, row => row.Number == (uint)number);
        return known < 0
            ? new Topic(TopicTable.KvmExit, (ulong)number, $"KVM_EXIT_{name}", "An exit of another architecture.") { Clause = "linux/kvm.h" }
            : new Topic(TopicTable.KvmExit, (ulong)number, $"KVM_EXIT_{name}", X86[known].Meaning)
            {
                Vmm = X86[known].Vmm,
                Clause = "Linux, Documentation/virt/kvm/api.rst, section 5",
                Cause = CauseOfKvm((uint)number),
            };
    }

    private static Topic[] FromHardware(TopicTable table) =>
    [
        .. from cause in ExitCauses.All
           from exit in table == TopicTable.VmxExit ? cause.Vmx : cause.Svm
           orderby exit.Number
           select new Topic(table, exit.Number, exit.Name, cause.Meaning)
           {
               Count = exit.Count,
               Vmm = cause.Vmm,
               Clause = table == TopicTable.VmxExit ? cause.VmxSource : cause.SvmSource,
               Cause = cause,
           },
    ];
}
