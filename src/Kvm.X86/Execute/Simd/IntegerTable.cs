// Invariants: every address is that of a static helper of this assembly.
using Iced.Intel;
using Kvm.X86.Decode;
using Kvm.X86.Execute.Fpu;
using Kvm.X86.State;

namespace Kvm.X86.Execute.Simd;

/// <summary>Packed integer instructions of SSE2 to SSE4.2 and MMX.</summary>
internal static unsafe class IntegerTable
{
    /// <summary>The helper's address, or 0.</summary>
    public static nint Resolve(Code code)
    {
        nint helper;
        if ((helper = Arithmetic(code)) != 0)
            return helper;
        if ((helper = Logic(code)) != 0)
            return helper;
        if ((helper = MmxArithmetic(code)) != 0)
            return helper;
        if ((helper = MmxLogic(code)) != 0)
            return helper;
        if ((helper = Shifts(code)) != 0)
            return helper;
        return Shuffles(code);
    }

    private static nint Arithmetic(Code code) => code switch
    {
        Code.Paddb_xmm_xmmm128 => Forms.Sse<AddBytes>(),
        Code.Paddw_xmm_xmmm128 => Forms.Sse<AddWords>(),
        Code.Paddd_xmm_xmmm128 => Forms.Sse<AddDoublewords>(),
        Code.Paddq_xmm_xmmm128 => Forms.Sse<AddQuadwords>(),
        Code.Psubb_xmm_xmmm128 => Forms.Sse<SubtractBytes>(),
        Code.Psubw_xmm_xmmm128 => Forms.Sse<SubtractWords>(),
        Code.Psubd_xmm_xmmm128 => Forms.Sse<SubtractDoublewords>(),
        Code.Psubq_xmm_xmmm128 => Forms.Sse<SubtractQuadwords>(),
        Code.Paddsb_xmm_xmmm128 => Forms.Sse<AddSignedBytes>(),
        Code.Paddsw_xmm_xmmm128 => Forms.Sse<AddSignedWords>(),
        Code.Paddusb_xmm_xmmm128 => Forms.Sse<AddUnsignedBytes>(),
        Code.Paddusw_xmm_xmmm128 => Forms.Sse<AddUnsignedWords>(),
        Code.Psubsb_xmm_xmmm128 => Forms.Sse<SubtractSignedBytes>(),
        Code.Psubsw_xmm_xmmm128 => Forms.Sse<SubtractSignedWords>(),
        Code.Psubusb_xmm_xmmm128 => Forms.Sse<SubtractUnsignedBytes>(),
        Code.Psubusw_xmm_xmmm128 => Forms.Sse<SubtractUnsignedWords>(),
        Code.Pavgb_xmm_xmmm128 => Forms.Sse<AverageBytes>(),
        Code.Pavgw_xmm_xmmm128 => Forms.Sse<AverageWords>(),
        Code.Pminub_xmm_xmmm128 => Forms.Sse<MinimumUnsignedBytes>(),
        Code.Pminsw_xmm_xmmm128 => Forms.Sse<MinimumSignedWords>(),
        Code.Pmaxub_xmm_xmmm128 => Forms.Sse<MaximumUnsignedBytes>(),
        Code.Pmaxsw_xmm_xmmm128 => Forms.Sse<MaximumSignedWords>(),
        Code.Pminsb_xmm_xmmm128 => Forms.Sse<MinimumSignedBytes>(),
        Code.Pminuw_xmm_xmmm128 => Forms.Sse<MinimumUnsignedWords>(),
        Code.Pminsd_xmm_xmmm128 => Forms.Sse<MinimumSignedDoublewords>(),
        Code.Pminud_xmm_xmmm128 => Forms.Sse<MinimumUnsignedDoublewords>(),
        Code.Pmaxsb_xmm_xmmm128 => Forms.Sse<MaximumSignedBytes>(),
        Code.Pmaxuw_xmm_xmmm128 => Forms.Sse<MaximumUnsignedWords>(),
        Code.Pmaxsd_xmm_xmmm128 => Forms.Sse<MaximumSignedDoublewords>(),
        Code.Pmaxud_xmm_xmmm128 => Forms.Sse<MaximumUnsignedDoublewords>(),
        Code.Pmullw_xmm_xmmm128 => Forms.Sse<MultiplyWordsLow>(),
        Code.Pmulhw_xmm_xmmm128 => Forms.Sse<MultiplyWordsHigh>(),
        Code.Pmulhuw_xmm_xmmm128 => Forms.Sse<MultiplyWordsHighUnsigned>(),
        Code.Pmulhrsw_xmm_xmmm128 => Forms.Sse<MultiplyWordsRounded>(),
        Code.Pmulld_xmm_xmmm128 => Forms.Sse<MultiplyDoublewordsLow>(),
        Code.Pmuludq_xmm_xmmm128 => Forms.Sse<MultiplyEvenUnsigned>(),
        Code.Pmuldq_xmm_xmmm128 => Forms.Sse<MultiplyEvenSigned>(),
        Code.Pmaddwd_xmm_xmmm128 => Forms.Sse<MultiplyAddWords>(),
        Code.Pmaddubsw_xmm_xmmm128 => Forms.Sse<MultiplyAddBytes>(),
        Code.Psadbw_xmm_xmmm128 => Forms.Sse<SumAbsoluteDifferences>(),
        Code.Psignb_xmm_xmmm128 => Forms.Sse<SignBytes>(),
        Code.Psignw_xmm_xmmm128 => Forms.Sse<SignWords>(),
        Code.Psignd_xmm_xmmm128 => Forms.Sse<SignDoublewords>(),
        _ => 0,
    };

