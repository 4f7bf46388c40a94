// Invariants: every address is that of a static helper of this assembly.
using Iced.Intel;
using Kvm.X86.Decode;
using Kvm.X86.Float;
using Kvm.X86.State;

namespace Kvm.X86.Execute.Fpu;

/// <summary>x87 instructions; control instructions are in <see cref="StateTable"/>.</summary>
internal static unsafe class X87Table
{
    /// <summary>The helper's address, or 0.</summary>
    public static nint Resolve(Code code)
    {
        nint helper;
        if ((helper = Memory(code)) != 0)
            return helper;
        if ((helper = Registers(code)) != 0)
            return helper;
        if ((helper = LoadStore(code)) != 0)
            return helper;
        return Functions(code);
    }

    private static nint Memory(Code code) => code switch
    {
        Code.Fadd_m32fp => X87Arithmetic.Memory<X87Add, SingleSource>(),
        Code.Fmul_m32fp => X87Arithmetic.Memory<X87Multiply, SingleSource>(),
        Code.Fsub_m32fp => X87Arithmetic.Memory<X87Subtract, SingleSource>(),
        Code.Fsubr_m32fp => X87Arithmetic.Memory<X87SubtractReversed, SingleSource>(),
        Code.Fdiv_m32fp => X87Arithmetic.Memory<X87Divide, SingleSource>(),
        Code.Fdivr_m32fp => X87Arithmetic.Memory<X87DivideReversed, SingleSource>(),
        Code.Fadd_m64fp => X87Arithmetic.Memory<X87Add, DoubleSource>(),
        Code.Fmul_m64fp => X87Arithmetic.Memory<X87Multiply, DoubleSource>(),
        Code.Fsub_m64fp => X87Arithmetic.Memory<X87Subtract, DoubleSource>(),
        Code.Fsubr_m64fp => X87Arithmetic.Memory<X87SubtractReversed, DoubleSource>(),
        Code.Fdiv_m64fp => X87Arithmetic.Memory<X87Divide, DoubleSource>(),
        Code.Fdivr_m64fp => X87Arithmetic.Memory<X87DivideReversed, DoubleSource>(),
        Code.Fiadd_m32int => X87Arithmetic.Memory<X87Add, Integer32Source>(),
        Code.Fimul_m32int => X87Arithmetic.Memory<X87Multiply, Integer32Source>(),
        Code.Fisub_m32int => X87Arithmetic.Memory<X87Subtract, Integer32Source>(),
        Code.Fisubr_m32int => X87Arithmetic.Memory<X87SubtractReversed, Integer32Source>(),
        Code.Fidiv_m32int => X87Arithmetic.Memory<X87Divide, Integer32Source>(),
        Code.Fidivr_m32int => X87Arithmetic.Memory<X87DivideReversed, Integer32Source>(),
        Code.Fiadd_m16int => X87Arithmetic.Memory<X87Add, Integer16Source>(),
        Code.Fimul_m16int => X87Arithmetic.Memory<X87Multiply, Integer16Source>(),
        Code.Fisub_m16int => X87Arithmetic.Memory<X87Subtract, Integer16Source>(),
        Code.Fisubr_m16int => X87Arithmetic.Memory<X87SubtractReversed, Integer16Source>(),
        Code.Fidiv_m16int => X87Arithmetic.Memory<X87Divide, Integer16Source>(),
        Code.Fidivr_m16int => X87Arithmetic.Memory<X87DivideReversed, Integer16Source>(),
        Code.Fcom_m32fp => X87Compare.Memory<SingleSource>(pop: false),
        Code.Fcomp_m32fp => X87Compare.Memory<SingleSource>(pop: true),
        Code.Fcom_m64fp => X87Compare.Memory<DoubleSource>(pop: false),
        Code.Fcomp_m64fp => X87Compare.Memory<DoubleSource>(pop: true),
        Code.Ficom_m32int => X87Compare.Memory<Integer32Source>(pop: false),
        Code.Ficomp_m32int => X87Compare.Memory<Integer32Source>(pop: true),
        Code.Ficom_m16int => X87Compare.Memory<Integer16Source>(pop: false),
        Code.Ficomp_m16int => X87Compare.Memory<Integer16Source>(pop: true),
        _ => 0,
    };

