// Invariants: every address is that of a static helper of this assembly.
using Iced.Intel;
using Kvm.X86.Decode;
using Kvm.X86.Execute.Fpu;
using Kvm.X86.State;

namespace Kvm.X86.Execute.Simd;

/// <summary>Moves of SSE, MMX and AVX.</summary>
internal static unsafe class MoveTable
{
    /// <summary>The helper's address, or 0.</summary>
    public static nint Resolve(Code code)
    {
        nint helper;
        if ((helper = Sse(code)) != 0)
            return helper;
        if ((helper = Mmx(code)) != 0)
            return helper;
        return Vex(code);
    }

    private static nint Sse(Code code) => code switch
    {
        Code.Movups_xmm_xmmm128 or Code.Movupd_xmm_xmmm128 or Code.Movdqu_xmm_xmmm128 or Code.Lddqu_xmm_m128 => (nint)(delegate*<Cpu*, Op*, bool>)&VectorMoves.LoadUnaligned,
        Code.Movaps_xmm_xmmm128 or Code.Movapd_xmm_xmmm128 or Code.Movdqa_xmm_xmmm128 => (nint)(delegate*<Cpu*, Op*, bool>)&VectorMoves.LoadAligned,
        Code.Movups_xmmm128_xmm or Code.Movupd_xmmm128_xmm or Code.Movdqu_xmmm128_xmm => (nint)(delegate*<Cpu*, Op*, bool>)&VectorMoves.StoreUnaligned,
        Code.Movaps_xmmm128_xmm or Code.Movapd_xmmm128_xmm or Code.Movdqa_xmmm128_xmm => (nint)(delegate*<Cpu*, Op*, bool>)&VectorMoves.StoreAligned,
        Code.Movntps_m128_xmm or Code.Movntpd_m128_xmm or Code.Movntdq_m128_xmm => (nint)(delegate*<Cpu*, Op*, bool>)&VectorMoves.StoreAligned,
        Code.Movntdqa_xmm_m128 => (nint)(delegate*<Cpu*, Op*, bool>)&VectorMoves.LoadNonTemporal,
        Code.Movss_xmm_xmmm32 => (nint)(delegate*<Cpu*, Op*, bool>)&VectorMoves.LoadSingle,
        Code.Movsd_xmm_xmmm64 => (nint)(delegate*<Cpu*, Op*, bool>)&VectorMoves.LoadDouble,
        Code.Movss_xmmm32_xmm => (nint)(delegate*<Cpu*, Op*, bool>)&VectorMoves.StoreSingle,
        Code.Movsd_xmmm64_xmm => (nint)(delegate*<Cpu*, Op*, bool>)&VectorMoves.StoreDouble,
        Code.Movlps_xmm_m64 or Code.Movlpd_xmm_m64 => (nint)(delegate*<Cpu*, Op*, bool>)&VectorMoves.LoadLow,
        Code.Movhps_xmm_m64 or Code.Movhpd_xmm_m64 => (nint)(delegate*<Cpu*, Op*, bool>)&VectorMoves.LoadHigh,
        Code.Movlps_m64_xmm or Code.Movlpd_m64_xmm => (nint)(delegate*<Cpu*, Op*, bool>)&VectorMoves.StoreDouble,
        Code.Movhps_m64_xmm or Code.Movhpd_m64_xmm => (nint)(delegate*<Cpu*, Op*, bool>)&VectorMoves.StoreHigh,
        Code.Movhlps_xmm_xmm => (nint)(delegate*<Cpu*, Op*, bool>)&VectorMoves.HighToLow,
        Code.Movlhps_xmm_xmm => (nint)(delegate*<Cpu*, Op*, bool>)&VectorMoves.LowToHigh,
        Code.Movddup_xmm_xmmm64 => (nint)(delegate*<Cpu*, Op*, bool>)&VectorMoves.DuplicateDouble,
        Code.Movsldup_xmm_xmmm128 => Forms.SseUnary<DuplicateEven>(),
        Code.Movshdup_xmm_xmmm128 => Forms.SseUnary<DuplicateOdd>(),
        Code.Movd_xmm_rm32 => (nint)(delegate*<Cpu*, Op*, bool>)&VectorMoves.FromGeneral32,
        Code.Movq_xmm_rm64 => (nint)(delegate*<Cpu*, Op*, bool>)&VectorMoves.FromGeneral64,
        Code.Movd_rm32_xmm => (nint)(delegate*<Cpu*, Op*, bool>)&VectorMoves.ToGeneral32,
        Code.Movq_rm64_xmm => (nint)(delegate*<Cpu*, Op*, bool>)&VectorMoves.ToGeneral64,
        Code.Movq_xmm_xmmm64 => (nint)(delegate*<Cpu*, Op*, bool>)&VectorMoves.LoadQuadword,
        Code.Movq_xmmm64_xmm => (nint)(delegate*<Cpu*, Op*, bool>)&VectorMoves.StoreQuadword,
        Code.Movmskps_r32_xmm or Code.Movmskps_r64_xmm => (nint)(delegate*<Cpu*, Op*, bool>)&VectorMoves.SignsOfSingles,
        Code.Movmskpd_r32_xmm or Code.Movmskpd_r64_xmm => (nint)(delegate*<Cpu*, Op*, bool>)&VectorMoves.SignsOfDoubles,
        Code.Pmovmskb_r32_xmm or Code.Pmovmskb_r64_xmm => (nint)(delegate*<Cpu*, Op*, bool>)&VectorMoves.SignsOfBytes,
        Code.Maskmovdqu_rDI_xmm_xmm => (nint)(delegate*<Cpu*, Op*, bool>)&VectorMoves.MaskedStore,
        _ => 0,
    };