    private static nint Logic(Code code) => code switch
    {
        Code.Pand_xmm_xmmm128 => Forms.Sse<And>(),
        Code.Pandn_xmm_xmmm128 => Forms.Sse<AndNot>(),
        Code.Por_xmm_xmmm128 => Forms.Sse<Or>(),
        Code.Pxor_xmm_xmmm128 => Forms.Sse<Xor>(),
        Code.Andps_xmm_xmmm128 => Forms.Sse<And>(),
        Code.Andpd_xmm_xmmm128 => Forms.Sse<And>(),
        Code.Andnps_xmm_xmmm128 => Forms.Sse<AndNot>(),
        Code.Andnpd_xmm_xmmm128 => Forms.Sse<AndNot>(),
        Code.Orps_xmm_xmmm128 => Forms.Sse<Or>(),
        Code.Orpd_xmm_xmmm128 => Forms.Sse<Or>(),
        Code.Xorps_xmm_xmmm128 => Forms.Sse<Xor>(),
        Code.Xorpd_xmm_xmmm128 => Forms.Sse<Xor>(),
        Code.Pcmpeqb_xmm_xmmm128 => Forms.Sse<EqualBytes>(),
        Code.Pcmpeqw_xmm_xmmm128 => Forms.Sse<EqualWords>(),
        Code.Pcmpeqd_xmm_xmmm128 => Forms.Sse<EqualDoublewords>(),
        Code.Pcmpeqq_xmm_xmmm128 => Forms.Sse<EqualQuadwords>(),
        Code.Pcmpgtb_xmm_xmmm128 => Forms.Sse<GreaterBytes>(),
        Code.Pcmpgtw_xmm_xmmm128 => Forms.Sse<GreaterWords>(),
        Code.Pcmpgtd_xmm_xmmm128 => Forms.Sse<GreaterDoublewords>(),
        Code.Pcmpgtq_xmm_xmmm128 => Forms.Sse<GreaterQuadwords>(),
        Code.Punpcklbw_xmm_xmmm128 => Forms.Sse<UnpackLowBytes>(),
        Code.Punpcklwd_xmm_xmmm128 => Forms.Sse<UnpackLowWords>(),
        Code.Punpckldq_xmm_xmmm128 => Forms.Sse<UnpackLowDoublewords>(),
        Code.Punpcklqdq_xmm_xmmm128 => Forms.Sse<UnpackLowQuadwords>(),
        Code.Punpckhbw_xmm_xmmm128 => Forms.Sse<UnpackHighBytes>(),
        Code.Punpckhwd_xmm_xmmm128 => Forms.Sse<UnpackHighWords>(),
        Code.Punpckhdq_xmm_xmmm128 => Forms.Sse<UnpackHighDoublewords>(),
        Code.Punpckhqdq_xmm_xmmm128 => Forms.Sse<UnpackHighQuadwords>(),
        Code.Unpcklps_xmm_xmmm128 => Forms.Sse<UnpackLowDoublewords>(),
        Code.Unpcklpd_xmm_xmmm128 => Forms.Sse<UnpackLowQuadwords>(),
        Code.Unpckhps_xmm_xmmm128 => Forms.Sse<UnpackHighDoublewords>(),
        Code.Unpckhpd_xmm_xmmm128 => Forms.Sse<UnpackHighQuadwords>(),
        Code.Packsswb_xmm_xmmm128 => Forms.Sse<PackSignedWords>(),
        Code.Packuswb_xmm_xmmm128 => Forms.Sse<PackUnsignedWords>(),
        Code.Packssdw_xmm_xmmm128 => Forms.Sse<PackSignedDoublewords>(),
        Code.Packusdw_xmm_xmmm128 => Forms.Sse<PackUnsignedDoublewords>(),
        Code.Pshufb_xmm_xmmm128 => Forms.Sse<ShuffleBytes>(),
        Code.Phaddw_xmm_xmmm128 => Forms.Sse<HorizontalAddWords>(),
        Code.Phaddd_xmm_xmmm128 => Forms.Sse<HorizontalAddDoublewords>(),
        Code.Phaddsw_xmm_xmmm128 => Forms.Sse<HorizontalAddSaturated>(),
        Code.Phsubw_xmm_xmmm128 => Forms.Sse<HorizontalSubtractWords>(),
        Code.Phsubd_xmm_xmmm128 => Forms.Sse<HorizontalSubtractDoublewords>(),
        Code.Phsubsw_xmm_xmmm128 => Forms.Sse<HorizontalSubtractSaturated>(),
        _ => 0,
    };

