using Iced.Intel;
using Kvm.X86.Execute;
using Kvm.X86.State;

namespace Kvm.X86.Decode;

internal sealed partial class BlockBuilder
{
    private const Effects Sets = Effects.WritesFlags;

    private void EmitAlu(AluKind kind)
    {
        int size = OperandSize();
        bool carries = kind is AluKind.Adc or AluKind.Sbb;
        var effects = carries ? Effects.ReadsFlags : Sets;
        if (IsRegister(Kind0))
            EmitAluRegister(kind, size, effects);
        else
            EmitAluMemory(kind, size, effects | Effects.Exits);
        _producer = kind switch
        {
            _ when Clears(kind, size) => FlagProducer.Logic,
            AluKind.Sub or AluKind.Cmp => FlagProducer.Sub,
            AluKind.And or AluKind.Or or AluKind.Xor or AluKind.Test => FlagProducer.Logic,
            _ => FlagProducer.Result,
        };
    }

    private void EmitAluRegister(AluKind kind, int size, Effects effects)
    {
        byte reg = RegisterNumber.Of(_i.Op0Register);
        if (Kind1 == OpKind.Memory)
        {
            var m = Memory(size, false);
            ref var load = ref Add(HotTable.Alu(kind, size, m.Indexed ? AluForm.RegMemX : AluForm.RegMemB), effects | Effects.Exits);
            m.Apply(ref load);
            load.Reg = reg;
            return;
        }

        if (IsRegister(Kind1))
        {
            byte source = RegisterNumber.Of(_i.Op1Register);
            if (Clears(kind, size))
            {
                Add(HotTable.Simple(SimpleKind.Clear), effects).Reg = reg;
                return;
            }

            ref var op = ref Add(HotTable.Alu(kind, size, AluForm.RegReg), effects, HotTable.Alu(kind, size, AluForm.RegRegQuiet));
            op.Reg = reg;
            op.Rm = source;
            MarkFusable(kind, size, false);
            return;
        }

        ref var imm = ref Add(HotTable.Alu(kind, size, AluForm.RegImm), effects, HotTable.Alu(kind, size, AluForm.RegImmQuiet));
        imm.Reg = reg;
        imm.Imm = Immediate(1, size);
        MarkFusable(kind, size, true);
    }

    /// <summary>XOR or SUB of a register with itself, which is carried out as a store of zero and leaves its flags in the form of a logical operation.</summary>
    private bool Clears(AluKind kind, int size) =>
        size >= 4 && (kind is AluKind.Xor or AluKind.Sub) && IsRegister(Kind0) && IsRegister(Kind1) && _i.Op0Register == _i.Op1Register;

    /// <summary>Remembers a register comparison: a conditional jump right behind it joins it.</summary>
    private void MarkFusable(AluKind kind, int size, bool immediate)
    {
        if (kind is AluKind.Cmp or AluKind.Test)
            _fusable[_count - 1] = (byte)(size | (immediate ? 16 : 0) | (kind == AluKind.Test ? 32 : 0));
    }

    private void EmitAluMemory(AluKind kind, int size, Effects effects)
    {
        bool immediate = !IsRegister(Kind1);
        var m = Memory(size, kind is not (AluKind.Cmp or AluKind.Test));
        AluForm form = _i.HasLockPrefix ? AluForm.Locked
            : immediate ? (m.Indexed ? AluForm.MemImmX : AluForm.MemImmB)
            : m.Indexed ? AluForm.MemRegX : AluForm.MemRegB;
        ref var op = ref Add(HotTable.Alu(kind, size, form), effects);
        m.Apply(ref op);
        if (immediate)
        {
            op.Imm = Immediate(1, size);
            op.V = 1; // read by the locked form
        }
        else
            op.Reg = RegisterNumber.Of(_i.Op1Register);
    }

