using Kvm.Interop;
using Kvm.Vmm.Boot;

namespace Kvm.Vmm.Vcpu;

/// <summary>A boot protocol's registers in KVM's structures.</summary>
internal static class KvmBootState
{
    /// <summary>Sets the general registers; the others become zero.</summary>
    public static KvmRegs ToRegs(BootState state) => new()
    {
        Rax = state.Rax,
        Rbx = state.Rbx,
        Rsi = state.Rsi,
        Rsp = state.Rsp,
        Rip = state.Rip,
        Rflags = state.Rflags,
    };

    /// <summary>Changes what the protocol sets in registers just read from a fresh vCPU; the APIC base and the rest stay.</summary>
    public static void Apply(BootState state, ref KvmSregs sregs)
    {
        sregs.Cs = ToSegment(state.Code);
        sregs.Ds = sregs.Es = sregs.Fs = sregs.Gs = sregs.Ss = ToSegment(state.Data);
        sregs.Tr = ToSegment(state.Task);
        sregs.Gdt.Base = state.GdtBase;
        sregs.Gdt.Limit = state.GdtLimit;
        // No interrupt can be taken before the guest loads its own table.
        sregs.Idt.Base = 0;
        sregs.Idt.Limit = 0;
        sregs.Cr0 = state.Cr0;
        sregs.Cr3 = state.Cr3;
        sregs.Cr4 = state.Cr4;
        sregs.Efer = state.Efer;
    }

    private static KvmSegment ToSegment(in BootSegment s) => new()
    {
        Selector = s.Selector,
        Base = s.Base,
        Limit = s.Limit,
        Type = s.Type,
        S = Bit(!s.System),
        Dpl = s.Dpl,
        Present = Bit(s.Present),
        L = Bit(s.Long),
        Db = Bit(s.Big),
        G = Bit(s.Granular),
        Unusable = Bit(s.Unusable),
    };

    private static byte Bit(bool value) => value ? (byte)1 : (byte)0;
}