    private static nint MmxArithmetic(Code code) => code switch
    {
        Code.Paddb_mm_mmm64 => Forms.Mmx<AddBytes>(),
        Code.Paddw_mm_mmm64 => Forms.Mmx<AddWords>(),
        Code.Paddd_mm_mmm64 => Forms.Mmx<AddDoublewords>(),
        Code.Paddq_mm_mmm64 => Forms.Mmx<AddQuadwords>(),
        Code.Psubb_mm_mmm64 => Forms.Mmx<SubtractBytes>(),
        Code.Psubw_mm_mmm64 => Forms.Mmx<SubtractWords>(),
        Code.Psubd_mm_mmm64 => Forms.Mmx<SubtractDoublewords>(),
        Code.Psubq_mm_mmm64 => Forms.Mmx<SubtractQuadwords>(),
        Code.Paddsb_mm_mmm64 => Forms.Mmx<AddSignedBytes>(),
        Code.Paddsw_mm_mmm64 => Forms.Mmx<AddSignedWords>(),
        Code.Paddusb_mm_mmm64 => Forms.Mmx<AddUnsignedBytes>(),
        Code.Paddusw_mm_mmm64 => Forms.Mmx<AddUnsignedWords>(),
        Code.Psubsb_mm_mmm64 => Forms.Mmx<SubtractSignedBytes>(),
        Code.Psubsw_mm_mmm64 => Forms.Mmx<SubtractSignedWords>(),
        Code.Psubusb_mm_mmm64 => Forms.Mmx<SubtractUnsignedBytes>(),
        Code.Psubusw_mm_mmm64 => Forms.Mmx<SubtractUnsignedWords>(),
        Code.Pavgb_mm_mmm64 => Forms.Mmx<AverageBytes>(),
        Code.Pavgw_mm_mmm64 => Forms.Mmx<AverageWords>(),
        Code.Pminub_mm_mmm64 => Forms.Mmx<MinimumUnsignedBytes>(),
        Code.Pminsw_mm_mmm64 => Forms.Mmx<MinimumSignedWords>(),
        Code.Pmaxub_mm_mmm64 => Forms.Mmx<MaximumUnsignedBytes>(),
        Code.Pmaxsw_mm_mmm64 => Forms.Mmx<MaximumSignedWords>(),
        Code.Pmullw_mm_mmm64 => Forms.Mmx<MultiplyWordsLow>(),
        Code.Pmulhw_mm_mmm64 => Forms.Mmx<MultiplyWordsHigh>(),
        Code.Pmulhuw_mm_mmm64 => Forms.Mmx<MultiplyWordsHighUnsigned>(),
        Code.Pmulhrsw_mm_mmm64 => Forms.Mmx<MultiplyWordsRounded>(),
        Code.Pmuludq_mm_mmm64 => Forms.Mmx<MultiplyEvenUnsigned>(),
        Code.Pmaddwd_mm_mmm64 => Forms.Mmx<MultiplyAddWords>(),
        Code.Pmaddubsw_mm_mmm64 => Forms.Mmx<MultiplyAddBytes>(),
        Code.Psadbw_mm_mmm64 => Forms.Mmx<SumAbsoluteDifferences>(),
        Code.Psignb_mm_mmm64 => Forms.Mmx<SignBytes>(),
        Code.Psignw_mm_mmm64 => Forms.Mmx<SignWords>(),
        Code.Psignd_mm_mmm64 => Forms.Mmx<SignDoublewords>(),
        _ => 0,
    };

