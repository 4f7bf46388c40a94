using Iced.Intel;
using Kvm.X86.Execute;
using Kvm.X86.State;

namespace Kvm.X86.Decode;

internal sealed partial class BlockBuilder
{
    private InstructionInfoFactory? _infoFactory;

    /// <summary>The last instruction was decoded, is defined, and has no implementation here.</summary>
    public bool LastUnknown { get; private set; }

    /// <summary>Everything without a hot form.</summary>
    private void EmitByHelper()
    {
        nint helper = HelperTable.Resolve(_i.Code, out var kind);
        if (helper == 0)
        {
            LastUnknown = _i.Mnemonic is not (Mnemonic.Ud0 or Mnemonic.Ud1 or Mnemonic.Ud2);
            EmitUndefined();
            return;
        }

        switch (_i.Mnemonic)
        {
            case Mnemonic.Movbe:
                EmitMovbe(helper);
                return;
            case Mnemonic.Arpl:
                EmitArpl(helper);
                return;
        }

        if (TakesSource(_i.Mnemonic) && !IsStoreOfSegment)
        {
            EmitWithSource(helper, kind);
            return;
        }

        MemoryOperand m = default;
        bool memory = TryHelperMemory(out m, out bool implicitAddress);
        ref var op = ref AddByKind(helper, kind);
        if (memory)
            m.Apply(ref op);
        DescribeRegisters(ref op, memory && !implicitAddress);
        DescribeRest(ref op);
    }

    private void EmitUndefined()
    {
        bool tooLong = _i.IsInvalid && _i.Length >= 15;
        AddEnd(HelperTable.Address(tooLong ? BranchHelper.TooLong : BranchHelper.Undefined));
    }

    private ref Op AddByKind(nint helper, HelperKind kind)
    {
        if (kind == HelperKind.Ends)
            return ref AddEnd(helper);
        ref var op = ref AddHelper(helper);
        if (kind == HelperKind.Repeats)
            op.Fn = HotTable.Simple(SimpleKind.HelperRepeat);
        return ref op;
    }

    /// <summary>MOV to and from segment, control and debug registers.</summary>
    private void EmitSpecialMov()
    {
        if (!IsStoreOfSegment)
        {
            EmitByHelper();
            return;
        }

        int size = IsRegister(Kind0) ? RegisterNumber.SizeOf(_i.Op0Register) : 2;
        var m = IsRegister(Kind0) ? default : Memory(2, true);
        ref var op = ref AddHelper(HelperTable.Address(BranchHelper.StoreSegment));
        if (IsRegister(Kind0))
            op.Rm = RegisterNumber.Of(_i.Op0Register);
        else
            m.Apply(ref op);
        op.Reg = RegisterNumber.Of(_i.Op1Register);
        op.Imm8 = (byte)size;
    }

    private bool IsStoreOfSegment => _i.Mnemonic == Mnemonic.Mov && IsRegister(_i.Op1Kind) && _i.Op1Register is >= Register.ES and <= Register.GS;

    /// <summary>Integer helpers whose r/m operand is a value: memory is loaded to slot Temp first.</summary>
    private static bool TakesSource(Mnemonic mnemonic) => mnemonic switch
    {
        Mnemonic.Mov => true, // to a segment register; control and debug registers have no memory form
        Mnemonic.Lldt or Mnemonic.Ltr or Mnemonic.Verr or Mnemonic.Verw or Mnemonic.Lar or Mnemonic.Lsl or Mnemonic.Lmsw => true,
        Mnemonic.Andn or Mnemonic.Bextr or Mnemonic.Blsi or Mnemonic.Blsr or Mnemonic.Blsmsk or Mnemonic.Bzhi or Mnemonic.Mulx
            or Mnemonic.Pdep or Mnemonic.Pext or Mnemonic.Rorx or Mnemonic.Sarx or Mnemonic.Shlx or Mnemonic.Shrx => true,
        Mnemonic.Adcx or Mnemonic.Adox or Mnemonic.Crc32 => true,
        _ => false,
    };

    private void EmitWithSource(nint helper, HelperKind kind)
    {
        int operand = MemoryOperandIndex();
        int size = operand >= 0 ? _i.MemorySize.GetSize() : 0;
        byte source = operand >= 0 ? LoadTemp(size) : (byte)0;
        ref var op = ref AddByKind(helper, kind);
        DescribeRegisters(ref op, operand >= 0);
        DescribeRest(ref op);
        if (operand >= 0)
            op.Rm = source;
        else if (_i.Mnemonic == Mnemonic.Crc32)
            op.Rm = RegisterNumber.Of(_i.Op1Register);
    }

