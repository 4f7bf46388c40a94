// Invariants: every address is that of a static helper of this assembly.
using Iced.Intel;
using Kvm.X86.Decode;
using Kvm.X86.Execute.Fpu;
using Kvm.X86.Float;
using Kvm.X86.State;

namespace Kvm.X86.Execute.Simd;

/// <summary>Floating-point instructions of AVX.</summary>
internal static unsafe class VexFloatTable
{
    /// <summary>The helper's address, or 0.</summary>
    public static nint Resolve(Code code)
    {
        nint helper;
        if ((helper = Arithmetic(code)) != 0)
            return helper;
        if ((helper = Comparisons(code)) != 0)
            return helper;
        if ((helper = Horizontals(code)) != 0)
            return helper;
        return Conversions(code);
    }

    private static nint Arithmetic(Code code) => code switch
    {
        Code.VEX_Vaddps_xmm_xmm_xmmm128 => FloatForms.VexPacked128<AddFloat, SingleFormat>(),
        Code.VEX_Vaddps_ymm_ymm_ymmm256 => FloatForms.VexPacked256<AddFloat, SingleFormat>(),
        Code.VEX_Vaddpd_xmm_xmm_xmmm128 => FloatForms.VexPacked128<AddFloat, DoubleFormat>(),
        Code.VEX_Vaddpd_ymm_ymm_ymmm256 => FloatForms.VexPacked256<AddFloat, DoubleFormat>(),
        Code.VEX_Vaddss_xmm_xmm_xmmm32 => FloatForms.VexScalar<AddFloat, SingleFormat>(),
        Code.VEX_Vaddsd_xmm_xmm_xmmm64 => FloatForms.VexScalar<AddFloat, DoubleFormat>(),
        Code.VEX_Vsubps_xmm_xmm_xmmm128 => FloatForms.VexPacked128<SubtractFloat, SingleFormat>(),
        Code.VEX_Vsubps_ymm_ymm_ymmm256 => FloatForms.VexPacked256<SubtractFloat, SingleFormat>(),
        Code.VEX_Vsubpd_xmm_xmm_xmmm128 => FloatForms.VexPacked128<SubtractFloat, DoubleFormat>(),
        Code.VEX_Vsubpd_ymm_ymm_ymmm256 => FloatForms.VexPacked256<SubtractFloat, DoubleFormat>(),
        Code.VEX_Vsubss_xmm_xmm_xmmm32 => FloatForms.VexScalar<SubtractFloat, SingleFormat>(),
        Code.VEX_Vsubsd_xmm_xmm_xmmm64 => FloatForms.VexScalar<SubtractFloat, DoubleFormat>(),
        Code.VEX_Vmulps_xmm_xmm_xmmm128 => FloatForms.VexPacked128<MultiplyFloat, SingleFormat>(),
        Code.VEX_Vmulps_ymm_ymm_ymmm256 => FloatForms.VexPacked256<MultiplyFloat, SingleFormat>(),
        Code.VEX_Vmulpd_xmm_xmm_xmmm128 => FloatForms.VexPacked128<MultiplyFloat, DoubleFormat>(),
        Code.VEX_Vmulpd_ymm_ymm_ymmm256 => FloatForms.VexPacked256<MultiplyFloat, DoubleFormat>(),
        Code.VEX_Vmulss_xmm_xmm_xmmm32 => FloatForms.VexScalar<MultiplyFloat, SingleFormat>(),
        Code.VEX_Vmulsd_xmm_xmm_xmmm64 => FloatForms.VexScalar<MultiplyFloat, DoubleFormat>(),
        Code.VEX_Vdivps_xmm_xmm_xmmm128 => FloatForms.VexPacked128<DivideFloat, SingleFormat>(),
        Code.VEX_Vdivps_ymm_ymm_ymmm256 => FloatForms.VexPacked256<DivideFloat, SingleFormat>(),
        Code.VEX_Vdivpd_xmm_xmm_xmmm128 => FloatForms.VexPacked128<DivideFloat, DoubleFormat>(),
        Code.VEX_Vdivpd_ymm_ymm_ymmm256 => FloatForms.VexPacked256<DivideFloat, DoubleFormat>(),
        Code.VEX_Vdivss_xmm_xmm_xmmm32 => FloatForms.VexScalar<DivideFloat, SingleFormat>(),
        Code.VEX_Vdivsd_xmm_xmm_xmmm64 => FloatForms.VexScalar<DivideFloat, DoubleFormat>(),
        Code.VEX_Vminps_xmm_xmm_xmmm128 => FloatForms.VexPacked128<MinimumFloat, SingleFormat>(),
        Code.VEX_Vminps_ymm_ymm_ymmm256 => FloatForms.VexPacked256<MinimumFloat, SingleFormat>(),
        Code.VEX_Vminpd_xmm_xmm_xmmm128 => FloatForms.VexPacked128<MinimumFloat, DoubleFormat>(),
        Code.VEX_Vminpd_ymm_ymm_ymmm256 => FloatForms.VexPacked256<MinimumFloat, DoubleFormat>(),
        Code.VEX_Vminss_xmm_xmm_xmmm32 => FloatForms.VexScalar<MinimumFloat, SingleFormat>(),
        Code.VEX_Vminsd_xmm_xmm_xmmm64 => FloatForms.VexScalar<MinimumFloat, DoubleFormat>(),
        Code.VEX_Vmaxps_xmm_xmm_xmmm128 => FloatForms.VexPacked128<MaximumFloat, SingleFormat>(),
        Code.VEX_Vmaxps_ymm_ymm_ymmm256 => FloatForms.VexPacked256<MaximumFloat, SingleFormat>(),
        Code.VEX_Vmaxpd_xmm_xmm_xmmm128 => FloatForms.VexPacked128<MaximumFloat, DoubleFormat>(),
        Code.VEX_Vmaxpd_ymm_ymm_ymmm256 => FloatForms.VexPacked256<MaximumFloat, DoubleFormat>(),
        Code.VEX_Vmaxss_xmm_xmm_xmmm32 => FloatForms.VexScalar<MaximumFloat, SingleFormat>(),
        Code.VEX_Vmaxsd_xmm_xmm_xmmm64 => FloatForms.VexScalar<MaximumFloat, DoubleFormat>(),
        Code.VEX_Vsqrtps_xmm_xmmm128 => FloatForms.VexPacked128<SquareRootFloat, SingleFormat>(),
        Code.VEX_Vsqrtps_ymm_ymmm256 => FloatForms.VexPacked256<SquareRootFloat, SingleFormat>(),
        Code.VEX_Vsqrtpd_xmm_xmmm128 => FloatForms.VexPacked128<SquareRootFloat, DoubleFormat>(),
        Code.VEX_Vsqrtpd_ymm_ymmm256 => FloatForms.VexPacked256<SquareRootFloat, DoubleFormat>(),
        Code.VEX_Vsqrtss_xmm_xmm_xmmm32 => FloatForms.VexScalar<SquareRootFloat, SingleFormat>(),
        Code.VEX_Vsqrtsd_xmm_xmm_xmmm64 => FloatForms.VexScalar<SquareRootFloat, DoubleFormat>(),
        Code.VEX_Vrcpps_xmm_xmmm128 => FloatForms.VexPacked128<ReciprocalFloat, SingleFormat>(),
        Code.VEX_Vrcpps_ymm_ymmm256 => FloatForms.VexPacked256<ReciprocalFloat, SingleFormat>(),
        Code.VEX_Vrcpss_xmm_xmm_xmmm32 => FloatForms.VexScalar<ReciprocalFloat, SingleFormat>(),
        Code.VEX_Vrsqrtps_xmm_xmmm128 => FloatForms.VexPacked128<ReciprocalRootFloat, SingleFormat>(),
        Code.VEX_Vrsqrtps_ymm_ymmm256 => FloatForms.VexPacked256<ReciprocalRootFloat, SingleFormat>(),
        Code.VEX_Vrsqrtss_xmm_xmm_xmmm32 => FloatForms.VexScalar<ReciprocalRootFloat, SingleFormat>(),
        _ => 0,
    };

