// Invariants: every address returned is that of a static handler of this assembly.
using Iced.Intel;
using Kvm.X86.Decode;
using Kvm.X86.State;

namespace Kvm.X86.Execute;

/// <summary>Multiplication and division by form.</summary>
internal enum MulForm
{
    RegReg, RegRegImm, Mul, Imul, Div, Idiv,
}

/// <summary>BT family by operation.</summary>
internal enum BitKind
{
    Test, Set, Reset, Flip,
}

/// <summary>Operand kinds of the BT family.</summary>
internal enum BitForm
{
    RegReg, RegImm, Locked,
}

/// <summary>Scans and counts.</summary>
internal enum ScanKind
{
    Bsf, Bsr, Popcnt, Tzcnt, Lzcnt, BitAddress,
}

/// <summary>What a condition is used for.</summary>
internal enum ConditionUse
{
    Jump, Set, Move16, Move32, Move64,
}

/// <summary>Handlers without operand kinds.</summary>
internal enum SimpleKind
{
    Nop, Clear, Cdq, Cqo, Cwd, Bswap32, Bswap64, AddressLong, FarAddress, AddressLegacy, Lea32B, Lea32X, Lea64B, Lea64X,
    Jump, JumpRegister, Call, CallRegister, Ret, Push, PushImm, Pop, Leave, LinkStub, CrossStub, Helper, HelperEnd, HelperRepeat,
}

internal static unsafe partial class HotTable
{
    public static nint Mul(int size, MulForm form) => size switch
    {
        1 => MulOfForm<S8>(form),
        2 => MulOfForm<S16>(form),
        4 => MulOfForm<S32>(form),
        _ => MulOfForm<S64>(form),
    };

    private static nint MulOfForm<TSize>(MulForm form) where TSize : ISize => form switch
    {
        MulForm.RegReg => At(&MulDiv<TSize>.RegReg),
        MulForm.RegRegImm => At(&MulDiv<TSize>.RegRegImm),
        MulForm.Mul => At(&MulDiv<TSize>.Mul),
        MulForm.Imul => At(&MulDiv<TSize>.Imul),
        MulForm.Div => HasShortDivision<TSize>() ? At(&MulDiv<TSize>.DivShort) : At(&MulDiv<TSize>.Div),
        _ => At(&MulDiv<TSize>.Idiv),
    };

    private static bool HasShortDivision<TSize>() where TSize : ISize => TSize.Bytes >= 4;

    public static nint Bit(BitKind kind, int size, BitForm form) => kind switch
    {
        BitKind.Test => BitOfSize<BitTest>(size, form),
        BitKind.Set => BitOfSize<BitSet>(size, form),
        BitKind.Reset => BitOfSize<BitReset>(size, form),
        _ => BitOfSize<BitFlip>(size, form),
    };

    private static nint BitOfSize<TBit>(int size, BitForm form) where TBit : IBit => size switch
    {
        2 => BitOfForm<TBit, S16>(form),
        4 => BitOfForm<TBit, S32>(form),
        _ => BitOfForm<TBit, S64>(form),
    };

    private static nint BitOfForm<TBit, TSize>(BitForm form) where TBit : IBit where TSize : ISize => form switch
    {
        BitForm.RegReg => At(&Bit<TBit, TSize>.RegReg),
        BitForm.RegImm => At(&Bit<TBit, TSize>.RegImm),
        _ => At(&Bit<TBit, TSize>.Locked),
    };

    public static nint Scan(ScanKind kind, int size) => size switch
    {
        2 => ScanOfKind<S16>(kind),
        4 => ScanOfKind<S32>(kind),
        _ => ScanOfKind<S64>(kind),
    };

    private static nint ScanOfKind<TSize>(ScanKind kind) where TSize : ISize => kind switch
    {
        ScanKind.Bsf => At(&Scan<TSize>.Bsf),
        ScanKind.Bsr => At(&Scan<TSize>.Bsr),
        ScanKind.Popcnt => At(&Scan<TSize>.Popcnt),
        ScanKind.Tzcnt => At(&Scan<TSize>.Tzcnt),
        ScanKind.Lzcnt => At(&Scan<TSize>.Lzcnt),
        _ => At(&Scan<TSize>.BitAddress),
    };

    /// <summary>SETcc, CMOVcc, Jcc: specialised by what set the flags where that is known and helps.</summary>
    public static nint Condition(ConditionUse use, int cc, FlagProducer producer) => (cc >> 1) switch
    {
        0 => OfCc<CcO>(use, cc, producer, false),
        1 => OfCc<CcB>(use, cc, producer, false),
        2 => OfCc<CcE>(use, cc, producer, true),
        3 => OfCc<CcBe>(use, cc, producer, false),
        4 => OfCc<CcS>(use, cc, producer, true),
        5 => OfCc<CcP>(use, cc, producer, true),
        6 => OfCc<CcL>(use, cc, producer, false),
        _ => OfCc<CcLe>(use, cc, producer, false),
    };

    /// <summary>The handler itself or, for a condition specialised by what set the flags, the one that takes them as they are.</summary>
    public static nint WithoutProducer(nint handler)
    {
        var info = Translate.OpCatalog.Find(handler);
        return info.Family == Translate.OpFamily.Condition ? Condition((ConditionUse)info.Kind, info.Form, FlagProducer.Unknown) : handler;
    }

