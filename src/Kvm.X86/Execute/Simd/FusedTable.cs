// Invariants: every address is that of a static helper of this assembly.
using Iced.Intel;
using Kvm.X86.Decode;
using Kvm.X86.Execute.Fpu;
using Kvm.X86.Float;
using Kvm.X86.State;

namespace Kvm.X86.Execute.Simd;

/// <summary>FMA instructions.</summary>
internal static unsafe class FusedTable
{
    /// <summary>The helper's address, or 0.</summary>
    public static nint Resolve(Code code)
    {
        nint helper;
        if ((helper = Packed(code)) != 0)
            return helper;
        return Scalar(code);
    }

    private static nint Packed(Code code) => code switch
    {
        Code.VEX_Vfmadd132ps_xmm_xmm_xmmm128 => FusedMultiply.Packed128<MultiplyAdd, Order132, SingleFormat>(),
        Code.VEX_Vfmadd132ps_ymm_ymm_ymmm256 => FusedMultiply.Packed256<MultiplyAdd, Order132, SingleFormat>(),
        Code.VEX_Vfmadd132pd_xmm_xmm_xmmm128 => FusedMultiply.Packed128<MultiplyAdd, Order132, DoubleFormat>(),
        Code.VEX_Vfmadd132pd_ymm_ymm_ymmm256 => FusedMultiply.Packed256<MultiplyAdd, Order132, DoubleFormat>(),
        Code.VEX_Vfmadd213ps_xmm_xmm_xmmm128 => FusedMultiply.Packed128<MultiplyAdd, Order213, SingleFormat>(),
        Code.VEX_Vfmadd213ps_ymm_ymm_ymmm256 => FusedMultiply.Packed256<MultiplyAdd, Order213, SingleFormat>(),
        Code.VEX_Vfmadd213pd_xmm_xmm_xmmm128 => FusedMultiply.Packed128<MultiplyAdd, Order213, DoubleFormat>(),
        Code.VEX_Vfmadd213pd_ymm_ymm_ymmm256 => FusedMultiply.Packed256<MultiplyAdd, Order213, DoubleFormat>(),
        Code.VEX_Vfmadd231ps_xmm_xmm_xmmm128 => FusedMultiply.Packed128<MultiplyAdd, Order231, SingleFormat>(),
        Code.VEX_Vfmadd231ps_ymm_ymm_ymmm256 => FusedMultiply.Packed256<MultiplyAdd, Order231, SingleFormat>(),
        Code.VEX_Vfmadd231pd_xmm_xmm_xmmm128 => FusedMultiply.Packed128<MultiplyAdd, Order231, DoubleFormat>(),
        Code.VEX_Vfmadd231pd_ymm_ymm_ymmm256 => FusedMultiply.Packed256<MultiplyAdd, Order231, DoubleFormat>(),
        Code.VEX_Vfmsub132ps_xmm_xmm_xmmm128 => FusedMultiply.Packed128<MultiplySubtract, Order132, SingleFormat>(),
        Code.VEX_Vfmsub132ps_ymm_ymm_ymmm256 => FusedMultiply.Packed256<MultiplySubtract, Order132, SingleFormat>(),
        Code.VEX_Vfmsub132pd_xmm_xmm_xmmm128 => FusedMultiply.Packed128<MultiplySubtract, Order132, DoubleFormat>(),
        Code.VEX_Vfmsub132pd_ymm_ymm_ymmm256 => FusedMultiply.Packed256<MultiplySubtract, Order132, DoubleFormat>(),
        Code.VEX_Vfmsub213ps_xmm_xmm_xmmm128 => FusedMultiply.Packed128<MultiplySubtract, Order213, SingleFormat>(),
        Code.VEX_Vfmsub213ps_ymm_ymm_ymmm256 => FusedMultiply.Packed256<MultiplySubtract, Order213, SingleFormat>(),
        Code.VEX_Vfmsub213pd_xmm_xmm_xmmm128 => FusedMultiply.Packed128<MultiplySubtract, Order213, DoubleFormat>(),
        Code.VEX_Vfmsub213pd_ymm_ymm_ymmm256 => FusedMultiply.Packed256<MultiplySubtract, Order213, DoubleFormat>(),
        Code.VEX_Vfmsub231ps_xmm_xmm_xmmm128 => FusedMultiply.Packed128<MultiplySubtract, Order231, SingleFormat>(),
        Code.VEX_Vfmsub231ps_ymm_ymm_ymmm256 => FusedMultiply.Packed256<MultiplySubtract, Order231, SingleFormat>(),
        Code.VEX_Vfmsub231pd_xmm_xmm_xmmm128 => FusedMultiply.Packed128<MultiplySubtract, Order231, DoubleFormat>(),
        Code.VEX_Vfmsub231pd_ymm_ymm_ymmm256 => FusedMultiply.Packed256<MultiplySubtract, Order231, DoubleFormat>(),
        Code.VEX_Vfnmadd132ps_xmm_xmm_xmmm128 => FusedMultiply.Packed128<NegatedMultiplyAdd, Order132, SingleFormat>(),
        Code.VEX_Vfnmadd132ps_ymm_ymm_ymmm256 => FusedMultiply.Packed256<NegatedMultiplyAdd, Order132, SingleFormat>(),
        Code.VEX_Vfnmadd132pd_xmm_xmm_xmmm128 => FusedMultiply.Packed128<NegatedMultiplyAdd, Order132, DoubleFormat>(),
        Code.VEX_Vfnmadd132pd_ymm_ymm_ymmm256 => FusedMultiply.Packed256<NegatedMultiplyAdd, Order132, DoubleFormat>(),
        Code.VEX_Vfnmadd213ps_xmm_xmm_xmmm128 => FusedMultiply.Packed128<NegatedMultiplyAdd, Order213, SingleFormat>(),
        Code.VEX_Vfnmadd213ps_ymm_ymm_ymmm256 => FusedMultiply.Packed256<NegatedMultiplyAdd, Order213, SingleFormat>(),
        Code.VEX_Vfnmadd213pd_xmm_xmm_xmmm128 => FusedMultiply.Packed128<NegatedMultiplyAdd, Order213, DoubleFormat>(),
        Code.VEX_Vfnmadd213pd_ymm_ymm_ymmm256 => FusedMultiply.Packed256<NegatedMultiplyAdd, Order213, DoubleFormat>(),
        Code.VEX_Vfnmadd231ps_xmm_xmm_xmmm128 => FusedMultiply.Packed128<NegatedMultiplyAdd, Order231, SingleFormat>(),
        Code.VEX_Vfnmadd231ps_ymm_ymm_ymmm256 => FusedMultiply.Packed256<NegatedMultiplyAdd, Order231, SingleFormat>(),
        Code.VEX_Vfnmadd231pd_xmm_xmm_xmmm128 => FusedMultiply.Packed128<NegatedMultiplyAdd, Order231, DoubleFormat>(),
        Code.VEX_Vfnmadd231pd_ymm_ymm_ymmm256 => FusedMultiply.Packed256<NegatedMultiplyAdd, Order231, DoubleFormat>(),
        Code.VEX_Vfnmsub132ps_xmm_xmm_xmmm128 => FusedMultiply.Packed128<NegatedMultiplySubtract, Order132, SingleFormat>(),
        Code.VEX_Vfnmsub132ps_ymm_ymm_ymmm256 => FusedMultiply.Packed256<NegatedMultiplySubtract, Order132, SingleFormat>(),
        Code.VEX_Vfnmsub132pd_xmm_xmm_xmmm128 => FusedMultiply.Packed128<NegatedMultiplySubtract, Order132, DoubleFormat>(),
        Code.VEX_Vfnmsub132pd_ymm_ymm_ymmm256 => FusedMultiply.Packed256<NegatedMultiplySubtract, Order132, DoubleFormat>(),
        Code.VEX_Vfnmsub213ps_xmm_xmm_xmmm128 => FusedMultiply.Packed128<NegatedMultiplySubtract, Order213, SingleFormat>(),
        Code.VEX_Vfnmsub213ps_ymm_ymm_ymmm256 => FusedMultiply.Packed256<NegatedMultiplySubtract, Order213, SingleFormat>(),
        Code.VEX_Vfnmsub213pd_xmm_xmm_xmmm128 => FusedMultiply.Packed128<NegatedMultiplySubtract, Order213, DoubleFormat>(),
        Code.VEX_Vfnmsub213pd_ymm_ymm_ymmm256 => FusedMultiply.Packed256<NegatedMultiplySubtract, Order213, DoubleFormat>(),
        Code.VEX_Vfnmsub231ps_xmm_xmm_xmmm128 => FusedMultiply.Packed128<NegatedMultiplySubtract, Order231, SingleFormat>(),
        Code.VEX_Vfnmsub231ps_ymm_ymm_ymmm256 => FusedMultiply.Packed256<NegatedMultiplySubtract, Order231, SingleFormat>(),
        Code.VEX_Vfnmsub231pd_xmm_xmm_xmmm128 => FusedMultiply.Packed128<NegatedMultiplySubtract, Order231, DoubleFormat>(),
        Code.VEX_Vfnmsub231pd_ymm_ymm_ymmm256 => FusedMultiply.Packed256<NegatedMultiplySubtract, Order231, DoubleFormat>(),
        Code.VEX_Vfmaddsub132ps_xmm_xmm_xmmm128 => FusedMultiply.Packed128<MultiplyAddSubtract, Order132, SingleFormat>(),
        Code.VEX_Vfmaddsub132ps_ymm_ymm_ymmm256 => FusedMultiply.Packed256<MultiplyAddSubtract, Order132, SingleFormat>(),
        Code.VEX_Vfmaddsub132pd_xmm_xmm_xmmm128 => FusedMultiply.Packed128<MultiplyAddSubtract, Order132, DoubleFormat>(),
        Code.VEX_Vfmaddsub132pd_ymm_ymm_ymmm256 => FusedMultiply.Packed256<MultiplyAddSubtract, Order132, DoubleFormat>(),
        Code.VEX_Vfmaddsub213ps_xmm_xmm_xmmm128 => FusedMultiply.Packed128<MultiplyAddSubtract, Order213, SingleFormat>(),
        Code.VEX_Vfmaddsub213ps_ymm_ymm_ymmm256 => FusedMultiply.Packed256<MultiplyAddSubtract, Order213, SingleFormat>(),
        Code.VEX_Vfmaddsub213pd_xmm_xmm_xmmm128 => FusedMultiply.Packed128<MultiplyAddSubtract, Order213, DoubleFormat>(),
        Code.VEX_Vfmaddsub213pd_ymm_ymm_ymmm256 => FusedMultiply.Packed256<MultiplyAddSubtract, Order213, DoubleFormat>(),
        Code.VEX_Vfmaddsub231ps_xmm_xmm_xmmm128 => FusedMultiply.Packed128<MultiplyAddSubtract, Order231, SingleFormat>(),
        Code.VEX_Vfmaddsub231ps_ymm_ymm_ymmm256 => FusedMultiply.Packed256<MultiplyAddSubtract, Order231, SingleFormat>(),
        Code.VEX_Vfmaddsub231pd_xmm_xmm_xmmm128 => FusedMultiply.Packed128<MultiplyAddSubtract, Order231, DoubleFormat>(),
        Code.VEX_Vfmaddsub231pd_ymm_ymm_ymmm256 => FusedMultiply.Packed256<MultiplyAddSubtract, Order231, DoubleFormat>(),
        Code.VEX_Vfmsubadd132ps_xmm_xmm_xmmm128 => FusedMultiply.Packed128<MultiplySubtractAdd, Order132, SingleFormat>(),
        Code.VEX_Vfmsubadd132ps_ymm_ymm_ymmm256 => FusedMultiply.Packed256<MultiplySubtractAdd, Order132, SingleFormat>(),
        Code.VEX_Vfmsubadd132pd_xmm_xmm_xmmm128 => FusedMultiply.Packed128<MultiplySubtractAdd, Order132, DoubleFormat>(),
        Code.VEX_Vfmsubadd132pd_ymm_ymm_ymmm256 => FusedMultiply.Packed256<MultiplySubtractAdd, Order132, DoubleFormat>(),
        Code.VEX_Vfmsubadd213ps_xmm_xmm_xmmm128 => FusedMultiply.Packed128<MultiplySubtractAdd, Order213, SingleFormat>(),
        Code.VEX_Vfmsubadd213ps_ymm_ymm_ymmm256 => FusedMultiply.Packed256<MultiplySubtractAdd, Order213, SingleFormat>(),
        Code.VEX_Vfmsubadd213pd_xmm_xmm_xmmm128 => FusedMultiply.Packed128<MultiplySubtractAdd, Order213, DoubleFormat>(),
        Code.VEX_Vfmsubadd213pd_ymm_ymm_ymmm256 => FusedMultiply.Packed256<MultiplySubtractAdd, Order213, DoubleFormat>(),
        Code.VEX_Vfmsubadd231ps_xmm_xmm_xmmm128 => FusedMultiply.Packed128<MultiplySubtractAdd, Order231, SingleFormat>(),
        Code.VEX_Vfmsubadd231ps_ymm_ymm_ymmm256 => FusedMultiply.Packed256<MultiplySubtractAdd, Order231, SingleFormat>(),
        Code.VEX_Vfmsubadd231pd_xmm_xmm_xmmm128 => FusedMultiply.Packed128<MultiplySubtractAdd, Order231, DoubleFormat>(),
        Code.VEX_Vfmsubadd231pd_ymm_ymm_ymmm256 => FusedMultiply.Packed256<MultiplySubtractAdd, Order231, DoubleFormat>(),
        _ => 0,
    };

