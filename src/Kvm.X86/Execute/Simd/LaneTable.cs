// Invariants: every address is that of a static helper of this assembly.
using Iced.Intel;
using Kvm.X86.Decode;
using Kvm.X86.Execute.Fpu;
using Kvm.X86.State;

namespace Kvm.X86.Execute.Simd;

/// <summary>Moves across lanes, masked moves, gathers and half precision of AVX, AVX2 and F16C.</summary>
internal static unsafe class LaneTable
{
    /// <summary>The helper's address, or 0.</summary>
    public static nint Resolve(Code code)
    {
        nint helper;
        if ((helper = Permutes(code)) != 0)
            return helper;
        return Memory(code);
    }

    private static nint Permutes(Code code) => code switch
    {
        Code.VEX_Vpbroadcastb_xmm_xmmm8 => (nint)(delegate*<Cpu*, Op*, bool>)&Lanes.BroadcastByte128,
        Code.VEX_Vpbroadcastb_ymm_xmmm8 => (nint)(delegate*<Cpu*, Op*, bool>)&Lanes.BroadcastByte256,
        Code.VEX_Vpbroadcastw_xmm_xmmm16 => (nint)(delegate*<Cpu*, Op*, bool>)&Lanes.BroadcastWord128,
        Code.VEX_Vpbroadcastw_ymm_xmmm16 => (nint)(delegate*<Cpu*, Op*, bool>)&Lanes.BroadcastWord256,
        Code.VEX_Vpbroadcastd_xmm_xmmm32 or Code.VEX_Vbroadcastss_xmm_m32 or Code.VEX_Vbroadcastss_xmm_xmm => (nint)(delegate*<Cpu*, Op*, bool>)&Lanes.BroadcastDoubleword128,
        Code.VEX_Vpbroadcastd_ymm_xmmm32 or Code.VEX_Vbroadcastss_ymm_m32 or Code.VEX_Vbroadcastss_ymm_xmm => (nint)(delegate*<Cpu*, Op*, bool>)&Lanes.BroadcastDoubleword256,
        Code.VEX_Vpbroadcastq_xmm_xmmm64 => (nint)(delegate*<Cpu*, Op*, bool>)&Lanes.BroadcastQuadword128,
        Code.VEX_Vpbroadcastq_ymm_xmmm64 or Code.VEX_Vbroadcastsd_ymm_m64 or Code.VEX_Vbroadcastsd_ymm_xmm => (nint)(delegate*<Cpu*, Op*, bool>)&Lanes.BroadcastQuadword256,
        Code.VEX_Vbroadcastf128_ymm_m128 or Code.VEX_Vbroadcasti128_ymm_m128 => (nint)(delegate*<Cpu*, Op*, bool>)&Lanes.BroadcastHalf,
        Code.VEX_Vinsertf128_ymm_ymm_xmmm128_imm8 or Code.VEX_Vinserti128_ymm_ymm_xmmm128_imm8 => (nint)(delegate*<Cpu*, Op*, bool>)&Lanes.InsertHalf,
        Code.VEX_Vextractf128_xmmm128_ymm_imm8 or Code.VEX_Vextracti128_xmmm128_ymm_imm8 => (nint)(delegate*<Cpu*, Op*, bool>)&Lanes.ExtractHalf,
        Code.VEX_Vperm2f128_ymm_ymm_ymmm256_imm8 or Code.VEX_Vperm2i128_ymm_ymm_ymmm256_imm8 => (nint)(delegate*<Cpu*, Op*, bool>)&Lanes.PermuteHalves,
        Code.VEX_Vpermq_ymm_ymmm256_imm8 or Code.VEX_Vpermpd_ymm_ymmm256_imm8 => (nint)(delegate*<Cpu*, Op*, bool>)&Lanes.PermuteQuadwords,
        Code.VEX_Vpermd_ymm_ymm_ymmm256 or Code.VEX_Vpermps_ymm_ymm_ymmm256 => (nint)(delegate*<Cpu*, Op*, bool>)&Lanes.PermuteDoublewords,
        Code.VEX_Vpermilps_xmm_xmmm128_imm8 => Forms.Vex128ImmediateUnary<PermuteSingles>(),
        Code.VEX_Vpermilps_ymm_ymmm256_imm8 => Forms.Vex256ImmediateUnary<PermuteSingles>(),
        Code.VEX_Vpermilpd_xmm_xmmm128_imm8 => Forms.Vex128ImmediateUnary<PermuteDoubles>(),
        Code.VEX_Vpermilpd_ymm_ymmm256_imm8 => (nint)(delegate*<Cpu*, Op*, bool>)&PermuteDoubles256.Run,
        Code.VEX_Vpermilps_xmm_xmm_xmmm128 => Forms.Vex128<PermuteSinglesBy>(),
        Code.VEX_Vpermilps_ymm_ymm_ymmm256 => Forms.Vex256<PermuteSinglesBy>(),
        Code.VEX_Vpermilpd_xmm_xmm_xmmm128 => Forms.Vex128<PermuteDoublesBy>(),
        Code.VEX_Vpermilpd_ymm_ymm_ymmm256 => Forms.Vex256<PermuteDoublesBy>(),
        Code.VEX_Vpblendd_xmm_xmm_xmmm128_imm8 => Forms.Vex128Immediate<BlendSingles>(),
        Code.VEX_Vpblendd_ymm_ymm_ymmm256_imm8 => PermuteForms.Vex256By4<BlendSingles>(),
        Code.VEX_Vtestps_xmm_xmmm128 => (nint)(delegate*<Cpu*, Op*, bool>)&Lanes.TestSingles128,
        Code.VEX_Vtestps_ymm_ymmm256 => (nint)(delegate*<Cpu*, Op*, bool>)&Lanes.TestSingles256,
        Code.VEX_Vtestpd_xmm_xmmm128 => (nint)(delegate*<Cpu*, Op*, bool>)&Lanes.TestDoubles128,
        Code.VEX_Vtestpd_ymm_ymmm256 => (nint)(delegate*<Cpu*, Op*, bool>)&Lanes.TestDoubles256,
        Code.VEX_Vpsllvd_xmm_xmm_xmmm128 => Forms.Vex128<ShiftLeftDoublewordsBy>(),
        Code.VEX_Vpsllvd_ymm_ymm_ymmm256 => Forms.Vex256<ShiftLeftDoublewordsBy>(),
        Code.VEX_Vpsrlvd_xmm_xmm_xmmm128 => Forms.Vex128<ShiftRightDoublewordsBy>(),
        Code.VEX_Vpsrlvd_ymm_ymm_ymmm256 => Forms.Vex256<ShiftRightDoublewordsBy>(),
        Code.VEX_Vpsravd_xmm_xmm_xmmm128 => Forms.Vex128<ShiftRightSignedDoublewordsBy>(),
        Code.VEX_Vpsravd_ymm_ymm_ymmm256 => Forms.Vex256<ShiftRightSignedDoublewordsBy>(),
        Code.VEX_Vpsllvq_xmm_xmm_xmmm128 => Forms.Vex128<ShiftLeftQuadwordsBy>(),
        Code.VEX_Vpsllvq_ymm_ymm_ymmm256 => Forms.Vex256<ShiftLeftQuadwordsBy>(),
        Code.VEX_Vpsrlvq_xmm_xmm_xmmm128 => Forms.Vex128<ShiftRightQuadwordsBy>(),
        Code.VEX_Vpsrlvq_ymm_ymm_ymmm256 => Forms.Vex256<ShiftRightQuadwordsBy>(),
        _ => 0,
    };

