// Invariants: a Cpu* is valid while its CpuContext is; handlers get no other pointer.
using Iced.Intel;
using Kvm.X86.Decode;
using Kvm.X86.State;

namespace Kvm.X86.Execute;

/// <summary>STAC, CLAC, XGETBV.</summary>
internal static unsafe class ProtectionHelpers
{
    /// <summary>The family's entry in <see cref="HelperTable"/>.</summary>
    public static nint Resolve(Code code) => code switch
    {
        Code.Stac => (nint)(delegate*<Cpu*, Op*, bool>)&Stac,
        Code.Clac => (nint)(delegate*<Cpu*, Op*, bool>)&Clac,
        Code.Xgetbv => (nint)(delegate*<Cpu*, Op*, bool>)&Xgetbv,
        _ => 0,
    };

    private static bool Stac(Cpu* cpu, Op* op) => SetAc(cpu, Bits.Ac);

    private static bool Clac(Cpu* cpu, Op* op) => SetAc(cpu, 0);

    private static bool SetAc(Cpu* cpu, uint value)
    {
        if (cpu->Cpl != 0)
            return Fault.Undefined(cpu);
        cpu->Rflags = (cpu->Rflags & ~Bits.Ac) | value;
        CpuContext.From(cpu).SelectTlb();
        return true;
    }

    private static bool Xgetbv(Cpu* cpu, Op* op)
    {
        if ((cpu->Cr4 & Bits.Cr4OsXsave) == 0)
            return Fault.Undefined(cpu);
        if ((uint)cpu->Gpr[1] != 0)
            return Fault.Protection(cpu);
        cpu->Gpr[0] = (uint)cpu->Xcr0;
        cpu->Gpr[2] = cpu->Xcr0 >> 32;
        return true;
    }
}
