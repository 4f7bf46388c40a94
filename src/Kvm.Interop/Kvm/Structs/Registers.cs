// The fields are those of <asm/kvm.h>, name for name; what they hold is the processor manual's to say.
#pragma warning disable CS1591

namespace Kvm.Interop;

/// <summary><c>struct kvm_regs</c>: the general registers (KVM_GET_REGS, KVM_SET_REGS).</summary>
public struct KvmRegs
{
    public ulong Rax, Rbx, Rcx, Rdx;
    public ulong Rsi, Rdi, Rsp, Rbp;
    public ulong R8, R9, R10, R11;
    public ulong R12, R13, R14, R15;
    public ulong Rip, Rflags;
}

/// <summary><c>struct kvm_segment</c>: one segment register with its hidden part. <see cref="Limit"/> is in bytes, already scaled by <see cref="G"/>.</summary>
public struct KvmSegment
{
    public ulong Base;
    public uint Limit;
    public ushort Selector;
    public byte Type;
    public byte Present, Dpl, Db, S, L, G, Avl;
    public byte Unusable;
    public byte Padding;
}

/// <summary><c>struct kvm_dtable</c>: GDTR or IDTR.</summary>
public struct KvmDtable
{
    public ulong Base;
    public ushort Limit;
    public U16x3 Padding;
}

/// <summary><c>struct kvm_sregs</c>: segment, control and table registers. <see cref="InterruptBitmap"/> holds at most one bit: an external interrupt queued for injection.</summary>
public struct KvmSregs
{
    public KvmSegment Cs, Ds, Es, Fs, Gs, Ss;
    public KvmSegment Tr, Ldt;
    public KvmDtable Gdt, Idt;
    public ulong Cr0, Cr2, Cr3, Cr4, Cr8;
    public ulong Efer;
    public ulong ApicBase;
    public U64x4 InterruptBitmap;
}

/// <summary><c>struct kvm_sregs2</c>: as <see cref="KvmSregs"/>, with the four PDPTEs of PAE paging instead of the queued interrupt.</summary>
public struct KvmSregs2
{
    public KvmSegment Cs, Ds, Es, Fs, Gs, Ss;
    public KvmSegment Tr, Ldt;
    public KvmDtable Gdt, Idt;
    public ulong Cr0, Cr2, Cr3, Cr4, Cr8;
    public ulong Efer;
    public ulong ApicBase;
    public ulong Flags;
    public U64x4 Pdptrs;
}

/// <summary><c>struct kvm_fpu</c>: x87 and SSE state without AVX. Use the XSAVE calls for the whole of it.</summary>
public struct KvmFpu
{
    /// <summary>ST(0)…ST(7), 16 bytes each, the low ten used.</summary>
    public U8x128 Fpr;
    public ushort Fcw;
    public ushort Fsw;
    public byte Ftwx;
    public byte Pad1;
    public ushort LastOpcode;
    public ulong LastIp;
    public ulong LastDp;
    /// <summary>XMM0…XMM15, 16 bytes each.</summary>
    public U8x256 Xmm;
    public uint Mxcsr;
    public uint Pad2;
}

/// <summary><c>struct kvm_xcr</c>: one extended control register.</summary>
public struct KvmXcr
{
    public uint Xcr;
    public uint Reserved;
    public ulong Value;
}

/// <summary>Sixteen <see cref="KvmXcr"/> laid out as a C array.</summary>
[System.Runtime.CompilerServices.InlineArray(16)]
public struct KvmXcrArray
{
    private KvmXcr _e;
}

/// <summary><c>struct kvm_xcrs</c>: the extended control registers (only XCR0 exists so far).</summary>
public struct KvmXcrs
{
    public uint NrXcrs;
    public uint Flags;
    public KvmXcrArray Xcrs;
    public U64x16 Padding;
}

/// <summary><c>struct kvm_debugregs</c>: DR0–DR3, DR6, DR7.</summary>
public struct KvmDebugregs
{
    public U64x4 Db;
    public ulong Dr6;
    public ulong Dr7;
    public ulong Flags;
    public U64x9 Reserved;
}

/// <summary><c>struct kvm_lapic_state</c>: the local APIC's register page, register <c>n</c> at byte <c>n</c> (SDM vol. 3, table 11-1).</summary>
public struct KvmLapicState
{
    public U8x1024 Regs;
}

/// <summary><c>struct kvm_mp_state</c>.</summary>
public struct KvmMpState
{
    public KvmMpStateValue MpState;
}

