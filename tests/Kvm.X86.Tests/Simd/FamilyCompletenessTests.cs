using Iced.Intel;
using Kvm.X86.Execute;

namespace Kvm.X86.Tests.Simd;

/// <summary>No instruction of a family we claim is missing.</summary>
public class FamilyCompletenessTests
{
    public static TheoryData<CpuidFeature> Families =>
    [
        CpuidFeature.FPU, CpuidFeature.FPU387, CpuidFeature.MMX, CpuidFeature.SSE, CpuidFeature.SSE2, CpuidFeature.SSE3, CpuidFeature.SSSE3,
        CpuidFeature.SSE4_1, CpuidFeature.SSE4_2, CpuidFeature.AES, CpuidFeature.PCLMULQDQ, CpuidFeature.SHA, CpuidFeature.AVX, CpuidFeature.AVX2,
        CpuidFeature.FMA, CpuidFeature.F16C, CpuidFeature.VAES, CpuidFeature.VPCLMULQDQ, CpuidFeature.FXSR, CpuidFeature.XSAVE, CpuidFeature.XSAVEOPT,
        CpuidFeature.XSAVEC, CpuidFeature.XSAVES,
    ];

    [Theory]
    [MemberData(nameof(Families))]
    public void EveryCodeOfTheFamilyHasAHelper(CpuidFeature family)
    {
        List<Code> codes = Enum.GetValues<Code>().Where(code => code.CpuidFeatures().Contains(family)
            && code.Encoding() is EncodingKind.Legacy or EncodingKind.VEX && code.CpuidFeatures().Contains(family)
            && !NeedsOtherExtension(code) && !IsPairWithWait(code) && !IsHot(code)).ToList();
        codes.Should().NotBeEmpty();
        codes.Where(code => HelperTable.Resolve(code) == 0).Should().BeEmpty();
    }

    /// <summary>GFNI, SHA512, SM3 and SM4 have VEX forms that also ask for AVX.</summary>
    private static bool NeedsOtherExtension(Code code) => code.CpuidFeatures().Any(f => f is CpuidFeature.GFNI or CpuidFeature.SHA512 or CpuidFeature.SM3
        or CpuidFeature.SM4);

    /// <summary>FINIT, FCLEX … are FWAIT and FNINIT, FNCLEX … to a decoder; FSTPNCE is no instruction of any manual.</summary>
    private static bool IsPairWithWait(Code code) => code is Code.Fstpnce_sti
        || (code.Encoding() == EncodingKind.Legacy && code.ToOpCode().ToOpCodeString().StartsWith("9B ", StringComparison.Ordinal));

    /// <summary>Prefetches and MOVNTI are moves of the integer core.</summary>
    private static bool IsHot(Code code) => code.Mnemonic() is Mnemonic.Prefetchnta or Mnemonic.Prefetcht0 or Mnemonic.Prefetcht1
        or Mnemonic.Prefetcht2 or Mnemonic.Movnti;
}
