using Iced.Intel;
using Kvm.X86.Execute;
using Kvm.X86.State;

namespace Kvm.X86.Decode;

internal sealed partial class BlockBuilder
{
    private const byte StackSegment = Seg.Ss << 4;

    private void EmitJump()
    {
        switch (Kind0)
        {
            case OpKind.NearBranch16 or OpKind.NearBranch32 or OpKind.NearBranch64 when HotBranches:
                Add(SimpleKind.Jump, Effects.Exits).V = (byte)_instructions;
                Link(_count - 1, Target);
                _ends = true;
                break;
            case OpKind.NearBranch16 or OpKind.NearBranch32 or OpKind.NearBranch64:
                ref var jump = ref AddEnd(HelperTable.Address(BranchHelper.Jmp));
                jump.Disp = (int)Target;
                MarkBranch16(ref jump);
                break;
            case OpKind.FarBranch16 or OpKind.FarBranch32:
                EmitFar(BranchHelper.JmpFar);
                break;
            default:
                if (IsFarPointer)
                    EmitFar(BranchHelper.JmpFarMemory);
                else
                    EmitIndirect(SimpleKind.JumpRegister, BranchHelper.JmpRegister);
                break;
        }
    }

    private bool IsFarPointer => _i.Op0Kind == OpKind.Memory && _i.MemorySize is MemorySize.SegPtr16 or MemorySize.SegPtr32 or MemorySize.SegPtr64;

    private void EmitIndirect(SimpleKind hot, BranchHelper helper)
    {
        int size = OperandSize();
        byte source = Source(0, size);
        if (_long && size == 8)
        {
            ref var op = ref Add(hot, Effects.Exits);
            op.Reg = source;
            op.V = (byte)_instructions;
            op.Disp = _offset + _i.Length;
            op.LengthSegment = StackSegment;
            _ends = true;
            return;
        }

        ref var legacy = ref AddEnd(HelperTable.Address(helper));
        legacy.Reg = source;
        legacy.Imm8 = (byte)size;
    }

    private void EmitCall()
    {
        switch (Kind0)
        {
            case OpKind.NearBranch64 when HotBranches:
                ref var op = ref Add(SimpleKind.Call, Effects.Exits);
                op.LengthSegment = StackSegment;
                op.V = (byte)_instructions;
                op.Disp = _offset + _i.Length;
                Link(_count - 1, Target);
                _ends = true;
                break;
            case OpKind.NearBranch16 or OpKind.NearBranch32 or OpKind.NearBranch64:
                ref var near = ref AddEnd(HelperTable.Address(BranchHelper.Call));
                near.Disp = (int)Target;
                MarkBranch16(ref near);
                near.Imm8 = (byte)(Kind0 == OpKind.NearBranch16 ? 2 : Kind0 == OpKind.NearBranch32 ? 4 : 8);
                break;
            case OpKind.FarBranch16 or OpKind.FarBranch32:
                EmitFar(BranchHelper.CallFar);
                break;
            default:
                if (IsFarPointer)
                    EmitFar(BranchHelper.CallFarMemory);
                else
                    EmitIndirect(SimpleKind.CallRegister, BranchHelper.CallRegister);
                break;
        }
    }

    /// <summary>Direct: Disp is the offset, Imm8 the operand size, Reg and Rm the selector. Through memory: Imm8 is the offset's size.</summary>
    private void EmitFar(BranchHelper helper)
    {
        if (Kind0 == OpKind.Memory)
        {
            int size = _i.MemorySize switch { MemorySize.SegPtr16 => 2, MemorySize.SegPtr32 => 4, _ => 8 };
            var m = Memory(size + 2, false);
            ref var indirect = ref AddEnd(HelperTable.Address(helper));
            m.Apply(ref indirect);
            indirect.Imm8 = (byte)size;
            return;
        }

        ref var op = ref AddEnd(HelperTable.Address(helper));
        bool wide = Kind0 == OpKind.FarBranch32;
        op.Disp = (int)(wide ? _i.FarBranch32 : _i.FarBranch16);
        op.Imm8 = (byte)(wide ? 4 : 2);
        op.Reg = (byte)_i.FarBranchSelector;
        op.Rm = (byte)(_i.FarBranchSelector >> 8);
    }

    private void EmitReturn()
    {
        int pop = _i.OpCount == 0 ? 0 : (ushort)_i.GetImmediate(0);
        if (_long && _i.Code is Code.Retnq or Code.Retnq_imm16)
        {
            ref var op = ref Add(SimpleKind.Ret, Effects.Exits);
            op.Imm = 8 + pop;
            op.LengthSegment = StackSegment;
            op.V = (byte)_instructions;
            _ends = true;
            return;
        }

        ref var legacy = ref AddEnd(HelperTable.Address(BranchHelper.Ret));
        legacy.Disp = pop;
        legacy.Imm8 = (byte)(_i.Code switch { Code.Retnw or Code.Retnw_imm16 => 2, Code.Retnq or Code.Retnq_imm16 => 8, _ => 4 });
    }

