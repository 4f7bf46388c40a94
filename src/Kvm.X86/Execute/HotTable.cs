// Invariants: every address returned is that of a static handler of this assembly.
using Kvm.X86.Decode;
using Kvm.X86.State;

namespace Kvm.X86.Execute;

/// <summary>Two-operand operations, in the order of their encoding, then TEST.</summary>
internal enum AluKind
{
    Add, Or, Adc, Sbb, And, Sub, Xor, Cmp, Test,
}

/// <summary>Operand kinds of a two-operand handler. B and X: memory by base, by base and index.</summary>
internal enum AluForm
{
    RegReg, RegImm, RegRegQuiet, RegImmQuiet, RegMemB, RegMemX, MemRegB, MemRegX, MemImmB, MemImmX, Locked,
}

/// <summary>One-operand operations.</summary>
internal enum UnaryKind
{
    Inc, Dec, Neg, Not,
}

/// <summary>Operand kinds of a one-operand handler.</summary>
internal enum UnaryForm
{
    Register, Quiet, MemB, MemX, Locked,
}

/// <summary>Shifts and rotates, in the order of their encoding.</summary>
internal enum ShiftKind
{
    Rol, Ror, Rcl, Rcr, Shl, Shr, Sal, Sar,
}

/// <summary>Forms of MOV and of the loads and stores made from it.</summary>
internal enum MovForm
{
    RegReg, RegImm, LoadB, LoadX, StoreB, StoreX, StoreImmB, StoreImmX, LoadToModify, Exchange,
}

/// <summary>Forms of MOVSX and MOVZX.</summary>
internal enum ExtendForm
{
    RegReg, LoadB, LoadX,
}

/// <summary>What is known at decode time of the instruction that set the flags last.</summary>
internal enum FlagProducer
{
    Unknown, Sub, Logic, Result,
}

/// <summary>
/// Addresses of the specialised handlers. Each is found by nested <c>switch</c>es at decode time: no tables are built at start, and
/// ahead-of-time compilation sees every instantiation.
/// </summary>
internal static unsafe partial class HotTable
{
    private static nint At(delegate*<Cpu*, Op*, nint> handler) => (nint)handler;

    public static nint Alu(AluKind kind, int size, AluForm form) => kind switch
    {
        AluKind.Add => AluOfSize<Add>(size, form),
        AluKind.Or => AluOfSize<Or>(size, form),
        AluKind.Adc => AluOfSize<Adc>(size, form),
        AluKind.Sbb => AluOfSize<Sbb>(size, form),
        AluKind.And => AluOfSize<And>(size, form),
        AluKind.Sub => AluOfSize<Sub>(size, form),
        AluKind.Xor => AluOfSize<Xor>(size, form),
        AluKind.Cmp => AluOfSize<Cmp>(size, form),
        _ => AluOfSize<Test>(size, form),
    };

    private static nint AluOfSize<TAlu>(int size, AluForm form) where TAlu : IAlu => size switch
    {
        1 => AluOfForm<TAlu, S8>(form),
        2 => AluOfForm<TAlu, S16>(form),
        4 => AluOfForm<TAlu, S32>(form),
        _ => AluOfForm<TAlu, S64>(form),
    };

    private static nint AluOfForm<TAlu, TSize>(AluForm form) where TAlu : IAlu where TSize : ISize => form switch
    {
        AluForm.RegReg => At(&Alu<TAlu, TSize>.RegReg),
        AluForm.RegImm => At(&Alu<TAlu, TSize>.RegImm),
        AluForm.RegRegQuiet => At(&Alu<TAlu, TSize>.RegRegQuiet),
        AluForm.RegImmQuiet => At(&Alu<TAlu, TSize>.RegImmQuiet),
        AluForm.RegMemB => At(&Alu<TAlu, TSize>.RegMem<AddressB>),
        AluForm.RegMemX => At(&Alu<TAlu, TSize>.RegMem<AddressX>),
        AluForm.MemRegB => At(&Alu<TAlu, TSize>.MemReg<AddressB>),
        AluForm.MemRegX => At(&Alu<TAlu, TSize>.MemReg<AddressX>),
        AluForm.MemImmB => At(&Alu<TAlu, TSize>.MemImm<AddressB>),
        AluForm.MemImmX => At(&Alu<TAlu, TSize>.MemImm<AddressX>),
        _ => At(&Alu<TAlu, TSize>.Locked),
    };

    public static nint Unary(UnaryKind kind, int size, UnaryForm form) => kind switch
    {
        UnaryKind.Inc => UnaryOfSize<Inc>(size, form),
        UnaryKind.Dec => UnaryOfSize<Dec>(size, form),
        UnaryKind.Neg => UnaryOfSize<Neg>(size, form),
        _ => UnaryOfSize<Complement>(size, form),
    };

    private static nint UnaryOfSize<TUnary>(int size, UnaryForm form) where TUnary : IUnary => size switch
    {
        1 => UnaryOfForm<TUnary, S8>(form),
        2 => UnaryOfForm<TUnary, S16>(form),
        4 => UnaryOfForm<TUnary, S32>(form),
        _ => UnaryOfForm<TUnary, S64>(form),
    };