    private void EmitUnary(UnaryKind kind)
    {
        int size = OperandSize();
        var effects = kind switch
        {
            UnaryKind.Neg => Sets,
            UnaryKind.Not => Effects.None,
            _ => Effects.ReadsFlags, // CF stays
        };
        if (IsRegister(Kind0))
        {
            nint quiet = kind == UnaryKind.Not ? 0 : HotTable.Unary(kind, size, UnaryForm.Quiet);
            Add(HotTable.Unary(kind, size, UnaryForm.Register), effects, quiet).Reg = RegisterNumber.Of(_i.Op0Register);
        }
        else
        {
            var m = Memory(size, true);
            var form = _i.HasLockPrefix ? UnaryForm.Locked : m.Indexed ? UnaryForm.MemX : UnaryForm.MemB;
            m.Apply(ref Add(HotTable.Unary(kind, size, form), effects | Effects.Exits));
        }

        if (kind != UnaryKind.Not)
            _producer = kind == UnaryKind.Neg ? FlagProducer.Sub : FlagProducer.Result;
    }

    private void EmitShift(ShiftKind kind)
    {
        int size = OperandSize();
        bool byCl = IsRegister(Kind1);
        bool rotate = kind < ShiftKind.Shl;
        int count = byCl ? 0 : (int)_i.GetImmediate(1) & (size == 8 ? 63 : 31);
        bool memory = !IsRegister(Kind0);
        if (!byCl && count == 0)
        {
            // No flags, no change; a 32-bit register is still written. A memory operand is read and written.
            EmitShiftByZero(size, memory);
            return;
        }

        var m = memory ? LoadToModify(size) : default;
        byte reg = memory ? TempOf(size) : RegisterNumber.Of(_i.Op0Register);
        ref var op = ref Add(HotTable.Shift(kind, size, byCl), byCl || rotate ? Effects.ReadsFlags : Sets);
        op.Reg = reg;
        op.Imm = count;
        if (memory)
            StoreTemp(m, size);
        _producer = byCl || rotate ? FlagProducer.Unknown : FlagProducer.Result;
    }

    private void EmitShiftByZero(int size, bool memory)
    {
        if (memory)
        {
            StoreTemp(LoadToModify(size), size);
            return;
        }

        ref var op = ref Add(HotTable.Mov(size, MovForm.RegReg), Effects.None);
        op.Reg = op.Rm = RegisterNumber.Of(_i.Op0Register);
    }

    private void EmitDoubleShift(bool left)
    {
        int size = OperandSize();
        bool memory = !IsRegister(Kind0);
        var m = memory ? LoadToModify(size) : default;
        ref var op = ref Add(HotTable.DoubleShift(left, size), Effects.ReadsFlags);
        op.Reg = memory ? TempOf(size) : RegisterNumber.Of(_i.Op0Register);
        op.Rm = RegisterNumber.Of(_i.Op1Register);
        op.Imm = _i.Op2Kind == OpKind.Register ? -1 : (byte)_i.GetImmediate(2);
        if (memory)
            StoreTemp(m, size);
        _producer = FlagProducer.Unknown;
    }

    private void EmitImul()
    {
        if (_i.OpCount == 1)
        {
            EmitMul(MulForm.Imul);
            return;
        }

        int size = RegisterNumber.SizeOf(_i.Op0Register);
        byte source = Source(1, size);
        ref var op = ref Add(HotTable.Mul(size, _i.OpCount == 3 ? MulForm.RegRegImm : MulForm.RegReg), Sets);
        op.Reg = RegisterNumber.Of(_i.Op0Register);
        op.Rm = source;
        if (_i.OpCount == 3)
            op.Imm = Immediate(2, size);
        _producer = FlagProducer.Result;
    }

    private void EmitMul(MulForm form)
    {
        int size = OperandSize();
        byte source = Source(0, size);
        bool divides = form is MulForm.Div or MulForm.Idiv;
        Add(HotTable.Mul(size, form), divides ? Effects.Exits : Sets).Rm = source;
        if (!divides) // division leaves all flags undefined: here, as they were
            _producer = FlagProducer.Result;
    }

