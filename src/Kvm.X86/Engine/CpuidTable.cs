namespace Kvm.X86.Engine;

/// <summary>What CPUID returns.</summary>
/// <param name="Eax">EAX.</param>
/// <param name="Ebx">EBX.</param>
/// <param name="Ecx">ECX.</param>
/// <param name="Edx">EDX.</param>
public readonly record struct CpuidResult(uint Eax, uint Ebx, uint Ecx, uint Edx);

/// <summary>
/// The processor a guest sees, as a table of CPUID leaves. Composed before the first processor starts, then only read; safe to share.
/// What depends on the processor or on its state (APIC id, OSXSAVE, size of the enabled XSAVE area) is filled in when asked.
/// </summary>
public sealed class CpuidTable
{
    private readonly Dictionary<ulong, CpuidResult> _leaves = [];

    /// <summary>The highest basic leaf and the highest extended leaf that were set.</summary>
    public (uint Basic, uint Extended) Limits { get; private set; }

    /// <summary>Sets a leaf. Leaves without subleaves are set with <paramref name="subleaf"/> zero and answer every subleaf.</summary>
    public void Set(uint leaf, uint subleaf, CpuidResult result)
    {
        _leaves[Key(leaf, subleaf)] = result;
        if (leaf < 0x4000_0000)
            Limits = (Math.Max(Limits.Basic, leaf), Limits.Extended);
        else if (leaf >= 0x8000_0000)
            Limits = (Limits.Basic, Math.Max(Limits.Extended, leaf));
    }

    /// <summary>Takes a leaf's registers apart, to change bits of one: <c>(eax, ebx, ecx, edx)</c> of what is there now, zeros if nothing is.</summary>
    public CpuidResult Get(uint leaf, uint subleaf = 0) => _leaves.GetValueOrDefault(Key(leaf, subleaf));

    /// <summary>All leaves that were set, in ascending order.</summary>
    public IEnumerable<(uint Leaf, uint Subleaf, CpuidResult Result)> Leaves =>
        _leaves.OrderBy(leaf => leaf.Key).Select(leaf => ((uint)(leaf.Key >> 32), (uint)leaf.Key, leaf.Value));

    /// <summary>Forgets all leaves, to be set anew before the first processor starts.</summary>
    public void Clear()
    {
        _leaves.Clear();
        Limits = default;
    }

    /// <summary>Answers CPUID; unknown leaves give zeros, as do leaves above the limit.</summary>
    public CpuidResult Query(uint leaf, uint subleaf)
    {
        if (leaf == 0)
            return Get(0) with { Eax = Limits.Basic };
        if (leaf == 0x8000_0000)
            return Get(0x8000_0000) with { Eax = Limits.Extended };
        if (HasSubleaves(leaf))
            return Get(leaf, subleaf);
        return Get(leaf);
    }

    /// <summary>Whether a leaf answers each subleaf in its own way.</summary>
    public static bool HasSubleaves(uint leaf) => leaf is 4 or 7 or 0xb or 0xd or 0x14 or 0x18 or 0x1f or 0x8000_001d;

    private static ulong Key(uint leaf, uint subleaf) => ((ulong)leaf << 32) | subleaf;

    /// <summary>The default processor with x86-64-v3's vectors: AVX, AVX2, FMA and F16C, and their state under XSAVE.</summary>
    /// <param name="processors">Number of processors, for the topology leaves.</param>
    public static CpuidTable CreateWithVectors(int processors)
    {
        var table = CreateDefault(processors);
        var basic = table.Get(1);
        table.Set(1, 0, basic with { Ecx = basic.Ecx | (1u << 12) | (1u << 28) | (1u << 29) });
        var structured = table.Get(7);
        table.Set(7, 0, structured with { Ebx = structured.Ebx | (1u << 5) });
        // The upper halves of the YMM registers: 256 bytes behind header and SSE.
        table.Set(0xd, 0, new CpuidResult(7, 832, 832, 0));
        table.Set(0xd, 1, new CpuidResult(3, 832, 0, 0));
        table.Set(0xd, 2, new CpuidResult(256, 576, 0, 0));
        return table;
    }

    /// <summary>
    /// The default processor: x86-64-v2 with the instructions beyond it that cost this engine nothing (string
    /// operations, bit manipulation), and neither the mitigations nor the protection keys that would.
    /// </summary>
    /// <param name="processors">Number of processors, for the topology leaves.</param>
    public static CpuidTable CreateDefault(int processors)
    {
        var table = new CpuidTable();
        table.SetIdentity(processors);
        table.SetFeatures();
        table.SetTopology(processors);
        table.SetExtended();
        return table;
    }