    private static nint Comparisons(Code code) => code switch
    {
        Code.VEX_Vcmpps_xmm_xmm_xmmm128_imm8 => FloatForms.VexPacked128<CompareFloatVex, SingleFormat>(),
        Code.VEX_Vcmpps_ymm_ymm_ymmm256_imm8 => FloatForms.VexPacked256<CompareFloatVex, SingleFormat>(),
        Code.VEX_Vroundps_xmm_xmmm128_imm8 => FloatForms.VexPacked128<RoundFloat, SingleFormat>(),
        Code.VEX_Vroundps_ymm_ymmm256_imm8 => FloatForms.VexPacked256<RoundFloat, SingleFormat>(),
        Code.VEX_Vcmppd_xmm_xmm_xmmm128_imm8 => FloatForms.VexPacked128<CompareFloatVex, DoubleFormat>(),
        Code.VEX_Vcmppd_ymm_ymm_ymmm256_imm8 => FloatForms.VexPacked256<CompareFloatVex, DoubleFormat>(),
        Code.VEX_Vroundpd_xmm_xmmm128_imm8 => FloatForms.VexPacked128<RoundFloat, DoubleFormat>(),
        Code.VEX_Vroundpd_ymm_ymmm256_imm8 => FloatForms.VexPacked256<RoundFloat, DoubleFormat>(),
        Code.VEX_Vcmpss_xmm_xmm_xmmm32_imm8 => FloatForms.VexScalar<CompareFloatVex, SingleFormat>(),
        Code.VEX_Vroundss_xmm_xmm_xmmm32_imm8 => FloatForms.VexScalar<RoundFloat, SingleFormat>(),
        Code.VEX_Vcomiss_xmm_xmmm32 => FloatCompareHelpers.Vex<SingleFormat>(signaling: true),
        Code.VEX_Vucomiss_xmm_xmmm32 => FloatCompareHelpers.Vex<SingleFormat>(signaling: false),
        Code.VEX_Vcmpsd_xmm_xmm_xmmm64_imm8 => FloatForms.VexScalar<CompareFloatVex, DoubleFormat>(),
        Code.VEX_Vroundsd_xmm_xmm_xmmm64_imm8 => FloatForms.VexScalar<RoundFloat, DoubleFormat>(),
        Code.VEX_Vcomisd_xmm_xmmm64 => FloatCompareHelpers.Vex<DoubleFormat>(signaling: true),
        Code.VEX_Vucomisd_xmm_xmmm64 => FloatCompareHelpers.Vex<DoubleFormat>(signaling: false),
        _ => 0,
    };