    private void EmitMov()
    {
        if (_i.OpCount == 2 && IsRegister(Kind0) && IsRegister(Kind1))
        {
            if (IsSpecial(_i.Op0Register) || IsSpecial(_i.Op1Register))
            {
                EmitSpecialMov();
                return;
            }

            ref var op = ref Add(HotTable.Mov(RegisterNumber.SizeOf(_i.Op0Register), MovForm.RegReg), Effects.None);
            op.Reg = RegisterNumber.Of(_i.Op0Register);
            op.Rm = RegisterNumber.Of(_i.Op1Register);
        }
        else if (IsRegister(Kind0))
            EmitMovToRegister();
        else
            EmitMovToMemory();
    }

    private void EmitMovToRegister()
    {
        if (IsSpecial(_i.Op0Register))
        {
            EmitSpecialMov();
            return;
        }

        int size = RegisterNumber.SizeOf(_i.Op0Register);
        if (Kind1 == OpKind.Memory)
        {
            var m = Memory(size, false);
            ref var load = ref Add(HotTable.Mov(size, m.Indexed ? MovForm.LoadX : MovForm.LoadB), Effects.Exits);
            m.Apply(ref load);
            load.Reg = RegisterNumber.Of(_i.Op0Register);
            return;
        }

        ref var op = ref Add(HotTable.Mov(size, MovForm.RegImm), Effects.None);
        op.Reg = RegisterNumber.Of(_i.Op0Register);
        op.Imm = Immediate(1, size);
    }

    private void EmitMovToMemory()
    {
        if (IsRegister(Kind1) && IsSpecial(_i.Op1Register))
        {
            EmitSpecialMov();
            return;
        }

        bool immediate = !IsRegister(Kind1);
        int size = immediate ? _i.MemorySize.GetSize() : RegisterNumber.SizeOf(_i.Op1Register);
        var m = Memory(size, true);
        MovForm form = immediate ? (m.Indexed ? MovForm.StoreImmX : MovForm.StoreImmB) : m.Indexed ? MovForm.StoreX : MovForm.StoreB;
        ref var op = ref Add(HotTable.Mov(size, form), Effects.Exits);
        m.Apply(ref op);
        if (immediate)
            op.Imm = Immediate(1, size);
        else
            op.Reg = RegisterNumber.Of(_i.Op1Register);
    }

    /// <summary>Segment, control and debug registers.</summary>
    private static bool IsSpecial(Register register) => register is >= Register.ES and <= Register.GS or >= Register.CR0 and <= Register.DR15
        or >= Register.TR0 and <= Register.TR7;

    private void EmitExtend(bool signed)
    {
        int to = RegisterNumber.SizeOf(_i.Op0Register);
        bool register = IsRegister(Kind1);
        int from = register ? RegisterNumber.SizeOf(_i.Op1Register) : _i.MemorySize.GetSize();
        if (from >= to)
        {
            EmitMov(); // MOVSXD r16,r/m16 and r32,r/m32, MOVZX r16,r/m16
            return;
        }

        if (register)
        {
            ref var op = ref Add(HotTable.Extend(signed, from, to, ExtendForm.RegReg), Effects.None);
            op.Reg = RegisterNumber.Of(_i.Op0Register);
            op.Rm = RegisterNumber.Of(_i.Op1Register);
            return;
        }

        var m = Memory(from, false);
        ref var load = ref Add(HotTable.Extend(signed, from, to, m.Indexed ? ExtendForm.LoadX : ExtendForm.LoadB), Effects.Exits);
        m.Apply(ref load);
        load.Reg = RegisterNumber.Of(_i.Op0Register);
    }