    private static nint MmxLogic(Code code) => code switch
    {
        Code.Pand_mm_mmm64 => Forms.Mmx<And>(),
        Code.Pandn_mm_mmm64 => Forms.Mmx<AndNot>(),
        Code.Por_mm_mmm64 => Forms.Mmx<Or>(),
        Code.Pxor_mm_mmm64 => Forms.Mmx<Xor>(),
        Code.Pcmpeqb_mm_mmm64 => Forms.Mmx<EqualBytes>(),
        Code.Pcmpeqw_mm_mmm64 => Forms.Mmx<EqualWords>(),
        Code.Pcmpeqd_mm_mmm64 => Forms.Mmx<EqualDoublewords>(),
        Code.Pcmpgtb_mm_mmm64 => Forms.Mmx<GreaterBytes>(),
        Code.Pcmpgtw_mm_mmm64 => Forms.Mmx<GreaterWords>(),
        Code.Pcmpgtd_mm_mmm64 => Forms.Mmx<GreaterDoublewords>(),
        Code.Punpcklbw_mm_mmm32 => MmxMoves.UnpackLow<UnpackLowBytes>(),
        Code.Punpcklwd_mm_mmm32 => MmxMoves.UnpackLow<UnpackLowWords>(),
        Code.Punpckldq_mm_mmm32 => MmxMoves.UnpackLow<UnpackLowDoublewords>(),
        Code.Punpckhbw_mm_mmm64 => Forms.Mmx64<UnpackHighBytes>(),
        Code.Punpckhwd_mm_mmm64 => Forms.Mmx64<UnpackHighWords>(),
        Code.Punpckhdq_mm_mmm64 => Forms.Mmx64<UnpackHighDoublewords>(),
        Code.Packsswb_mm_mmm64 => Forms.Mmx64<PackSignedWords>(),
        Code.Packuswb_mm_mmm64 => Forms.Mmx64<PackUnsignedWords>(),
        Code.Packssdw_mm_mmm64 => Forms.Mmx64<PackSignedDoublewords>(),
        Code.Pshufb_mm_mmm64 => Forms.Mmx64<ShuffleBytes>(),
        Code.Phaddw_mm_mmm64 => Forms.Mmx64<HorizontalAddWords>(),
        Code.Phaddd_mm_mmm64 => Forms.Mmx64<HorizontalAddDoublewords>(),
        Code.Phaddsw_mm_mmm64 => Forms.Mmx64<HorizontalAddSaturated>(),
        Code.Phsubw_mm_mmm64 => Forms.Mmx64<HorizontalSubtractWords>(),
        Code.Phsubd_mm_mmm64 => Forms.Mmx64<HorizontalSubtractDoublewords>(),
        Code.Phsubsw_mm_mmm64 => Forms.Mmx64<HorizontalSubtractSaturated>(),
        _ => 0,
    };

