// Invariants: Cpu.Extended is ArchitecturalState.ExtendedSize bytes, as is ArchitecturalState.Extended.
using Kvm.X86.Engine;
using Kvm.X86.Execute.Fpu;
using Kvm.X86.State;

namespace Kvm.X86.Execute;

/// <summary>Moves a processor's state between the native block and <see cref="ArchitecturalState"/>.</summary>
internal static unsafe class StateTransfer
{
    private const int XstateBv = 512;
    private const uint InitialMxcsr = 0x1f80;

    /// <summary>Takes a state over. Translations are forgotten.</summary>
    public static void Load(CpuContext context, ArchitecturalState from)
    {
        var cpu = context.Cpu;
        for (int n = 0; n < 16; n++)
            cpu->Gpr[n] = from.Gpr[n];
        cpu->Gpr[Slots.Zero] = 0;
        cpu->Rip = from.Rip;
        cpu->Rflags = ((uint)from.Rflags & 0x3f7fd5) | 2;
        cpu->FlagKind = FlagKind.Explicit;
        for (int n = 0; n < 6; n++)
            cpu->Segments[n] = from.Segments[n];
        cpu->Segments[Seg.Ldtr] = from.Ldtr;
        cpu->Segments[Seg.Tr] = from.Tr;
        cpu->Gdtr = from.Gdtr;
        cpu->Idtr = from.Idtr;
        cpu->Cr0 = from.Cr0;
        cpu->Cr2 = from.Cr2;
        cpu->Cr3 = from.Cr3;
        cpu->Cr4 = from.Cr4;
        cpu->Efer = from.Efer;
        cpu->Xcr0 = from.Xcr0;
        for (int n = 0; n < 4; n++)
            cpu->Dr[n] = from.Dr[n];
        cpu->Dr6 = from.Dr6;
        cpu->Dr7 = from.Dr7;
        LoadMsrs(context, from);
        LoadExtended(cpu, from.Extended);
        LoadEvents(context, from);
        cpu->LinearBits = (cpu->Cr4 & Bits.Cr4La57) != 0 ? 57 : 48;
        Modes.Update(ref *cpu, context);
        context.FlushTlb(true);
    }

    private static void LoadMsrs(CpuContext context, ArchitecturalState from)
    {
        var cpu = context.Cpu;
        var msr = from.Msr;
        cpu->Star = msr.Star;
        cpu->Lstar = msr.Lstar;
        cpu->Cstar = msr.Cstar;
        cpu->Fmask = msr.Fmask;
        cpu->KernelGsBase = msr.KernelGsBase;
        cpu->SysenterCs = msr.SysenterCs;
        cpu->SysenterEsp = msr.SysenterEsp;
        cpu->SysenterEip = msr.SysenterEip;
        cpu->Pat = msr.Pat;
        cpu->TscAux = msr.TscAux;
        cpu->MiscEnable = msr.MiscEnable;
        cpu->Xss = msr.Xss;
        cpu->SpecCtrl = msr.SpecCtrl;
        cpu->DebugCtl = msr.DebugCtl;
        context.TaskPriority = (byte)from.Cr8;
        context.Mtrr.Load(msr);
    }

    private static void LoadExtended(Cpu* cpu, byte[] from)
    {
        byte* area = (byte*)cpu->Extended;
        from.CopyTo(new Span<byte>(area, ArchitecturalState.ExtendedSize));
        ulong inUse = *(ulong*)(area + XstateBv);
        if ((inUse & 1) != 0)
            LegacyArea.LoadX87(cpu, area, true);
        else
            LegacyArea.InitializeX87(cpu);
        if ((inUse & 2) == 0)
            new Span<byte>(area + LegacyArea.XmmOffset, 256).Clear();
        if ((inUse & 4) == 0)
            new Span<byte>(area + XsaveLayout.HeaderEnd, 256).Clear();
        cpu->Mxcsr = (inUse & 6) != 0 ? *(uint*)(area + LegacyArea.MxcsrOffset) : InitialMxcsr;
        cpu->PassThroughState = inUse & ~7UL;
    }