    private static nint Registers(Code code) => code switch
    {
        Code.Fadd_st0_sti => X87Arithmetic.Top<X87Add>(),
        Code.Fmul_st0_sti => X87Arithmetic.Top<X87Multiply>(),
        Code.Fsub_st0_sti => X87Arithmetic.Top<X87Subtract>(),
        Code.Fsubr_st0_sti => X87Arithmetic.Top<X87SubtractReversed>(),
        Code.Fdiv_st0_sti => X87Arithmetic.Top<X87Divide>(),
        Code.Fdivr_st0_sti => X87Arithmetic.Top<X87DivideReversed>(),
        Code.Fadd_sti_st0 => X87Arithmetic.Register<X87Add>(),
        Code.Fmul_sti_st0 => X87Arithmetic.Register<X87Multiply>(),
        Code.Fsub_sti_st0 => X87Arithmetic.Register<X87Subtract>(),
        Code.Fsubr_sti_st0 => X87Arithmetic.Register<X87SubtractReversed>(),
        Code.Fdiv_sti_st0 => X87Arithmetic.Register<X87Divide>(),
        Code.Fdivr_sti_st0 => X87Arithmetic.Register<X87DivideReversed>(),
        Code.Faddp_sti_st0 => X87Arithmetic.RegisterPop<X87Add>(),
        Code.Fmulp_sti_st0 => X87Arithmetic.RegisterPop<X87Multiply>(),
        Code.Fsubp_sti_st0 => X87Arithmetic.RegisterPop<X87Subtract>(),
        Code.Fsubrp_sti_st0 => X87Arithmetic.RegisterPop<X87SubtractReversed>(),
        Code.Fdivp_sti_st0 => X87Arithmetic.RegisterPop<X87Divide>(),
        Code.Fdivrp_sti_st0 => X87Arithmetic.RegisterPop<X87DivideReversed>(),
        Code.Fcom_st0_sti or Code.Fcom_st0_sti_DCD0 => (nint)(delegate*<Cpu*, Op*, bool>)&X87Compare.Ordered,
        Code.Fcomp_st0_sti or Code.Fcomp_st0_sti_DCD8 or Code.Fcomp_st0_sti_DED0 => (nint)(delegate*<Cpu*, Op*, bool>)&X87Compare.OrderedPop,
        Code.Fcompp => (nint)(delegate*<Cpu*, Op*, bool>)&X87Compare.OrderedPopTwice,
        Code.Fucom_st0_sti => (nint)(delegate*<Cpu*, Op*, bool>)&X87Compare.Unordered,
        Code.Fucomp_st0_sti => (nint)(delegate*<Cpu*, Op*, bool>)&X87Compare.UnorderedPop,
        Code.Fucompp => (nint)(delegate*<Cpu*, Op*, bool>)&X87Compare.UnorderedPopTwice,
        Code.Fcomi_st0_sti => (nint)(delegate*<Cpu*, Op*, bool>)&X87Compare.OrderedFlags,
        Code.Fcomip_st0_sti => (nint)(delegate*<Cpu*, Op*, bool>)&X87Compare.OrderedFlagsPop,
        Code.Fucomi_st0_sti => (nint)(delegate*<Cpu*, Op*, bool>)&X87Compare.UnorderedFlags,
        Code.Fucomip_st0_sti => (nint)(delegate*<Cpu*, Op*, bool>)&X87Compare.UnorderedFlagsPop,
        Code.Ftst => (nint)(delegate*<Cpu*, Op*, bool>)&X87Compare.Test,
        Code.Fxam => (nint)(delegate*<Cpu*, Op*, bool>)&X87Compare.Examine,
        Code.Fst_sti => (nint)(delegate*<Cpu*, Op*, bool>)&X87LoadStore.StoreRegister,
        Code.Fstp_sti or Code.Fstp_sti_DFD0 or Code.Fstp_sti_DFD8 => (nint)(delegate*<Cpu*, Op*, bool>)&X87LoadStore.StoreRegisterPop,
        Code.Fld_sti => (nint)(delegate*<Cpu*, Op*, bool>)&X87LoadStore.LoadRegister,
        Code.Fxch_st0_sti or Code.Fxch_st0_sti_DDC8 or Code.Fxch_st0_sti_DFC8 => (nint)(delegate*<Cpu*, Op*, bool>)&X87LoadStore.Exchange,
        Code.Fcmovb_st0_sti => (nint)(delegate*<Cpu*, Op*, bool>)&X87LoadStore.MoveIfBelow,
        Code.Fcmove_st0_sti => (nint)(delegate*<Cpu*, Op*, bool>)&X87LoadStore.MoveIfEqual,
        Code.Fcmovbe_st0_sti => (nint)(delegate*<Cpu*, Op*, bool>)&X87LoadStore.MoveIfBelowOrEqual,
        Code.Fcmovu_st0_sti => (nint)(delegate*<Cpu*, Op*, bool>)&X87LoadStore.MoveIfUnordered,
        Code.Fcmovnb_st0_sti => (nint)(delegate*<Cpu*, Op*, bool>)&X87LoadStore.MoveIfNotBelow,
        Code.Fcmovne_st0_sti => (nint)(delegate*<Cpu*, Op*, bool>)&X87LoadStore.MoveIfNotEqual,
        Code.Fcmovnbe_st0_sti => (nint)(delegate*<Cpu*, Op*, bool>)&X87LoadStore.MoveIfNotBelowOrEqual,
        Code.Fcmovnu_st0_sti => (nint)(delegate*<Cpu*, Op*, bool>)&X87LoadStore.MoveIfNotUnordered,
        Code.Ffree_sti => (nint)(delegate*<Cpu*, Op*, bool>)&X87LoadStore.Free,
        Code.Ffreep_sti => (nint)(delegate*<Cpu*, Op*, bool>)&X87LoadStore.FreePop,
        _ => 0,
    };