    private static nint Scalar(Code code) => code switch
    {
        Code.VEX_Vfmadd132ss_xmm_xmm_xmmm32 => FusedMultiply.Scalar<MultiplyAdd, Order132, SingleFormat>(),
        Code.VEX_Vfmadd132sd_xmm_xmm_xmmm64 => FusedMultiply.Scalar<MultiplyAdd, Order132, DoubleFormat>(),
        Code.VEX_Vfmadd213ss_xmm_xmm_xmmm32 => FusedMultiply.Scalar<MultiplyAdd, Order213, SingleFormat>(),
        Code.VEX_Vfmadd213sd_xmm_xmm_xmmm64 => FusedMultiply.Scalar<MultiplyAdd, Order213, DoubleFormat>(),
        Code.VEX_Vfmadd231ss_xmm_xmm_xmmm32 => FusedMultiply.Scalar<MultiplyAdd, Order231, SingleFormat>(),
        Code.VEX_Vfmadd231sd_xmm_xmm_xmmm64 => FusedMultiply.Scalar<MultiplyAdd, Order231, DoubleFormat>(),
        Code.VEX_Vfmsub132ss_xmm_xmm_xmmm32 => FusedMultiply.Scalar<MultiplySubtract, Order132, SingleFormat>(),
        Code.VEX_Vfmsub132sd_xmm_xmm_xmmm64 => FusedMultiply.Scalar<MultiplySubtract, Order132, DoubleFormat>(),
        Code.VEX_Vfmsub213ss_xmm_xmm_xmmm32 => FusedMultiply.Scalar<MultiplySubtract, Order213, SingleFormat>(),
        Code.VEX_Vfmsub213sd_xmm_xmm_xmmm64 => FusedMultiply.Scalar<MultiplySubtract, Order213, DoubleFormat>(),
        Code.VEX_Vfmsub231ss_xmm_xmm_xmmm32 => FusedMultiply.Scalar<MultiplySubtract, Order231, SingleFormat>(),
        Code.VEX_Vfmsub231sd_xmm_xmm_xmmm64 => FusedMultiply.Scalar<MultiplySubtract, Order231, DoubleFormat>(),
        Code.VEX_Vfnmadd132ss_xmm_xmm_xmmm32 => FusedMultiply.Scalar<NegatedMultiplyAdd, Order132, SingleFormat>(),
        Code.VEX_Vfnmadd132sd_xmm_xmm_xmmm64 => FusedMultiply.Scalar<NegatedMultiplyAdd, Order132, DoubleFormat>(),
        Code.VEX_Vfnmadd213ss_xmm_xmm_xmmm32 => FusedMultiply.Scalar<NegatedMultiplyAdd, Order213, SingleFormat>(),
        Code.VEX_Vfnmadd213sd_xmm_xmm_xmmm64 => FusedMultiply.Scalar<NegatedMultiplyAdd, Order213, DoubleFormat>(),
        Code.VEX_Vfnmadd231ss_xmm_xmm_xmmm32 => FusedMultiply.Scalar<NegatedMultiplyAdd, Order231, SingleFormat>(),
        Code.VEX_Vfnmadd231sd_xmm_xmm_xmmm64 => FusedMultiply.Scalar<NegatedMultiplyAdd, Order231, DoubleFormat>(),
        Code.VEX_Vfnmsub132ss_xmm_xmm_xmmm32 => FusedMultiply.Scalar<NegatedMultiplySubtract, Order132, SingleFormat>(),
        Code.VEX_Vfnmsub132sd_xmm_xmm_xmmm64 => FusedMultiply.Scalar<NegatedMultiplySubtract, Order132, DoubleFormat>(),
        Code.VEX_Vfnmsub213ss_xmm_xmm_xmmm32 => FusedMultiply.Scalar<NegatedMultiplySubtract, Order213, SingleFormat>(),
        Code.VEX_Vfnmsub213sd_xmm_xmm_xmmm64 => FusedMultiply.Scalar<NegatedMultiplySubtract, Order213, DoubleFormat>(),
        Code.VEX_Vfnmsub231ss_xmm_xmm_xmmm32 => FusedMultiply.Scalar<NegatedMultiplySubtract, Order231, SingleFormat>(),
        Code.VEX_Vfnmsub231sd_xmm_xmm_xmmm64 => FusedMultiply.Scalar<NegatedMultiplySubtract, Order231, DoubleFormat>(),
        _ => 0,
    };
}