    private static nint Shifts(Code code) => code switch
    {
        Code.Psllw_xmm_xmmm128 => ShiftForms.Sse<ShiftLeftWords>(),
        Code.Psllw_xmm_imm8 => ShiftForms.SseImmediate<ShiftLeftWords>(),
        Code.Psllw_mm_mmm64 => ShiftForms.Mmx<ShiftLeftWords>(),
        Code.Psllw_mm_imm8 => ShiftForms.MmxImmediate<ShiftLeftWords>(),
        Code.Pslld_xmm_xmmm128 => ShiftForms.Sse<ShiftLeftDoublewords>(),
        Code.Pslld_xmm_imm8 => ShiftForms.SseImmediate<ShiftLeftDoublewords>(),
        Code.Pslld_mm_mmm64 => ShiftForms.Mmx<ShiftLeftDoublewords>(),
        Code.Pslld_mm_imm8 => ShiftForms.MmxImmediate<ShiftLeftDoublewords>(),
        Code.Psllq_xmm_xmmm128 => ShiftForms.Sse<ShiftLeftQuadwords>(),
        Code.Psllq_xmm_imm8 => ShiftForms.SseImmediate<ShiftLeftQuadwords>(),
        Code.Psllq_mm_mmm64 => ShiftForms.Mmx<ShiftLeftQuadwords>(),
        Code.Psllq_mm_imm8 => ShiftForms.MmxImmediate<ShiftLeftQuadwords>(),
        Code.Psrlw_xmm_xmmm128 => ShiftForms.Sse<ShiftRightWords>(),
        Code.Psrlw_xmm_imm8 => ShiftForms.SseImmediate<ShiftRightWords>(),
        Code.Psrlw_mm_mmm64 => ShiftForms.Mmx<ShiftRightWords>(),
        Code.Psrlw_mm_imm8 => ShiftForms.MmxImmediate<ShiftRightWords>(),
        Code.Psrld_xmm_xmmm128 => ShiftForms.Sse<ShiftRightDoublewords>(),
        Code.Psrld_xmm_imm8 => ShiftForms.SseImmediate<ShiftRightDoublewords>(),
        Code.Psrld_mm_mmm64 => ShiftForms.Mmx<ShiftRightDoublewords>(),
        Code.Psrld_mm_imm8 => ShiftForms.MmxImmediate<ShiftRightDoublewords>(),
        Code.Psrlq_xmm_xmmm128 => ShiftForms.Sse<ShiftRightQuadwords>(),
        Code.Psrlq_xmm_imm8 => ShiftForms.SseImmediate<ShiftRightQuadwords>(),
        Code.Psrlq_mm_mmm64 => ShiftForms.Mmx<ShiftRightQuadwords>(),
        Code.Psrlq_mm_imm8 => ShiftForms.MmxImmediate<ShiftRightQuadwords>(),
        Code.Psraw_xmm_xmmm128 => ShiftForms.Sse<ShiftRightSignedWords>(),
        Code.Psraw_xmm_imm8 => ShiftForms.SseImmediate<ShiftRightSignedWords>(),
        Code.Psraw_mm_mmm64 => ShiftForms.Mmx<ShiftRightSignedWords>(),
        Code.Psraw_mm_imm8 => ShiftForms.MmxImmediate<ShiftRightSignedWords>(),
        Code.Psrad_xmm_xmmm128 => ShiftForms.Sse<ShiftRightSignedDoublewords>(),
        Code.Psrad_xmm_imm8 => ShiftForms.SseImmediate<ShiftRightSignedDoublewords>(),
        Code.Psrad_mm_mmm64 => ShiftForms.Mmx<ShiftRightSignedDoublewords>(),
        Code.Psrad_mm_imm8 => ShiftForms.MmxImmediate<ShiftRightSignedDoublewords>(),
        Code.Pslldq_xmm_imm8 => ShiftForms.SseImmediate<ShiftLeftBytes>(),
        Code.Psrldq_xmm_imm8 => ShiftForms.SseImmediate<ShiftRightBytes>(),
        _ => 0,
    };

    private static nint Shuffles(Code code) => code switch
    {
        Code.Pabsb_xmm_xmmm128 => Forms.SseUnary<AbsoluteBytes>(),
        Code.Pabsb_mm_mmm64 => Forms.MmxUnary<AbsoluteBytes>(),
        Code.Pabsw_xmm_xmmm128 => Forms.SseUnary<AbsoluteWords>(),
        Code.Pabsw_mm_mmm64 => Forms.MmxUnary<AbsoluteWords>(),
        Code.Pabsd_xmm_xmmm128 => Forms.SseUnary<AbsoluteDoublewords>(),
        Code.Pabsd_mm_mmm64 => Forms.MmxUnary<AbsoluteDoublewords>(),
        Code.Pshufd_xmm_xmmm128_imm8 => Forms.SseImmediateUnary<ShuffleDoublewords>(),
        Code.Pshufhw_xmm_xmmm128_imm8 => Forms.SseImmediateUnary<ShuffleHighWords>(),
        Code.Pshuflw_xmm_xmmm128_imm8 => Forms.SseImmediateUnary<ShuffleLowWords>(),
        Code.Palignr_xmm_xmmm128_imm8 => Forms.SseImmediate<AlignRight>(),
        Code.Palignr_mm_mmm64_imm8 => (nint)(delegate*<Cpu*, Op*, bool>)&MmxMoves.AlignRight,
        Code.Pshufw_mm_mmm64_imm8 => (nint)(delegate*<Cpu*, Op*, bool>)&MmxMoves.ShuffleWords,
        _ => 0,
    };
}
