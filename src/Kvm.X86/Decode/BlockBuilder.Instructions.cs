using Iced.Intel;
using Kvm.X86.Execute;
using Kvm.X86.State;

namespace Kvm.X86.Decode;

internal sealed partial class BlockBuilder
{
    /// <summary>One instruction by mnemonic: the integer core here, everything else by its helper.</summary>
    private void EmitInstruction()
    {
        var mnemonic = _i.Mnemonic;
        if (!EmitArithmetic(mnemonic) && !EmitData(mnemonic) && !EmitConditional() && !EmitFlow(mnemonic))
            EmitByHelper();
    }

    private bool EmitArithmetic(Mnemonic mnemonic)
    {
        switch (mnemonic)
        {
            case Mnemonic.Add: EmitAlu(AluKind.Add); return true;
            case Mnemonic.Or: EmitAlu(AluKind.Or); return true;
            case Mnemonic.Adc: EmitAlu(AluKind.Adc); return true;
            case Mnemonic.Sbb: EmitAlu(AluKind.Sbb); return true;
            case Mnemonic.And: EmitAlu(AluKind.And); return true;
            case Mnemonic.Sub: EmitAlu(AluKind.Sub); return true;
            case Mnemonic.Xor: EmitAlu(AluKind.Xor); return true;
            case Mnemonic.Cmp: EmitAlu(AluKind.Cmp); return true;
            case Mnemonic.Test: EmitAlu(AluKind.Test); return true;
            case Mnemonic.Inc: EmitUnary(UnaryKind.Inc); return true;
            case Mnemonic.Dec: EmitUnary(UnaryKind.Dec); return true;
            case Mnemonic.Neg: EmitUnary(UnaryKind.Neg); return true;
            case Mnemonic.Not: EmitUnary(UnaryKind.Not); return true;
            case Mnemonic.Rol: EmitShift(ShiftKind.Rol); return true;
            case Mnemonic.Ror: EmitShift(ShiftKind.Ror); return true;
            case Mnemonic.Rcl: EmitShift(ShiftKind.Rcl); return true;
            case Mnemonic.Rcr: EmitShift(ShiftKind.Rcr); return true;
            case Mnemonic.Shl or Mnemonic.Sal: EmitShift(ShiftKind.Shl); return true;
            case Mnemonic.Shr: EmitShift(ShiftKind.Shr); return true;
            case Mnemonic.Sar: EmitShift(ShiftKind.Sar); return true;
            case Mnemonic.Shld: EmitDoubleShift(true); return true;
            case Mnemonic.Shrd: EmitDoubleShift(false); return true;
            case Mnemonic.Imul: EmitImul(); return true;
            case Mnemonic.Mul: EmitMul(MulForm.Mul); return true;
            case Mnemonic.Div: EmitMul(MulForm.Div); return true;
            case Mnemonic.Idiv: EmitMul(MulForm.Idiv); return true;
            case Mnemonic.Bt: EmitBit(BitKind.Test); return true;
            case Mnemonic.Bts: EmitBit(BitKind.Set); return true;
            case Mnemonic.Btr: EmitBit(BitKind.Reset); return true;
            case Mnemonic.Btc: EmitBit(BitKind.Flip); return true;
            case Mnemonic.Bsf: EmitScan(ScanKind.Bsf); return true;
            case Mnemonic.Bsr: EmitScan(ScanKind.Bsr); return true;
            case Mnemonic.Popcnt: EmitScan(ScanKind.Popcnt); return true;
            // Without the feature the prefix is ignored, and the older instruction runs.
            case Mnemonic.Tzcnt: EmitScan((_features & CpuFeatures.Bmi1) != 0 ? ScanKind.Tzcnt : ScanKind.Bsf); return true;
            case Mnemonic.Lzcnt: EmitScan((_features & CpuFeatures.Lzcnt) != 0 ? ScanKind.Lzcnt : ScanKind.Bsr); return true;
            default: return false;
        }
    }

    private bool EmitData(Mnemonic mnemonic)
    {
        switch (mnemonic)
        {
            case Mnemonic.Mov or Mnemonic.Movnti: EmitMov(); return true;
            case Mnemonic.Movzx: EmitExtend(false); return true;
            case Mnemonic.Movsx or Mnemonic.Movsxd: EmitExtend(true); return true;
            case Mnemonic.Lea: EmitLea(); return true;
            case Mnemonic.Xchg: EmitExchange(); return true;
            case Mnemonic.Xadd: EmitAtomic(AtomicKind.ExchangeAdd, AtomicKind.RegisterExchangeAdd); return true;
            case Mnemonic.Cmpxchg: EmitAtomic(AtomicKind.CompareExchange, AtomicKind.RegisterCompareExchange); return true;
            case Mnemonic.Cdq: Add(SimpleKind.Cdq, Effects.None); return true;
            case Mnemonic.Cqo: Add(SimpleKind.Cqo, Effects.None); return true;
            case Mnemonic.Cwd: Add(SimpleKind.Cwd, Effects.None); return true;
            case Mnemonic.Cbw: EmitWiden(1, 2); return true;
            case Mnemonic.Cwde: EmitWiden(2, 4); return true;
            case Mnemonic.Cdqe: EmitWiden(4, 8); return true;
            case Mnemonic.Bswap: EmitBswap(); return true;
            case Mnemonic.Nop or Mnemonic.Endbr64 or Mnemonic.Endbr32 or Mnemonic.Reservednop
                or Mnemonic.Prefetch or Mnemonic.Prefetchnta or Mnemonic.Prefetcht0
                or Mnemonic.Prefetcht1 or Mnemonic.Prefetcht2 or Mnemonic.Prefetchw or Mnemonic.Prefetchwt1 or Mnemonic.Prefetchit0 or Mnemonic.Prefetchit1:
                Add(SimpleKind.Nop, Effects.None);
                return true;
            default: return false;
        }
    }

