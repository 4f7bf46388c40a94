namespace Kvm.Interop;

/// <summary>The <c>KVM_CAP_</c> numbers that concern x86, under their own names. What each gives is in <see cref="KvmCaps"/> too, for programs to print.</summary>
public enum KvmCap : uint
{
    /// <summary>Interrupt controllers (8259 pair, I/O APIC, local APICs) inside the kernel.</summary>
    KVM_CAP_IRQCHIP = 0,
    /// <summary>HLT ends the run and is reported.</summary>
    KVM_CAP_HLT = 1,
    /// <summary>The number of shadow page-table pages can be set.</summary>
    KVM_CAP_MMU_SHADOW_CACHE_CONTROL = 2,
    /// <summary>Guest memory is memory of this process.</summary>
    KVM_CAP_USER_MEMORY = 3,
    /// <summary>The three pages Intel's real-mode emulation needs can be placed.</summary>
    KVM_CAP_SET_TSS_ADDR = 4,
    /// <summary>TPR accesses can be reported and patched (32-bit Windows).</summary>
    KVM_CAP_VAPIC = 6,
    /// <summary>CPUID leaves can be listed and set.</summary>
    KVM_CAP_EXT_CPUID = 7,
    /// <summary>Kvmclock: the paravirtual clock for guests.</summary>
    KVM_CAP_CLOCKSOURCE = 8,
    /// <summary>The recommended largest number of vCPUs.</summary>
    KVM_CAP_NR_VCPUS = 9,
    /// <summary>The largest number of memory slots.</summary>
    KVM_CAP_NR_MEMSLOTS = 10,
    /// <summary>An 8254 timer inside the kernel (first form).</summary>
    KVM_CAP_PIT = 11,
    /// <summary>Guests may skip their I/O delays.</summary>
    KVM_CAP_NOP_IO_DELAY = 12,
    /// <summary>Paravirtual page-table operations (obsolete).</summary>
    KVM_CAP_PV_MMU = 13,
    /// <summary>Whether a vCPU runs, halts or waits for INIT/SIPI can be read and set.</summary>
    KVM_CAP_MP_STATE = 14,
    /// <summary>MMIO writes can be queued in a ring instead of ending the run.</summary>
    KVM_CAP_COALESCED_MMIO = 15,
    /// <summary>The host may page, migrate and merge guest memory.</summary>
    KVM_CAP_SYNC_MMU = 16,
    /// <summary>Legacy device assignment.</summary>
    KVM_CAP_IOMMU = 18,
    /// <summary>Memory slots can be removed.</summary>
    KVM_CAP_DESTROY_MEMORY_REGION_WORKS = 21,
    /// <summary>An NMI can be injected.</summary>
    KVM_CAP_USER_NMI = 22,
    /// <summary>Single step and breakpoints of a guest.</summary>
    KVM_CAP_SET_GUEST_DEBUG = 23,
    /// <summary>Lost timer interrupts of the PIT may be dropped instead of re-injected.</summary>
    KVM_CAP_REINJECT_CONTROL = 24,
    /// <summary>Interrupt lines and MSIs can be routed by a table.</summary>
    KVM_CAP_IRQ_ROUTING = 25,
    /// <summary>Raising a line tells whether the interrupt was delivered or merged.</summary>
    KVM_CAP_IRQ_INJECT_STATUS = 26,
    /// <summary>Legacy device assignment: interrupts.</summary>
    KVM_CAP_ASSIGN_DEV_IRQ = 29,
    /// <summary>Adjacent memory slots work together.</summary>
    KVM_CAP_JOIN_MEMORY_REGIONS_WORKS = 30,
    /// <summary>Machine-check events can be injected.</summary>
    KVM_CAP_MCE = 31,
    /// <summary>An eventfd raises an interrupt without a system call of the VMM.</summary>
    KVM_CAP_IRQFD = 32,
    /// <summary>An 8254 timer inside the kernel.</summary>
    KVM_CAP_PIT2 = 33,
    /// <summary>Which vCPU is the bootstrap processor can be chosen.</summary>
    KVM_CAP_SET_BOOT_CPU_ID = 34,
    /// <summary>The timer's whole state can be read and set.</summary>
    KVM_CAP_PIT_STATE2 = 35,
    /// <summary>A guest's write signals an eventfd instead of ending the run.</summary>
    KVM_CAP_IOEVENTFD = 36,
    /// <summary>The page of Intel's identity map can be placed.</summary>
    KVM_CAP_SET_IDENTITY_MAP_ADDR = 37,
    /// <summary>Guests may use Xen's hypercalls.</summary>
    KVM_CAP_XEN_HVM = 38,
    /// <summary>Kvmclock can be read and set (snapshots).</summary>
    KVM_CAP_ADJUST_CLOCK = 39,
    /// <summary>Internal errors come with data.</summary>
    KVM_CAP_INTERNAL_ERROR_DATA = 40,
    /// <summary>Exceptions and interrupts in flight can be read and set (snapshots).</summary>
    KVM_CAP_VCPU_EVENTS = 41,
    /// <summary>Hyper-V's synthetic registers for Windows guests.</summary>
    KVM_CAP_HYPERV = 44,
    /// <summary>Hyper-V's APIC assist page.</summary>
    KVM_CAP_HYPERV_VAPIC = 45,
    /// <summary>Hyper-V's spinlock notification.</summary>
    KVM_CAP_HYPERV_SPIN = 46,
    /// <summary>Legacy device assignment: PCI segments.</summary>
    KVM_CAP_PCI_SEGMENT = 47,
    /// <summary>The interrupt shadow of STI and MOV SS is kept (snapshots).</summary>
    KVM_CAP_INTR_SHADOW = 49,
    /// <summary>Debug registers can be read and set (snapshots).</summary>
    KVM_CAP_DEBUGREGS = 50,
    /// <summary>Single step survives POPF and IRET.</summary>
    KVM_CAP_X86_ROBUST_SINGLESTEP = 51,
    /// <summary>Capabilities of a vCPU can be switched on.</summary>
    KVM_CAP_ENABLE_CAP = 54,
    /// <summary>X87, SSE and AVX state can be read and set (snapshots).</summary>
    KVM_CAP_XSAVE = 55,
    /// <summary>XCR0 can be read and set (snapshots).</summary>
    KVM_CAP_XCRS = 56,
    /// <summary>The guest is told of pages the host has to fetch, and can run something else.</summary>
    KVM_CAP_ASYNC_PF = 59,
    /// <summary>The guest's TSC frequency can differ from the host's (migration).</summary>
    KVM_CAP_TSC_CONTROL = 60,
    /// <summary>The guest's TSC frequency can be read.</summary>
    KVM_CAP_GET_TSC_KHZ = 61,
    /// <summary>The largest number of vCPUs.</summary>
    KVM_CAP_MAX_VCPUS = 66,
    /// <summary>The local APIC's TSC-deadline timer.</summary>
    KVM_CAP_TSC_DEADLINE_TIMER = 72,
    /// <summary>Registers can be exchanged through the run page, without ioctls.</summary>
    KVM_CAP_SYNC_REGS = 74,
    /// <summary>Legacy device assignment: INTx masking.</summary>
    KVM_CAP_PCI_2_3 = 75,
    /// <summary>A paused guest can be told so, and its watchdog stays quiet.</summary>
    KVM_CAP_KVMCLOCK_CTRL = 76,
    /// <summary>Message-signalled interrupts can be sent directly.</summary>
    KVM_CAP_SIGNAL_MSI = 77,
    /// <summary>Read-only memory slots (ROM, flash).</summary>
    KVM_CAP_READONLY_MEM = 81,
    /// <summary>Level-triggered interrupts through irqfd.</summary>
    KVM_CAP_IRQFD_RESAMPLE = 82,
    /// <summary>In-kernel devices by file descriptor (VFIO).</summary>
    KVM_CAP_DEVICE_CTRL = 89,
    /// <summary>CPUID features KVM emulates can be listed.</summary>
    KVM_CAP_EXT_EMUL_CPUID = 95,
    /// <summary>Hyper-V's reference counter and TSC page.</summary>
    KVM_CAP_HYPERV_TIME = 96,
    /// <summary>The polarity bit of the I/O APIC does not matter.</summary>
    KVM_CAP_IOAPIC_POLARITY_IGNORED = 97,
    /// <summary>Capabilities of a VM can be switched on.</summary>
    KVM_CAP_ENABLE_CAP_VM = 98,
    /// <summary>Ioeventfd that ignores the access's width.</summary>
    KVM_CAP_IOEVENTFD_NO_LENGTH = 100,
    /// <summary>A VM has device attributes.</summary>
    KVM_CAP_VM_ATTRIBUTES = 101,
    /// <summary>Capabilities can be asked of a VM.</summary>
    KVM_CAP_CHECK_EXTENSION_VM = 105,
    /// <summary>KVM's deliberate deviations from the manual can be switched off.</summary>
    KVM_CAP_DISABLE_QUIRKS = 116,
    /// <summary>System management mode (UEFI secure boot).</summary>
    KVM_CAP_X86_SMM = 117,
    /// <summary>Memory only system management mode sees.</summary>
    KVM_CAP_MULTI_ADDRESS_SPACE = 118,
    /// <summary>The number of hardware breakpoints.</summary>
    KVM_CAP_GUEST_DEBUG_HW_BPS = 119,
    /// <summary>The number of hardware watchpoints.</summary>
    KVM_CAP_GUEST_DEBUG_HW_WPS = 120,
    /// <summary>Local APICs in the kernel, I/O APIC and timer in the VMM.</summary>
    KVM_CAP_SPLIT_IRQCHIP = 121,
    /// <summary>Ioeventfd for any access width.</summary>
    KVM_CAP_IOEVENTFD_ANY_LENGTH = 122,
    /// <summary>Hyper-V's synthetic interrupt controller (first form).</summary>
    KVM_CAP_HYPERV_SYNIC = 123,
    /// <summary>A vCPU has device attributes (TSC offset).</summary>
    KVM_CAP_VCPU_ATTRIBUTES = 127,
    /// <summary>The largest vCPU number.</summary>
    KVM_CAP_MAX_VCPU_ID = 128,
    /// <summary>More than 255 vCPUs; x2APIC numbers of 32 bits.</summary>
    KVM_CAP_X2APIC_API = 129,
    /// <summary>MSIs carry a device number.</summary>
    KVM_CAP_MSI_DEVID = 131,
    /// <summary>A run can be made to return at once.</summary>
    KVM_CAP_IMMEDIATE_EXIT = 136,
    /// <summary>HLT, MWAIT, PAUSE and C-state entry can be left to the guest (bit mask).</summary>
    KVM_CAP_X86_DISABLE_EXITS = 143,
    /// <summary>Hyper-V's synthetic interrupt controller.</summary>
    KVM_CAP_HYPERV_SYNIC2 = 148,
    /// <summary>Hyper-V's vCPU number can be chosen.</summary>
    KVM_CAP_HYPERV_VP_INDEX = 149,
    /// <summary>Feature MSRs can be read without a vCPU.</summary>
    KVM_CAP_GET_MSR_FEATURES = 153,
    /// <summary>Hyper-V's message ports signal an eventfd.</summary>
    KVM_CAP_HYPERV_EVENTFD = 154,
    /// <summary>Hyper-V's remote TLB flush.</summary>
    KVM_CAP_HYPERV_TLBFLUSH = 155,
    /// <summary>A guest that runs guests can be saved and restored.</summary>
    KVM_CAP_NESTED_STATE = 157,
    /// <summary>MSR_PLATFORM_INFO is emulated.</summary>
    KVM_CAP_MSR_PLATFORM_INFO = 159,
    /// <summary>Hyper-V's inter-processor interrupts by hypercall.</summary>
    KVM_CAP_HYPERV_SEND_IPI = 161,
    /// <summary>Port writes can be queued in a ring instead of ending the run.</summary>
    KVM_CAP_COALESCED_PIO = 162,
    /// <summary>Hyper-V's faster nested virtualization.</summary>
    KVM_CAP_HYPERV_ENLIGHTENED_VMCS = 163,
    /// <summary>CR2 and DR6 of an exception in flight are kept apart (snapshots).</summary>
    KVM_CAP_EXCEPTION_PAYLOAD = 164,
    /// <summary>First form of manual dirty-log clearing (withdrawn).</summary>
    KVM_CAP_MANUAL_DIRTY_LOG_PROTECT = 166,
    /// <summary>Hyper-V's CPUID leaves can be listed.</summary>
    KVM_CAP_HYPERV_CPUID = 167,
    /// <summary>Dirty pages are cleared in pieces (live migration).</summary>
    KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2 = 168,
    /// <summary>The performance events a guest may count can be restricted.</summary>
    KVM_CAP_PMU_EVENT_FILTER = 173,
    /// <summary>Hyper-V's TLB flush handled by an inner hypervisor.</summary>
    KVM_CAP_HYPERV_DIRECT_TLBFLUSH = 175,
    /// <summary>How long KVM polls before a halted vCPU sleeps can be set.</summary>
    KVM_CAP_HALT_POLL = 182,
    /// <summary>Asynchronous page faults reported by interrupt.</summary>
    KVM_CAP_ASYNC_PF_INT = 183,
    /// <summary>The physical CPU of a failed entry is told.</summary>
    KVM_CAP_LAST_CPU = 184,
    /// <summary>The guest may be given fewer physical address bits than the host has.</summary>
    KVM_CAP_SMALLER_MAXPHYADDR = 185,
    /// <summary>The guest learns how long it did not get the CPU.</summary>
    KVM_CAP_STEAL_TIME = 187,
    /// <summary>The VMM can handle MSR accesses KVM refuses.</summary>
    KVM_CAP_X86_USER_SPACE_MSR = 188,
    /// <summary>Chosen MSR accesses can be refused or sent to the VMM.</summary>
    KVM_CAP_X86_MSR_FILTER = 189,
    /// <summary>Paravirtual features not offered in CPUID are refused.</summary>
    KVM_CAP_ENFORCE_PV_FEATURE_CPUID = 190,
    /// <summary>Hyper-V's CPUID leaves can be listed before there is a VM.</summary>
    KVM_CAP_SYS_HYPERV_CPUID = 191,
    /// <summary>Dirty pages are listed in a ring per vCPU.</summary>
    KVM_CAP_DIRTY_LOG_RING = 192,
    /// <summary>Split locks of the guest end the run.</summary>
    KVM_CAP_X86_BUS_LOCK_EXIT = 193,
    /// <summary>Which guest-debug flags work can be asked (bit mask).</summary>
    KVM_CAP_SET_GUEST_DEBUG2 = 195,
    /// <summary>SGX attributes can be granted.</summary>
    KVM_CAP_SGX_ATTRIBUTE = 196,
    /// <summary>An encrypted VM can be mirrored.</summary>
    KVM_CAP_VM_COPY_ENC_CONTEXT_FROM = 197,
    /// <summary>Precise host time for guests.</summary>
    KVM_CAP_PTP_KVM = 198,
    /// <summary>Hyper-V features not offered in CPUID are refused.</summary>
    KVM_CAP_HYPERV_ENFORCE_CPUID = 199,
    /// <summary>Special registers with the PAE page-directory pointers (snapshots).</summary>
    KVM_CAP_SREGS2 = 200,
    /// <summary>Hypercalls can be sent to the VMM (bit mask).</summary>
    KVM_CAP_EXIT_HYPERCALL = 201,
    /// <summary>KVM's counters of a VM or vCPU can be read by file descriptor.</summary>
    KVM_CAP_BINARY_STATS_FD = 203,
    /// <summary>An instruction KVM cannot emulate ends the run, at user level too.</summary>
    KVM_CAP_EXIT_ON_EMULATION_FAILURE = 204,
    /// <summary>An encrypted VM can be moved to another process.</summary>
    KVM_CAP_VM_MOVE_ENC_CONTEXT_FROM = 206,
    /// <summary>The number of guest-physical address bits.</summary>
    KVM_CAP_VM_GPA_BITS = 207,
    /// <summary>XSAVE states over 4 KiB (AMX); gives the size in bytes.</summary>
    KVM_CAP_XSAVE2 = 208,
    /// <summary>/dev/kvm has device attributes.</summary>
    KVM_CAP_SYS_ATTRIBUTES = 209,
    /// <summary>The guest's performance counters can be switched off.</summary>
    KVM_CAP_PMU_CAPABILITY = 212,
    /// <summary>Which quirks can be switched off is told (bit mask).</summary>
    KVM_CAP_DISABLE_QUIRKS2 = 213,
    /// <summary>One TSC frequency for a whole VM.</summary>
    KVM_CAP_VM_TSC_CONTROL = 214,
    /// <summary>System events come with data.</summary>
    KVM_CAP_SYSTEM_EVENT_DATA = 215,
    /// <summary>A pending triple fault can be read and set (snapshots).</summary>
    KVM_CAP_X86_TRIPLE_FAULT_EVENT = 218,
    /// <summary>A guest that blocks interrupts for too long ends the run (Intel).</summary>
    KVM_CAP_X86_NOTIFY_VMEXIT = 219,
    /// <summary>The iTLB-multihit mitigation can be switched off for a VM.</summary>
    KVM_CAP_VM_DISABLE_NX_HUGE_PAGES = 220,
    /// <summary>Dirty rings with explicit memory ordering.</summary>
    KVM_CAP_DIRTY_LOG_RING_ACQ_REL = 223,
    /// <summary>Dirty rings with a bitmap for writes of no vCPU.</summary>
    KVM_CAP_DIRTY_LOG_RING_WITH_BITMAP = 225,
    /// <summary>Masks in performance event filters.</summary>
    KVM_CAP_PMU_EVENT_MASKED_EVENTS = 226,
    /// <summary>Memory slots that name a guest_memfd.</summary>
    KVM_CAP_USER_MEMORY2 = 231,
    /// <summary>A failed memory access ends the run with its address.</summary>
    KVM_CAP_MEMORY_FAULT_INFO = 232,
    /// <summary>Pages can be marked private (confidential VMs).</summary>
    KVM_CAP_MEMORY_ATTRIBUTES = 233,
    /// <summary>Memory this process cannot map (confidential VMs).</summary>
    KVM_CAP_GUEST_MEMFD = 234,
    /// <summary>Which types of VM can be made (bit mask).</summary>
    KVM_CAP_VM_TYPES = 235,
    /// <summary>Guest memory can be populated before the guest touches it.</summary>
    KVM_CAP_PRE_FAULT_MEMORY = 236,
    /// <summary>The local APIC timer's frequency can be set.</summary>
    KVM_CAP_X86_APIC_BUS_CYCLES_NS = 237,
    /// <summary>Run exits tell whether a nested guest was running.</summary>
    KVM_CAP_X86_GUEST_MODE = 238,
}

