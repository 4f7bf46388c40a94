using Kvm.X86.State;

namespace Kvm.X86.Tests.Hostile;

/// <summary>Where two states differ, in words.</summary>
internal static class StateDifference
{
    /// <summary>The first difference, or null.</summary>
    public static string? Find(ArchitecturalState a, ArchitecturalState b)
    {
        for (int n = 0; n < 16; n++)
        {
            if (a.Gpr[n] != b.Gpr[n])
                return $"register {n}: {a.Gpr[n]:x}, {b.Gpr[n]:x}";
        }

        for (int n = 0; n < 6; n++)
        {
            if (!a.Segments[n].Equals(b.Segments[n]))
                return $"segment {n}: {a.Segments[n]}, {b.Segments[n]}";
        }

        foreach (var (name, x, y) in Pairs(a, b))
        {
            if (x != y)
                return $"{name}: {x:x}, {y:x}";
        }

        int at = a.Extended.AsSpan().CommonPrefixLength(b.Extended);
        return at < a.Extended.Length ? $"extended state at {at}" : null;
    }

    private static IEnumerable<(string Name, ulong A, ulong B)> Pairs(ArchitecturalState a, ArchitecturalState b) =>
    [
        ("RIP", a.Rip, b.Rip), ("flags", a.Rflags, b.Rflags), ("CR0", a.Cr0, b.Cr0), ("CR2", a.Cr2, b.Cr2), ("CR3", a.Cr3, b.Cr3),
        ("CR4", a.Cr4, b.Cr4), ("CR8", a.Cr8, b.Cr8), ("EFER", a.Efer, b.Efer), ("XCR0", a.Xcr0, b.Xcr0), ("DR6", a.Dr6, b.Dr6), ("DR7", a.Dr7, b.Dr7),
        ("DR0", a.Dr[0], b.Dr[0]), ("DR1", a.Dr[1], b.Dr[1]), ("DR2", a.Dr[2], b.Dr[2]), ("DR3", a.Dr[3], b.Dr[3]),
        ("GDTR", a.Gdtr.Base ^ a.Gdtr.Limit, b.Gdtr.Base ^ b.Gdtr.Limit), ("IDTR", a.Idtr.Base ^ a.Idtr.Limit, b.Idtr.Base ^ b.Idtr.Limit),
        ("LDTR", a.Ldtr.Base ^ a.Ldtr.Selector, b.Ldtr.Base ^ b.Ldtr.Selector), ("TR", a.Tr.Base ^ a.Tr.Selector, b.Tr.Base ^ b.Tr.Selector),
        ("STAR", a.Msr.Star, b.Msr.Star), ("LSTAR", a.Msr.Lstar, b.Msr.Lstar), ("FMASK", a.Msr.Fmask, b.Msr.Fmask),
        ("KERNEL_GS_BASE", a.Msr.KernelGsBase, b.Msr.KernelGsBase), ("PAT", a.Msr.Pat, b.Msr.Pat),
        ("activity", (ulong)a.Activity, (ulong)b.Activity), ("NMI mask", a.NmiMasked ? 1u : 0, b.NmiMasked ? 1u : 0),
        ("shadow", a.InterruptShadow ? 1u : 0, b.InterruptShadow ? 1u : 0),
    ];
}
