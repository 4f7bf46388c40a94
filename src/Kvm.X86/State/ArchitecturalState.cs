namespace Kvm.X86.State;

/// <summary>What a processor is doing between instructions.</summary>
public enum ActivityState
{
    /// <summary>Executes instructions.</summary>
    Running,

    /// <summary>In HLT (or MWAIT, which this engine treats alike) until an interrupt, NMI or INIT.</summary>
    Halted,

    /// <summary>After INIT, until a start-up IPI.</summary>
    WaitForSipi,

    /// <summary>Triple fault: only a reset leads on.</summary>
    Shutdown,
}

/// <summary>
/// Everything an x86-64 processor remembers between two instructions, neutral of engine: what a snapshot keeps and what
/// instruction completion takes from KVM and gives back. A plain mutable object, made once and refilled; not thread-safe.
/// </summary>
public sealed class ArchitecturalState
{
    /// <summary>Size of <see cref="Extended"/>.</summary>
    public const int ExtendedSize = 4096;

    /// <summary>RAX RCX RDX RBX RSP RBP RSI RDI R8–R15: in the order of their encoding.</summary>
    public ulong[] Gpr { get; } = new ulong[16];

    /// <summary>Instruction pointer.</summary>
    public ulong Rip { get; set; }

    /// <summary>Linear address of the next instruction: RIP in 64-bit mode, else 32 bits of it and of CS's base.</summary>
    public ulong CodeAddress => (Efer & Bits.EferLma) != 0 && Segments[Seg.Cs].IsLong ? Rip : (uint)(Segments[Seg.Cs].Base + Rip);

    /// <summary>RFLAGS, all bits architectural (bit 1 reads one).</summary>
    public ulong Rflags { get; set; } = 2;

    /// <summary>ES CS SS DS FS GS: in the order of their encoding. FS and GS bases are the MSRs' values.</summary>
    public SegmentRegister[] Segments { get; } = new SegmentRegister[6];

    /// <summary>Local descriptor table.</summary>
    public SegmentRegister Ldtr { get; set; }

    /// <summary>Task register.</summary>
    public SegmentRegister Tr { get; set; }

    /// <summary>Global descriptor table.</summary>
    public DescriptorTable Gdtr { get; set; }

    /// <summary>Interrupt descriptor table.</summary>
    public DescriptorTable Idtr { get; set; }

    /// <summary>CR0.</summary>
    public ulong Cr0 { get; set; }

    /// <summary>CR2.</summary>
    public ulong Cr2 { get; set; }

    /// <summary>CR3.</summary>
    public ulong Cr3 { get; set; }

    /// <summary>CR4.</summary>
    public ulong Cr4 { get; set; }

    /// <summary>CR8: the task priority, 0–15. The local APIC owns the truth; this is a copy for the record.</summary>
    public ulong Cr8 { get; set; }

    /// <summary>EFER.</summary>
    public ulong Efer { get; set; }

    /// <summary>XCR0; 1 where XSAVE is not enabled.</summary>
    public ulong Xcr0 { get; set; } = 1;

    /// <summary>DR0–DR3.</summary>
    public ulong[] Dr { get; } = new ulong[4];

    /// <summary>DR6.</summary>
    public ulong Dr6 { get; set; } = 0xffff0ff0;

    /// <summary>DR7.</summary>
    public ulong Dr7 { get; set; } = 0x400;

    /// <summary>Model-specific registers that are not held elsewhere in this object.</summary>
    public MsrState Msr { get; } = new();

    /// <summary>
    /// x87, SSE, AVX and whatever else the host's KVM keeps: the XSAVE area in standard format (SDM vol. 1, 13.4), header
    /// included. Components this engine does not execute pass through unchanged.
    /// </summary>
    public byte[] Extended { get; } = new byte[ExtendedSize];

    /// <summary>One instruction without interrupts: STI, or MOV/POP SS before it (KVM's interrupt.shadow).</summary>
    public bool InterruptShadow { get; set; }

    /// <summary>An NMI is being handled; another waits for IRET.</summary>
    public bool NmiMasked { get; set; }

    /// <summary>An NMI waits to be delivered.</summary>
    public bool NmiPending { get; set; }

    /// <summary>An exception or interrupt to deliver before the next instruction, or -1.</summary>
    public int PendingVector { get; set; } = -1;

    /// <summary>Whether <see cref="PendingErrorCode"/> is pushed.</summary>
    public bool PendingHasErrorCode { get; set; }

    /// <summary>Error code of the pending exception.</summary>
    public uint PendingErrorCode { get; set; }

    /// <summary>What the processor is doing.</summary>
    public ActivityState Activity { get; set; }