    private static nint LoadStore(Code code) => code switch
    {
        Code.Fld_m32fp => (nint)(delegate*<Cpu*, Op*, bool>)&X87LoadStore.LoadSingle,
        Code.Fld_m64fp => (nint)(delegate*<Cpu*, Op*, bool>)&X87LoadStore.LoadDouble,
        Code.Fld_m80fp => (nint)(delegate*<Cpu*, Op*, bool>)&X87LoadStore.LoadExtended,
        Code.Fbld_m80bcd => (nint)(delegate*<Cpu*, Op*, bool>)&X87LoadStore.LoadBcd,
        Code.Fild_m16int => (nint)(delegate*<Cpu*, Op*, bool>)&X87LoadStore.LoadInteger16,
        Code.Fild_m32int => (nint)(delegate*<Cpu*, Op*, bool>)&X87LoadStore.LoadInteger32,
        Code.Fild_m64int => (nint)(delegate*<Cpu*, Op*, bool>)&X87LoadStore.LoadInteger64,
        Code.Fld1 => (nint)(delegate*<Cpu*, Op*, bool>)&X87LoadStore.LoadOne,
        Code.Fldz => (nint)(delegate*<Cpu*, Op*, bool>)&X87LoadStore.LoadZero,
        Code.Fldpi => (nint)(delegate*<Cpu*, Op*, bool>)&X87LoadStore.LoadPi,
        Code.Fldl2e => (nint)(delegate*<Cpu*, Op*, bool>)&X87LoadStore.LoadLog2E,
        Code.Fldl2t => (nint)(delegate*<Cpu*, Op*, bool>)&X87LoadStore.LoadLog2Ten,
        Code.Fldlg2 => (nint)(delegate*<Cpu*, Op*, bool>)&X87LoadStore.LoadLog10Two,
        Code.Fldln2 => (nint)(delegate*<Cpu*, Op*, bool>)&X87LoadStore.LoadLogTwo,
        Code.Fst_m32fp => (nint)(delegate*<Cpu*, Op*, bool>)&X87LoadStore.StoreSingle,
        Code.Fstp_m32fp => (nint)(delegate*<Cpu*, Op*, bool>)&X87LoadStore.StoreSinglePop,
        Code.Fst_m64fp => (nint)(delegate*<Cpu*, Op*, bool>)&X87LoadStore.StoreDouble,
        Code.Fstp_m64fp => (nint)(delegate*<Cpu*, Op*, bool>)&X87LoadStore.StoreDoublePop,
        Code.Fstp_m80fp => (nint)(delegate*<Cpu*, Op*, bool>)&X87LoadStore.StoreExtendedPop,
        Code.Fbstp_m80bcd => (nint)(delegate*<Cpu*, Op*, bool>)&X87LoadStore.StoreBcdPop,
        Code.Fist_m16int => (nint)(delegate*<Cpu*, Op*, bool>)&X87LoadStore.StoreInteger16,
        Code.Fist_m32int => (nint)(delegate*<Cpu*, Op*, bool>)&X87LoadStore.StoreInteger32,
        Code.Fistp_m16int => (nint)(delegate*<Cpu*, Op*, bool>)&X87LoadStore.StoreInteger16Pop,
        Code.Fistp_m32int => (nint)(delegate*<Cpu*, Op*, bool>)&X87LoadStore.StoreInteger32Pop,
        Code.Fistp_m64int => (nint)(delegate*<Cpu*, Op*, bool>)&X87LoadStore.StoreInteger64Pop,
        Code.Fisttp_m16int => (nint)(delegate*<Cpu*, Op*, bool>)&X87LoadStore.StoreTruncated16Pop,
        Code.Fisttp_m32int => (nint)(delegate*<Cpu*, Op*, bool>)&X87LoadStore.StoreTruncated32Pop,
        Code.Fisttp_m64int => (nint)(delegate*<Cpu*, Op*, bool>)&X87LoadStore.StoreTruncated64Pop,
        Code.Fincstp => (nint)(delegate*<Cpu*, Op*, bool>)&X87LoadStore.IncrementTop,
        Code.Fdecstp => (nint)(delegate*<Cpu*, Op*, bool>)&X87LoadStore.DecrementTop,
        _ => 0,
    };

