using System.Runtime.InteropServices;

#pragma warning disable CS1591 // fields of struct kvm_run in <linux/kvm.h>, name for name

namespace Kvm.Interop;

/// <summary>Why KVM_RUN returned: all <c>KVM_EXIT_</c> numbers, those of other architectures included so that a surprise can be named.</summary>
public enum KvmExit : uint
{
    Unknown = 0,
    Exception = 1,
    Io = 2,
    Hypercall = 3,
    Debug = 4,
    Hlt = 5,
    Mmio = 6,
    IrqWindowOpen = 7,
    Shutdown = 8,
    FailEntry = 9,
    Intr = 10,
    SetTpr = 11,
    TprAccess = 12,
    S390Sieic = 13,
    S390Reset = 14,
    Dcr = 15,
    Nmi = 16,
    InternalError = 17,
    Osi = 18,
    PaprHcall = 19,
    S390Ucontrol = 20,
    Watchdog = 21,
    S390Tsch = 22,
    Epr = 23,
    SystemEvent = 24,
    S390Stsi = 25,
    IoapicEoi = 26,
    Hyperv = 27,
    ArmNisv = 28,
    X86Rdmsr = 29,
    X86Wrmsr = 30,
    DirtyRingFull = 31,
    ApResetHold = 32,
    X86BusLock = 33,
    Xen = 34,
    RiscvSbi = 35,
    RiscvCsr = 36,
    Notify = 37,
    LoongarchIocsr = 38,
    MemoryFault = 39,
    Tdx = 40,
}

/// <summary><c>kvm_run.hw</c>.</summary>
public struct KvmRunHw
{
    public ulong HardwareExitReason;
}

/// <summary><c>kvm_run.fail_entry</c>.</summary>
public struct KvmRunFailEntry
{
    public ulong HardwareEntryFailureReason;
    public uint Cpu;
}

/// <summary><c>kvm_run.ex</c>.</summary>
public struct KvmRunEx
{
    public uint Exception;
    public uint ErrorCode;
}

/// <summary><c>kvm_run.io</c>: a port access of <see cref="Count"/> units of <see cref="Size"/> bytes; the bytes are in <see cref="KvmRunPage.IoData"/>.</summary>
public struct KvmRunIo
{
    /// <summary><see cref="KvmConst.KVM_EXIT_IO_IN"/> or <see cref="KvmConst.KVM_EXIT_IO_OUT"/>.</summary>
    public byte Direction;
    public byte Size;
    public ushort Port;
    public uint Count;
    public ulong DataOffset;
}

/// <summary><c>struct kvm_debug_exit_arch</c>, which is all of <c>kvm_run.debug</c>.</summary>
public struct KvmDebugExitArch
{
    public uint Exception;
    public uint Pad;
    public ulong Pc;
    public ulong Dr6;
    public ulong Dr7;
}

/// <summary><c>kvm_run.mmio</c>: an access to guest-physical memory no slot backs; a read's answer goes into <see cref="Data"/>.</summary>
public struct KvmRunMmio
{
    public ulong PhysAddr;
    public U8x8 Data;
    public uint Len;
    public byte IsWrite;
}

/// <summary><c>kvm_run.hypercall</c>.</summary>
public struct KvmRunHypercall
{
    public ulong Nr;
    public U64x6 Args;
    public ulong Ret;
    public uint Longmode;
    public uint Pad;
}

/// <summary><c>kvm_run.tpr_access</c>.</summary>
public struct KvmRunTprAccess
{
    public ulong Rip;
    public uint IsWrite;
    public uint Pad;
}

/// <summary><c>kvm_run.internal</c>.</summary>
public struct KvmRunInternal
{
    public uint Suberror;
    public uint Ndata;
    public U64x16 Data;
}

/// <summary><c>kvm_run.emulation_failure</c>, the form of <see cref="KvmRunInternal"/> for suberror 1.</summary>
public struct KvmRunEmulationFailure
{
    public uint Suberror;
    public uint Ndata;
    public ulong Flags;
    public byte InsnSize;
    public U8x15 InsnBytes;
}

/// <summary><c>kvm_run.system_event</c>.</summary>
public struct KvmRunSystemEvent
{
    public uint Type;
    public uint Ndata;
    /// <summary>The union of <c>flags</c> (the first word) and <c>data</c>.</summary>
    public U64x16 Data;
}

/// <summary><c>kvm_run.eoi</c>.</summary>
public struct KvmRunEoi
{
    public byte Vector;
}

