// Invariants: every address is that of a static helper of this assembly.
using Iced.Intel;
using Kvm.X86.Decode;
using Kvm.X86.Execute.Fpu;
using Kvm.X86.State;

namespace Kvm.X86.Execute.Simd;

/// <summary>Shuffles, blends, insertion, extraction, widening, strings and cryptography of AVX and AVX2.</summary>
internal static unsafe class VexPermuteTable
{
    /// <summary>The helper's address, or 0.</summary>
    public static nint Resolve(Code code)
    {
        nint helper;
        if ((helper = Permutes(code)) != 0)
            return helper;
        if ((helper = Extends(code)) != 0)
            return helper;
        return Inserts(code);
    }

    private static nint Permutes(Code code) => code switch
    {
        Code.VEX_Vshufps_xmm_xmm_xmmm128_imm8 => Forms.Vex128Immediate<ShuffleSingles>(),
        Code.VEX_Vshufps_ymm_ymm_ymmm256_imm8 => Forms.Vex256Immediate<ShuffleSingles>(),
        Code.VEX_Vshufpd_xmm_xmm_xmmm128_imm8 => Forms.Vex128Immediate<ShuffleDoubles>(),
        Code.VEX_Vshufpd_ymm_ymm_ymmm256_imm8 => PermuteForms.Vex256By2<ShuffleDoubles>(),
        Code.VEX_Vblendps_xmm_xmm_xmmm128_imm8 => Forms.Vex128Immediate<BlendSingles>(),
        Code.VEX_Vblendps_ymm_ymm_ymmm256_imm8 => PermuteForms.Vex256By4<BlendSingles>(),
        Code.VEX_Vblendpd_xmm_xmm_xmmm128_imm8 => Forms.Vex128Immediate<BlendDoubles>(),
        Code.VEX_Vblendpd_ymm_ymm_ymmm256_imm8 => PermuteForms.Vex256By2<BlendDoubles>(),
        Code.VEX_Vpblendw_xmm_xmm_xmmm128_imm8 => Forms.Vex128Immediate<BlendWords>(),
        Code.VEX_Vpblendw_ymm_ymm_ymmm256_imm8 => Forms.Vex256Immediate<BlendWords>(),
        Code.VEX_Vmpsadbw_xmm_xmm_xmmm128_imm8 => Forms.Vex128Immediate<MultipleSumDifferences>(),
        Code.VEX_Vmpsadbw_ymm_ymm_ymmm256_imm8 => PermuteForms.Vex256By3<MultipleSumDifferences>(),
        Code.VEX_Vpblendvb_xmm_xmm_xmmm128_xmm => PermuteForms.Vex128Blend<VariableBlendBytes>(),
        Code.VEX_Vpblendvb_ymm_ymm_ymmm256_ymm => PermuteForms.Vex256Blend<VariableBlendBytes>(),
        Code.VEX_Vblendvps_xmm_xmm_xmmm128_xmm => PermuteForms.Vex128Blend<VariableBlendSingles>(),
        Code.VEX_Vblendvps_ymm_ymm_ymmm256_ymm => PermuteForms.Vex256Blend<VariableBlendSingles>(),
        Code.VEX_Vblendvpd_xmm_xmm_xmmm128_xmm => PermuteForms.Vex128Blend<VariableBlendDoubles>(),
        Code.VEX_Vblendvpd_ymm_ymm_ymmm256_ymm => PermuteForms.Vex256Blend<VariableBlendDoubles>(),
        _ => 0,
    };

