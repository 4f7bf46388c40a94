// Invariants: every address is that of a static helper of this assembly.
using Iced.Intel;
using Kvm.X86.Decode;
using Kvm.X86.Execute.Fpu;
using Kvm.X86.State;

namespace Kvm.X86.Execute.Simd;

/// <summary>Shuffles, blends, insertion, extraction, widening, strings, checksums and cryptography of SSE to SSE4.2, AES-NI and SHA.</summary>
internal static unsafe class PermuteTable
{
    /// <summary>The helper's address, or 0.</summary>
    public static nint Resolve(Code code)
    {
        nint helper;
        if ((helper = Permutes(code)) != 0)
            return helper;
        if ((helper = Extends(code)) != 0)
            return helper;
        return Strings(code);
    }

    private static nint Permutes(Code code) => code switch
    {
        Code.Shufps_xmm_xmmm128_imm8 => Forms.SseImmediate<ShuffleSingles>(),
        Code.Shufpd_xmm_xmmm128_imm8 => Forms.SseImmediate<ShuffleDoubles>(),
        Code.Blendps_xmm_xmmm128_imm8 => Forms.SseImmediate<BlendSingles>(),
        Code.Blendpd_xmm_xmmm128_imm8 => Forms.SseImmediate<BlendDoubles>(),
        Code.Pblendw_xmm_xmmm128_imm8 => Forms.SseImmediate<BlendWords>(),
        Code.Pblendvb_xmm_xmmm128 => PermuteForms.SseBlend<VariableBlendBytes>(),
        Code.Blendvps_xmm_xmmm128 => PermuteForms.SseBlend<VariableBlendSingles>(),
        Code.Blendvpd_xmm_xmmm128 => PermuteForms.SseBlend<VariableBlendDoubles>(),
        Code.Insertps_xmm_xmmm32_imm8 => (nint)(delegate*<Cpu*, Op*, bool>)&InsertExtract.InsertSingle,
        Code.Ptest_xmm_xmmm128 => (nint)(delegate*<Cpu*, Op*, bool>)&InsertExtract.Test,
        Code.Pinsrb_xmm_r32m8_imm8 or Code.Pinsrb_xmm_r64m8_imm8 => (nint)(delegate*<Cpu*, Op*, bool>)&InsertExtract.InsertByte,
        Code.Pinsrw_xmm_r32m16_imm8 or Code.Pinsrw_xmm_r64m16_imm8 => (nint)(delegate*<Cpu*, Op*, bool>)&InsertExtract.InsertWord,
        Code.Pinsrd_xmm_rm32_imm8 => (nint)(delegate*<Cpu*, Op*, bool>)&InsertExtract.InsertDoubleword,
        Code.Pinsrq_xmm_rm64_imm8 => (nint)(delegate*<Cpu*, Op*, bool>)&InsertExtract.InsertQuadword,
        Code.Pextrb_r32m8_xmm_imm8 or Code.Pextrb_r64m8_xmm_imm8 => (nint)(delegate*<Cpu*, Op*, bool>)&InsertExtract.ExtractByte,
        Code.Pextrw_r32m16_xmm_imm8 or Code.Pextrw_r64m16_xmm_imm8 => (nint)(delegate*<Cpu*, Op*, bool>)&InsertExtract.ExtractWord,
        Code.Pextrd_rm32_xmm_imm8 or Code.Extractps_rm32_xmm_imm8 or Code.Extractps_r64m32_xmm_imm8 => (nint)(delegate*<Cpu*, Op*, bool>)&InsertExtract.ExtractDoubleword,
        Code.Pextrq_rm64_xmm_imm8 => (nint)(delegate*<Cpu*, Op*, bool>)&InsertExtract.ExtractQuadword,
        Code.Pextrw_r32_xmm_imm8 or Code.Pextrw_r64_xmm_imm8 => (nint)(delegate*<Cpu*, Op*, bool>)&InsertExtract.ExtractWordToReg,
        Code.Phminposuw_xmm_xmmm128 => Forms.SseUnary<MinimumPosition>(),
        Code.Mpsadbw_xmm_xmmm128_imm8 => Forms.SseImmediate<MultipleSumDifferences>(),
        _ => 0,
    };