/// <summary><c>kvm_run.msr</c>: set <see cref="Error"/> to make the guest's access fault, <see cref="Data"/> to answer a read.</summary>
public struct KvmRunMsr
{
    public byte Error;
    public U8x7 Pad;
    /// <summary>One of <c>KVM_MSR_EXIT_REASON_</c> of <see cref="KvmConst"/>.</summary>
    public uint Reason;
    public uint Index;
    public ulong Data;
}

/// <summary>The <c>synic</c> part of <c>struct kvm_hyperv_exit</c>.</summary>
public struct KvmHypervExitSynic
{
    public uint Msr;
    public uint Pad2;
    public ulong Control;
    public ulong EvtPage;
    public ulong MsgPage;
}

/// <summary>The <c>hcall</c> part of <c>struct kvm_hyperv_exit</c>.</summary>
public struct KvmHypervExitHcall
{
    public ulong Input;
    public ulong Result;
    public U64x2 Params;
}

/// <summary>The union <c>u</c> of <c>struct kvm_hyperv_exit</c>.</summary>
[StructLayout(LayoutKind.Explicit, Size = 48)]
public struct KvmHypervExitUnion
{
    [FieldOffset(0)] public KvmHypervExitSynic Synic;
    [FieldOffset(0)] public KvmHypervExitHcall Hcall;
}

/// <summary><c>struct kvm_hyperv_exit</c>.</summary>
public struct KvmHypervExit
{
    public uint Type;
    public uint Pad1;
    public KvmHypervExitUnion U;
}

/// <summary>The <c>hcall</c> part of <c>struct kvm_xen_exit</c>.</summary>
public struct KvmXenExitHcall
{
    public uint Longmode;
    public uint Cpl;
    public ulong Input;
    public ulong Result;
    public U64x6 Params;
}

/// <summary>The union <c>u</c> of <c>struct kvm_xen_exit</c>.</summary>
public struct KvmXenExitUnion
{
    public KvmXenExitHcall Hcall;
}

/// <summary><c>struct kvm_xen_exit</c>.</summary>
public struct KvmXenExit
{
    public uint Type;
    public KvmXenExitUnion U;
}

/// <summary><c>kvm_run.notify</c>.</summary>
public struct KvmRunNotify
{
    public uint Flags;
}

/// <summary><c>kvm_run.memory_fault</c> (KVM_CAP_MEMORY_FAULT_INFO).</summary>
public struct KvmRunMemoryFault
{
    public ulong Flags;
    public ulong Gpa;
    public ulong Size;
}

/// <summary>The union of <c>struct kvm_run</c>, 256 bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = 256)]
internal struct KvmRunUnion
{
    [FieldOffset(0)] public KvmRunHw Hw;
    [FieldOffset(0)] public KvmRunFailEntry FailEntry;
    [FieldOffset(0)] public KvmRunEx Ex;
    [FieldOffset(0)] public KvmRunIo Io;
    [FieldOffset(0)] public KvmDebugExitArch Debug;
    [FieldOffset(0)] public KvmRunMmio Mmio;
    [FieldOffset(0)] public KvmRunHypercall Hypercall;
    [FieldOffset(0)] public KvmRunTprAccess TprAccess;
    [FieldOffset(0)] public KvmRunInternal Internal;
    [FieldOffset(0)] public KvmRunEmulationFailure EmulationFailure;
    [FieldOffset(0)] public KvmRunSystemEvent SystemEvent;
    [FieldOffset(0)] public KvmRunEoi Eoi;
    [FieldOffset(0)] public KvmHypervExit Hyperv;
    [FieldOffset(0)] public KvmRunMsr Msr;
    [FieldOffset(0)] public KvmXenExit Xen;
    [FieldOffset(0)] public KvmRunNotify Notify;
    [FieldOffset(0)] public KvmRunMemoryFault MemoryFault;
}

/// <summary>The union <c>s</c> of <c>struct kvm_run</c>, 2048 bytes.</summary>
[StructLayout(LayoutKind.Explicit, Size = 2048)]
internal struct KvmRunSync
{
    [FieldOffset(0)] public KvmSyncRegs Regs;
}

/// <summary><c>struct kvm_run</c>.</summary>
internal struct KvmRun
{
    public byte RequestInterruptWindow;
    public byte ImmediateExit;
    public U8x6 Padding1;
    public KvmExit ExitReason;
    public byte ReadyForInterruptInjection;
    public byte IfFlag;
    public ushort Flags;
    public ulong Cr8;
    public ulong ApicBase;
    public KvmRunUnion Union;
    public ulong KvmValidRegs;
    public ulong KvmDirtyRegs;
    public KvmRunSync S;
}