/// <summary>What a capability is for, in a line.</summary>
/// <param name="Cap">Its number.</param>
/// <param name="Name">Its name in <c>linux/kvm.h</c>.</param>
/// <param name="Gives">What it gives a user of virtual machines.</param>
public readonly record struct KvmCapInfo(KvmCap Cap, string Name, string Gives);

/// <summary>All capabilities of <see cref="KvmCap"/> with their meaning, in the order of their numbers.</summary>
public static class KvmCaps
{
    private static readonly KvmCapInfo[] Table =
    [
        new(KvmCap.KVM_CAP_IRQCHIP, "KVM_CAP_IRQCHIP", "interrupt controllers (8259 pair, I/O APIC, local APICs) inside the kernel"),
        new(KvmCap.KVM_CAP_HLT, "KVM_CAP_HLT", "HLT ends the run and is reported"),
        new(KvmCap.KVM_CAP_MMU_SHADOW_CACHE_CONTROL, "KVM_CAP_MMU_SHADOW_CACHE_CONTROL", "the number of shadow page-table pages can be set"),
        new(KvmCap.KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY", "guest memory is memory of this process"),
        new(KvmCap.KVM_CAP_SET_TSS_ADDR, "KVM_CAP_SET_TSS_ADDR", "the three pages Intel's real-mode emulation needs can be placed"),
        new(KvmCap.KVM_CAP_VAPIC, "KVM_CAP_VAPIC", "TPR accesses can be reported and patched (32-bit Windows)"),
        new(KvmCap.KVM_CAP_EXT_CPUID, "KVM_CAP_EXT_CPUID", "CPUID leaves can be listed and set"),
        new(KvmCap.KVM_CAP_CLOCKSOURCE, "KVM_CAP_CLOCKSOURCE", "kvmclock: the paravirtual clock for guests"),
        new(KvmCap.KVM_CAP_NR_VCPUS, "KVM_CAP_NR_VCPUS", "the recommended largest number of vCPUs"),
        new(KvmCap.KVM_CAP_NR_MEMSLOTS, "KVM_CAP_NR_MEMSLOTS", "the largest number of memory slots"),
        new(KvmCap.KVM_CAP_PIT, "KVM_CAP_PIT", "an 8254 timer inside the kernel (first form)"),
        new(KvmCap.KVM_CAP_NOP_IO_DELAY, "KVM_CAP_NOP_IO_DELAY", "guests may skip their I/O delays"),
        new(KvmCap.KVM_CAP_PV_MMU, "KVM_CAP_PV_MMU", "paravirtual page-table operations (obsolete)"),
        new(KvmCap.KVM_CAP_MP_STATE, "KVM_CAP_MP_STATE", "whether a vCPU runs, halts or waits for INIT/SIPI can be read and set"),
        new(KvmCap.KVM_CAP_COALESCED_MMIO, "KVM_CAP_COALESCED_MMIO", "MMIO writes can be queued in a ring instead of ending the run"),
        new(KvmCap.KVM_CAP_SYNC_MMU, "KVM_CAP_SYNC_MMU", "the host may page, migrate and merge guest memory"),
        new(KvmCap.KVM_CAP_IOMMU, "KVM_CAP_IOMMU", "legacy device assignment"),
        new(KvmCap.KVM_CAP_DESTROY_MEMORY_REGION_WORKS, "KVM_CAP_DESTROY_MEMORY_REGION_WORKS", "memory slots can be removed"),
        new(KvmCap.KVM_CAP_USER_NMI, "KVM_CAP_USER_NMI", "an NMI can be injected"),
        new(KvmCap.KVM_CAP_SET_GUEST_DEBUG, "KVM_CAP_SET_GUEST_DEBUG", "single step and breakpoints of a guest"),
        new(KvmCap.KVM_CAP_REINJECT_CONTROL, "KVM_CAP_REINJECT_CONTROL", "lost timer interrupts of the PIT may be dropped instead of re-injected"),
        new(KvmCap.KVM_CAP_IRQ_ROUTING, "KVM_CAP_IRQ_ROUTING", "interrupt lines and MSIs can be routed by a table"),
        new(KvmCap.KVM_CAP_IRQ_INJECT_STATUS, "KVM_CAP_IRQ_INJECT_STATUS", "raising a line tells whether the interrupt was delivered or merged"),
        new(KvmCap.KVM_CAP_ASSIGN_DEV_IRQ, "KVM_CAP_ASSIGN_DEV_IRQ", "legacy device assignment: interrupts"),
        new(KvmCap.KVM_CAP_JOIN_MEMORY_REGIONS_WORKS, "KVM_CAP_JOIN_MEMORY_REGIONS_WORKS", "adjacent memory slots work together"),
        new(KvmCap.KVM_CAP_MCE, "KVM_CAP_MCE", "machine-check events can be injected"),
        new(KvmCap.KVM_CAP_IRQFD, "KVM_CAP_IRQFD", "an eventfd raises an interrupt without a system call of the VMM"),
        new(KvmCap.KVM_CAP_PIT2, "KVM_CAP_PIT2", "an 8254 timer inside the kernel"),
        new(KvmCap.KVM_CAP_SET_BOOT_CPU_ID, "KVM_CAP_SET_BOOT_CPU_ID", "which vCPU is the bootstrap processor can be chosen"),
        new(KvmCap.KVM_CAP_PIT_STATE2, "KVM_CAP_PIT_STATE2", "the timer's whole state can be read and set"),
        new(KvmCap.KVM_CAP_IOEVENTFD, "KVM_CAP_IOEVENTFD", "a guest's write signals an eventfd instead of ending the run"),
        new(KvmCap.KVM_CAP_SET_IDENTITY_MAP_ADDR, "KVM_CAP_SET_IDENTITY_MAP_ADDR", "the page of Intel's identity map can be placed"),
        new(KvmCap.KVM_CAP_XEN_HVM, "KVM_CAP_XEN_HVM", "guests may use Xen's hypercalls"),
        new(KvmCap.KVM_CAP_ADJUST_CLOCK, "KVM_CAP_ADJUST_CLOCK", "kvmclock can be read and set (snapshots)"),
        new(KvmCap.KVM_CAP_INTERNAL_ERROR_DATA, "KVM_CAP_INTERNAL_ERROR_DATA", "internal errors come with data"),
        new(KvmCap.KVM_CAP_VCPU_EVENTS, "KVM_CAP_VCPU_EVENTS", "exceptions and interrupts in flight can be read and set (snapshots)"),
        new(KvmCap.KVM_CAP_HYPERV, "KVM_CAP_HYPERV", "Hyper-V's synthetic registers for Windows guests"),
        new(KvmCap.KVM_CAP_HYPERV_VAPIC, "KVM_CAP_HYPERV_VAPIC", "Hyper-V's APIC assist page"),
        new(KvmCap.KVM_CAP_HYPERV_SPIN, "KVM_CAP_HYPERV_SPIN", "Hyper-V's spinlock notification"),
        new(KvmCap.KVM_CAP_PCI_SEGMENT, "KVM_CAP_PCI_SEGMENT", "legacy device assignment: PCI segments"),
        new(KvmCap.KVM_CAP_INTR_SHADOW, "KVM_CAP_INTR_SHADOW", "the interrupt shadow of STI and MOV SS is kept (snapshots)"),
        new(KvmCap.KVM_CAP_DEBUGREGS, "KVM_CAP_DEBUGREGS", "debug registers can be read and set (snapshots)"),
        new(KvmCap.KVM_CAP_X86_ROBUST_SINGLESTEP, "KVM_CAP_X86_ROBUST_SINGLESTEP", "single step survives POPF and IRET"),
        new(KvmCap.KVM_CAP_ENABLE_CAP, "KVM_CAP_ENABLE_CAP", "capabilities of a vCPU can be switched on"),
        new(KvmCap.KVM_CAP_XSAVE, "KVM_CAP_XSAVE", "x87, SSE and AVX state can be read and set (snapshots)"),
        new(KvmCap.KVM_CAP_XCRS, "KVM_CAP_XCRS", "XCR0 can be read and set (snapshots)"),
        new(KvmCap.KVM_CAP_ASYNC_PF, "KVM_CAP_ASYNC_PF", "the guest is told of pages the host has to fetch, and can run something else"),
        new(KvmCap.KVM_CAP_TSC_CONTROL, "KVM_CAP_TSC_CONTROL", "the guest's TSC frequency can differ from the host's (migration)"),
        new(KvmCap.KVM_CAP_GET_TSC_KHZ, "KVM_CAP_GET_TSC_KHZ", "the guest's TSC frequency can be read"),
        new(KvmCap.KVM_CAP_MAX_VCPUS, "KVM_CAP_MAX_VCPUS", "the largest number of vCPUs"),
        new(KvmCap.KVM_CAP_TSC_DEADLINE_TIMER, "KVM_CAP_TSC_DEADLINE_TIMER", "the local APIC's TSC-deadline timer"),
        new(KvmCap.KVM_CAP_SYNC_REGS, "KVM_CAP_SYNC_REGS", "registers can be exchanged through the run page, without ioctls"),
        new(KvmCap.KVM_CAP_PCI_2_3, "KVM_CAP_PCI_2_3", "legacy device assignment: INTx masking"),
        new(KvmCap.KVM_CAP_KVMCLOCK_CTRL, "KVM_CAP_KVMCLOCK_CTRL", "a paused guest can be told so, and its watchdog stays quiet"),
        new(KvmCap.KVM_CAP_SIGNAL_MSI, "KVM_CAP_SIGNAL_MSI", "message-signalled interrupts can be sent directly"),
        new(KvmCap.KVM_CAP_READONLY_MEM, "KVM_CAP_READONLY_MEM", "read-only memory slots (ROM, flash)"),
        new(KvmCap.KVM_CAP_IRQFD_RESAMPLE, "KVM_CAP_IRQFD_RESAMPLE", "level-triggered interrupts through irqfd"),
        new(KvmCap.KVM_CAP_DEVICE_CTRL, "KVM_CAP_DEVICE_CTRL", "in-kernel devices by file descriptor (VFIO)"),
        new(KvmCap.KVM_CAP_EXT_EMUL_CPUID, "KVM_CAP_EXT_EMUL_CPUID", "CPUID features KVM emulates can be listed"),
        new(KvmCap.KVM_CAP_HYPERV_TIME, "KVM_CAP_HYPERV_TIME", "Hyper-V's reference counter and TSC page"),
        new(KvmCap.KVM_CAP_IOAPIC_POLARITY_IGNORED, "KVM_CAP_IOAPIC_POLARITY_IGNORED", "the polarity bit of the I/O APIC does not matter"),
        new(KvmCap.KVM_CAP_ENABLE_CAP_VM, "KVM_CAP_ENABLE_CAP_VM", "capabilities of a VM can be switched on"),
        new(KvmCap.KVM_CAP_IOEVENTFD_NO_LENGTH, "KVM_CAP_IOEVENTFD_NO_LENGTH", "ioeventfd that ignores the access's width"),
        new(KvmCap.KVM_CAP_VM_ATTRIBUTES, "KVM_CAP_VM_ATTRIBUTES", "a VM has device attributes"),
        new(KvmCap.KVM_CAP_CHECK_EXTENSION_VM, "KVM_CAP_CHECK_EXTENSION_VM", "capabilities can be asked of a VM"),
        new(KvmCap.KVM_CAP_DISABLE_QUIRKS, "KVM_CAP_DISABLE_QUIRKS", "KVM's deliberate deviations from the manual can be switched off"),
        new(KvmCap.KVM_CAP_X86_SMM, "KVM_CAP_X86_SMM", "system management mode (UEFI secure boot)"),
        new(KvmCap.KVM_CAP_MULTI_ADDRESS_SPACE, "KVM_CAP_MULTI_ADDRESS_SPACE", "memory only system management mode sees"),
        new(KvmCap.KVM_CAP_GUEST_DEBUG_HW_BPS, "KVM_CAP_GUEST_DEBUG_HW_BPS", "the number of hardware breakpoints"),
        new(KvmCap.KVM_CAP_GUEST_DEBUG_HW_WPS, "KVM_CAP_GUEST_DEBUG_HW_WPS", "the number of hardware watchpoints"),
        new(KvmCap.KVM_CAP_SPLIT_IRQCHIP, "KVM_CAP_SPLIT_IRQCHIP", "local APICs in the kernel, I/O APIC and timer in the VMM"),
        new(KvmCap.KVM_CAP_IOEVENTFD_ANY_LENGTH, "KVM_CAP_IOEVENTFD_ANY_LENGTH", "ioeventfd for any access width"),
        new(KvmCap.KVM_CAP_HYPERV_SYNIC, "KVM_CAP_HYPERV_SYNIC", "Hyper-V's synthetic interrupt controller (first form)"),
        new(KvmCap.KVM_CAP_VCPU_ATTRIBUTES, "KVM_CAP_VCPU_ATTRIBUTES", "a vCPU has device attributes (TSC offset)"),
        new(KvmCap.KVM_CAP_MAX_VCPU_ID, "KVM_CAP_MAX_VCPU_ID", "the largest vCPU number"),
        new(KvmCap.KVM_CAP_X2APIC_API, "KVM_CAP_X2APIC_API", "more than 255 vCPUs; x2APIC numbers of 32 bits"),
        new(KvmCap.KVM_CAP_MSI_DEVID, "KVM_CAP_MSI_DEVID", "MSIs carry a device number"),
        new(KvmCap.KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT", "a run can be made to return at once"),
        new(KvmCap.KVM_CAP_X86_DISABLE_EXITS, "KVM_CAP_X86_DISABLE_EXITS", "HLT, MWAIT, PAUSE and C-state entry can be left to the guest (bit mask)"),
        new(KvmCap.KVM_CAP_HYPERV_SYNIC2, "KVM_CAP_HYPERV_SYNIC2", "Hyper-V's synthetic interrupt controller"),
        new(KvmCap.KVM_CAP_HYPERV_VP_INDEX, "KVM_CAP_HYPERV_VP_INDEX", "Hyper-V's vCPU number can be chosen"),
        new(KvmCap.KVM_CAP_GET_MSR_FEATURES, "KVM_CAP_GET_MSR_FEATURES", "feature MSRs can be read without a vCPU"),
        new(KvmCap.KVM_CAP_HYPERV_EVENTFD, "KVM_CAP_HYPERV_EVENTFD", "Hyper-V's message ports signal an eventfd"),
        new(KvmCap.KVM_CAP_HYPERV_TLBFLUSH, "KVM_CAP_HYPERV_TLBFLUSH", "Hyper-V's remote TLB flush"),
        new(KvmCap.KVM_CAP_NESTED_STATE, "KVM_CAP_NESTED_STATE", "a guest that runs guests can be saved and restored"),
        new(KvmCap.KVM_CAP_MSR_PLATFORM_INFO, "KVM_CAP_MSR_PLATFORM_INFO", "MSR_PLATFORM_INFO is emulated"),
        new(KvmCap.KVM_CAP_HYPERV_SEND_IPI, "KVM_CAP_HYPERV_SEND_IPI", "Hyper-V's inter-processor interrupts by hypercall"),
        new(KvmCap.KVM_CAP_COALESCED_PIO, "KVM_CAP_COALESCED_PIO", "port writes can be queued in a ring instead of ending the run"),
        new(KvmCap.KVM_CAP_HYPERV_ENLIGHTENED_VMCS, "KVM_CAP_HYPERV_ENLIGHTENED_VMCS", "Hyper-V's faster nested virtualization"),
        new(KvmCap.KVM_CAP_EXCEPTION_PAYLOAD, "KVM_CAP_EXCEPTION_PAYLOAD", "CR2 and DR6 of an exception in flight are kept apart (snapshots)"),
        new(KvmCap.KVM_CAP_MANUAL_DIRTY_LOG_PROTECT, "KVM_CAP_MANUAL_DIRTY_LOG_PROTECT", "first form of manual dirty-log clearing (withdrawn)"),
        new(KvmCap.KVM_CAP_HYPERV_CPUID, "KVM_CAP_HYPERV_CPUID", "Hyper-V's CPUID leaves can be listed"),
        new(KvmCap.KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, "KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2", "dirty pages are cleared in pieces (live migration)"),
        new(KvmCap.KVM_CAP_PMU_EVENT_FILTER, "KVM_CAP_PMU_EVENT_FILTER", "the performance events a guest may count can be restricted"),
        new(KvmCap.KVM_CAP_HYPERV_DIRECT_TLBFLUSH, "KVM_CAP_HYPERV_DIRECT_TLBFLUSH", "Hyper-V's TLB flush handled by an inner hypervisor"),
        new(KvmCap.KVM_CAP_HALT_POLL, "KVM_CAP_HALT_POLL", "how long KVM polls before a halted vCPU sleeps can be set"),
        new(KvmCap.KVM_CAP_ASYNC_PF_INT, "KVM_CAP_ASYNC_PF_INT", "asynchronous page faults reported by interrupt"),
        new(KvmCap.KVM_CAP_LAST_CPU, "KVM_CAP_LAST_CPU", "the physical CPU of a failed entry is told"),
        new(KvmCap.KVM_CAP_SMALLER_MAXPHYADDR, "KVM_CAP_SMALLER_MAXPHYADDR", "the guest may be given fewer physical address bits than the host has"),
        new(KvmCap.KVM_CAP_STEAL_TIME, "KVM_CAP_STEAL_TIME", "the guest learns how long it did not get the CPU"),
        new(KvmCap.KVM_CAP_X86_USER_SPACE_MSR, "KVM_CAP_X86_USER_SPACE_MSR", "the VMM can handle MSR accesses KVM refuses"),
        new(KvmCap.KVM_CAP_X86_MSR_FILTER, "KVM_CAP_X86_MSR_FILTER", "chosen MSR accesses can be refused or sent to the VMM"),
        new(KvmCap.KVM_CAP_ENFORCE_PV_FEATURE_CPUID, "KVM_CAP_ENFORCE_PV_FEATURE_CPUID", "paravirtual features not offered in CPUID are refused"),
        new(KvmCap.KVM_CAP_SYS_HYPERV_CPUID, "KVM_CAP_SYS_HYPERV_CPUID", "Hyper-V's CPUID leaves can be listed before there is a VM"),
        new(KvmCap.KVM_CAP_DIRTY_LOG_RING, "KVM_CAP_DIRTY_LOG_RING", "dirty pages are listed in a ring per vCPU"),
        new(KvmCap.KVM_CAP_X86_BUS_LOCK_EXIT, "KVM_CAP_X86_BUS_LOCK_EXIT", "split locks of the guest end the run"),
        new(KvmCap.KVM_CAP_SET_GUEST_DEBUG2, "KVM_CAP_SET_GUEST_DEBUG2", "which guest-debug flags work can be asked (bit mask)"),
        new(KvmCap.KVM_CAP_SGX_ATTRIBUTE, "KVM_CAP_SGX_ATTRIBUTE", "SGX attributes can be granted"),
        new(KvmCap.KVM_CAP_VM_COPY_ENC_CONTEXT_FROM, "KVM_CAP_VM_COPY_ENC_CONTEXT_FROM", "an encrypted VM can be mirrored"),
        new(KvmCap.KVM_CAP_PTP_KVM, "KVM_CAP_PTP_KVM", "precise host time for guests"),
        new(KvmCap.KVM_CAP_HYPERV_ENFORCE_CPUID, "KVM_CAP_HYPERV_ENFORCE_CPUID", "Hyper-V features not offered in CPUID are refused"),
        new(KvmCap.KVM_CAP_SREGS2, "KVM_CAP_SREGS2", "special registers with the PAE page-directory pointers (snapshots)"),
        new(KvmCap.KVM_CAP_EXIT_HYPERCALL, "KVM_CAP_EXIT_HYPERCALL", "hypercalls can be sent to the VMM (bit mask)"),
        new(KvmCap.KVM_CAP_BINARY_STATS_FD, "KVM_CAP_BINARY_STATS_FD", "KVM's counters of a VM or vCPU can be read by file descriptor"),
        new(KvmCap.KVM_CAP_EXIT_ON_EMULATION_FAILURE, "KVM_CAP_EXIT_ON_EMULATION_FAILURE", "an instruction KVM cannot emulate ends the run, at user level too"),
        new(KvmCap.KVM_CAP_VM_MOVE_ENC_CONTEXT_FROM, "KVM_CAP_VM_MOVE_ENC_CONTEXT_FROM", "an encrypted VM can be moved to another process"),
        new(KvmCap.KVM_CAP_VM_GPA_BITS, "KVM_CAP_VM_GPA_BITS", "the number of guest-physical address bits"),
        new(KvmCap.KVM_CAP_XSAVE2, "KVM_CAP_XSAVE2", "XSAVE states over 4 KiB (AMX); gives the size in bytes"),
        new(KvmCap.KVM_CAP_SYS_ATTRIBUTES, "KVM_CAP_SYS_ATTRIBUTES", "/dev/kvm has device attributes"),
        new(KvmCap.KVM_CAP_PMU_CAPABILITY, "KVM_CAP_PMU_CAPABILITY", "the guest's performance counters can be switched off"),
        new(KvmCap.KVM_CAP_DISABLE_QUIRKS2, "KVM_CAP_DISABLE_QUIRKS2", "which quirks can be switched off is told (bit mask)"),
        new(KvmCap.KVM_CAP_VM_TSC_CONTROL, "KVM_CAP_VM_TSC_CONTROL", "one TSC frequency for a whole VM"),
        new(KvmCap.KVM_CAP_SYSTEM_EVENT_DATA, "KVM_CAP_SYSTEM_EVENT_DATA", "system events come with data"),
        new(KvmCap.KVM_CAP_X86_TRIPLE_FAULT_EVENT, "KVM_CAP_X86_TRIPLE_FAULT_EVENT", "a pending triple fault can be read and set (snapshots)"),
        new(KvmCap.KVM_CAP_X86_NOTIFY_VMEXIT, "KVM_CAP_X86_NOTIFY_VMEXIT", "a guest that blocks interrupts for too long ends the run (Intel)"),
        new(KvmCap.KVM_CAP_VM_DISABLE_NX_HUGE_PAGES, "KVM_CAP_VM_DISABLE_NX_HUGE_PAGES", "the iTLB-multihit mitigation can be switched off for a VM"),
        new(KvmCap.KVM_CAP_DIRTY_LOG_RING_ACQ_REL, "KVM_CAP_DIRTY_LOG_RING_ACQ_REL", "dirty rings with explicit memory ordering"),
        new(KvmCap.KVM_CAP_DIRTY_LOG_RING_WITH_BITMAP, "KVM_CAP_DIRTY_LOG_RING_WITH_BITMAP", "dirty rings with a bitmap for writes of no vCPU"),
        new(KvmCap.KVM_CAP_PMU_EVENT_MASKED_EVENTS, "KVM_CAP_PMU_EVENT_MASKED_EVENTS", "masks in performance event filters"),
        new(KvmCap.KVM_CAP_USER_MEMORY2, "KVM_CAP_USER_MEMORY2", "memory slots that name a guest_memfd"),
        new(KvmCap.KVM_CAP_MEMORY_FAULT_INFO, "KVM_CAP_MEMORY_FAULT_INFO", "a failed memory access ends the run with its address"),
        new(KvmCap.KVM_CAP_MEMORY_ATTRIBUTES, "KVM_CAP_MEMORY_ATTRIBUTES", "pages can be marked private (confidential VMs)"),
        new(KvmCap.KVM_CAP_GUEST_MEMFD, "KVM_CAP_GUEST_MEMFD", "memory this process cannot map (confidential VMs)"),
        new(KvmCap.KVM_CAP_VM_TYPES, "KVM_CAP_VM_TYPES", "which types of VM can be made (bit mask)"),
        new(KvmCap.KVM_CAP_PRE_FAULT_MEMORY, "KVM_CAP_PRE_FAULT_MEMORY", "guest memory can be populated before the guest touches it"),
        new(KvmCap.KVM_CAP_X86_APIC_BUS_CYCLES_NS, "KVM_CAP_X86_APIC_BUS_CYCLES_NS", "the local APIC timer's frequency can be set"),
        new(KvmCap.KVM_CAP_X86_GUEST_MODE, "KVM_CAP_X86_GUEST_MODE", "run exits tell whether a nested guest was running"),
    ];

    /// <summary>The table. Thread-safe, never changes.</summary>
    public static ReadOnlySpan<KvmCapInfo> All => Table;

    /// <summary>The name of <paramref name="cap"/> in the C header, or its number in decimal where it is not in the table.</summary>
    public static string NameOf(KvmCap cap)
    {
        foreach (ref readonly KvmCapInfo row in Table.AsSpan())
        {
            if (row.Cap == cap)
            {
                return row.Name;
            }
        }

        return ((uint)cap).ToString(System.Globalization.CultureInfo.InvariantCulture);
    }
}
