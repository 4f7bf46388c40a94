namespace Kvm.Vmm.Snapshots;

/// <summary>Model-specific registers that a guest can do without, or with another value in: what they hold is told of the host, or written for nothing.</summary>
internal static class HarmlessMsrs
{
    /// <summary>Ranges of numbers, and what they are (SDM vol. 4; APM vol. 2, appendix A; Documentation/virt/kvm/x86/msr.rst).</summary>
    private static readonly (uint First, uint Last, string What)[] s_ranges =
    [
        (0x17, 0x17, "platform id"),
        (0x34, 0x34, "count of SMIs"),
        (0x3a, 0x3b, "feature control; the counter's own offset"),
        (0x8b, 0x8b, "microcode revision"),
        (0x9e, 0x9e, "SMBASE"),
        (0xc1, 0xc8, "performance counters"),
        (0xce, 0xcf, "platform information, core capabilities"),
        (0xfe, 0xfe, "MTRR capabilities"),
        (0x10a, 0x10a, "architecture capabilities"),
        (0x140, 0x140, "miscellaneous features"),
        (0x179, 0x17b, "machine check capabilities, state, control"),
        (0x186, 0x18d, "performance event selects"),
        (0x198, 0x199, "performance state"),
        (0x1d9, 0x1d9, "debug control"),
        (0x309, 0x30c, "fixed performance counters"),
        (0x345, 0x345, "performance capabilities"),
        (0x38d, 0x390, "control of performance counters"),
        (0x3f1, 0x3f1, "PEBS"),
        (0x400, 0x47f, "machine check banks"),
        (0x480, 0x493, "VMX capabilities"),
        (0x4c1, 0x4c8, "wide performance counters"),
        (0x4b56_4d05, 0x4b56_4d05, "KVM: polling of halts"),
        (0xc001_0000, 0xc001_0007, "performance counters"),
        (0xc001_0015, 0xc001_0015, "hardware configuration"),
        (0xc001_001f, 0xc001_001f, "northbridge configuration"),
        (0xc001_0200, 0xc001_020b, "performance counters"),
        (0xc001_011f, 0xc001_011f, "virtual SPEC_CTRL"),
        (0xc001_1029, 0xc001_1029, "decode configuration"),
        (0xc000_0104, 0xc000_0104, "ratio of the counter"),
        (0xc000_0300, 0xc000_0302, "control of performance counters"),
    ];

    /// <summary>Whether a guest does without a register's value.</summary>
    public static bool Contains(uint index)
    {
        foreach (var (first, last, _) in s_ranges)
        {
            if (index >= first && index <= last)
                return true;
        }

        return false;
    }
}
