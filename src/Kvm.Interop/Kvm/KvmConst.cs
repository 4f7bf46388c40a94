#pragma warning disable CS1591 // values of <linux/kvm.h> and <asm/kvm.h>, name for name

namespace Kvm.Interop;

/// <summary>Flags and constants of <c>linux/kvm.h</c> and <c>asm/kvm.h</c>, under their own names. The layout test compares each with the header.</summary>
public static class KvmConst
{
    public const int KVM_API_VERSION = 12;

    // Pages of a vCPU's mapping, counted in pages of 4096 bytes.
    public const int KVM_PIO_PAGE_OFFSET = 1;
    public const int KVM_COALESCED_MMIO_PAGE_OFFSET = 2;
    public const int KVM_DIRTY_LOG_PAGE_OFFSET = 64;

    public const uint KVM_PIT_SPEAKER_DUMMY = 1;
    public const uint KVM_PIT_FLAGS_HPET_LEGACY = 1;
    public const uint KVM_PIT_FLAGS_SPEAKER_DATA_ON = 2;
    public const int KVM_IOAPIC_NUM_PINS = 24;

    public const ushort KVM_RUN_X86_SMM = 1 << 0;
    public const ushort KVM_RUN_X86_BUS_LOCK = 1 << 1;

    public const byte KVM_EXIT_IO_IN = 0;
    public const byte KVM_EXIT_IO_OUT = 1;

    public const uint KVM_INTERNAL_ERROR_EMULATION = 1;
    public const uint KVM_INTERNAL_ERROR_SIMUL_EX = 2;
    public const uint KVM_INTERNAL_ERROR_DELIVERY_EV = 3;
    public const uint KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON = 4;
    public const ulong KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES = 1;

    public const uint KVM_SYSTEM_EVENT_SHUTDOWN = 1;
    public const uint KVM_SYSTEM_EVENT_RESET = 2;
    public const uint KVM_SYSTEM_EVENT_CRASH = 3;
    public const uint KVM_SYSTEM_EVENT_WAKEUP = 4;
    public const uint KVM_SYSTEM_EVENT_SUSPEND = 5;
    public const uint KVM_SYSTEM_EVENT_SEV_TERM = 6;

    public const uint KVM_MSR_EXIT_REASON_INVAL = 1 << 0;
    public const uint KVM_MSR_EXIT_REASON_UNKNOWN = 1 << 1;
    public const uint KVM_MSR_EXIT_REASON_FILTER = 1 << 2;

    public const uint KVM_MSR_FILTER_READ = 1 << 0;
    public const uint KVM_MSR_FILTER_WRITE = 1 << 1;
    public const uint KVM_MSR_FILTER_DEFAULT_ALLOW = 0;
    public const uint KVM_MSR_FILTER_DEFAULT_DENY = 1;
    public const int KVM_MSR_FILTER_MAX_RANGES = 16;
    public const int KVM_MSR_FILTER_MAX_BITMAP_SIZE = 0x600;

    public const uint KVM_NOTIFY_CONTEXT_INVALID = 1 << 0;
    public const uint KVM_EXIT_HYPERV_SYNIC = 1;
    public const uint KVM_EXIT_HYPERV_HCALL = 2;
    public const uint KVM_EXIT_HYPERV_SYNDBG = 3;
    public const uint KVM_EXIT_XEN_HCALL = 1;

    public const ulong KVM_SYNC_X86_REGS = 1 << 0;
    public const ulong KVM_SYNC_X86_SREGS = 1 << 1;
    public const ulong KVM_SYNC_X86_EVENTS = 1 << 2;

    public const uint KVM_CPUID_FLAG_SIGNIFCANT_INDEX = 1 << 0;
    public const uint KVM_CPUID_FLAG_STATEFUL_FUNC = 1 << 1;
    public const uint KVM_CPUID_FLAG_STATE_READ_NEXT = 1 << 2;

    public const ulong KVM_SREGS2_FLAGS_PDPTRS_VALID = 1;

    public const uint KVM_VCPUEVENT_VALID_NMI_PENDING = 0x01;
    public const uint KVM_VCPUEVENT_VALID_SIPI_VECTOR = 0x02;
    public const uint KVM_VCPUEVENT_VALID_SHADOW = 0x04;
    public const uint KVM_VCPUEVENT_VALID_SMM = 0x08;
    public const uint KVM_VCPUEVENT_VALID_PAYLOAD = 0x10;
    public const uint KVM_VCPUEVENT_VALID_TRIPLE_FAULT = 0x20;
    public const byte KVM_X86_SHADOW_INT_MOV_SS = 1;
    public const byte KVM_X86_SHADOW_INT_STI = 2;