    private static nint Horizontals(Code code) => code switch
    {
        Code.VEX_Vhaddps_xmm_xmm_xmmm128 => FloatVectorForms.Vex128<HorizontalAddSingles>(),
        Code.VEX_Vhaddps_ymm_ymm_ymmm256 => FloatVectorForms.Vex256<HorizontalAddSingles>(),
        Code.VEX_Vhsubps_xmm_xmm_xmmm128 => FloatVectorForms.Vex128<HorizontalSubtractSingles>(),
        Code.VEX_Vhsubps_ymm_ymm_ymmm256 => FloatVectorForms.Vex256<HorizontalSubtractSingles>(),
        Code.VEX_Vhaddpd_xmm_xmm_xmmm128 => FloatVectorForms.Vex128<HorizontalAddDoubles>(),
        Code.VEX_Vhaddpd_ymm_ymm_ymmm256 => FloatVectorForms.Vex256<HorizontalAddDoubles>(),
        Code.VEX_Vhsubpd_xmm_xmm_xmmm128 => FloatVectorForms.Vex128<HorizontalSubtractDoubles>(),
        Code.VEX_Vhsubpd_ymm_ymm_ymmm256 => FloatVectorForms.Vex256<HorizontalSubtractDoubles>(),
        Code.VEX_Vaddsubps_xmm_xmm_xmmm128 => FloatVectorForms.Vex128<AddSubtractSingles>(),
        Code.VEX_Vaddsubps_ymm_ymm_ymmm256 => FloatVectorForms.Vex256<AddSubtractSingles>(),
        Code.VEX_Vaddsubpd_xmm_xmm_xmmm128 => FloatVectorForms.Vex128<AddSubtractDoubles>(),
        Code.VEX_Vaddsubpd_ymm_ymm_ymmm256 => FloatVectorForms.Vex256<AddSubtractDoubles>(),
        Code.VEX_Vdpps_xmm_xmm_xmmm128_imm8 => FloatVectorForms.Vex128<DotProductSingles>(),
        Code.VEX_Vdpps_ymm_ymm_ymmm256_imm8 => FloatVectorForms.Vex256<DotProductSingles>(),
        Code.VEX_Vdppd_xmm_xmm_xmmm128_imm8 => FloatVectorForms.Vex128<DotProductDoubles>(),
        _ => 0,
    };

