using Kvm.X86.Execute;
using Kvm.X86.State;

namespace Kvm.X86.Engine;

/// <summary>Breakpoints and DR6 (SDM vol. 3, 17.2 and 17.3).</summary>
internal static class DebugRegisters
{
    /// <summary>DR6.BS.</summary>
    public const ulong SingleStep = 1 << 14;

    /// <summary>Whether a breakpoint on execution is enabled.</summary>
    public static bool HasInstructionBreakpoints(ref Cpu cpu)
    {
        if ((cpu.Dr7 & 0xff) == 0)
            return false;
        for (int n = 0; n < 4; n++)
        {
            if (IsInstruction(ref cpu, n))
                return true;
        }

        return false;
    }

    private static bool IsInstruction(ref Cpu cpu, int n) =>
        ((cpu.Dr7 >> (2 * n)) & 3) != 0 && ((cpu.Dr7 >> (16 + (4 * n))) & 3) == 0;

    /// <summary>Records #DB if an instruction breakpoint is at this address and RF does not hold it off.</summary>
    public static bool TryHitInstruction(ref Cpu cpu, ulong linear)
    {
        if ((cpu.Dr7 & 0xff) == 0 || (cpu.Rflags & Bits.Rf) != 0)
            return false;
        ulong hits = 0;
        for (int n = 0; n < 4; n++)
        {
            if (IsInstruction(ref cpu, n) && cpu.Dr[n] == linear)
                hits |= 1UL << n;
        }

        if (hits == 0)
            return false;
        Fault.Raise(ref cpu, Vector.Debug);
        cpu.FaultAddress = hits;
        return true;
    }

    /// <summary>Sets bits of DR6 at delivery; DR7.GD goes.</summary>
    public static void Record(ref Cpu cpu, ulong bits)
    {
        cpu.Dr6 = (cpu.Dr6 & ~15UL) | bits | 0xffff0ff0;
        cpu.Dr7 &= ~(1UL << 13);
    }
}
