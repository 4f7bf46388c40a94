using Kvm.X86.Decode;
using Kvm.X86.Execute;

namespace Kvm.X86.Translate;

/// <summary>Status flags in the two parts that instructions treat differently.</summary>
[Flags]
internal enum FlagSet : byte
{
    None = 0, Carry = 1, Rest = 2, All = 3,
}

/// <summary>What an op does to the status flags.</summary>
/// <param name="Reads">Looked at by the op, or by whatever is reached when the op leaves the block.</param>
/// <param name="Kills">Replaced for certain.</param>
internal readonly record struct FlagEffect(FlagSet Reads, FlagSet Kills)
{
    private static readonly FlagEffect Nothing = default, Exits = new(FlagSet.All, FlagSet.None), Sets = new(FlagSet.None, FlagSet.All), ExitsSets = new(FlagSet.All, FlagSet.All);

    /// <summary>The effect of an op.</summary>
    public static FlagEffect Of(in OpInfo info, in Op op) => info.Family switch
    {
        OpFamily.Alu => OfAlu((AluKind)info.Kind, (AluForm)info.Form),
        OpFamily.Unary => OfUnary((UnaryKind)info.Kind, (UnaryForm)info.Form),
        OpFamily.Shift => OfShift(info),
        OpFamily.DoubleShift => op.Imm >= 0 && (op.Imm & (info.Size == 8 ? 63 : 31)) != 0 ? Sets : Nothing,
        OpFamily.Mov => info.Form is (byte)MovForm.RegReg or (byte)MovForm.RegImm or (byte)MovForm.Exchange ? Nothing : Exits,
        OpFamily.Extend => info.Form == (byte)ExtendForm.RegReg ? Nothing : Exits,
        OpFamily.Mul => info.Form is (byte)MulForm.Div or (byte)MulForm.Idiv ? Exits : Sets,
        OpFamily.Bit => new FlagEffect(info.Form == (byte)BitForm.Locked ? FlagSet.All : FlagSet.None, FlagSet.Carry),
        OpFamily.Scan => info.Kind == (byte)ScanKind.BitAddress ? Nothing : Sets,
        OpFamily.Condition => new FlagEffect(info.Kind == (byte)ConditionUse.Jump ? FlagSet.All : ReadBy(info.Form), FlagSet.None),
        OpFamily.Fused => Sets,
        OpFamily.Atomic => OfAtomic((AtomicKind)info.Kind),
        OpFamily.Simple => OfSimple((SimpleKind)info.Kind),
        _ => Exits,
    };

    /// <summary>
    /// Parts with a flag that the manual calls undefined behind the op (SDM vol. 1, appendix A). AF behind AND, OR, XOR and TEST is left out:
    /// it is 0 on every processor known.
    /// </summary>
    public static FlagSet UndefinedBy(in OpInfo info, in Op op) => info.Family switch
    {
        OpFamily.Shift => OfShiftUndefined(info, op),
        OpFamily.DoubleShift => FlagSet.All,
        OpFamily.Mul => info.Form is (byte)MulForm.Div or (byte)MulForm.Idiv ? FlagSet.None : FlagSet.Rest,
        OpFamily.Bit => FlagSet.Rest,
        OpFamily.Scan => (ScanKind)info.Kind switch
        {
            ScanKind.Popcnt or ScanKind.BitAddress => FlagSet.None,
            ScanKind.Bsf or ScanKind.Bsr => FlagSet.All,
            _ => FlagSet.Rest,
        },
        _ => FlagSet.None,
    };

    /// <summary>Rotates by one leave nothing undefined, by more OF; shifts always AF, and CF for counts above the operand's size.</summary>
    private static FlagSet OfShiftUndefined(in OpInfo info, in Op op)
    {
        bool byCl = info.Form != 0;
        if ((ShiftKind)info.Kind < ShiftKind.Shl)
            return byCl || op.Imm != 1 ? FlagSet.Rest : FlagSet.None;
        return byCl || op.Imm >= info.Size * 8 ? FlagSet.All : FlagSet.Rest;
    }

    /// <summary>Flags a condition code looks at.</summary>
    public static FlagSet ReadBy(int cc) => (cc >> 1) switch { 1 => FlagSet.Carry, 3 => FlagSet.All, _ => FlagSet.Rest };

    private static FlagEffect OfAlu(AluKind kind, AluForm form)
    {
        bool carries = kind is AluKind.Adc or AluKind.Sbb;
        var reads = carries ? FlagSet.Carry : FlagSet.None;
        // Quiet forms are chosen where the flags are dead behind them: as good as set.
        return form <= AluForm.RegImmQuiet ? new FlagEffect(reads, FlagSet.All) : ExitsSets;
    }

    private static FlagEffect OfUnary(UnaryKind kind, UnaryForm form)
    {
        var kills = kind switch { UnaryKind.Neg => FlagSet.All, UnaryKind.Not => FlagSet.None, _ => FlagSet.Rest };
        if (form == UnaryForm.Quiet)
            kills = FlagSet.All;
        return new FlagEffect(form <= UnaryForm.Quiet ? FlagSet.None : FlagSet.All, kills);
    }

    private static FlagEffect OfShift(in OpInfo info)
    {
        var kind = (ShiftKind)info.Kind;
        var reads = kind is ShiftKind.Rcl or ShiftKind.Rcr ? FlagSet.Carry : FlagSet.None;
        // By CL nothing may happen at all; rotates leave SF, ZF, AF and PF.
        return info.Form != 0 ? new FlagEffect(reads, FlagSet.None) : kind < ShiftKind.Shl ? new FlagEffect(reads, FlagSet.Carry) : Sets;
    }

    private static FlagEffect OfAtomic(AtomicKind kind) => kind switch
    {
        AtomicKind.Exchange => Exits,
        AtomicKind.ExchangeAdd or AtomicKind.CompareExchange => ExitsSets,
        _ => Sets,
    };

    private static FlagEffect OfSimple(SimpleKind kind) => kind switch
    {
        SimpleKind.Clear => Sets,
        SimpleKind.Nop or SimpleKind.Cdq or SimpleKind.Cqo or SimpleKind.Cwd or SimpleKind.Bswap32 or SimpleKind.Bswap64 or SimpleKind.AddressLong
            or SimpleKind.FarAddress or SimpleKind.Lea32B or SimpleKind.Lea32X or SimpleKind.Lea64B or SimpleKind.Lea64X => Nothing,
        _ => Exits,
    };
}
