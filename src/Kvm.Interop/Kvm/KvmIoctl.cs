#pragma warning disable CS1591

namespace Kvm.Interop;

/// <summary>
/// Every ioctl number this library uses, in one list, as <c>_IOC(direction, 0xAE, number, size)</c> of <c>asm-generic/ioctl.h</c>:
/// direction in bits 31–30, size of the argument in bits 29–16, the letter 0xAE in bits 15–8. The capability each needs stands beside it.
/// The layout test compares every one with the header.
/// </summary>
internal static class KvmIoctl
{
    private const uint IO = 0xAEu << 8;
    private const uint IOW = (1u << 30) | IO;
    private const uint IOR = (2u << 30) | IO;
    private const uint IOWR = (3u << 30) | IO;

    // /dev/kvm
    public const uint KVM_GET_API_VERSION = IO | 0x00;
    public const uint KVM_CREATE_VM = IO | 0x01;
    public const uint KVM_GET_MSR_INDEX_LIST = IOWR | (4 << 16) | 0x02;
    public const uint KVM_CHECK_EXTENSION = IO | 0x03;                           // on a VM: KVM_CAP_CHECK_EXTENSION_VM
    public const uint KVM_GET_VCPU_MMAP_SIZE = IO | 0x04;
    public const uint KVM_GET_SUPPORTED_CPUID = IOWR | (8 << 16) | 0x05;         // KVM_CAP_EXT_CPUID
    public const uint KVM_GET_EMULATED_CPUID = IOWR | (8 << 16) | 0x09;          // KVM_CAP_EXT_EMUL_CPUID
    public const uint KVM_GET_MSR_FEATURE_INDEX_LIST = IOWR | (4 << 16) | 0x0a;  // KVM_CAP_GET_MSR_FEATURES
    public const uint KVM_GET_SUPPORTED_HV_CPUID = IOWR | (8 << 16) | 0xc1;      // KVM_CAP_SYS_HYPERV_CPUID (vCPU: KVM_CAP_HYPERV_CPUID)

    // VM
    public const uint KVM_CREATE_VCPU = IO | 0x41;
    public const uint KVM_GET_DIRTY_LOG = IOW | (16 << 16) | 0x42;
    public const uint KVM_SET_USER_MEMORY_REGION = IOW | (32 << 16) | 0x46;      // KVM_CAP_USER_MEMORY
    public const uint KVM_SET_TSS_ADDR = IO | 0x47;                              // KVM_CAP_SET_TSS_ADDR
    public const uint KVM_SET_IDENTITY_MAP_ADDR = IOW | (8 << 16) | 0x48;        // KVM_CAP_SET_IDENTITY_MAP_ADDR
    public const uint KVM_CREATE_IRQCHIP = IO | 0x60;                            // KVM_CAP_IRQCHIP
    public const uint KVM_IRQ_LINE = IOW | (8 << 16) | 0x61;                     // KVM_CAP_IRQCHIP
    public const uint KVM_GET_IRQCHIP = IOWR | (520 << 16) | 0x62;               // KVM_CAP_IRQCHIP
    public const uint KVM_SET_IRQCHIP = IOR | (520 << 16) | 0x63;                // KVM_CAP_IRQCHIP
    public const uint KVM_IRQ_LINE_STATUS = IOWR | (8 << 16) | 0x67;             // KVM_CAP_IRQ_INJECT_STATUS
    public const uint KVM_REGISTER_COALESCED_MMIO = IOW | (16 << 16) | 0x67;     // KVM_CAP_COALESCED_MMIO
    public const uint KVM_UNREGISTER_COALESCED_MMIO = IOW | (16 << 16) | 0x68;   // KVM_CAP_COALESCED_MMIO
    public const uint KVM_SET_GSI_ROUTING = IOW | (8 << 16) | 0x6a;              // KVM_CAP_IRQ_ROUTING
    public const uint KVM_REINJECT_CONTROL = IO | 0x71;                          // KVM_CAP_REINJECT_CONTROL
    public const uint KVM_IRQFD = IOW | (32 << 16) | 0x76;                       // KVM_CAP_IRQFD
    public const uint KVM_CREATE_PIT2 = IOW | (64 << 16) | 0x77;                 // KVM_CAP_PIT2
    public const uint KVM_SET_BOOT_CPU_ID = IO | 0x78;                           // KVM_CAP_SET_BOOT_CPU_ID
    public const uint KVM_IOEVENTFD = IOW | (64 << 16) | 0x79;                   // KVM_CAP_IOEVENTFD
    public const uint KVM_SET_CLOCK = IOW | (48 << 16) | 0x7b;                   // KVM_CAP_ADJUST_CLOCK
    public const uint KVM_GET_CLOCK = IOR | (48 << 16) | 0x7c;                   // KVM_CAP_ADJUST_CLOCK
    public const uint KVM_GET_PIT2 = IOR | (112 << 16) | 0x9f;                   // KVM_CAP_PIT_STATE2
    public const uint KVM_SET_PIT2 = IOW | (112 << 16) | 0xa0;                   // KVM_CAP_PIT_STATE2
    public const uint KVM_SIGNAL_MSI = IOW | (32 << 16) | 0xa5;                  // KVM_CAP_SIGNAL_MSI
    public const uint KVM_SET_PMU_EVENT_FILTER = IOW | (32 << 16) | 0xb2;        // KVM_CAP_PMU_EVENT_FILTER
    public const uint KVM_CLEAR_DIRTY_LOG = IOWR | (24 << 16) | 0xc0;            // KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2
    public const uint KVM_X86_SET_MSR_FILTER = IOW | (392 << 16) | 0xc6;         // KVM_CAP_X86_MSR_FILTER
    public const uint KVM_RESET_DIRTY_RINGS = IO | 0xc7;                         // KVM_CAP_DIRTY_LOG_RING
    public const uint KVM_GET_STATS_FD = IO | 0xce;                              // KVM_CAP_BINARY_STATS_FD
    public const uint KVM_CREATE_DEVICE = IOWR | (12 << 16) | 0xe0;              // KVM_CAP_DEVICE_CTRL