    private static nint Extends(Code code) => code switch
    {
        Code.VEX_Vpmovsxbw_xmm_xmmm64 => ExtendForms.Vex128<SignBytesToWords>(),
        Code.VEX_Vpmovsxbd_xmm_xmmm32 => ExtendForms.Vex128<SignBytesToDoublewords>(),
        Code.VEX_Vpmovsxbq_xmm_xmmm16 => ExtendForms.Vex128<SignBytesToQuadwords>(),
        Code.VEX_Vpmovsxwd_xmm_xmmm64 => ExtendForms.Vex128<SignWordsToDoublewords>(),
        Code.VEX_Vpmovsxwq_xmm_xmmm32 => ExtendForms.Vex128<SignWordsToQuadwords>(),
        Code.VEX_Vpmovsxdq_xmm_xmmm64 => ExtendForms.Vex128<SignDoublewordsToQuadwords>(),
        Code.VEX_Vpmovzxbw_xmm_xmmm64 => ExtendForms.Vex128<ZeroBytesToWords>(),
        Code.VEX_Vpmovzxbd_xmm_xmmm32 => ExtendForms.Vex128<ZeroBytesToDoublewords>(),
        Code.VEX_Vpmovzxbq_xmm_xmmm16 => ExtendForms.Vex128<ZeroBytesToQuadwords>(),
        Code.VEX_Vpmovzxwd_xmm_xmmm64 => ExtendForms.Vex128<ZeroWordsToDoublewords>(),
        Code.VEX_Vpmovzxwq_xmm_xmmm32 => ExtendForms.Vex128<ZeroWordsToQuadwords>(),
        Code.VEX_Vpmovzxdq_xmm_xmmm64 => ExtendForms.Vex128<ZeroDoublewordsToQuadwords>(),
        Code.VEX_Vpmovsxbw_ymm_xmmm128 => ExtendForms.Vex256<SignBytesToWords>(),
        Code.VEX_Vpmovsxbd_ymm_xmmm64 => ExtendForms.Vex256<SignBytesToDoublewords>(),
        Code.VEX_Vpmovsxbq_ymm_xmmm32 => ExtendForms.Vex256<SignBytesToQuadwords>(),
        Code.VEX_Vpmovsxwd_ymm_xmmm128 => ExtendForms.Vex256<SignWordsToDoublewords>(),
        Code.VEX_Vpmovsxwq_ymm_xmmm64 => ExtendForms.Vex256<SignWordsToQuadwords>(),
        Code.VEX_Vpmovsxdq_ymm_xmmm128 => ExtendForms.Vex256<SignDoublewordsToQuadwords>(),
        Code.VEX_Vpmovzxbw_ymm_xmmm128 => ExtendForms.Vex256<ZeroBytesToWords>(),
        Code.VEX_Vpmovzxbd_ymm_xmmm64 => ExtendForms.Vex256<ZeroBytesToDoublewords>(),
        Code.VEX_Vpmovzxbq_ymm_xmmm32 => ExtendForms.Vex256<ZeroBytesToQuadwords>(),
        Code.VEX_Vpmovzxwd_ymm_xmmm128 => ExtendForms.Vex256<ZeroWordsToDoublewords>(),
        Code.VEX_Vpmovzxwq_ymm_xmmm64 => ExtendForms.Vex256<ZeroWordsToQuadwords>(),
        Code.VEX_Vpmovzxdq_ymm_xmmm128 => ExtendForms.Vex256<ZeroDoublewordsToQuadwords>(),
        _ => 0,
    };

