using Kvm.Vmm.Boot;
using Kvm.X86.State;

namespace Kvm.Vmm.Vcpu;

/// <summary>A boot protocol's registers in the software processor's state.</summary>
internal static class SoftBootState
{
    private const int Rax = 0, Rbx = 3, Rsp = 4, Rsi = 6;

    /// <summary>Changes what the protocol sets in a state just taken from a processor after reset.</summary>
    public static void Apply(BootState boot, ArchitecturalState state)
    {
        Array.Clear(state.Gpr);
        state.Gpr[Rax] = boot.Rax;
        state.Gpr[Rbx] = boot.Rbx;
        state.Gpr[Rsp] = boot.Rsp;
        state.Gpr[Rsi] = boot.Rsi;
        state.Rip = boot.Rip;
        state.Rflags = boot.Rflags;
        for (int segment = 0; segment < state.Segments.Length; segment++)
            state.Segments[segment] = ToRegister(boot.Data);
        const int cs = 1;
        state.Segments[cs] = ToRegister(boot.Code);
        state.Tr = ToRegister(boot.Task);
        state.Gdtr = new DescriptorTable { Base = boot.GdtBase, Limit = boot.GdtLimit };
        state.Idtr = default;
        state.Cr0 = boot.Cr0;
        state.Cr3 = boot.Cr3;
        state.Cr4 = boot.Cr4;
        state.Efer = boot.Efer;
        state.Activity = ActivityState.Running;
    }

    private static SegmentRegister ToRegister(in BootSegment s) => SegmentRegister.FromParts(
        s.Base, s.Limit, s.Selector, s.Type, s.Present, s.Dpl, s.Big, !s.System, s.Long, s.Granular, available: false, s.Unusable);
}