    private void EmitPush()
    {
        int size = StackSize();
        if (IsRegister(Kind0) && _i.Op0Register is >= Register.ES and <= Register.GS)
        {
            PushSegment(size);
            return;
        }

        if (Kind0 is OpKind.Register or OpKind.Memory)
        {
            byte source = Source(0, size);
            ref var op = ref _long && size == 8 ? ref Add(SimpleKind.Push, Effects.Exits) : ref AddPushHelper(size);
            op.Reg = source;
            op.LengthSegment = StackSegment;
            return;
        }

        if (_long && size == 8)
        {
            ref var immediate = ref Add(SimpleKind.PushImm, Effects.Exits);
            immediate.Imm = Immediate(0, 8);
            immediate.LengthSegment = StackSegment;
            return;
        }

        SetSlot(Slots.Temp, Immediate(0, size));
        AddPushHelper(size).Reg = Slots.Temp;
    }

    private ref Op AddPushHelper(int size)
    {
        ref var op = ref AddHelper(HelperTable.Address(BranchHelper.Push));
        op.Imm8 = (byte)size;
        op.LengthSegment = StackSegment;
        return ref op;
    }

    /// <summary>PUSH of a segment register writes 16 bits of a 32-bit slot on today's processors; the rest is left as it was.</summary>
    private void PushSegment(int size)
    {
        ref var op = ref AddHelper(HelperTable.Address(BranchHelper.PushSegment));
        op.Reg = RegisterNumber.Of(_i.Op0Register);
        op.Imm8 = (byte)size;
    }

    /// <summary>Size in bytes of what PUSH and POP move.</summary>
    private int StackSize() => Math.Abs(_i.StackPointerIncrement) switch { 2 => 2, 4 => 4, _ => 8 };

    private void EmitPop()
    {
        int size = StackSize();
        if (IsRegister(Kind0) && _i.Op0Register is >= Register.ES and <= Register.GS)
        {
            ref var segment = ref AddEnd(HelperTable.Address(BranchHelper.PopSegment));
            segment.Reg = RegisterNumber.Of(_i.Op0Register);
            segment.Imm8 = (byte)size;
            return;
        }

        if (IsRegister(Kind0))
        {
            ref var op = ref _long && size == 8 ? ref Add(SimpleKind.Pop, Effects.Exits) : ref AddHelper(HelperTable.Address(BranchHelper.Pop));
            op.Reg = RegisterNumber.Of(_i.Op0Register);
            op.Imm8 = (byte)size;
            op.LengthSegment = StackSegment;
            return;
        }

        EmitPopMemory(size);
    }

    /// <summary>The address is computed with the stack pointer as it is after the pop (SDM vol. 2, POP).</summary>
    private void EmitPopMemory(int size)
    {
        ref var read = ref AddHelper(HelperTable.Address(BranchHelper.PeekStack));
        read.Imm8 = (byte)size;
        bool fromStack = _i.MemoryBase is Register.RSP or Register.ESP;
        if (fromStack)
            _i.MemoryDisplacement64 += (ulong)size;
        var m = Memory(size, true);
        ref var store = ref Add(HotTable.Mov(size, m.Indexed ? MovForm.StoreX : MovForm.StoreB), Effects.Exits);
        m.Apply(ref store);
        store.Reg = Slots.Temp;
        ref var drop = ref AddHelper(HelperTable.Address(BranchHelper.DropStack));
        drop.Imm8 = (byte)size;
    }

    private void EmitLeave()
    {
        if (_i.Code == Code.Leaveq)
        {
            Add(SimpleKind.Leave, Effects.Exits).LengthSegment = StackSegment;
            return;
        }

        AddHelper(HelperTable.Address(BranchHelper.Leave)).Imm8 = (byte)(_i.Code == Code.Leavew ? 2 : 4);
    }

    /// <summary>LOOP family: Disp is the target, Imm8 the counter's size, V the kind.</summary>
    private void EmitLoop(Mnemonic mnemonic)
    {
        int counter = _i.Code switch
        {
            Code.Loop_rel8_16_CX or Code.Loop_rel8_32_CX or Code.Loope_rel8_16_CX or Code.Loope_rel8_32_CX or Code.Loopne_rel8_16_CX
                or Code.Loopne_rel8_32_CX or Code.Jcxz_rel8_16 or Code.Jcxz_rel8_32 => 2,
            Code.Loop_rel8_64_RCX or Code.Loop_rel8_16_RCX or Code.Loope_rel8_64_RCX or Code.Loope_rel8_16_RCX or Code.Loopne_rel8_64_RCX
                or Code.Loopne_rel8_16_RCX or Code.Jrcxz_rel8_64 or Code.Jrcxz_rel8_16 => 8,
            _ => 4,
        };
        var helper = mnemonic switch
        {
            Mnemonic.Loop => BranchHelper.Loop,
            Mnemonic.Loope => BranchHelper.LoopEqual,
            Mnemonic.Loopne => BranchHelper.LoopNotEqual,
            _ => BranchHelper.JumpCounterZero,
        };
        ref var op = ref AddEnd(HelperTable.Address(helper));
        op.Disp = (int)Target;
        op.Imm8 = (byte)counter;
        MarkBranch16(ref op);
    }
}