    private static nint Inserts(Code code) => code switch
    {
        Code.VEX_Vinsertps_xmm_xmm_xmmm32_imm8 => (nint)(delegate*<Cpu*, Op*, bool>)&InsertExtract.VexInsertSingle,
        Code.VEX_Vptest_xmm_xmmm128 => (nint)(delegate*<Cpu*, Op*, bool>)&InsertExtract.VexTest128,
        Code.VEX_Vptest_ymm_ymmm256 => (nint)(delegate*<Cpu*, Op*, bool>)&InsertExtract.VexTest256,
        Code.VEX_Vpinsrb_xmm_xmm_r32m8_imm8 or Code.VEX_Vpinsrb_xmm_xmm_r64m8_imm8 => (nint)(delegate*<Cpu*, Op*, bool>)&InsertExtract.VexInsertByte,
        Code.VEX_Vpinsrw_xmm_xmm_r32m16_imm8 or Code.VEX_Vpinsrw_xmm_xmm_r64m16_imm8 => (nint)(delegate*<Cpu*, Op*, bool>)&InsertExtract.VexInsertWord,
        Code.VEX_Vpinsrd_xmm_xmm_rm32_imm8 => (nint)(delegate*<Cpu*, Op*, bool>)&InsertExtract.VexInsertDoubleword,
        Code.VEX_Vpinsrq_xmm_xmm_rm64_imm8 => (nint)(delegate*<Cpu*, Op*, bool>)&InsertExtract.VexInsertQuadword,
        Code.VEX_Vpextrb_r32m8_xmm_imm8 or Code.VEX_Vpextrb_r64m8_xmm_imm8 => (nint)(delegate*<Cpu*, Op*, bool>)&InsertExtract.VexExtractByte,
        Code.VEX_Vpextrw_r32m16_xmm_imm8 or Code.VEX_Vpextrw_r64m16_xmm_imm8 => (nint)(delegate*<Cpu*, Op*, bool>)&InsertExtract.VexExtractWord,
        Code.VEX_Vpextrd_rm32_xmm_imm8 or Code.VEX_Vextractps_rm32_xmm_imm8 or Code.VEX_Vextractps_r64m32_xmm_imm8 => (nint)(delegate*<Cpu*, Op*, bool>)&InsertExtract.VexExtractDoubleword,
        Code.VEX_Vpextrq_rm64_xmm_imm8 => (nint)(delegate*<Cpu*, Op*, bool>)&InsertExtract.VexExtractQuadword,
        Code.VEX_Vpextrw_r32_xmm_imm8 or Code.VEX_Vpextrw_r64_xmm_imm8 => (nint)(delegate*<Cpu*, Op*, bool>)&InsertExtract.VexExtractWordToReg,
        Code.VEX_Vphminposuw_xmm_xmmm128 => Forms.Vex128Unary<MinimumPosition>(),
        Code.VEX_Vpcmpestri_xmm_xmmm128_imm8 or Code.VEX_Vpcmpestri64_xmm_xmmm128_imm8 => (nint)(delegate*<Cpu*, Op*, bool>)&StringCompare.VexExplicitIndex,
        Code.VEX_Vpcmpestrm_xmm_xmmm128_imm8 or Code.VEX_Vpcmpestrm64_xmm_xmmm128_imm8 => (nint)(delegate*<Cpu*, Op*, bool>)&StringCompare.VexExplicitMask,
        Code.VEX_Vpcmpistri_xmm_xmmm128_imm8 => (nint)(delegate*<Cpu*, Op*, bool>)&StringCompare.VexImplicitIndex,
        Code.VEX_Vpcmpistrm_xmm_xmmm128_imm8 => (nint)(delegate*<Cpu*, Op*, bool>)&StringCompare.VexImplicitMask,
        Code.VEX_Vpclmulqdq_xmm_xmm_xmmm128_imm8 => Forms.Vex128Immediate<CarrylessMultiply>(),
        Code.VEX_Vpclmulqdq_ymm_ymm_ymmm256_imm8 => Forms.Vex256Immediate<CarrylessMultiply>(),
        Code.VEX_Vaesimc_xmm_xmmm128 => Forms.Vex128Unary<AesInverseMix>(),
        Code.VEX_Vaeskeygenassist_xmm_xmmm128_imm8 => Forms.Vex128ImmediateUnary<AesKeyAssist>(),
        Code.VEX_Vaesenc_xmm_xmm_xmmm128 => Forms.Vex128<AesEncrypt>(),
        Code.VEX_Vaesenc_ymm_ymm_ymmm256 => Forms.Vex256<AesEncrypt>(),
        Code.VEX_Vaesenclast_xmm_xmm_xmmm128 => Forms.Vex128<AesEncryptLast>(),
        Code.VEX_Vaesenclast_ymm_ymm_ymmm256 => Forms.Vex256<AesEncryptLast>(),
        Code.VEX_Vaesdec_xmm_xmm_xmmm128 => Forms.Vex128<AesDecrypt>(),
        Code.VEX_Vaesdec_ymm_ymm_ymmm256 => Forms.Vex256<AesDecrypt>(),
        Code.VEX_Vaesdeclast_xmm_xmm_xmmm128 => Forms.Vex128<AesDecryptLast>(),
        Code.VEX_Vaesdeclast_ymm_ymm_ymmm256 => Forms.Vex256<AesDecryptLast>(),
        _ => 0,
    };
}