    private void EmitMovbe(nint helper)
    {
        int size = _i.MemorySize.GetSize();
        if (Kind0 == OpKind.Memory)
        {
            var m = Memory(size, true);
            ref var swap = ref AddHelper(helper);
            swap.Reg = Slots.Temp;
            swap.Rm = RegisterNumber.Of(_i.Op1Register);
            StoreTemp(m, size);
            return;
        }

        byte source = LoadTemp(size);
        ref var op = ref AddHelper(helper);
        op.Reg = RegisterNumber.Of(_i.Op0Register);
        op.Rm = source;
    }

    private void EmitArpl(nint helper)
    {
        bool memory = Kind0 == OpKind.Memory;
        var m = memory ? LoadToModify(2) : default;
        ref var op = ref AddHelper(helper);
        op.Reg = RegisterNumber.Of(_i.Op1Register);
        op.Rm = memory ? (byte)Slots.Temp : RegisterNumber.Of(_i.Op0Register);
        if (memory)
            StoreTemp(m, 2);
    }

    private int MemoryOperandIndex()
    {
        for (int n = 0; n < _i.OpCount; n++)
        {
            if (_i.GetOpKind(n) == OpKind.Memory)
                return n;
        }

        return -1;
    }

    /// <summary>The memory operand of a helper; MASKMOVQ's and MASKMOVDQU's is rDI without being in ModRM.</summary>
    private bool TryHelperMemory(out MemoryOperand m, out bool implicitAddress)
    {
        m = default;
        implicitAddress = false;
        if (_i.Mnemonic is Mnemonic.Xlatb)
            return false;
        int operand = MemoryOperandIndex();
        if (operand >= 0)
        {
            m = HelperMemory(operand);
            return true;
        }

        if (_i.Mnemonic is not (Mnemonic.Maskmovq or Mnemonic.Maskmovdqu or Mnemonic.Vmaskmovdqu))
            return false;
        implicitAddress = true;
        int size = _i.Op0Kind switch { OpKind.MemorySegRDI => 8, OpKind.MemorySegEDI => 4, _ => 2 };
        m = AddressOf(new MemoryOperand { Base = 7, Index = Slots.Zero, Segment = (byte)ImplicitSegment }, size, 1, true);
        return true;
    }

    private MemoryOperand HelperMemory(int operand)
    {
        int size = Math.Max(_i.MemorySize.GetSize(), 1);
        bool write = !_long && Writes(operand);
        if (_i.MemoryIndex is < Register.XMM0 or > Register.ZMM31)
            return Memory(size, write);
        // A vector index stays with the helper; the rest of the address goes the usual way.
        var index = _i.MemoryIndex;
        int scale = _i.MemoryIndexScale;
        _i.MemoryIndex = Register.None;
        var m = Memory(1, write);
        _i.MemoryIndex = index;
        m.Index = RegisterNumber.Of(index);
        m.Scale = (byte)(scale switch { 2 => 1, 4 => 2, 8 => 3, _ => 0 });
        return m;
    }

    private bool Writes(int operand)
    {
        _infoFactory ??= new InstructionInfoFactory();
        var access = _infoFactory.GetInfo(_i, InstructionInfoOptions.NoRegisterUsage | InstructionInfoOptions.NoMemoryUsage).GetOpAccess(operand);
        return access is OpAccess.Write or OpAccess.CondWrite or OpAccess.ReadWrite or OpAccess.ReadCondWrite;
    }

    /// <summary>Segment of an implicit operand: DS unless a prefix says otherwise.</summary>
    private int ImplicitSegment => _i.SegmentPrefix == Register.None ? Seg.Ds : _i.SegmentPrefix - Register.ES;

    /// <summary>ModRM.reg, ModRM.rm and VEX.vvvv as encoded: operands' order differs from instruction to instruction, the encoding's does not.</summary>
    private void DescribeRegisters(ref Op op, bool memory)
    {
        var bytes = _bytes.Content.Slice(_position, _i.Length);
        var m = ModRm.Parse(bytes, _long);
        op.V = op.V != 0 ? op.V : m.V;
        op.Reg = m.Reg;
        if (!memory)
            op.Rm = m.Rm;
        for (int n = 0; n < Math.Min(_i.OpCount, 2); n++)
        {
            // MMX, x87 and segment registers ignore REX.
            if (_i.GetOpKind(n) != OpKind.Register || _i.GetOpRegister(n) is not (>= Register.MM0 and <= Register.MM7))
                continue;
            bool rm = n == 1 && (m.Reg != RegisterNumber.Of(_i.Op1Register) || _i.Op0Register is >= Register.MM0 and <= Register.MM7 or >= Register.XMM0 and <= Register.XMM15);
            if (rm)
                op.Rm &= 7;
            else
                op.Reg &= 7;
        }
    }

