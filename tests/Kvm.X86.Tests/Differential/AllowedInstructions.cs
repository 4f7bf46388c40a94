using Iced.Intel;

namespace Kvm.X86.Tests.Programs;

/// <summary>Which instructions may stand in a random program: those of user mode whose outcome the manuals define.</summary>
internal static class AllowedInstructions
{
    private static readonly HashSet<CpuidFeature> Vectors =
    [
        CpuidFeature.MMX, CpuidFeature.SSE, CpuidFeature.SSE2, CpuidFeature.SSE3, CpuidFeature.SSSE3, CpuidFeature.SSE4_1, CpuidFeature.SSE4_2,
        CpuidFeature.AES, CpuidFeature.PCLMULQDQ, CpuidFeature.AVX, CpuidFeature.AVX2, CpuidFeature.FMA, CpuidFeature.F16C,
    ];

    private static readonly HashSet<CpuidFeature> Integers =
    [
        CpuidFeature.INTEL8086, CpuidFeature.INTEL186, CpuidFeature.INTEL386, CpuidFeature.INTEL486, CpuidFeature.X64, CpuidFeature.CMOV,
        CpuidFeature.CX8, CpuidFeature.CMPXCHG16B, CpuidFeature.POPCNT, CpuidFeature.LZCNT, CpuidFeature.BMI1, CpuidFeature.BMI2,
        CpuidFeature.MOVBE, CpuidFeature.MULTIBYTENOP,
    ];

    private static readonly HashSet<Mnemonic> Denied =
    [
        // Approximations differ between processors; control words could unmask exceptions.
        Mnemonic.Rcpps, Mnemonic.Rcpss, Mnemonic.Rsqrtps, Mnemonic.Rsqrtss, Mnemonic.Vrcpps, Mnemonic.Vrcpss, Mnemonic.Vrsqrtps, Mnemonic.Vrsqrtss,
        Mnemonic.Ldmxcsr, Mnemonic.Vldmxcsr, Mnemonic.Fxsave, Mnemonic.Fxsave64, Mnemonic.Fxrstor, Mnemonic.Fxrstor64,
        // What the operating system owns, or what faults by its nature.
        Mnemonic.Popf, Mnemonic.Popfq, Mnemonic.Enter, Mnemonic.Leave, Mnemonic.Hlt, Mnemonic.Cli, Mnemonic.Sti, Mnemonic.Ud2, Mnemonic.Wait,
        Mnemonic.Lar, Mnemonic.Lsl, Mnemonic.Verr, Mnemonic.Verw, Mnemonic.Sldt, Mnemonic.Str, Mnemonic.Sgdt, Mnemonic.Sidt, Mnemonic.Smsw,
        Mnemonic.Lfs, Mnemonic.Lgs, Mnemonic.Lss, Mnemonic.In, Mnemonic.Out, Mnemonic.Insb, Mnemonic.Insw, Mnemonic.Insd,
        Mnemonic.Outsb, Mnemonic.Outsw, Mnemonic.Outsd, Mnemonic.Cpuid, Mnemonic.Prefetchw, Mnemonic.Monitor, Mnemonic.Mwait,
        // Undefined opcodes to one maker, no-operations to the other.
        Mnemonic.Reservednop, Mnemonic.Prefetch,
        Mnemonic.Maskmovq, Mnemonic.Maskmovdqu, Mnemonic.Vmaskmovdqu,
    ];

    public static bool Contains(in Instruction i)
    {
        if (i.IsInvalid || i.FlowControl != FlowControl.Next || i.IsPrivileged || i.IsStackInstruction && i.Mnemonic is not (Mnemonic.Push or Mnemonic.Pop or Mnemonic.Pushfq))
            return false;
        if (i.Encoding is not (EncodingKind.Legacy or EncodingKind.VEX) || Denied.Contains(i.Mnemonic) || i.IsVsib || UsesSegment(i))
            return false;
        if (i.Mnemonic == Mnemonic.Bswap && i.Op0Register.GetSize() == 2)
            return false; // undefined
        if (WritesStackPointer(i))
            return false;
        foreach (var feature in i.CpuidFeatures)
        {
            if (!Vectors.Contains(feature) && !Integers.Contains(feature))
                return false;
        }

        return true;
    }

    private static bool UsesSegment(in Instruction i)
    {
        for (int n = 0; n < i.OpCount; n++)
        {
            if (i.GetOpKind(n) == OpKind.Register && (i.GetOpRegister(n).IsSegmentRegister() || i.GetOpRegister(n) is >= Register.CR0 and <= Register.TR7))
                return true;
        }

        return false;
    }

    // A push or a pop may move it; nothing else, or the host's signals would find no stack.
    private static bool WritesStackPointer(in Instruction i)
    {
        for (int n = 0; n < i.OpCount; n++)
        {
            if (i.GetOpKind(n) == OpKind.Register && i.GetOpRegister(n).GetFullRegister() == Register.RSP)
                return true;
        }

        return false;
    }
}
