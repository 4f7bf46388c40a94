// Invariants: every address is that of a static helper of this assembly.
using Iced.Intel;
using Kvm.X86.Decode;
using Kvm.X86.Execute.Fpu;
using Kvm.X86.Float;
using Kvm.X86.State;

namespace Kvm.X86.Execute.Simd;

/// <summary>Floating-point instructions of SSE to SSE4.1.</summary>
internal static unsafe class FloatTable
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
        Code.Addps_xmm_xmmm128 => FloatForms.FastPacked<AddFloat, SingleFormat>(),
        Code.Addpd_xmm_xmmm128 => FloatForms.FastPacked<AddFloat, DoubleFormat>(),
        Code.Addss_xmm_xmmm32 => FloatForms.Scalar<AddFloat, SingleFormat>(),
        Code.Addsd_xmm_xmmm64 => FloatForms.Scalar<AddFloat, DoubleFormat>(),
        Code.Subps_xmm_xmmm128 => FloatForms.FastPacked<SubtractFloat, SingleFormat>(),
        Code.Subpd_xmm_xmmm128 => FloatForms.FastPacked<SubtractFloat, DoubleFormat>(),
        Code.Subss_xmm_xmmm32 => FloatForms.Scalar<SubtractFloat, SingleFormat>(),
        Code.Subsd_xmm_xmmm64 => FloatForms.Scalar<SubtractFloat, DoubleFormat>(),
        Code.Mulps_xmm_xmmm128 => FloatForms.FastPacked<MultiplyFloat, SingleFormat>(),
        Code.Mulpd_xmm_xmmm128 => FloatForms.FastPacked<MultiplyFloat, DoubleFormat>(),
        Code.Mulss_xmm_xmmm32 => FloatForms.Scalar<MultiplyFloat, SingleFormat>(),
        Code.Mulsd_xmm_xmmm64 => FloatForms.Scalar<MultiplyFloat, DoubleFormat>(),
        Code.Divps_xmm_xmmm128 => FloatForms.FastPacked<DivideFloat, SingleFormat>(),
        Code.Divpd_xmm_xmmm128 => FloatForms.FastPacked<DivideFloat, DoubleFormat>(),
        Code.Divss_xmm_xmmm32 => FloatForms.Scalar<DivideFloat, SingleFormat>(),
        Code.Divsd_xmm_xmmm64 => FloatForms.Scalar<DivideFloat, DoubleFormat>(),
        Code.Minps_xmm_xmmm128 => FloatForms.Packed<MinimumFloat, SingleFormat>(),
        Code.Minpd_xmm_xmmm128 => FloatForms.Packed<MinimumFloat, DoubleFormat>(),
        Code.Minss_xmm_xmmm32 => FloatForms.Scalar<MinimumFloat, SingleFormat>(),
        Code.Minsd_xmm_xmmm64 => FloatForms.Scalar<MinimumFloat, DoubleFormat>(),
        Code.Maxps_xmm_xmmm128 => FloatForms.Packed<MaximumFloat, SingleFormat>(),
        Code.Maxpd_xmm_xmmm128 => FloatForms.Packed<MaximumFloat, DoubleFormat>(),
        Code.Maxss_xmm_xmmm32 => FloatForms.Scalar<MaximumFloat, SingleFormat>(),
        Code.Maxsd_xmm_xmmm64 => FloatForms.Scalar<MaximumFloat, DoubleFormat>(),
        Code.Sqrtps_xmm_xmmm128 => FloatForms.Packed<SquareRootFloat, SingleFormat>(),
        Code.Sqrtpd_xmm_xmmm128 => FloatForms.Packed<SquareRootFloat, DoubleFormat>(),
        Code.Sqrtss_xmm_xmmm32 => FloatForms.Scalar<SquareRootFloat, SingleFormat>(),
        Code.Sqrtsd_xmm_xmmm64 => FloatForms.Scalar<SquareRootFloat, DoubleFormat>(),
        Code.Rcpps_xmm_xmmm128 => FloatForms.Packed<ReciprocalFloat, SingleFormat>(),
        Code.Rcpss_xmm_xmmm32 => FloatForms.Scalar<ReciprocalFloat, SingleFormat>(),
        Code.Rsqrtps_xmm_xmmm128 => FloatForms.Packed<ReciprocalRootFloat, SingleFormat>(),
        Code.Rsqrtss_xmm_xmmm32 => FloatForms.Scalar<ReciprocalRootFloat, SingleFormat>(),
        _ => 0,
    };

    private static nint Comparisons(Code code) => code switch
    {
        Code.Cmpps_xmm_xmmm128_imm8 => FloatForms.Packed<CompareFloat, SingleFormat>(),
        Code.Roundps_xmm_xmmm128_imm8 => FloatForms.Packed<RoundFloat, SingleFormat>(),
        Code.Cmppd_xmm_xmmm128_imm8 => FloatForms.Packed<CompareFloat, DoubleFormat>(),
        Code.Roundpd_xmm_xmmm128_imm8 => FloatForms.Packed<RoundFloat, DoubleFormat>(),
        Code.Cmpss_xmm_xmmm32_imm8 => FloatForms.Scalar<CompareFloat, SingleFormat>(),
        Code.Roundss_xmm_xmmm32_imm8 => FloatForms.Scalar<RoundFloat, SingleFormat>(),
        Code.Comiss_xmm_xmmm32 => FloatCompareHelpers.Sse<SingleFormat>(signaling: true),
        Code.Ucomiss_xmm_xmmm32 => FloatCompareHelpers.Sse<SingleFormat>(signaling: false),
        Code.Cmpsd_xmm_xmmm64_imm8 => FloatForms.Scalar<CompareFloat, DoubleFormat>(),
        Code.Roundsd_xmm_xmmm64_imm8 => FloatForms.Scalar<RoundFloat, DoubleFormat>(),
        Code.Comisd_xmm_xmmm64 => FloatCompareHelpers.Sse<DoubleFormat>(signaling: true),
        Code.Ucomisd_xmm_xmmm64 => FloatCompareHelpers.Sse<DoubleFormat>(signaling: false),
        _ => 0,
    };

    private static nint Horizontals(Code code) => code switch
    {
        Code.Haddps_xmm_xmmm128 => FloatVectorForms.Sse<HorizontalAddSingles>(),
        Code.Hsubps_xmm_xmmm128 => FloatVectorForms.Sse<HorizontalSubtractSingles>(),
        Code.Haddpd_xmm_xmmm128 => FloatVectorForms.Sse<HorizontalAddDoubles>(),
        Code.Hsubpd_xmm_xmmm128 => FloatVectorForms.Sse<HorizontalSubtractDoubles>(),
        Code.Addsubps_xmm_xmmm128 => FloatVectorForms.Sse<AddSubtractSingles>(),
        Code.Addsubpd_xmm_xmmm128 => FloatVectorForms.Sse<AddSubtractDoubles>(),
        Code.Dpps_xmm_xmmm128_imm8 => FloatVectorForms.Sse<DotProductSingles>(),
        Code.Dppd_xmm_xmmm128_imm8 => FloatVectorForms.Sse<DotProductDoubles>(),
        _ => 0,
    };

    private static nint Conversions(Code code) => code switch
    {
        Code.Cvtps2pd_xmm_xmmm64 => FloatConvertHelpers.Sse<SinglesToDoubles>(),
        Code.Cvtpd2ps_xmm_xmmm128 => FloatConvertHelpers.Sse<DoublesToSingles>(),
        Code.Cvtdq2ps_xmm_xmmm128 => FloatConvertHelpers.Sse<IntegersToSingles>(),
        Code.Cvtdq2pd_xmm_xmmm64 => FloatConvertHelpers.Sse<IntegersToDoubles>(),
        Code.Cvtps2dq_xmm_xmmm128 => FloatConvertHelpers.Sse<SinglesToIntegers>(),
        Code.Cvttps2dq_xmm_xmmm128 => FloatConvertHelpers.Sse<SinglesToIntegersTruncated>(),
        Code.Cvtpd2dq_xmm_xmmm128 => FloatConvertHelpers.Sse<DoublesToIntegers>(),
        Code.Cvttpd2dq_xmm_xmmm128 => FloatConvertHelpers.Sse<DoublesToIntegersTruncated>(),
        Code.Cvtsi2ss_xmm_rm32 => ScalarConvertHelpers.FromInteger<SingleFormat, ScalarConvertHelpers.Legacy32>(),
        Code.Cvtss2si_r32_xmmm32 => ScalarConvertHelpers.ToInteger<SingleFormat, ScalarConvertHelpers.Legacy32>(),
        Code.Cvttss2si_r32_xmmm32 => ScalarConvertHelpers.ToInteger<SingleFormat, ScalarConvertHelpers.Legacy32Truncate>(),
        Code.Cvtsi2ss_xmm_rm64 => ScalarConvertHelpers.FromInteger<SingleFormat, ScalarConvertHelpers.Legacy64>(),
        Code.Cvtss2si_r64_xmmm32 => ScalarConvertHelpers.ToInteger<SingleFormat, ScalarConvertHelpers.Legacy64>(),
        Code.Cvttss2si_r64_xmmm32 => ScalarConvertHelpers.ToInteger<SingleFormat, ScalarConvertHelpers.Legacy64Truncate>(),
        Code.Cvtsi2sd_xmm_rm32 => ScalarConvertHelpers.FromInteger<DoubleFormat, ScalarConvertHelpers.Legacy32>(),
        Code.Cvtsd2si_r32_xmmm64 => ScalarConvertHelpers.ToInteger<DoubleFormat, ScalarConvertHelpers.Legacy32>(),
        Code.Cvttsd2si_r32_xmmm64 => ScalarConvertHelpers.ToInteger<DoubleFormat, ScalarConvertHelpers.Legacy32Truncate>(),
        Code.Cvtsi2sd_xmm_rm64 => ScalarConvertHelpers.FromInteger<DoubleFormat, ScalarConvertHelpers.Legacy64>(),
        Code.Cvtsd2si_r64_xmmm64 => ScalarConvertHelpers.ToInteger<DoubleFormat, ScalarConvertHelpers.Legacy64>(),
        Code.Cvttsd2si_r64_xmmm64 => ScalarConvertHelpers.ToInteger<DoubleFormat, ScalarConvertHelpers.Legacy64Truncate>(),
        Code.Cvtss2sd_xmm_xmmm32 => ScalarConvertHelpers.Widen<ScalarConvertHelpers.Legacy32>(),
        Code.Cvtsd2ss_xmm_xmmm64 => ScalarConvertHelpers.Narrow<ScalarConvertHelpers.Legacy32>(),
        Code.Cvtpi2ps_xmm_mmm64 => (nint)(delegate*<Cpu*, Op*, bool>)&FloatConvertHelpers.MmxToSingles,
        Code.Cvtpi2pd_xmm_mmm64 => (nint)(delegate*<Cpu*, Op*, bool>)&FloatConvertHelpers.MmxToDoubles,
        Code.Cvtps2pi_mm_xmmm64 => FloatConvertHelpers.SinglesToMmx(truncate: false),
        Code.Cvttps2pi_mm_xmmm64 => FloatConvertHelpers.SinglesToMmx(truncate: true),
        Code.Cvtpd2pi_mm_xmmm128 => FloatConvertHelpers.ToMmx<DoublesToIntegers>(),
        Code.Cvttpd2pi_mm_xmmm128 => FloatConvertHelpers.ToMmx<DoublesToIntegersTruncated>(),
        _ => 0,
    };
}