    public const uint KVM_GUESTDBG_ENABLE = 0x00000001;
    public const uint KVM_GUESTDBG_SINGLESTEP = 0x00000002;
    public const uint KVM_GUESTDBG_USE_SW_BP = 0x00010000;
    public const uint KVM_GUESTDBG_USE_HW_BP = 0x00020000;
    public const uint KVM_GUESTDBG_INJECT_DB = 0x00040000;
    public const uint KVM_GUESTDBG_INJECT_BP = 0x00080000;
    public const uint KVM_GUESTDBG_BLOCKIRQ = 0x00100000;

    public const uint KVM_IRQ_ROUTING_IRQCHIP = 1;
    public const uint KVM_IRQ_ROUTING_MSI = 2;
    public const uint KVM_MSI_VALID_DEVID = 1;

    public const uint KVM_IRQFD_FLAG_DEASSIGN = 1 << 0;
    public const uint KVM_IRQFD_FLAG_RESAMPLE = 1 << 1;

    public const uint KVM_IOEVENTFD_FLAG_DATAMATCH = 1 << 0;
    public const uint KVM_IOEVENTFD_FLAG_PIO = 1 << 1;
    public const uint KVM_IOEVENTFD_FLAG_DEASSIGN = 1 << 2;

    public const uint KVM_CLOCK_TSC_STABLE = 2;
    public const uint KVM_CLOCK_REALTIME = 1 << 2;
    public const uint KVM_CLOCK_HOST_TSC = 1 << 3;

    public const uint KVM_DIRTY_GFN_F_DIRTY = 1 << 0;
    public const uint KVM_DIRTY_GFN_F_RESET = 1 << 1;
    public const ulong KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE = 1 << 0;
    public const ulong KVM_DIRTY_LOG_INITIALLY_SET = 1 << 1;

    public const ulong KVM_X86_DISABLE_EXITS_MWAIT = 1 << 0;
    public const ulong KVM_X86_DISABLE_EXITS_HLT = 1 << 1;
    public const ulong KVM_X86_DISABLE_EXITS_PAUSE = 1 << 2;
    public const ulong KVM_X86_DISABLE_EXITS_CSTATE = 1 << 3;
    public const ulong KVM_X2APIC_API_USE_32BIT_IDS = 1 << 0;
    public const ulong KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK = 1 << 1;
    public const ulong KVM_BUS_LOCK_DETECTION_OFF = 1 << 0;
    public const ulong KVM_BUS_LOCK_DETECTION_EXIT = 1 << 1;
    public const ulong KVM_X86_NOTIFY_VMEXIT_ENABLED = 1 << 0;
    public const ulong KVM_X86_NOTIFY_VMEXIT_USER = 1 << 1;

    public const ulong KVM_X86_QUIRK_LINT0_REENABLED = 1 << 0;
    public const ulong KVM_X86_QUIRK_CD_NW_CLEARED = 1 << 1;
    public const ulong KVM_X86_QUIRK_LAPIC_MMIO_HOLE = 1 << 2;
    public const ulong KVM_X86_QUIRK_OUT_7E_INC_RIP = 1 << 3;
    public const ulong KVM_X86_QUIRK_MISC_ENABLE_NO_MWAIT = 1 << 4;
    public const ulong KVM_X86_QUIRK_FIX_HYPERCALL_INSN = 1 << 5;
    public const ulong KVM_X86_QUIRK_MWAIT_NEVER_UD_FAULTS = 1 << 6;

    public const uint KVM_PMU_EVENT_ALLOW = 0;
    public const uint KVM_PMU_EVENT_DENY = 1;

    public const uint KVM_DEV_TYPE_VFIO = 4;
    public const uint KVM_CREATE_DEVICE_TEST = 1;
    public const uint KVM_DEV_VFIO_GROUP = 1;
    public const ulong KVM_DEV_VFIO_GROUP_ADD = 1;
    public const ulong KVM_DEV_VFIO_GROUP_DEL = 2;

    public const uint KVM_VCPU_TSC_CTRL = 0;
    public const ulong KVM_VCPU_TSC_OFFSET = 0;
    public const ulong KVM_X86_XCOMP_GUEST_SUPP = 0;
}