    private static void LoadEvents(CpuContext context, ArchitecturalState from)
    {
        var cpu = context.Cpu;
        cpu->InterruptShadow = from.InterruptShadow ? 1 : 0;
        cpu->NmiMasked = from.NmiMasked ? 1 : 0;
        cpu->NmiPending = from.NmiPending ? 1 : 0;
        cpu->Activity = (int)from.Activity;
        cpu->FaultVector = -1;
        cpu->PendingDebug = 0;
        cpu->LeaveBlock = cpu->Unfinished = 0;
        cpu->Cpl = (from.Cr0 & Bits.Cr0Pe) == 0 ? 0 : (from.Rflags & Bits.Vm) != 0 ? 3 : from.Segments[Seg.Ss].Dpl;
        context.Pending = from.PendingVector < 0 ? default
            : new PendingEvent(true, from.PendingVector, from.PendingHasErrorCode, from.PendingErrorCode);
    }

    /// <summary>Gives the state out.</summary>
    public static void Save(CpuContext context, ArchitecturalState to)
    {
        var cpu = context.Cpu;
        for (int n = 0; n < 16; n++)
            to.Gpr[n] = cpu->Gpr[n];
        to.Rip = cpu->Rip;
        to.Rflags = Flags.Get(cpu);
        for (int n = 0; n < 6; n++)
            to.Segments[n] = cpu->Segments[n];
        to.Ldtr = cpu->Segments[Seg.Ldtr];
        to.Tr = cpu->Segments[Seg.Tr];
        to.Gdtr = cpu->Gdtr;
        to.Idtr = cpu->Idtr;
        to.Cr0 = cpu->Cr0;
        to.Cr2 = cpu->Cr2;
        to.Cr3 = cpu->Cr3;
        to.Cr4 = cpu->Cr4;
        to.Cr8 = context.Chips?.TaskPriorityClass ?? context.TaskPriority;
        to.Efer = cpu->Efer;
        to.Xcr0 = cpu->Xcr0;
        for (int n = 0; n < 4; n++)
            to.Dr[n] = cpu->Dr[n];
        to.Dr6 = cpu->Dr6;
        to.Dr7 = cpu->Dr7;
        SaveMsrs(context, to.Msr);
        SaveExtended(cpu, to.Extended);
        to.InterruptShadow = cpu->InterruptShadow != 0;
        to.NmiMasked = cpu->NmiMasked != 0;
        to.NmiPending = cpu->NmiPending != 0;
        to.Activity = (ActivityState)cpu->Activity;
        to.PendingVector = context.Pending.IsPending ? context.Pending.Vector : -1;
        to.PendingHasErrorCode = context.Pending.HasErrorCode;
        to.PendingErrorCode = context.Pending.ErrorCode;
    }

    private static void SaveMsrs(CpuContext context, MsrState msr)
    {
        var cpu = context.Cpu;
        msr.Star = cpu->Star;
        msr.Lstar = cpu->Lstar;
        msr.Cstar = cpu->Cstar;
        msr.Fmask = cpu->Fmask;
        msr.KernelGsBase = cpu->KernelGsBase;
        msr.SysenterCs = cpu->SysenterCs;
        msr.SysenterEsp = cpu->SysenterEsp;
        msr.SysenterEip = cpu->SysenterEip;
        msr.Pat = cpu->Pat;
        msr.TscAux = cpu->TscAux;
        msr.MiscEnable = cpu->MiscEnable;
        msr.Xss = cpu->Xss;
        msr.SpecCtrl = cpu->SpecCtrl;
        msr.DebugCtl = cpu->DebugCtl;
        if (context.Chips != null)
        {
            msr.Tsc = context.ReadTsc();
            if (context.Chips.TryReadMsr(0x1b, out ulong apicBase))
                msr.ApicBase = apicBase;
        }

        context.Mtrr.Save(msr);
    }

    private static void SaveExtended(Cpu* cpu, byte[] to)
    {
        byte* area = (byte*)cpu->Extended;
        LegacyArea.SaveX87(cpu, area, true);
        LegacyArea.SaveMxcsr(cpu, area);
        ulong high = (cpu->Xcr0 & 4) != 0 || new Span<byte>(area + XsaveLayout.HeaderEnd, 256).ContainsAnyExcept((byte)0) ? 4u : 0;
        *(ulong*)(area + XstateBv) = 3 | high | cpu->PassThroughState;
        *(ulong*)(area + XstateBv + 8) = 0; // standard format
        new Span<byte>(area, ArchitecturalState.ExtendedSize).CopyTo(to);
    }
}