    private static nint Conversions(Code code) => code switch
    {
        Code.VEX_Vcvtps2pd_xmm_xmmm64 => FloatConvertHelpers.Vex128<SinglesToDoubles>(),
        Code.VEX_Vcvtps2pd_ymm_xmmm128 => FloatConvertHelpers.Vex256<SinglesToDoubles>(),
        Code.VEX_Vcvtpd2ps_xmm_xmmm128 => FloatConvertHelpers.Vex128<DoublesToSingles>(),
        Code.VEX_Vcvtpd2ps_xmm_ymmm256 => FloatConvertHelpers.Vex256Narrow<DoublesToSingles>(),
        Code.VEX_Vcvtdq2ps_xmm_xmmm128 => FloatConvertHelpers.Vex128<IntegersToSingles>(),
        Code.VEX_Vcvtdq2ps_ymm_ymmm256 => FloatConvertHelpers.Vex256<IntegersToSingles>(),
        Code.VEX_Vcvtdq2pd_xmm_xmmm64 => FloatConvertHelpers.Vex128<IntegersToDoubles>(),
        Code.VEX_Vcvtdq2pd_ymm_xmmm128 => FloatConvertHelpers.Vex256<IntegersToDoubles>(),
        Code.VEX_Vcvtps2dq_xmm_xmmm128 => FloatConvertHelpers.Vex128<SinglesToIntegers>(),
        Code.VEX_Vcvtps2dq_ymm_ymmm256 => FloatConvertHelpers.Vex256<SinglesToIntegers>(),
        Code.VEX_Vcvttps2dq_xmm_xmmm128 => FloatConvertHelpers.Vex128<SinglesToIntegersTruncated>(),
        Code.VEX_Vcvttps2dq_ymm_ymmm256 => FloatConvertHelpers.Vex256<SinglesToIntegersTruncated>(),
        Code.VEX_Vcvtpd2dq_xmm_xmmm128 => FloatConvertHelpers.Vex128<DoublesToIntegers>(),
        Code.VEX_Vcvtpd2dq_xmm_ymmm256 => FloatConvertHelpers.Vex256Narrow<DoublesToIntegers>(),
        Code.VEX_Vcvttpd2dq_xmm_xmmm128 => FloatConvertHelpers.Vex128<DoublesToIntegersTruncated>(),
        Code.VEX_Vcvttpd2dq_xmm_ymmm256 => FloatConvertHelpers.Vex256Narrow<DoublesToIntegersTruncated>(),
        Code.VEX_Vcvtsi2ss_xmm_xmm_rm32 => ScalarConvertHelpers.FromInteger<SingleFormat, ScalarConvertHelpers.Vex32>(),
        Code.VEX_Vcvtss2si_r32_xmmm32 => ScalarConvertHelpers.ToInteger<SingleFormat, ScalarConvertHelpers.Vex32>(),
        Code.VEX_Vcvttss2si_r32_xmmm32 => ScalarConvertHelpers.ToInteger<SingleFormat, ScalarConvertHelpers.Vex32Truncate>(),
        Code.VEX_Vcvtsi2ss_xmm_xmm_rm64 => ScalarConvertHelpers.FromInteger<SingleFormat, ScalarConvertHelpers.Vex64>(),
        Code.VEX_Vcvtss2si_r64_xmmm32 => ScalarConvertHelpers.ToInteger<SingleFormat, ScalarConvertHelpers.Vex64>(),
        Code.VEX_Vcvttss2si_r64_xmmm32 => ScalarConvertHelpers.ToInteger<SingleFormat, ScalarConvertHelpers.Vex64Truncate>(),
        Code.VEX_Vcvtsi2sd_xmm_xmm_rm32 => ScalarConvertHelpers.FromInteger<DoubleFormat, ScalarConvertHelpers.Vex32>(),
        Code.VEX_Vcvtsd2si_r32_xmmm64 => ScalarConvertHelpers.ToInteger<DoubleFormat, ScalarConvertHelpers.Vex32>(),
        Code.VEX_Vcvttsd2si_r32_xmmm64 => ScalarConvertHelpers.ToInteger<DoubleFormat, ScalarConvertHelpers.Vex32Truncate>(),
        Code.VEX_Vcvtsi2sd_xmm_xmm_rm64 => ScalarConvertHelpers.FromInteger<DoubleFormat, ScalarConvertHelpers.Vex64>(),
        Code.VEX_Vcvtsd2si_r64_xmmm64 => ScalarConvertHelpers.ToInteger<DoubleFormat, ScalarConvertHelpers.Vex64>(),
        Code.VEX_Vcvttsd2si_r64_xmmm64 => ScalarConvertHelpers.ToInteger<DoubleFormat, ScalarConvertHelpers.Vex64Truncate>(),
        Code.VEX_Vcvtss2sd_xmm_xmm_xmmm32 => ScalarConvertHelpers.Widen<ScalarConvertHelpers.Vex32>(),
        Code.VEX_Vcvtsd2ss_xmm_xmm_xmmm64 => ScalarConvertHelpers.Narrow<ScalarConvertHelpers.Vex32>(),
        _ => 0,
    };
}