    /// <summary>Immediates, operand sizes and implicit addresses.</summary>
    private void DescribeRest(ref Op op)
    {
        switch (_i.Mnemonic)
        {
            case Mnemonic.Enter:
                op.Disp = (ushort)_i.GetImmediate(0);
                op.V = (byte)_i.GetImmediate(1);
                op.Imm8 = (byte)(_i.Code switch { Code.Enterw_imm16_imm8 => 2, Code.Enterd_imm16_imm8 => 4, _ => 8 });
                op.LengthSegment = StackSegment;
                return;
            case Mnemonic.Retf:
                op.Disp = _i.OpCount == 0 ? 0 : (ushort)_i.GetImmediate(0);
                return;
            case Mnemonic.Les or Mnemonic.Lds or Mnemonic.Lss or Mnemonic.Lfs or Mnemonic.Lgs:
                op.Imm8 = (byte)(_i.Mnemonic switch { Mnemonic.Les => Seg.Es, Mnemonic.Lds => Seg.Ds, Mnemonic.Lss => Seg.Ss, Mnemonic.Lfs => Seg.Fs, _ => Seg.Gs });
                return;
            case Mnemonic.Lgdt or Mnemonic.Lidt or Mnemonic.Sgdt or Mnemonic.Sidt:
                op.Imm8 = (byte)(_long ? 8 : _i.Code is Code.Lgdt_m1632_16 or Code.Lidt_m1632_16 ? 3 : 4);
                return;
            case Mnemonic.Xlatb:
                op.Imm8 = (byte)(_i.MemoryBase == Register.None ? 8 : RegisterNumber.SizeOf(_i.MemoryBase));
                op.LengthSegment = (byte)(ImplicitSegment << 4);
                return;
            case Mnemonic.Monitor:
                op.LengthSegment = (byte)(ImplicitSegment << 4);
                return;
        }

        if (DescribeString(ref op) || DescribeSized(ref op))
            return;
        DescribeImmediate(ref op);
    }

    private void DescribeImmediate(ref Op op)
    {
        for (int n = 0; n < _i.OpCount; n++)
        {
            if (_i.GetOpKind(n) is OpKind.Immediate8)
                op.Imm8 |= _i.Immediate8;
            else if (n >= 3 && _i.GetOpKind(n) == OpKind.Register && _i.GetOpRegister(n) >= Register.XMM0)
                op.Imm8 |= (byte)(RegisterNumber.Of(_i.GetOpRegister(n)) << 4);
        }
    }

    /// <summary>Helpers that want the size of a general operand.</summary>
    private bool DescribeSized(ref Op op)
    {
        switch (_i.Mnemonic)
        {
            case Mnemonic.Mov: // control and debug registers
                op.Imm8 = (byte)(_long ? 8 : 4);
                return true;
            case Mnemonic.Invpcid:
                op.Imm8 = (byte)(_long ? 8 : 4);
                return true;
            case Mnemonic.Sldt or Mnemonic.Str or Mnemonic.Smsw or Mnemonic.Rdfsbase or Mnemonic.Rdgsbase or Mnemonic.Wrfsbase or Mnemonic.Wrgsbase:
                op.Imm8 = (byte)(IsRegister(Kind0) ? RegisterNumber.SizeOf(_i.Op0Register) : 2);
                return true;
            default:
                return false;
        }
    }

    /// <summary>String instructions: address size and repetition in Imm8, the source's segment beside the length.</summary>
    private bool DescribeString(ref Op op)
    {
        if (!_i.IsStringInstruction)
            return false;
        int size = 2;
        for (int n = 0; n < _i.OpCount; n++)
        {
            size = _i.GetOpKind(n) switch
            {
                OpKind.MemorySegSI or OpKind.MemoryESDI => 0,
                OpKind.MemorySegESI or OpKind.MemoryESEDI => 1,
                OpKind.MemorySegRSI or OpKind.MemoryESRDI => 2,
                _ => size,
            };
        }

        bool compares = _i.Mnemonic is Mnemonic.Scasb or Mnemonic.Scasw or Mnemonic.Scasd or Mnemonic.Scasq or Mnemonic.Cmpsb or Mnemonic.Cmpsw
            or Mnemonic.Cmpsd or Mnemonic.Cmpsq;
        int repeat = _i.HasRepePrefix ? StringHelpers.Repeat : _i.HasRepnePrefix ? (compares ? StringHelpers.RepeatNotEqual : StringHelpers.Repeat) : 0;
        op.Imm8 = (byte)(size | repeat);
        op.LengthSegment = (byte)(ImplicitSegment << 4);
        return true;
    }
}
