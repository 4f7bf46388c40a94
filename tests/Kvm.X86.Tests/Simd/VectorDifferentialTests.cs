using Iced.Intel;
using Kvm.X86.Execute;
using Kvm.X86.Tests.Native;

namespace Kvm.X86.Tests.Simd;

/// <summary>Every vector instruction the engine knows against the host's processor: registers, MXCSR, x87 tags, flags, memory.</summary>
public unsafe class VectorDifferentialTests
{
    public static TheoryData<CpuidFeature> Families =>
    [
        CpuidFeature.MMX, CpuidFeature.SSE, CpuidFeature.SSE2, CpuidFeature.SSE3, CpuidFeature.SSSE3, CpuidFeature.SSE4_1,
        CpuidFeature.SSE4_2, CpuidFeature.AES, CpuidFeature.PCLMULQDQ, CpuidFeature.AVX, CpuidFeature.AVX2, CpuidFeature.FMA, CpuidFeature.F16C,
        CpuidFeature.SHA, CpuidFeature.VAES, CpuidFeature.VPCLMULQDQ,
    ];

    [SkippableTheory]
    [MemberData(nameof(Families))]
    public void RandomStatesGiveWhatTheHostGives(CpuidFeature family)
    {
        Skip.If(NativeRunner.Unavailable != null, NativeRunner.Unavailable);
        using Differential differential = new(seed: 1000 + (int)family);
        List<string> failures = [];
        foreach (Code code in Codes(family))
        {
            if (HelperTable.Resolve(code) == 0 || IsCoveredElsewhere(code))
                continue;
            differential.Adjust = IsGather(code) ? Indexes(code) : null;
            string? failure = differential.Check(code, cases: 80);
            if (failure != null)
                failures.Add(failure);
        }
        failures.Should().BeEmpty();
    }

    private static bool IsGather(Code code) => code.Mnemonic() is Mnemonic.Vgatherdps or Mnemonic.Vgatherdpd or Mnemonic.Vgatherqps or Mnemonic.Vgatherqpd
        or Mnemonic.Vpgatherdd or Mnemonic.Vpgatherdq or Mnemonic.Vpgatherqd or Mnemonic.Vpgatherqq;

    /// <summary>Indexes that stay inside the operand's page: small numbers of 32 or, where the code wants that, 64 bits.</summary>
    private static Action<StateGenerator, nint> Indexes(Code code)
    {
        bool wide = code.ToString().Contains("_vm64", StringComparison.Ordinal);
        return (generator, block) =>
        {
            foreach (int offset in new[] { 160 + 32, 576 + 32 })
            {
                for (int i = 0; i < 4; i++)
                    ((uint*)(block + offset))[i] = wide && (i & 1) != 0 ? 0 : (uint)generator.Random.Next(64);
            }
        };
    }

    internal static IEnumerable<Code> Codes(CpuidFeature family) =>
        Enum.GetValues<Code>().Where(code => code.CpuidFeatures().Contains(family) && code.Encoding() is EncodingKind.Legacy or EncodingKind.VEX
            && code.CpuidFeatures().Contains(family));

    /// <summary>Saving and restoring state, and MXCSR, have tests of their own; approximations differ between processors.</summary>
    private static bool IsCoveredElsewhere(Code code) => code.Mnemonic() is Mnemonic.Fxsave or Mnemonic.Fxsave64 or Mnemonic.Fxrstor
        or Mnemonic.Fxrstor64 or Mnemonic.Ldmxcsr or Mnemonic.Vldmxcsr
        or Mnemonic.Crc32 or Mnemonic.Popcnt
        or Mnemonic.Rcpps or Mnemonic.Rcpss or Mnemonic.Rsqrtps or Mnemonic.Rsqrtss or Mnemonic.Vrcpps or Mnemonic.Vrcpss or Mnemonic.Vrsqrtps or Mnemonic.Vrsqrtss;
}