    private void EmitLea()
    {
        int size = RegisterNumber.SizeOf(_i.Op0Register);
        int addressSize = AddressSize(out bool ipRelative);
        var m = default(MemoryOperand);
        Describe(ref m, ipRelative, out long far);
        if (far != 0)
        {
            Add(SimpleKind.FarAddress, Effects.None).Imm = far;
            m = new MemoryOperand { Base = Slots.Address, Index = Slots.Zero };
        }

        if (addressSize == 8 && size >= 4)
        {
            EmitLeaPlain(m, size == 8);
            return;
        }

        if (addressSize == 4 && size == 4)
        {
            EmitLeaPlain(m, false);
            return;
        }

        // Odd combinations: the address into a slot, cut to the address size, then a move of the operand size.
        EmitLeaPlain(m, addressSize == 8, Slots.Temp);
        if (addressSize == 2)
        {
            ref var cut = ref Add(HotTable.Extend(false, 2, 4, ExtendForm.RegReg), Effects.None);
            cut.Reg = cut.Rm = Slots.Temp;
        }

        ref var op = ref Add(HotTable.Mov(size, MovForm.RegReg), Effects.None);
        op.Reg = RegisterNumber.Of(_i.Op0Register);
        op.Rm = Slots.Temp;
    }

    private void EmitLeaPlain(in MemoryOperand m, bool wide, int slot = -1)
    {
        var kind = wide ? (m.Indexed ? SimpleKind.Lea64X : SimpleKind.Lea64B) : m.Indexed ? SimpleKind.Lea32X : SimpleKind.Lea32B;
        ref var op = ref Add(kind, Effects.None);
        m.Apply(ref op);
        op.Reg = slot >= 0 ? (byte)slot : RegisterNumber.Of(_i.Op0Register);
    }

    private void EmitBit(BitKind kind)
    {
        int size = OperandSize();
        bool immediate = !IsRegister(Kind1);
        byte number = immediate ? (byte)0 : RegisterNumber.Of(_i.Op1Register);
        if (IsRegister(Kind0))
        {
            ref var op = ref Add(HotTable.Bit(kind, size, immediate ? BitForm.RegImm : BitForm.RegReg), Effects.ReadsFlags);
            op.Reg = RegisterNumber.Of(_i.Op0Register);
            op.Rm = number;
            op.Imm = immediate ? Immediate(1, 1) : 0;
        }
        else
            EmitBitMemory(kind, size, immediate, number);
        _producer = FlagProducer.Unknown;
    }

    private void EmitBitMemory(BitKind kind, int size, bool immediate, byte number)
    {
        var m = BitOperand(size, kind != BitKind.Test, immediate, number);
        bool locked = _i.HasLockPrefix;
        if (!locked)
        {
            ref var load = ref Add(HotTable.Mov(size, kind == BitKind.Test ? (m.Indexed ? MovForm.LoadX : MovForm.LoadB) : MovForm.LoadToModify), Effects.Exits);
            m.Apply(ref load);
            load.Reg = Slots.Temp;
        }

        ref var op = ref Add(HotTable.Bit(kind, size, locked ? BitForm.Locked : immediate ? BitForm.RegImm : BitForm.RegReg),
            Effects.ReadsFlags | (locked ? Effects.Exits : Effects.None));
        if (locked)
            m.Apply(ref op);
        else
            op.Rm = number;
        op.Reg = locked ? number : (byte)Slots.Temp;
        op.Imm = immediate ? Immediate(1, 1) : 0;
        op.V = (byte)(immediate ? 1 : 0);
        if (!locked && kind != BitKind.Test)
            StoreTemp(m, size);
    }