    // devices; also VM, vCPU and system attributes
    public const uint KVM_SET_DEVICE_ATTR = IOW | (24 << 16) | 0xe1;             // KVM_CAP_DEVICE_CTRL, KVM_CAP_VCPU_ATTRIBUTES, KVM_CAP_VM_ATTRIBUTES
    public const uint KVM_GET_DEVICE_ATTR = IOW | (24 << 16) | 0xe2;             // the same; on /dev/kvm KVM_CAP_SYS_ATTRIBUTES
    public const uint KVM_HAS_DEVICE_ATTR = IOW | (24 << 16) | 0xe3;             // the same

    // vCPU
    public const uint KVM_RUN = IO | 0x80;
    public const uint KVM_GET_REGS = IOR | (144 << 16) | 0x81;
    public const uint KVM_SET_REGS = IOW | (144 << 16) | 0x82;
    public const uint KVM_GET_SREGS = IOR | (312 << 16) | 0x83;
    public const uint KVM_SET_SREGS = IOW | (312 << 16) | 0x84;
    public const uint KVM_TRANSLATE = IOWR | (24 << 16) | 0x85;
    public const uint KVM_INTERRUPT = IOW | (4 << 16) | 0x86;
    public const uint KVM_GET_MSRS = IOWR | (8 << 16) | 0x88;                    // on /dev/kvm: KVM_CAP_GET_MSR_FEATURES
    public const uint KVM_SET_MSRS = IOW | (8 << 16) | 0x89;
    public const uint KVM_SET_SIGNAL_MASK = IOW | (4 << 16) | 0x8b;
    public const uint KVM_GET_FPU = IOR | (416 << 16) | 0x8c;
    public const uint KVM_SET_FPU = IOW | (416 << 16) | 0x8d;
    public const uint KVM_GET_LAPIC = IOR | (1024 << 16) | 0x8e;                 // KVM_CAP_IRQCHIP
    public const uint KVM_SET_LAPIC = IOW | (1024 << 16) | 0x8f;                 // KVM_CAP_IRQCHIP
    public const uint KVM_SET_CPUID2 = IOW | (8 << 16) | 0x90;                   // KVM_CAP_EXT_CPUID
    public const uint KVM_GET_CPUID2 = IOWR | (8 << 16) | 0x91;                  // KVM_CAP_EXT_CPUID
    public const uint KVM_TPR_ACCESS_REPORTING = IOWR | (40 << 16) | 0x92;       // KVM_CAP_VAPIC
    public const uint KVM_SET_VAPIC_ADDR = IOW | (8 << 16) | 0x93;               // KVM_CAP_VAPIC
    public const uint KVM_GET_MP_STATE = IOR | (4 << 16) | 0x98;                 // KVM_CAP_MP_STATE
    public const uint KVM_SET_MP_STATE = IOW | (4 << 16) | 0x99;                 // KVM_CAP_MP_STATE
    public const uint KVM_NMI = IO | 0x9a;                                       // KVM_CAP_USER_NMI
    public const uint KVM_SET_GUEST_DEBUG = IOW | (72 << 16) | 0x9b;             // KVM_CAP_SET_GUEST_DEBUG
    public const uint KVM_X86_SETUP_MCE = IOW | (8 << 16) | 0x9c;                // KVM_CAP_MCE
    public const uint KVM_X86_GET_MCE_CAP_SUPPORTED = IOR | (8 << 16) | 0x9d;    // KVM_CAP_MCE, on /dev/kvm
    public const uint KVM_X86_SET_MCE = IOW | (64 << 16) | 0x9e;                 // KVM_CAP_MCE
    public const uint KVM_GET_VCPU_EVENTS = IOR | (64 << 16) | 0x9f;             // KVM_CAP_VCPU_EVENTS
    public const uint KVM_SET_VCPU_EVENTS = IOW | (64 << 16) | 0xa0;             // KVM_CAP_VCPU_EVENTS
    public const uint KVM_GET_DEBUGREGS = IOR | (128 << 16) | 0xa1;              // KVM_CAP_DEBUGREGS
    public const uint KVM_SET_DEBUGREGS = IOW | (128 << 16) | 0xa2;              // KVM_CAP_DEBUGREGS
    public const uint KVM_SET_TSC_KHZ = IO | 0xa2;                               // KVM_CAP_TSC_CONTROL; on a VM: KVM_CAP_VM_TSC_CONTROL
    public const uint KVM_GET_TSC_KHZ = IO | 0xa3;                               // KVM_CAP_GET_TSC_KHZ; on a VM: KVM_CAP_VM_TSC_CONTROL
    public const uint KVM_ENABLE_CAP = IOW | (104 << 16) | 0xa3;                 // KVM_CAP_ENABLE_CAP; on a VM: KVM_CAP_ENABLE_CAP_VM
    public const uint KVM_GET_XSAVE = IOR | (4096 << 16) | 0xa4;                 // KVM_CAP_XSAVE
    public const uint KVM_SET_XSAVE = IOW | (4096 << 16) | 0xa5;                 // KVM_CAP_XSAVE
    public const uint KVM_GET_XCRS = IOR | (392 << 16) | 0xa6;                   // KVM_CAP_XCRS
    public const uint KVM_SET_XCRS = IOW | (392 << 16) | 0xa7;                   // KVM_CAP_XCRS
    public const uint KVM_KVMCLOCK_CTRL = IO | 0xad;                             // KVM_CAP_KVMCLOCK_CTRL
    public const uint KVM_SMI = IO | 0xb7;                                       // KVM_CAP_X86_SMM
    public const uint KVM_GET_NESTED_STATE = IOWR | (128 << 16) | 0xbe;          // KVM_CAP_NESTED_STATE
    public const uint KVM_SET_NESTED_STATE = IOW | (128 << 16) | 0xbf;           // KVM_CAP_NESTED_STATE
    public const uint KVM_GET_SREGS2 = IOR | (320 << 16) | 0xcc;                 // KVM_CAP_SREGS2
    public const uint KVM_SET_SREGS2 = IOW | (320 << 16) | 0xcd;                 // KVM_CAP_SREGS2
    public const uint KVM_GET_XSAVE2 = IOR | (4096 << 16) | 0xcf;                // KVM_CAP_XSAVE2
}
