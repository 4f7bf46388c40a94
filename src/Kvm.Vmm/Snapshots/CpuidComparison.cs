namespace Kvm.Vmm.Snapshots;

/// <summary>Whether a processor has all that a guest has seen of another one.</summary>
internal static class CpuidComparison
{
    private const uint OsXsave = 1 << 27, ApicPresent = 1 << 9;

    private enum Register
    {
        Eax,
        Ebx,
        Ecx,
        Edx,
    }

    /// <summary>Where bits say what a processor has (SDM vol. 2, CPUID; APM vol. 3, appendix E; KVM's in Documentation/virt/kvm/x86/cpuid.rst), but those that follow the guest's own doing.</summary>
    private static readonly (uint Function, uint Index, Register Register, uint Ignored)[] s_features =
    [
        (1, 0, Register.Ecx, OsXsave),
        (1, 0, Register.Edx, ApicPresent),
        (7, 0, Register.Ebx, 0),
        (7, 0, Register.Ecx, 1 << 4), // OSPKE
        (7, 0, Register.Edx, 0),
        (7, 1, Register.Eax, 0),
        (0xd, 0, Register.Eax, 0),
        (0xd, 0, Register.Edx, 0),
        (0xd, 1, Register.Eax, 0),
        (0x4000_0001, 0, Register.Eax, 0),
        (0x8000_0001, 0, Register.Ecx, 0),
        (0x8000_0001, 0, Register.Edx, ApicPresent),
        (0x8000_0007, 0, Register.Edx, 0),
        (0x8000_0008, 0, Register.Ebx, 0),
    ];

    /// <summary>Tells what <paramref name="here"/> has not of <paramref name="seen"/>; true if nothing.</summary>
    public static bool Covers(IReadOnlyList<CpuidLeaf> seen, IReadOnlyList<CpuidLeaf> here, RestoreReport report)
    {
        bool covers = true;
        foreach (var (function, index, register, ignored) in s_features)
        {
            uint missing = Find(seen, function, index, register) & ~Find(here, function, index, register) & ~ignored;
            if (missing == 0)
                continue;
            covers = false;
            report.Differs($"CPUID leaf {function:x}.{index} {register.ToString().ToUpperInvariant()} bits {missing:x8}");
        }

        return covers;
    }

    private static uint Find(IReadOnlyList<CpuidLeaf> leaves, uint function, uint index, Register register)
    {
        foreach (var leaf in leaves)
        {
            if (leaf.Function != function || (leaf.IsIndexed ? leaf.Index : 0) != index)
                continue;
            return register switch
            {
                Register.Eax => leaf.Eax,
                Register.Ebx => leaf.Ebx,
                Register.Ecx => leaf.Ecx,
                _ => leaf.Edx,
            };
        }

        return 0;
    }
}