    private static nint Mmx(Code code) => code switch
    {
        Code.Movd_mm_rm32 => (nint)(delegate*<Cpu*, Op*, bool>)&MmxMoves.FromGeneral32,
        Code.Movq_mm_rm64 => (nint)(delegate*<Cpu*, Op*, bool>)&MmxMoves.FromGeneral64,
        Code.Movd_rm32_mm => (nint)(delegate*<Cpu*, Op*, bool>)&MmxMoves.ToGeneral32,
        Code.Movq_rm64_mm => (nint)(delegate*<Cpu*, Op*, bool>)&MmxMoves.ToGeneral64,
        Code.Movq_mm_mmm64 => (nint)(delegate*<Cpu*, Op*, bool>)&MmxMoves.Load,
        Code.Movq_mmm64_mm or Code.Movntq_m64_mm => (nint)(delegate*<Cpu*, Op*, bool>)&MmxMoves.Store,
        Code.Movq2dq_xmm_mm => (nint)(delegate*<Cpu*, Op*, bool>)&MmxMoves.ToXmm,
        Code.Movdq2q_mm_xmm => (nint)(delegate*<Cpu*, Op*, bool>)&MmxMoves.FromXmm,
        Code.Pmovmskb_r32_mm or Code.Pmovmskb_r64_mm => (nint)(delegate*<Cpu*, Op*, bool>)&MmxMoves.SignsOfBytes,
        Code.Pextrw_r32_mm_imm8 or Code.Pextrw_r64_mm_imm8 => (nint)(delegate*<Cpu*, Op*, bool>)&MmxMoves.ExtractWord,
        Code.Pinsrw_mm_r32m16_imm8 or Code.Pinsrw_mm_r64m16_imm8 => (nint)(delegate*<Cpu*, Op*, bool>)&MmxMoves.InsertWord,
        Code.Maskmovq_rDI_mm_mm => (nint)(delegate*<Cpu*, Op*, bool>)&MmxMoves.MaskedStore,
        Code.Emms => (nint)(delegate*<Cpu*, Op*, bool>)&MmxMoves.Empty,
        _ => 0,
    };