    private void EmitWiden(int from, int to)
    {
        ref var op = ref Add(HotTable.Extend(true, from, to, ExtendForm.RegReg), Effects.None);
        op.Reg = op.Rm = 0;
    }

    private void EmitBswap()
    {
        // BSWAP of 16 bits is undefined; processors clear the register's 16 bits.
        var register = _i.Op0Register;
        int size = RegisterNumber.SizeOf(register);
        if (size == 2)
        {
            ref var clear = ref Add(HotTable.Mov(2, MovForm.RegImm), Effects.None);
            clear.Reg = RegisterNumber.Of(register);
            return;
        }

        Add(size == 4 ? SimpleKind.Bswap32 : SimpleKind.Bswap64, Effects.None).Reg = RegisterNumber.Of(register);
    }

    /// <summary>SETcc, CMOVcc, Jcc.</summary>
    private bool EmitConditional()
    {
        int cc = (int)_i.ConditionCode - 1;
        if (cc < 0)
            return false;
        if (_i.OpCount == 2)
            EmitConditionalMove(cc);
        else if (_i.Op0Kind is OpKind.NearBranch16 or OpKind.NearBranch32 or OpKind.NearBranch64)
            return EmitConditionalJump(cc);
        else
            EmitSet(cc);
        return true;
    }

    private bool EmitConditionalJump(int cc)
    {
        if (_i.Mnemonic is Mnemonic.Loope or Mnemonic.Loopne)
            return false;
        if (!HotBranches)
        {
            ref var legacy = ref AddEnd(HelperTable.Address(BranchHelper.Jcc));
            legacy.Disp = (int)Target;
            legacy.Imm8 = (byte)cc;
            MarkBranch16(ref legacy);
            return true;
        }

        if (!TryFuse(cc))
            Add(HotTable.Condition(ConditionUse.Jump, cc, _producer), Effects.ReadsFlags | Effects.Exits);
        _ops[_count - 1].V = (byte)_instructions;
        Link(_count - 1, Target);
        if (_jumpCount >= MaxSideExits)
            EndAfterJump();
        return true;
    }

    /// <summary>Not taken, the last conditional jump of a block runs into a jump to what follows.</summary>
    private void EndAfterJump()
    {
        int next = _offset + _i.Length;
        EndAt(next);
    }

    /// <summary>Replaces the comparison just emitted by one that jumps too.</summary>
    private bool TryFuse(int cc)
    {
        int n = _start - 1;
        if (n < 0 || _fusable[n] == 0)
            return false;
        ref var op = ref _ops[n];
        int size = _fusable[n] & 15;
        bool immediate = (_fusable[n] & 16) != 0;
        op.Fn = HotTable.Fused((_fusable[n] & 32) != 0, size, cc, immediate);
        if (immediate)
            op.Disp = (int)op.Imm;
        op.Scale |= Op.FusedBit;
        _fusable[n] = 0;
        _quiet[n] = 0;
        _effects[n] = Effects.WritesFlags | Effects.ReadsFlags | Effects.Exits;
        // The jump shares the comparison's op: it begins no instruction of its own.
        _start = _count;
        return true;
    }

    private bool EmitFlow(Mnemonic mnemonic)
    {
        switch (mnemonic)
        {
            case Mnemonic.Jmp: EmitJump(); return true;
            case Mnemonic.Call: EmitCall(); return true;
            case Mnemonic.Ret: EmitReturn(); return true;
            case Mnemonic.Push: EmitPush(); return true;
            case Mnemonic.Pop: EmitPop(); return true;
            case Mnemonic.Leave: EmitLeave(); return true;
            case Mnemonic.Loop or Mnemonic.Loope or Mnemonic.Loopne or Mnemonic.Jcxz or Mnemonic.Jecxz or Mnemonic.Jrcxz:
                EmitLoop(mnemonic);
                return true;
            default: return false;
        }
    }

    /// <summary>Direct branches can be linked: 64-bit code, or 32-bit code without a limit and with 32-bit operands.</summary>
    private bool HotBranches => (_mode & ModeBits.FlatCode) != 0
        && _i.Op0Kind is not (OpKind.NearBranch16 or OpKind.FarBranch16)
        && (_mode & ModeBits.CodeSize) != 0;

    /// <summary>Tells a branch helper that IP wraps at 64 KiB.</summary>
    private void MarkBranch16(ref Op op) => op.Scale |= (byte)(_i.Op0Kind == OpKind.NearBranch16 ? 1 : 0);

    /// <summary>Target of a direct branch relative to the page's first byte.</summary>
    private long Target => (_mode & ModeBits.CodeSize) switch
    {
        2 when _i.Op0Kind == OpKind.NearBranch64 => (long)_i.NearBranchTarget,
        0 => (short)_i.NearBranchTarget,
        _ => (int)_i.NearBranchTarget,
    };
}