/// <summary>The <c>KVM_MP_STATE_</c> values x86 uses.</summary>
public enum KvmMpStateValue : uint
{
    /// <summary>Running, or ready to.</summary>
    Runnable = 0,
    /// <summary>An application processor that has had no INIT yet.</summary>
    Uninitialized = 1,
    /// <summary>INIT received, waiting for SIPI.</summary>
    InitReceived = 2,
    /// <summary>Executed HLT; wakes on an interrupt.</summary>
    Halted = 3,
    /// <summary>SIPI received, about to start.</summary>
    SipiReceived = 4,
    /// <summary>Parked by AP_RESET_HOLD (SEV-ES).</summary>
    ApResetHold = 9,
}

/// <summary>The <c>exception</c> part of <c>struct kvm_vcpu_events</c>.</summary>
public struct KvmVcpuEventsException
{
    public byte Injected;
    public byte Nr;
    public byte HasErrorCode;
    public byte Pending;
    public uint ErrorCode;
}

/// <summary>The <c>interrupt</c> part of <c>struct kvm_vcpu_events</c>.</summary>
public struct KvmVcpuEventsInterrupt
{
    public byte Injected;
    public byte Nr;
    public byte Soft;
    /// <summary>Interrupt shadow: <see cref="KvmConst.KVM_X86_SHADOW_INT_MOV_SS"/>, <see cref="KvmConst.KVM_X86_SHADOW_INT_STI"/>.</summary>
    public byte Shadow;
}

/// <summary>The <c>nmi</c> part of <c>struct kvm_vcpu_events</c>.</summary>
public struct KvmVcpuEventsNmi
{
    public byte Injected;
    public byte Pending;
    public byte Masked;
    public byte Pad;
}

/// <summary>The <c>smi</c> part of <c>struct kvm_vcpu_events</c>.</summary>
public struct KvmVcpuEventsSmi
{
    public byte Smm;
    public byte Pending;
    public byte SmmInsideNmi;
    public byte LatchedInit;
}

/// <summary>The <c>triple_fault</c> part of <c>struct kvm_vcpu_events</c>.</summary>
public struct KvmVcpuEventsTripleFault
{
    public byte Pending;
}

/// <summary><c>struct kvm_vcpu_events</c>: exceptions, interrupts, NMI and SMI in flight. On set, <see cref="Flags"/> says which optional fields are meant.</summary>
public struct KvmVcpuEvents
{
    public KvmVcpuEventsException Exception;
    public KvmVcpuEventsInterrupt Interrupt;
    public KvmVcpuEventsNmi Nmi;
    public uint SipiVector;
    public uint Flags;
    public KvmVcpuEventsSmi Smi;
    public KvmVcpuEventsTripleFault TripleFault;
    public U8x26 Reserved;
    public byte ExceptionHasPayload;
    public ulong ExceptionPayload;
}

/// <summary><c>struct kvm_sync_regs</c>: what the run page carries when register synchronisation is on (KVM_CAP_SYNC_REGS).</summary>
public struct KvmSyncRegs
{
    public KvmRegs Regs;
    public KvmSregs Sregs;
    public KvmVcpuEvents Events;
}

/// <summary><c>struct kvm_translation</c>: a linear address and what it maps to in the vCPU's current paging mode.</summary>
public struct KvmTranslation
{
    public ulong LinearAddress;
    public ulong PhysicalAddress;
    public byte Valid;
    public byte Writeable;
    public byte Usermode;
    public U8x5 Pad;
}

/// <summary><c>struct kvm_interrupt</c>: the vector of an external interrupt, for a VM without an in-kernel interrupt chip.</summary>
public struct KvmInterrupt
{
    public uint Irq;
}

/// <summary><c>struct kvm_guest_debug_arch</c>: DR0–DR3 in 0–3, DR7 in 7.</summary>
public struct KvmGuestDebugArch
{
    public U64x8 Debugreg;
}

/// <summary><c>struct kvm_guest_debug</c>: what the debugger of this vCPU wants (KVM_SET_GUEST_DEBUG).</summary>
public struct KvmGuestDebug
{
    /// <summary><c>KVM_GUESTDBG_</c> bits of <see cref="KvmConst"/>.</summary>
    public uint Control;
    public uint Pad;
    public KvmGuestDebugArch Arch;
}

/// <summary><c>struct kvm_x86_mce</c>: one machine-check event to inject.</summary>
public struct KvmX86Mce
{
    public ulong Status;
    public ulong Addr;
    public ulong Misc;
    public ulong McgStatus;
    public byte Bank;
    public U8x7 Pad1;
    public U64x3 Pad2;
}

/// <summary><c>struct kvm_tpr_access_ctl</c>.</summary>
public struct KvmTprAccessCtl
{
    public uint Enabled;
    public uint Flags;
    public U32x8 Reserved;
}