    private static nint Extends(Code code) => code switch
    {
        Code.Pmovsxbw_xmm_xmmm64 => ExtendForms.Sse<SignBytesToWords>(),
        Code.Pmovsxbd_xmm_xmmm32 => ExtendForms.Sse<SignBytesToDoublewords>(),
        Code.Pmovsxbq_xmm_xmmm16 => ExtendForms.Sse<SignBytesToQuadwords>(),
        Code.Pmovsxwd_xmm_xmmm64 => ExtendForms.Sse<SignWordsToDoublewords>(),
        Code.Pmovsxwq_xmm_xmmm32 => ExtendForms.Sse<SignWordsToQuadwords>(),
        Code.Pmovsxdq_xmm_xmmm64 => ExtendForms.Sse<SignDoublewordsToQuadwords>(),
        Code.Pmovzxbw_xmm_xmmm64 => ExtendForms.Sse<ZeroBytesToWords>(),
        Code.Pmovzxbd_xmm_xmmm32 => ExtendForms.Sse<ZeroBytesToDoublewords>(),
        Code.Pmovzxbq_xmm_xmmm16 => ExtendForms.Sse<ZeroBytesToQuadwords>(),
        Code.Pmovzxwd_xmm_xmmm64 => ExtendForms.Sse<ZeroWordsToDoublewords>(),
        Code.Pmovzxwq_xmm_xmmm32 => ExtendForms.Sse<ZeroWordsToQuadwords>(),
        Code.Pmovzxdq_xmm_xmmm64 => ExtendForms.Sse<ZeroDoublewordsToQuadwords>(),
        _ => 0,
    };

    private static nint Strings(Code code) => code switch
    {
        Code.Pcmpestri_xmm_xmmm128_imm8 or Code.Pcmpestri64_xmm_xmmm128_imm8 => (nint)(delegate*<Cpu*, Op*, bool>)&StringCompare.ExplicitIndex,
        Code.Pcmpestrm_xmm_xmmm128_imm8 or Code.Pcmpestrm64_xmm_xmmm128_imm8 => (nint)(delegate*<Cpu*, Op*, bool>)&StringCompare.ExplicitMask,
        Code.Pcmpistri_xmm_xmmm128_imm8 => (nint)(delegate*<Cpu*, Op*, bool>)&StringCompare.ImplicitIndex,
        Code.Pcmpistrm_xmm_xmmm128_imm8 => (nint)(delegate*<Cpu*, Op*, bool>)&StringCompare.ImplicitMask,
        Code.Crc32_r32_rm8 or Code.Crc32_r64_rm8 => (nint)(delegate*<Cpu*, Op*, bool>)&Crc.Byte,
        Code.Crc32_r32_rm16 => (nint)(delegate*<Cpu*, Op*, bool>)&Crc.Word,
        Code.Crc32_r32_rm32 => (nint)(delegate*<Cpu*, Op*, bool>)&Crc.Doubleword,
        Code.Crc32_r64_rm64 => (nint)(delegate*<Cpu*, Op*, bool>)&Crc.Quadword,
        Code.Pclmulqdq_xmm_xmmm128_imm8 => Forms.SseImmediate<CarrylessMultiply>(),
        Code.Aesenc_xmm_xmmm128 => Forms.Sse<AesEncrypt>(),
        Code.Aesenclast_xmm_xmmm128 => Forms.Sse<AesEncryptLast>(),
        Code.Aesdec_xmm_xmmm128 => Forms.Sse<AesDecrypt>(),
        Code.Aesdeclast_xmm_xmmm128 => Forms.Sse<AesDecryptLast>(),
        Code.Aesimc_xmm_xmmm128 => Forms.SseUnary<AesInverseMix>(),
        Code.Aeskeygenassist_xmm_xmmm128_imm8 => Forms.SseImmediateUnary<AesKeyAssist>(),
        Code.Sha1nexte_xmm_xmmm128 => Forms.Sse<Sha1NextE>(),
        Code.Sha1msg1_xmm_xmmm128 => Forms.Sse<Sha1Message1>(),
        Code.Sha1msg2_xmm_xmmm128 => Forms.Sse<Sha1Message2>(),
        Code.Sha1rnds4_xmm_xmmm128_imm8 => Forms.SseImmediate<Sha1Rounds>(),
        Code.Sha256msg1_xmm_xmmm128 => Forms.Sse<Sha256Message1>(),
        Code.Sha256msg2_xmm_xmmm128 => Forms.Sse<Sha256Message2>(),
        Code.Sha256rnds2_xmm_xmmm128 => (nint)(delegate*<Cpu*, Op*, bool>)&Sha256Rounds.Run,
        _ => 0,
    };
}