    private static nint Functions(Code code) => code switch
    {
        Code.Fchs => X87Functions.Unary<X87Negate>(),
        Code.Fabs => X87Functions.Unary<X87Absolute>(),
        Code.Fsqrt => X87Functions.Unary<X87SquareRoot>(),
        Code.Frndint => X87Functions.Unary<X87RoundToInteger>(),
        Code.F2xm1 => X87Functions.Unary<X87PowerMinusOne>(),
        Code.Fsin => X87Functions.Periodic<X87Sine>(),
        Code.Fcos => X87Functions.Periodic<X87Cosine>(),
        Code.Fsincos => (nint)(delegate*<Cpu*, Op*, bool>)&X87Functions.SineCosine,
        Code.Fptan => (nint)(delegate*<Cpu*, Op*, bool>)&X87Functions.Tangent,
        Code.Fpatan => X87Functions.Pair<X87ArcTangent>(),
        Code.Fyl2x => X87Functions.Pair<X87YLog2X>(),
        Code.Fyl2xp1 => X87Functions.Pair<X87YLog2XPlusOne>(),
        Code.Fxtract => (nint)(delegate*<Cpu*, Op*, bool>)&X87Functions.Extract,
        Code.Fscale => (nint)(delegate*<Cpu*, Op*, bool>)&X87Functions.Scale,
        Code.Fprem => (nint)(delegate*<Cpu*, Op*, bool>)&X87Functions.Remainder,
        Code.Fprem1 => (nint)(delegate*<Cpu*, Op*, bool>)&X87Functions.RemainderNearest,
        Code.Fnstenv_m14byte => (nint)(delegate*<Cpu*, Op*, bool>)&X87Environment.Store16,
        Code.Fnstenv_m28byte => (nint)(delegate*<Cpu*, Op*, bool>)&X87Environment.Store32,
        Code.Fldenv_m14byte => (nint)(delegate*<Cpu*, Op*, bool>)&X87Environment.Load16,
        Code.Fldenv_m28byte => (nint)(delegate*<Cpu*, Op*, bool>)&X87Environment.Load32,
        Code.Fnsave_m94byte => (nint)(delegate*<Cpu*, Op*, bool>)&X87Environment.Save16,
        Code.Fnsave_m108byte => (nint)(delegate*<Cpu*, Op*, bool>)&X87Environment.Save32,
        Code.Frstor_m94byte => (nint)(delegate*<Cpu*, Op*, bool>)&X87Environment.Restore16,
        Code.Frstor_m108byte => (nint)(delegate*<Cpu*, Op*, bool>)&X87Environment.Restore32,
        _ => 0,
    };
}