    private void SetIdentity(int processors)
    {
        // "AuthenticAMD", family 15, model 107, stepping 1: a processor kernels know, without later ones' defects to work around.
        Set(0, 0, new CpuidResult(0, 0x6874_7541, 0x444d_4163, 0x6974_6e65));
        uint multi = processors > 1 ? 1u << 28 : 0;
        uint logical = (uint)Math.Min(processors, 255) << 16;
        Set(1, 0, new CpuidResult(0x0006_0fb1, logical | (8 << 8), FeatureC, FeatureD | multi));
    }

    // SSE3 PCLMULQDQ? no; SSSE3 CX16 SSE4.1 SSE4.2 x2APIC MOVBE POPCNT TSC-deadline XSAVE RDRAND hypervisor
    private const uint FeatureC = (1u << 0) | (1u << 9) | (1u << 13) | (1u << 19) | (1u << 20) | (1u << 21) | (1u << 22) | (1u << 23)
        | (1u << 24) | (1u << 26) | (1u << 30) | (1u << 31);

    // FPU DE PSE TSC MSR PAE MCE CX8 APIC SEP MTRR PGE MCA CMOV PAT PSE36 CLFSH MMX FXSR SSE SSE2
    private const uint FeatureD = (1u << 0) | (1u << 2) | (1u << 3) | (1u << 4) | (1u << 5) | (1u << 6) | (1u << 7) | (1u << 8) | (1u << 9)
        | (1u << 11) | (1u << 12) | (1u << 13) | (1u << 14) | (1u << 15) | (1u << 16) | (1u << 17) | (1u << 19) | (1u << 23) | (1u << 24)
        | (1u << 25) | (1u << 26);

    private void SetFeatures()
    {
        // FSGSBASE BMI1 SMEP BMI2 ERMS INVPCID RDSEED ADX CLFLUSHOPT CLWB; UMIP RDPID; FSRM
        uint b = (1u << 0) | (1u << 3) | (1u << 7) | (1u << 8) | (1u << 9) | (1u << 10) | (1u << 18) | (1u << 19) | (1u << 23) | (1u << 24);
        Set(7, 0, new CpuidResult(0, b, (1u << 2) | (1u << 22), 1u << 4));
        // XSAVE: x87 and SSE, standard format and XSAVEOPT, XSAVEC.
        Set(0xd, 0, new CpuidResult(3, 576, 576, 0));
        Set(0xd, 1, new CpuidResult(3, 576, 0, 0));
    }

    private void SetTopology(int processors)
    {
        int shift = 0;
        while (1 << shift < processors)
            shift++;
        Set(0xb, 0, new CpuidResult(0, 1, 1 << 8, 0));
        Set(0xb, 1, new CpuidResult((uint)shift, (uint)processors, (2 << 8) | 1, 0));
        Set(0xb, 2, new CpuidResult(0, 0, 2, 0));
    }

    private void SetExtended()
    {
        Set(0x8000_0000, 0, new CpuidResult(0, 0x6874_7541, 0x444d_4163, 0x6974_6e65));
        // LAHF, LZCNT, prefetch; SYSCALL, NX, 1 GiB pages, RDTSCP, long mode, and the bits shared with leaf 1.
        uint d = (FeatureD & 0x0183_f3ff & ~(1u << 11)) | (1u << 11) | (1u << 20) | (1u << 26) | (1u << 27) | (1u << 29);
        Set(0x8000_0001, 0, new CpuidResult(0x0006_0fb1, 0, (1u << 0) | (1u << 5) | (1u << 8), d));
        SetBrand("kvmsharp software processor");
        // First-level caches of 64 KiB, a second level of 512 KiB: for programs that size their loops by them.
        Set(0x8000_0005, 0, new CpuidResult(0xff08_ff08, 0xff20_ff20, 0x4002_0140, 0x4002_0140));
        Set(0x8000_0006, 0, new CpuidResult(0, 0x4200_4200, 0x0200_8140, 0));
        Set(0x8000_0007, 0, new CpuidResult(0, 0, 0, 1u << 8)); // invariant TSC
        Set(0x8000_0008, 0, new CpuidResult(0x0000_3000 | PhysicalBits, 0, 0, 0));
    }

    /// <summary>MAXPHYADDR of the default processor.</summary>
    private const uint PhysicalBits = 46;

    private void SetBrand(string name)
    {
        Span<byte> text = stackalloc byte[48];
        text.Clear();
        System.Text.Encoding.ASCII.GetBytes(name, text);
        for (uint n = 0; n < 3; n++)
        {
            var part = text.Slice((int)n * 16, 16);
            Set(0x8000_0002 + n, 0, new CpuidResult(BitConverter.ToUInt32(part), BitConverter.ToUInt32(part[4..]),
                BitConverter.ToUInt32(part[8..]), BitConverter.ToUInt32(part[12..])));
        }
    }
}
