using Kvm.X86.State;

namespace Kvm.X86.Engine;

/// <summary>Register values after power-up, reset and INIT (SDM vol. 3, table 10-1).</summary>
internal static class ResetState
{
    /// <summary>Sets them. MSRs that INIT keeps are kept; they are zero after construction.</summary>
    public static void Apply(ref Cpu cpu, bool bootstrap)
    {
        for (int n = 0; n < 16; n++)
            cpu.Gpr[n] = 0;
        cpu.Gpr[Slots.Zero] = 0;
        cpu.Gpr[2] = 0x0006_0fb1; // the processor's signature
        cpu.Rip = 0xfff0;
        cpu.Rflags = 2;
        cpu.FlagKind = FlagKind.Explicit;
        cpu.Cpl = 0;
        for (int n = 0; n < 6; n++)
            cpu.Segments[n] = new SegmentRegister { Limit = 0xffff, Attributes = 0x93 };
        cpu.Segments[Seg.Cs] = new SegmentRegister { Selector = 0xf000, Base = 0xffff_0000, Limit = 0xffff, Attributes = 0x9b };
        cpu.Segments[Seg.Ldtr] = new SegmentRegister { Limit = 0xffff, Attributes = 0x82 };
        cpu.Segments[Seg.Tr] = new SegmentRegister { Limit = 0xffff, Attributes = 0x8b };
        cpu.Gdtr = cpu.Idtr = new DescriptorTable { Limit = 0xffff };
        cpu.Cr0 = 0x6000_0010;
        cpu.Cr2 = cpu.Cr3 = cpu.Cr4 = cpu.Efer = 0;
        cpu.Xcr0 = 1;
        for (int n = 0; n < 4; n++)
            cpu.Dr[n] = 0;
        cpu.Dr6 = 0xffff_0ff0;
        cpu.Dr7 = 0x400;
        cpu.Pat = 0x0007_0406_0007_0406;
        cpu.LinearBits = 48;
        cpu.InterruptShadow = cpu.NmiMasked = cpu.NmiPending = 0;
        cpu.FaultVector = -1;
        cpu.PendingDebug = 0;
        cpu.Activity = (int)(bootstrap ? ActivityState.Running : ActivityState.WaitForSipi);
    }
}