    private static nint Vex(Code code) => code switch
    {
        Code.VEX_Vmovups_xmm_xmmm128 or Code.VEX_Vmovupd_xmm_xmmm128 or Code.VEX_Vmovdqu_xmm_xmmm128 or Code.VEX_Vlddqu_xmm_m128 => (nint)(delegate*<Cpu*, Op*, bool>)&VexMoves.Load128,
        Code.VEX_Vmovups_ymm_ymmm256 or Code.VEX_Vmovupd_ymm_ymmm256 or Code.VEX_Vmovdqu_ymm_ymmm256 or Code.VEX_Vlddqu_ymm_m256 => (nint)(delegate*<Cpu*, Op*, bool>)&VexMoves.Load256,
        Code.VEX_Vmovaps_xmm_xmmm128 or Code.VEX_Vmovapd_xmm_xmmm128 or Code.VEX_Vmovdqa_xmm_xmmm128 or Code.VEX_Vmovntdqa_xmm_m128 => (nint)(delegate*<Cpu*, Op*, bool>)&VexMoves.LoadAligned128,
        Code.VEX_Vmovaps_ymm_ymmm256 or Code.VEX_Vmovapd_ymm_ymmm256 or Code.VEX_Vmovdqa_ymm_ymmm256 or Code.VEX_Vmovntdqa_ymm_m256 => (nint)(delegate*<Cpu*, Op*, bool>)&VexMoves.LoadAligned256,
        Code.VEX_Vmovups_xmmm128_xmm or Code.VEX_Vmovupd_xmmm128_xmm or Code.VEX_Vmovdqu_xmmm128_xmm => (nint)(delegate*<Cpu*, Op*, bool>)&VexMoves.Store128,
        Code.VEX_Vmovups_ymmm256_ymm or Code.VEX_Vmovupd_ymmm256_ymm or Code.VEX_Vmovdqu_ymmm256_ymm => (nint)(delegate*<Cpu*, Op*, bool>)&VexMoves.Store256,
        Code.VEX_Vmovaps_xmmm128_xmm or Code.VEX_Vmovapd_xmmm128_xmm or Code.VEX_Vmovdqa_xmmm128_xmm => (nint)(delegate*<Cpu*, Op*, bool>)&VexMoves.StoreAligned128,
        Code.VEX_Vmovntps_m128_xmm or Code.VEX_Vmovntpd_m128_xmm or Code.VEX_Vmovntdq_m128_xmm => (nint)(delegate*<Cpu*, Op*, bool>)&VexMoves.StoreAligned128,
        Code.VEX_Vmovaps_ymmm256_ymm or Code.VEX_Vmovapd_ymmm256_ymm or Code.VEX_Vmovdqa_ymmm256_ymm => (nint)(delegate*<Cpu*, Op*, bool>)&VexMoves.StoreAligned256,
        Code.VEX_Vmovntps_m256_ymm or Code.VEX_Vmovntpd_m256_ymm or Code.VEX_Vmovntdq_m256_ymm => (nint)(delegate*<Cpu*, Op*, bool>)&VexMoves.StoreAligned256,
        Code.VEX_Vmovd_xmm_rm32 => (nint)(delegate*<Cpu*, Op*, bool>)&VexMoves.FromGeneral32,
        Code.VEX_Vmovq_xmm_rm64 => (nint)(delegate*<Cpu*, Op*, bool>)&VexMoves.FromGeneral64,
        Code.VEX_Vmovd_rm32_xmm => (nint)(delegate*<Cpu*, Op*, bool>)&VexMoves.ToGeneral32,
        Code.VEX_Vmovq_rm64_xmm => (nint)(delegate*<Cpu*, Op*, bool>)&VexMoves.ToGeneral64,
        Code.VEX_Vmovq_xmm_xmmm64 => (nint)(delegate*<Cpu*, Op*, bool>)&VexMoves.LoadQuadword,
        Code.VEX_Vmovq_xmmm64_xmm => (nint)(delegate*<Cpu*, Op*, bool>)&VexMoves.StoreQuadword,
        Code.VEX_Vmovss_xmm_m32 => (nint)(delegate*<Cpu*, Op*, bool>)&VexMoves.LoadSingle,
        Code.VEX_Vmovsd_xmm_m64 => (nint)(delegate*<Cpu*, Op*, bool>)&VexMoves.LoadDouble,
        Code.VEX_Vmovss_xmm_xmm_xmm => (nint)(delegate*<Cpu*, Op*, bool>)&VexMoves.MergeSingle,
        Code.VEX_Vmovsd_xmm_xmm_xmm => (nint)(delegate*<Cpu*, Op*, bool>)&VexMoves.MergeDouble,
        Code.VEX_Vmovss_xmm_xmm_xmm_0F11 => (nint)(delegate*<Cpu*, Op*, bool>)&VexMoves.MergeSingleStore,
        Code.VEX_Vmovsd_xmm_xmm_xmm_0F11 => (nint)(delegate*<Cpu*, Op*, bool>)&VexMoves.MergeDoubleStore,
        Code.VEX_Vmovss_m32_xmm => (nint)(delegate*<Cpu*, Op*, bool>)&VexMoves.StoreSingle,
        Code.VEX_Vmovsd_m64_xmm or Code.VEX_Vmovlps_m64_xmm or Code.VEX_Vmovlpd_m64_xmm => (nint)(delegate*<Cpu*, Op*, bool>)&VexMoves.StoreDouble,
        Code.VEX_Vmovlps_xmm_xmm_m64 or Code.VEX_Vmovlpd_xmm_xmm_m64 => (nint)(delegate*<Cpu*, Op*, bool>)&VexMoves.LoadLow,
        Code.VEX_Vmovhps_xmm_xmm_m64 or Code.VEX_Vmovhpd_xmm_xmm_m64 => (nint)(delegate*<Cpu*, Op*, bool>)&VexMoves.LoadHigh,
        Code.VEX_Vmovhps_m64_xmm or Code.VEX_Vmovhpd_m64_xmm => (nint)(delegate*<Cpu*, Op*, bool>)&VexMoves.StoreHigh,
        Code.VEX_Vmovhlps_xmm_xmm_xmm => (nint)(delegate*<Cpu*, Op*, bool>)&VexMoves.HighToLow,
        Code.VEX_Vmovlhps_xmm_xmm_xmm => (nint)(delegate*<Cpu*, Op*, bool>)&VexMoves.LowToHigh,
        Code.VEX_Vmovddup_xmm_xmmm64 => (nint)(delegate*<Cpu*, Op*, bool>)&VexMoves.DuplicateDouble,
        Code.VEX_Vmovddup_ymm_ymmm256 => Forms.Vex256Unary<DuplicateEvenDouble>(),
        Code.VEX_Vmovsldup_xmm_xmmm128 => Forms.Vex128Unary<DuplicateEven>(),
        Code.VEX_Vmovshdup_xmm_xmmm128 => Forms.Vex128Unary<DuplicateOdd>(),
        Code.VEX_Vmovsldup_ymm_ymmm256 => Forms.Vex256Unary<DuplicateEven>(),
        Code.VEX_Vmovshdup_ymm_ymmm256 => Forms.Vex256Unary<DuplicateOdd>(),
        Code.VEX_Vmovmskps_r32_xmm or Code.VEX_Vmovmskps_r64_xmm => (nint)(delegate*<Cpu*, Op*, bool>)&VexMoves.SignsOfSingles128,
        Code.VEX_Vmovmskpd_r32_xmm or Code.VEX_Vmovmskpd_r64_xmm => (nint)(delegate*<Cpu*, Op*, bool>)&VexMoves.SignsOfDoubles128,
        Code.VEX_Vpmovmskb_r32_xmm or Code.VEX_Vpmovmskb_r64_xmm => (nint)(delegate*<Cpu*, Op*, bool>)&VexMoves.SignsOfBytes128,
        Code.VEX_Vmovmskps_r32_ymm or Code.VEX_Vmovmskps_r64_ymm => (nint)(delegate*<Cpu*, Op*, bool>)&VexMoves.SignsOfSingles256,
        Code.VEX_Vmovmskpd_r32_ymm or Code.VEX_Vmovmskpd_r64_ymm => (nint)(delegate*<Cpu*, Op*, bool>)&VexMoves.SignsOfDoubles256,
        Code.VEX_Vpmovmskb_r32_ymm or Code.VEX_Vpmovmskb_r64_ymm => (nint)(delegate*<Cpu*, Op*, bool>)&VexMoves.SignsOfBytes256,
        Code.VEX_Vmaskmovdqu_rDI_xmm_xmm => (nint)(delegate*<Cpu*, Op*, bool>)&VexMoves.MaskedStore,
        Code.VEX_Vzeroupper => (nint)(delegate*<Cpu*, Op*, bool>)&VexMoves.ZeroUpper,
        Code.VEX_Vzeroall => (nint)(delegate*<Cpu*, Op*, bool>)&VexMoves.ZeroAll,
        Code.VEX_Vldmxcsr_m32 => (nint)(delegate*<Cpu*, Op*, bool>)&ControlHelpers.VexLoadMxcsr,
        Code.VEX_Vstmxcsr_m32 => (nint)(delegate*<Cpu*, Op*, bool>)&ControlHelpers.VexStoreMxcsr,
        _ => 0,
    };
}
