using Kvm.X86.Execute;
using Kvm.X86.State;

namespace Kvm.X86.Engine;

/// <summary>What follows from control registers and CS: mode bits, translation buffer, jump key.</summary>
internal static class Modes
{
    /// <summary>Recomputes the mode after CS, SS, CR0, EFER or RFLAGS.VM changed.</summary>
    public static void Update(ref Cpu cpu, CpuContext context)
    {
        ref var cs = ref cpu.Segments[Seg.Cs];
        uint size = (cpu.Efer & Bits.EferLma) != 0 && cs.IsLong ? 2u : cs.IsBig ? 1u : 0;
        uint mode = size;
        if (size == 2 || cs.Limit == uint.MaxValue)
            mode |= ModeBits.FlatCode;
        if (cpu.Segments[Seg.Ss].IsBig)
            mode |= ModeBits.BigStack;
        cpu.Mode = mode;
        cpu.RipMask = size == 2 ? ulong.MaxValue : uint.MaxValue;
        cpu.Rip &= cpu.RipMask;
        context.SelectTlb();
        context.UpdateJumpKey();
    }

    /// <summary>Whether all bits above the linear width repeat its highest bit.</summary>
    public static bool IsCanonical(ref Cpu cpu, ulong linear)
    {
        int shift = 64 - cpu.LinearBits;
        return (ulong)((long)(linear << shift) >> shift) == linear;
    }
}