    private static nint OfCc<TCc>(ConditionUse use, int cc, FlagProducer producer, bool resultOnly) where TCc : ICondition =>
        (cc & 1) == 0 ? OfProducer<TCc>(use, producer, resultOnly) : OfProducer<Not<TCc>>(use, producer, resultOnly);

    private static nint OfProducer<TCc>(ConditionUse use, FlagProducer producer, bool resultOnly) where TCc : ICondition => producer switch
    {
        FlagProducer.Sub => OfUse<AfterSub<TCc>>(use),
        FlagProducer.Logic => OfUse<AfterLogic<TCc>>(use),
        FlagProducer.Result when resultOnly => OfUse<AfterLogic<TCc>>(use),
        _ => OfUse<AfterAny<TCc>>(use),
    };

    private static nint OfUse<TTest>(ConditionUse use) where TTest : ITest => use switch
    {
        ConditionUse.Jump => At(&Conditional<TTest>.Jump),
        ConditionUse.Set => At(&Conditional<TTest>.Set),
        ConditionUse.Move16 => At(&Conditional<TTest>.Move<S16>),
        ConditionUse.Move32 => At(&Conditional<TTest>.Move<S32>),
        _ => At(&Conditional<TTest>.Move<S64>),
    };

    /// <summary>CMP or TEST of registers, or register and immediate, with the Jcc behind it.</summary>
    public static nint Fused(bool test, int size, int cc, bool immediate) => size switch
    {
        1 => FusedOfSize<S8>(test, cc, immediate),
        2 => FusedOfSize<S16>(test, cc, immediate),
        4 => FusedOfSize<S32>(test, cc, immediate),
        _ => FusedOfSize<S64>(test, cc, immediate),
    };

    private static nint FusedOfSize<TSize>(bool test, int cc, bool immediate) where TSize : ISize =>
        test ? FusedOfAlu<Test, TSize>(cc, immediate) : FusedOfAlu<Cmp, TSize>(cc, immediate);

    private static nint FusedOfAlu<TAlu, TSize>(int cc, bool immediate) where TAlu : IAlu where TSize : ISize => (cc >> 1) switch
    {
        0 => FusedOfCc<TAlu, TSize, CcO>(cc, immediate),
        1 => FusedOfCc<TAlu, TSize, CcB>(cc, immediate),
        2 => FusedOfCc<TAlu, TSize, CcE>(cc, immediate),
        3 => FusedOfCc<TAlu, TSize, CcBe>(cc, immediate),
        4 => FusedOfCc<TAlu, TSize, CcS>(cc, immediate),
        5 => FusedOfCc<TAlu, TSize, CcP>(cc, immediate),
        6 => FusedOfCc<TAlu, TSize, CcL>(cc, immediate),
        _ => FusedOfCc<TAlu, TSize, CcLe>(cc, immediate),
    };

    private static nint FusedOfCc<TAlu, TSize, TCc>(int cc, bool immediate) where TAlu : IAlu where TSize : ISize where TCc : ICondition
    {
        if ((cc & 1) == 0)
            return immediate ? At(&Fused<TAlu, TSize, TCc>.RegImm) : At(&Fused<TAlu, TSize, TCc>.RegReg);
        return immediate ? At(&Fused<TAlu, TSize, Not<TCc>>.RegImm) : At(&Fused<TAlu, TSize, Not<TCc>>.RegReg);
    }

    public static nint Simple(SimpleKind kind) => kind switch
    {
        SimpleKind.Nop => At(&Execute.Simple.Nop),
        SimpleKind.Clear => At(&Execute.Simple.Clear),
        SimpleKind.Cdq => At(&Execute.Simple.Cdq),
        SimpleKind.Cqo => At(&Execute.Simple.Cqo),
        SimpleKind.Cwd => At(&Execute.Simple.Cwd),
        SimpleKind.Bswap32 => At(&Execute.Simple.Bswap32),
        SimpleKind.Bswap64 => At(&Execute.Simple.Bswap64),
        SimpleKind.AddressLong => At(&Execute.Simple.AddressLong),
        SimpleKind.FarAddress => At(&Execute.Simple.FarAddress),
        SimpleKind.AddressLegacy => At(&SegmentAccess.AddressLegacy),
        SimpleKind.Lea32B => At(&Execute.Simple.Lea<S32, AddressB>),
        SimpleKind.Lea32X => At(&Execute.Simple.Lea<S32, AddressX>),
        SimpleKind.Lea64B => At(&Execute.Simple.Lea<S64, AddressB>),
        SimpleKind.Lea64X => At(&Execute.Simple.Lea<S64, AddressX>),
        _ => Flow(kind),
    };

    private static nint Flow(SimpleKind kind) => kind switch
    {
        SimpleKind.Jump => At(&Branch.Jump),
        SimpleKind.JumpRegister => At(&Branch.JumpRegister),
        SimpleKind.Call => At(&Branch.Call),
        SimpleKind.CallRegister => At(&Branch.CallRegister),
        SimpleKind.Ret => At(&Branch.Ret),
        SimpleKind.Push => At(&Stack64.Push),
        SimpleKind.PushImm => At(&Stack64.PushImm),
        SimpleKind.Pop => At(&Stack64.Pop),
        SimpleKind.Leave => At(&Stack64.Leave),
        SimpleKind.LinkStub => At(&Branch.LinkStub),
        SimpleKind.CrossStub => At(&Branch.CrossStub),
        SimpleKind.HelperEnd => At(&HelperCall.RunEnd),
        SimpleKind.HelperRepeat => At(&HelperCall.RunRepeat),
        _ => At(&HelperCall.Run),
    };
}