    /// <summary>Makes another state equal to this one.</summary>
    public void CopyTo(ArchitecturalState other)
    {
        ArgumentNullException.ThrowIfNull(other);
        Gpr.CopyTo(other.Gpr, 0);
        Segments.CopyTo(other.Segments, 0);
        Dr.CopyTo(other.Dr, 0);
        Extended.CopyTo(other.Extended, 0);
        Msr.CopyTo(other.Msr);
        (other.Rip, other.Rflags, other.Ldtr, other.Tr, other.Gdtr, other.Idtr) = (Rip, Rflags, Ldtr, Tr, Gdtr, Idtr);
        (other.Cr0, other.Cr2, other.Cr3, other.Cr4, other.Cr8) = (Cr0, Cr2, Cr3, Cr4, Cr8);
        (other.Efer, other.Xcr0, other.Dr6, other.Dr7) = (Efer, Xcr0, Dr6, Dr7);
        (other.InterruptShadow, other.NmiMasked, other.NmiPending) = (InterruptShadow, NmiMasked, NmiPending);
        (other.PendingVector, other.PendingHasErrorCode, other.PendingErrorCode) = (PendingVector, PendingHasErrorCode, PendingErrorCode);
        other.Activity = Activity;
    }
}

/// <summary>Model-specific registers of <see cref="ArchitecturalState"/>.</summary>
public sealed class MsrState
{
    /// <summary>IA32_STAR.</summary>
    public ulong Star { get; set; }

    /// <summary>IA32_LSTAR.</summary>
    public ulong Lstar { get; set; }

    /// <summary>IA32_CSTAR.</summary>
    public ulong Cstar { get; set; }

    /// <summary>IA32_FMASK.</summary>
    public ulong Fmask { get; set; }

    /// <summary>IA32_KERNEL_GS_BASE.</summary>
    public ulong KernelGsBase { get; set; }

    /// <summary>IA32_SYSENTER_CS.</summary>
    public ulong SysenterCs { get; set; }

    /// <summary>IA32_SYSENTER_ESP.</summary>
    public ulong SysenterEsp { get; set; }

    /// <summary>IA32_SYSENTER_EIP.</summary>
    public ulong SysenterEip { get; set; }

    /// <summary>IA32_PAT; remembered, without effect.</summary>
    public ulong Pat { get; set; } = 0x0007040600070406;

    /// <summary>IA32_TSC_AUX.</summary>
    public ulong TscAux { get; set; }

    /// <summary>The time-stamp counter's value at the time of the save.</summary>
    public ulong Tsc { get; set; }

    /// <summary>IA32_TSC_ADJUST.</summary>
    public ulong TscAdjust { get; set; }

    /// <summary>IA32_APIC_BASE. The local APIC owns the truth.</summary>
    public ulong ApicBase { get; set; } = 0xfee00900;

    /// <summary>IA32_MISC_ENABLE.</summary>
    public ulong MiscEnable { get; set; } = 1;

    /// <summary>IA32_XSS.</summary>
    public ulong Xss { get; set; }

    /// <summary>IA32_SPEC_CTRL; remembered, without effect.</summary>
    public ulong SpecCtrl { get; set; }

    /// <summary>IA32_DEBUGCTL.</summary>
    public ulong DebugCtl { get; set; }

    /// <summary>IA32_MTRR_DEF_TYPE; remembered, without effect, as all MTRRs.</summary>
    public ulong MtrrDefType { get; set; }

    /// <summary>The eleven fixed-range MTRRs in the order of their addresses (0x250, 0x258, 0x259, 0x268–0x26f).</summary>
    public ulong[] MtrrFixed { get; } = new ulong[11];

    /// <summary>Eight pairs of base and mask (0x200–0x20f).</summary>
    public ulong[] MtrrVariable { get; } = new ulong[16];

    internal void CopyTo(MsrState other)
    {
        MtrrFixed.CopyTo(other.MtrrFixed, 0);
        MtrrVariable.CopyTo(other.MtrrVariable, 0);
        (other.Star, other.Lstar, other.Cstar, other.Fmask, other.KernelGsBase) = (Star, Lstar, Cstar, Fmask, KernelGsBase);
        (other.SysenterCs, other.SysenterEsp, other.SysenterEip) = (SysenterCs, SysenterEsp, SysenterEip);
        (other.Pat, other.TscAux, other.Tsc, other.TscAdjust, other.ApicBase) = (Pat, TscAux, Tsc, TscAdjust, ApicBase);
        (other.MiscEnable, other.Xss, other.SpecCtrl, other.DebugCtl, other.MtrrDefType) = (MiscEnable, Xss, SpecCtrl, DebugCtl, MtrrDefType);
    }
}