    private static nint UnaryOfForm<TUnary, TSize>(UnaryForm form) where TUnary : IUnary where TSize : ISize => form switch
    {
        UnaryForm.Register => At(&Unary<TUnary, TSize>.Register),
        UnaryForm.Quiet => At(&Unary<TUnary, TSize>.Quiet),
        UnaryForm.MemB => At(&Unary<TUnary, TSize>.Memory<AddressB>),
        UnaryForm.MemX => At(&Unary<TUnary, TSize>.Memory<AddressX>),
        _ => At(&Unary<TUnary, TSize>.Locked),
    };

    public static nint Shift(ShiftKind kind, int size, bool byCl) => kind switch
    {
        ShiftKind.Rol => ShiftOfSize<Rol>(size, byCl),
        ShiftKind.Ror => ShiftOfSize<Ror>(size, byCl),
        ShiftKind.Rcl => ShiftOfSize<Rcl>(size, byCl),
        ShiftKind.Rcr => ShiftOfSize<Rcr>(size, byCl),
        ShiftKind.Shr => ShiftOfSize<Shr>(size, byCl),
        ShiftKind.Sar => ShiftOfSize<Sar>(size, byCl),
        _ => ShiftOfSize<Shl>(size, byCl),
    };

    private static nint ShiftOfSize<TShift>(int size, bool byCl) where TShift : IShift => size switch
    {
        1 => byCl ? At(&Shift<TShift, S8>.RegCl) : At(&Shift<TShift, S8>.RegImm),
        2 => byCl ? At(&Shift<TShift, S16>.RegCl) : At(&Shift<TShift, S16>.RegImm),
        4 => byCl ? At(&Shift<TShift, S32>.RegCl) : At(&Shift<TShift, S32>.RegImm),
        _ => byCl ? At(&Shift<TShift, S64>.RegCl) : At(&Shift<TShift, S64>.RegImm),
    };

    public static nint DoubleShift(bool left, int size) => size switch
    {
        2 => left ? At(&DoubleShift<S16>.Left) : At(&DoubleShift<S16>.Right),
        4 => left ? At(&DoubleShift<S32>.Left) : At(&DoubleShift<S32>.Right),
        _ => left ? At(&DoubleShift<S64>.Left) : At(&DoubleShift<S64>.Right),
    };

    public static nint Mov(int size, MovForm form) => size switch
    {
        1 => MovOfForm<S8>(form),
        2 => MovOfForm<S16>(form),
        4 => MovOfForm<S32>(form),
        _ => MovOfForm<S64>(form),
    };

    private static nint MovOfForm<TSize>(MovForm form) where TSize : ISize => form switch
    {
        MovForm.RegReg => At(&Mov<TSize>.RegReg),
        MovForm.RegImm => At(&Mov<TSize>.RegImm),
        MovForm.LoadB => At(&Mov<TSize>.Load<AddressB>),
        MovForm.LoadX => At(&Mov<TSize>.Load<AddressX>),
        MovForm.StoreB => At(&Mov<TSize>.Store<AddressB>),
        MovForm.StoreX => At(&Mov<TSize>.Store<AddressX>),
        MovForm.StoreImmB => At(&Mov<TSize>.StoreImm<AddressB>),
        MovForm.StoreImmX => At(&Mov<TSize>.StoreImm<AddressX>),
        MovForm.LoadToModify => At(&Mov<TSize>.LoadToModify),
        _ => At(&Mov<TSize>.Exchange),
    };

    /// <summary>MOVSX and MOVZX from 1, 2 or 4 bytes (4 to 8 bytes only signed) to 2, 4 or 8.</summary>
    public static nint Extend(bool signed, int from, int to, ExtendForm form) => from switch
    {
        1 when signed => SxTo<S8>(to, form),
        1 => ZxTo<S8>(to, form),
        2 when signed => SxTo<S16>(to, form),
        2 => ZxTo<S16>(to, form),
        _ => SxTo<S32>(to, form),
    };

    private static nint SxTo<TFrom>(int to, ExtendForm form) where TFrom : ISize => to switch
    {
        2 => SxForm<TFrom, S16>(form),
        4 => SxForm<TFrom, S32>(form),
        _ => SxForm<TFrom, S64>(form),
    };

    private static nint SxForm<TFrom, TTo>(ExtendForm form) where TFrom : ISize where TTo : ISize => form switch
    {
        ExtendForm.RegReg => At(&MovSx<TFrom, TTo>.RegReg),
        ExtendForm.LoadB => At(&MovSx<TFrom, TTo>.Load<AddressB>),
        _ => At(&MovSx<TFrom, TTo>.Load<AddressX>),
    };

    private static nint ZxTo<TFrom>(int to, ExtendForm form) where TFrom : ISize => to switch
    {
        2 => ZxForm<TFrom, S16>(form),
        _ => ZxForm<TFrom, S32>(form), // writing 32 bits clears the rest
    };

    private static nint ZxForm<TFrom, TTo>(ExtendForm form) where TFrom : ISize where TTo : ISize => form switch
    {
        ExtendForm.RegReg => At(&MovZx<TFrom, TTo>.RegReg),
        ExtendForm.LoadB => At(&MovZx<TFrom, TTo>.Load<AddressB>),
        _ => At(&MovZx<TFrom, TTo>.Load<AddressX>),
    };
}