    private static nint Memory(Code code) => code switch
    {
        Code.VEX_Vmaskmovps_xmm_xmm_m128 or Code.VEX_Vpmaskmovd_xmm_xmm_m128 => (nint)(delegate*<Cpu*, Op*, bool>)&MaskedMemory.LoadDoublewords128,
        Code.VEX_Vmaskmovps_m128_xmm_xmm or Code.VEX_Vpmaskmovd_m128_xmm_xmm => (nint)(delegate*<Cpu*, Op*, bool>)&MaskedMemory.StoreDoublewords128,
        Code.VEX_Vmaskmovps_ymm_ymm_m256 or Code.VEX_Vpmaskmovd_ymm_ymm_m256 => (nint)(delegate*<Cpu*, Op*, bool>)&MaskedMemory.LoadDoublewords256,
        Code.VEX_Vmaskmovps_m256_ymm_ymm or Code.VEX_Vpmaskmovd_m256_ymm_ymm => (nint)(delegate*<Cpu*, Op*, bool>)&MaskedMemory.StoreDoublewords256,
        Code.VEX_Vmaskmovpd_xmm_xmm_m128 or Code.VEX_Vpmaskmovq_xmm_xmm_m128 => (nint)(delegate*<Cpu*, Op*, bool>)&MaskedMemory.LoadQuadwords128,
        Code.VEX_Vmaskmovpd_m128_xmm_xmm or Code.VEX_Vpmaskmovq_m128_xmm_xmm => (nint)(delegate*<Cpu*, Op*, bool>)&MaskedMemory.StoreQuadwords128,
        Code.VEX_Vmaskmovpd_ymm_ymm_m256 or Code.VEX_Vpmaskmovq_ymm_ymm_m256 => (nint)(delegate*<Cpu*, Op*, bool>)&MaskedMemory.LoadQuadwords256,
        Code.VEX_Vmaskmovpd_m256_ymm_ymm or Code.VEX_Vpmaskmovq_m256_ymm_ymm => (nint)(delegate*<Cpu*, Op*, bool>)&MaskedMemory.StoreQuadwords256,
        Code.VEX_Vpgatherdd_xmm_vm32x_xmm or Code.VEX_Vgatherdps_xmm_vm32x_xmm => (nint)(delegate*<Cpu*, Op*, bool>)&MaskedMemory.GatherDoublewordsBy32x128,
        Code.VEX_Vpgatherdd_ymm_vm32y_ymm or Code.VEX_Vgatherdps_ymm_vm32y_ymm => (nint)(delegate*<Cpu*, Op*, bool>)&MaskedMemory.GatherDoublewordsBy32x256,
        Code.VEX_Vpgatherqd_xmm_vm64x_xmm or Code.VEX_Vgatherqps_xmm_vm64x_xmm => (nint)(delegate*<Cpu*, Op*, bool>)&MaskedMemory.GatherDoublewordsBy64x128,
        Code.VEX_Vpgatherqd_xmm_vm64y_xmm or Code.VEX_Vgatherqps_xmm_vm64y_xmm => (nint)(delegate*<Cpu*, Op*, bool>)&MaskedMemory.GatherDoublewordsBy64x256,
        Code.VEX_Vpgatherdq_xmm_vm32x_xmm or Code.VEX_Vgatherdpd_xmm_vm32x_xmm => (nint)(delegate*<Cpu*, Op*, bool>)&MaskedMemory.GatherQuadwordsBy32x128,
        Code.VEX_Vpgatherdq_ymm_vm32x_ymm or Code.VEX_Vgatherdpd_ymm_vm32x_ymm => (nint)(delegate*<Cpu*, Op*, bool>)&MaskedMemory.GatherQuadwordsBy32x256,
        Code.VEX_Vpgatherqq_xmm_vm64x_xmm or Code.VEX_Vgatherqpd_xmm_vm64x_xmm => (nint)(delegate*<Cpu*, Op*, bool>)&MaskedMemory.GatherQuadwordsBy64x128,
        Code.VEX_Vpgatherqq_ymm_vm64y_ymm or Code.VEX_Vgatherqpd_ymm_vm64y_ymm => (nint)(delegate*<Cpu*, Op*, bool>)&MaskedMemory.GatherQuadwordsBy64x256,
        Code.VEX_Vcvtph2ps_xmm_xmmm64 => (nint)(delegate*<Cpu*, Op*, bool>)&HalfConvert.Widen128,
        Code.VEX_Vcvtph2ps_ymm_xmmm128 => (nint)(delegate*<Cpu*, Op*, bool>)&HalfConvert.Widen256,
        Code.VEX_Vcvtps2ph_xmmm64_xmm_imm8 => (nint)(delegate*<Cpu*, Op*, bool>)&HalfConvert.Narrow128,
        Code.VEX_Vcvtps2ph_xmmm128_ymm_imm8 => (nint)(delegate*<Cpu*, Op*, bool>)&HalfConvert.Narrow256,
        _ => 0,
    };
}