    /// <summary>The operand a bit number in a register may move far away from the address written.</summary>
    private MemoryOperand BitOperand(int size, bool write, bool immediate, byte number)
    {
        if (immediate)
            return Memory(size, write);
        if (!_long)
        {
            // The offset must be moved before the segment's limit is looked at.
            var m = new MemoryOperand { Segment = (byte)(_i.MemorySegment - Register.ES) };
            int addressSize = AddressSize(out _);
            Describe(ref m, false, out _);
            ref var far = ref Add(HotTable.Scan(ScanKind.BitAddress, size), Effects.None);
            m.Apply(ref far);
            far.Reg = number;
            ref var check = ref Add(SimpleKind.AddressLegacy, Effects.Exits);
            new MemoryOperand { Segment = m.Segment, Base = Slots.Address, Index = Slots.Zero }.Apply(ref check);
            check.Imm = (long)(uint)size | (write ? SegmentAccess.WriteBit : 0) | (addressSize == 2 ? SegmentAccess.Address16Bit : 0);
        }
        else
        {
            var m = Memory(size, write);
            ref var moved = ref Add(HotTable.Scan(ScanKind.BitAddress, size), Effects.None);
            m.Apply(ref moved);
            moved.Reg = number;
        }

        return new MemoryOperand { Segment = (byte)(_i.MemorySegment - Register.ES), Base = Slots.Address, Index = Slots.Zero };
    }

    private void EmitScan(ScanKind kind)
    {
        int size = RegisterNumber.SizeOf(_i.Op0Register);
        byte source = Source(1, size);
        bool scan = kind is ScanKind.Bsf or ScanKind.Bsr;
        ref var op = ref Add(HotTable.Scan(kind, size), Sets);
        op.Reg = RegisterNumber.Of(_i.Op0Register);
        op.Rm = source;
        _producer = scan ? FlagProducer.Result : FlagProducer.Unknown;
    }

    private void EmitExchange()
    {
        if (IsRegister(Kind0) && IsRegister(Kind1))
        {
            ref var op = ref Add(HotTable.Mov(RegisterNumber.SizeOf(_i.Op0Register), MovForm.Exchange), Effects.None);
            op.Reg = RegisterNumber.Of(_i.Op0Register);
            op.Rm = RegisterNumber.Of(_i.Op1Register);
            return;
        }

        int size = _i.MemorySize.GetSize();
        var m = Memory(size, true);
        ref var exchange = ref Add(HotTable.Atomic(AtomicKind.Exchange, size), Effects.Exits);
        m.Apply(ref exchange);
        exchange.Reg = RegisterNumber.Of(IsRegister(Kind0) ? _i.Op0Register : _i.Op1Register);
    }

    /// <summary>XADD and CMPXCHG: on memory always atomic, on registers plain.</summary>
    private void EmitAtomic(AtomicKind kind, AtomicKind registerKind)
    {
        byte source = RegisterNumber.Of(_i.Op1Register);
        int size = RegisterNumber.SizeOf(_i.Op1Register);
        if (IsRegister(Kind0))
        {
            ref var op = ref Add(HotTable.Atomic(registerKind, size), Sets);
            op.Reg = source;
            op.Rm = RegisterNumber.Of(_i.Op0Register);
        }
        else
        {
            var m = Memory(size, true);
            ref var op = ref Add(HotTable.Atomic(kind, size), Sets | Effects.Exits);
            m.Apply(ref op);
            op.Reg = source;
        }

        _producer = FlagProducer.Result;
    }

    private void EmitSet(int cc)
    {
        bool register = IsRegister(Kind0);
        var m = register ? default : Memory(1, true);
        ref var op = ref Add(HotTable.Condition(ConditionUse.Set, cc, _producer), Effects.ReadsFlags);
        op.Reg = register ? RegisterNumber.Of(_i.Op0Register) : TempOf(1);
        if (!register)
            StoreTemp(m, 1);
    }

    private void EmitConditionalMove(int cc)
    {
        int size = RegisterNumber.SizeOf(_i.Op0Register);
        byte source = Source(1, size);
        ref var op = ref Add(HotTable.Condition(size switch { 2 => ConditionUse.Move16, 4 => ConditionUse.Move32, _ => ConditionUse.Move64 }, cc, _producer), Effects.ReadsFlags);
        op.Reg = RegisterNumber.Of(_i.Op0Register);
        op.Rm = source;
    }
}
