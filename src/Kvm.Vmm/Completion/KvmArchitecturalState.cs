using Kvm.Interop;
using Kvm.X86.State;

namespace Kvm.Vmm.Completion;

/// <summary>KVM's register structures to and from the processor's neutral state, field by field.</summary>
internal static class KvmArchitecturalState
{
    /// <summary>Fills <paramref name="state"/> from KVM's structures; extended state, MSRs and events are not among them.</summary>
    public static void Load(ArchitecturalState state, in KvmRegs regs, in KvmSregs sregs)
    {
        LoadRegs(state, regs);
        state.Segments[0] = From(sregs.Es);
        state.Segments[1] = From(sregs.Cs);
        state.Segments[2] = From(sregs.Ss);
        state.Segments[3] = From(sregs.Ds);
        state.Segments[4] = From(sregs.Fs);
        state.Segments[5] = From(sregs.Gs);
        state.Ldtr = From(sregs.Ldt);
        state.Tr = From(sregs.Tr);
        state.Gdtr = new DescriptorTable { Base = sregs.Gdt.Base, Limit = sregs.Gdt.Limit };
        state.Idtr = new DescriptorTable { Base = sregs.Idt.Base, Limit = sregs.Idt.Limit };
        state.Cr0 = sregs.Cr0;
        state.Cr2 = sregs.Cr2;
        state.Cr3 = sregs.Cr3;
        state.Cr4 = sregs.Cr4;
        state.Cr8 = sregs.Cr8;
        state.Efer = sregs.Efer;
        state.Msr.ApicBase = sregs.ApicBase;
    }

    /// <summary>The general registers of <paramref name="state"/> in KVM's structure.</summary>
    public static KvmRegs ToRegs(ArchitecturalState state)
    {
        var g = state.Gpr;
        return new KvmRegs
        {
            Rax = g[0],
            Rcx = g[1],
            Rdx = g[2],
            Rbx = g[3],
            Rsp = g[4],
            Rbp = g[5],
            Rsi = g[6],
            Rdi = g[7],
            R8 = g[8],
            R9 = g[9],
            R10 = g[10],
            R11 = g[11],
            R12 = g[12],
            R13 = g[13],
            R14 = g[14],
            R15 = g[15],
            Rip = state.Rip,
            Rflags = state.Rflags,
        };
    }

    /// <summary>Puts segments, tables and control registers into a structure read before, and says whether anything differs.</summary>
    public static bool UpdateSregs(ArchitecturalState state, ref KvmSregs sregs)
    {
        var before = sregs;
        sregs.Es = To(state.Segments[0]);
        sregs.Cs = To(state.Segments[1]);
        sregs.Ss = To(state.Segments[2]);
        sregs.Ds = To(state.Segments[3]);
        sregs.Fs = To(state.Segments[4]);
        sregs.Gs = To(state.Segments[5]);
        sregs.Ldt = To(state.Ldtr);
        sregs.Tr = To(state.Tr);
        sregs.Gdt.Base = state.Gdtr.Base;
        sregs.Gdt.Limit = state.Gdtr.Limit;
        sregs.Idt.Base = state.Idtr.Base;
        sregs.Idt.Limit = state.Idtr.Limit;
        sregs.Cr0 = state.Cr0;
        sregs.Cr2 = state.Cr2;
        sregs.Cr3 = state.Cr3;
        sregs.Cr4 = state.Cr4;
        sregs.Efer = state.Efer;
        return !KvmStructs.Same(before, sregs);
    }

    private static void LoadRegs(ArchitecturalState state, in KvmRegs regs)
    {
        var g = state.Gpr;
        g[0] = regs.Rax;
        g[1] = regs.Rcx;
        g[2] = regs.Rdx;
        g[3] = regs.Rbx;
        g[4] = regs.Rsp;
        g[5] = regs.Rbp;
        g[6] = regs.Rsi;
        g[7] = regs.Rdi;
        g[8] = regs.R8;
        g[9] = regs.R9;
        g[10] = regs.R10;
        g[11] = regs.R11;
        g[12] = regs.R12;
        g[13] = regs.R13;
        g[14] = regs.R14;
        g[15] = regs.R15;
        state.Rip = regs.Rip;
        state.Rflags = regs.Rflags;
    }

    private static SegmentRegister From(in KvmSegment s) => SegmentRegister.FromParts(s.Base, s.Limit, s.Selector, s.Type,
        s.Present != 0, s.Dpl, s.Db != 0, s.S != 0, s.L != 0, s.G != 0, s.Avl != 0, s.Unusable != 0);

    private static KvmSegment To(in SegmentRegister s) => new()
    {
        Base = s.Base,
        Limit = s.Limit,
        Selector = s.Selector,
        Type = (byte)s.Type,
        Present = Bit(s.IsPresent),
        Dpl = (byte)s.Dpl,
        Db = Bit(s.IsBig),
        S = Bit(s.IsCodeOrData),
        L = Bit(s.IsLong),
        G = Bit(s.IsPageGranular),
        Avl = Bit(s.IsAvailable),
        Unusable = Bit(s.IsUnusable),
    };

    private static byte Bit(bool value) => value ? (byte)1 : (byte)0;
}
