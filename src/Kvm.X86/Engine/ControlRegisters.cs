using Kvm.X86.Execute;
using Kvm.X86.State;

namespace Kvm.X86.Engine;

/// <summary>Writes to control registers and EFER, with the checks of SDM vol. 3, 2.5 and 5.13. False: #GP(0) recorded.</summary>
internal static class ControlRegisters
{
    private const ulong Cr0Writable = Bits.Cr0Pe | Bits.Cr0Mp | Bits.Cr0Em | Bits.Cr0Ts | Bits.Cr0Ne | Bits.Cr0Wp | Bits.Cr0Am | Bits.Cr0Nw
        | Bits.Cr0Cd | Bits.Cr0Pg;

    /// <summary>MOV to CR0, LMSW, CLTS.</summary>
    public static bool TryWriteCr0(ref Cpu cpu, CpuContext context, ulong value)
    {
        bool paging = (value & Bits.Cr0Pg) != 0, wasPaging = (cpu.Cr0 & Bits.Cr0Pg) != 0;
        if (value >> 32 != 0 || (paging && (value & Bits.Cr0Pe) == 0) || ((value & Bits.Cr0Nw) != 0 && (value & Bits.Cr0Cd) == 0))
            return Fault.Raise(ref cpu, Vector.GeneralProtection);
        ulong efer = cpu.Efer;
        if (paging && !wasPaging && (efer & Bits.EferLme) != 0)
        {
            if ((cpu.Cr4 & Bits.Cr4Pae) == 0 || cpu.Segments[Seg.Cs].IsLong)
                return Fault.Raise(ref cpu, Vector.GeneralProtection);
            efer |= Bits.EferLma;
        }
        else if (!paging && wasPaging)
        {
            if (Segmentation.Is64(ref cpu) || (cpu.Cr4 & Bits.Cr4Pcide) != 0)
                return Fault.Raise(ref cpu, Vector.GeneralProtection);
            efer &= ~Bits.EferLma;
        }

        ulong old = cpu.Cr0;
        cpu.Cr0 = (value & Cr0Writable) | Bits.Cr0Et;
        cpu.Efer = efer;
        if (((old ^ cpu.Cr0) & (Bits.Cr0Pg | Bits.Cr0Pe | Bits.Cr0Wp)) != 0)
            context.FlushTlb(true);
        if (((old ^ cpu.Cr0) & Bits.Cr0Pe) != 0 && (cpu.Cr0 & Bits.Cr0Pe) == 0)
            cpu.Cpl = 0;
        Modes.Update(ref cpu, context);
        return true;
    }

    /// <summary>MOV to CR3. Translations that are not global go, unless process contexts are on and bit 63 asks to keep them.</summary>
    public static bool TryWriteCr3(ref Cpu cpu, CpuContext context, ulong value)
    {
        bool contexts = (cpu.Cr4 & Bits.Cr4Pcide) != 0;
        ulong reserved = Segmentation.IsLongMode(ref cpu) ? ~((1UL << cpu.PhysicalBits) - 1) : 0;
        if (contexts)
            reserved &= ~(1UL << 63);
        if ((value & reserved) != 0)
            return Fault.Raise(ref cpu, Vector.GeneralProtection);
        cpu.Cr3 = value & ~(1UL << 63);
        // One set of translations at a time: those of another context must go even if it was asked to keep them.
        context.FlushTlb(false);
        return true;
    }

    /// <summary>MOV to CR4.</summary>
    public static bool TryWriteCr4(ref Cpu cpu, CpuContext context, ulong value)
    {
        bool longMode = Segmentation.IsLongMode(ref cpu);
        ulong changed = value ^ cpu.Cr4;
        bool bad = (value & ~context.Cr4Allowed) != 0
            || (longMode && (value & Bits.Cr4Pae) == 0)
            || (longMode && (changed & Bits.Cr4La57) != 0)
            || ((changed & value & Bits.Cr4Pcide) != 0 && (!longMode || (cpu.Cr3 & 0xfff) != 0));
        if (bad)
            return Fault.Raise(ref cpu, Vector.GeneralProtection);
        cpu.Cr4 = value;
        cpu.LinearBits = (value & Bits.Cr4La57) != 0 ? 57 : 48;
        const ulong Paging = Bits.Cr4Pse | Bits.Cr4Pae | Bits.Cr4Pge | Bits.Cr4Smep | Bits.Cr4Smap | Bits.Cr4Pcide | Bits.Cr4La57;
        if ((changed & Paging) != 0)
            context.FlushTlb(true);
        Modes.Update(ref cpu, context);
        return true;
    }

    /// <summary>WRMSR of EFER: LME cannot change while paging is on; LMA cannot be written.</summary>
    public static bool TryWriteEfer(ref Cpu cpu, CpuContext context, ulong value)
    {
        const ulong Writable = Bits.EferSce | Bits.EferLme | Bits.EferNxe;
        if ((value & ~(Writable | Bits.EferLma)) != 0
            || (((value ^ cpu.Efer) & Bits.EferLme) != 0 && (cpu.Cr0 & Bits.Cr0Pg) != 0))
            return Fault.Raise(ref cpu, Vector.GeneralProtection);
        ulong old = cpu.Efer;
        cpu.Efer = (value & Writable) | (cpu.Efer & Bits.EferLma);
        if (((old ^ cpu.Efer) & Bits.EferNxe) != 0)
            context.FlushTlb(true);
        return true;
    }

    /// <summary>XSETBV of XCR0: x87 always, AVX only with SSE, nothing unknown.</summary>
    public static bool TryWriteXcr0(ref Cpu cpu, CpuContext context, ulong value)
    {
        if ((value & ~context.Xcr0Allowed) != 0 || (value & 1) == 0 || (value & 6) == 4)
            return Fault.Raise(ref cpu, Vector.GeneralProtection);
        // AVX-512's three components need each other, and AVX.
        ulong wide = value & 0xe0;
        if (wide != 0 && (wide != 0xe0 || (value & 6) != 6))
            return Fault.Raise(ref cpu, Vector.GeneralProtection);
        cpu.Xcr0 = value;
        return true;
    }
}
