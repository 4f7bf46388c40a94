// Invariants: see BlockTranslator.cs.
using Kvm.X86.Decode;
using Kvm.X86.Execute;
using Kvm.X86.State;

namespace Kvm.X86.Translate;

internal sealed unsafe partial class BlockTranslator
{
    private void Mov(in Op op, in OpInfo info)
    {
        int size = info.Size;
        switch ((MovForm)info.Form)
        {
            case MovForm.RegReg:
                MovRegister(op.Reg, op.Rm, size);
                break;
            case MovForm.RegImm:
                MovImmediate(op.Reg, op.Imm, size);
                break;
            case MovForm.LoadB or MovForm.LoadX:
                LoadMemory(op, size, AccessForm.Read);
                break;
            case MovForm.LoadToModify:
                LoadMemory(op, size, AccessForm.LoadToModify);
                break;
            case MovForm.StoreB or MovForm.StoreX:
                var memory = Access(op, size, AccessForm.Write);
                _e.RegMem(size, Opcode.MovStore, Use(op.Reg, size, Host.Rdx), memory);
                break;
            case MovForm.StoreImmB or MovForm.StoreImmX:
                memory = Access(op, size, AccessForm.Write);
                _e.MemImm(size, Opcode.MovImmediate, 0, memory, (int)op.Imm);
                break;
            default:
                LoadTo(Host.Rax, op.Reg, size);
                LoadTo(Host.Rdx, op.Rm, size);
                StoreFrom(op.Reg, size, Host.Rdx);
                StoreFrom(op.Rm, size, Host.Rax);
                break;
        }
    }

    private void MovRegister(int to, int from, int size)
    {
        int target = size == 1 ? -1 : HostRegisters.Find(to);
        if (target >= 0)
        {
            int source = HostRegisters.Find(from);
            if (source >= 0)
                _e.RegReg(size, Opcode.MovLoad, target, source);
            else
                _e.RegMem(size, Opcode.MovLoad, target, CpuField.Slot(from));
        }
        else
            StoreFrom(to, size, size == 4 ? Load4(from) : Use(from, size, Host.Rax));
    }

    /// <summary>RAX ← a register's low half: an operand about to be widened in place must not be the register itself.</summary>
    private int Load4(int register)
    {
        LoadTo(Host.Rax, register, 4);
        return Host.Rax;
    }

    private void MovImmediate(int register, long value, int size)
    {
        int host = size == 1 ? (IsHigh(register) ? -1 : HostRegisters.Find(register >> 3)) : HostRegisters.Find(register);
        if (host >= 0 && size >= 4)
            _e.MovConstant(host, size == 4 ? (uint)value : value);
        else if (host >= 0)
            _e.RegImm(size, Opcode.MovImmediate, 0, host, (int)value);
        else if (size == 1 && IsHigh(register) && HostRegisters.Find(register >> 3) >= 0)
        {
            _e.MovConstant(Host.Rax, (byte)value);
            StoreByte(register, Host.Rax);
        }
        else if (size <= 2)
            _e.MemImm(size, Opcode.MovImmediate, 0, size == 1 ? CpuField.Byte(register) : CpuField.Slot(register), (int)value);
        else
        {
            _e.MovConstant(Host.Rax, size == 4 ? (uint)value : value);
            _e.RegMem(8, Opcode.MovStore, Host.Rax, CpuField.Slot(register));
        }
    }

    private void LoadMemory(in Op op, int size, AccessForm form)
    {
        var memory = Access(op, size, form);
        int host = size == 1 ? (IsHigh(op.Reg) ? -1 : HostRegisters.Find(op.Reg >> 3)) : HostRegisters.Find(op.Reg);
        if (host >= 0)
        {
            _e.RegMem(size, Opcode.MovLoad, host, memory);
            return;
        }

        if (size <= 2)
            _e.ExtendMem(false, size, 4, Host.Rdx, memory);
        else
            _e.RegMem(size, Opcode.MovLoad, Host.Rdx, memory);
        // Four bytes loaded have cleared the rest.
        StoreFrom(op.Reg, size == 4 ? 8 : size, Host.Rdx);
    }

    private void Extend(in Op op, in OpInfo info)
    {
        bool signed = (info.Kind & 1) != 0;
        int from = info.Size, to = info.Kind >> 1, host = HostRegisters.Find(op.Reg), target = host >= 0 ? host : Host.Rdx;
        if ((ExtendForm)info.Form == ExtendForm.RegReg)
            _e.Extend(signed, from, to, target, Use(op.Rm, from, Host.Rax));
        else
            _e.ExtendMem(signed, from, to, target, Access(op, from, AccessForm.Read));
        if (host < 0)
            StoreFrom(op.Reg, to == 4 ? 8 : to, Host.Rdx);
    }

    private void Simple(ref Op op, SimpleKind kind)
    {
        switch (kind)
        {
            case SimpleKind.Nop:
                break;
            case SimpleKind.Clear:
                AluOnRegister(AluKind.Xor, 4, op.Reg, op.Reg, 0);
                DefineFlags();
                break;
            case SimpleKind.Cdq or SimpleKind.Cqo or SimpleKind.Cwd:
                SignToDx(kind);
                break;
            case SimpleKind.Bswap32 or SimpleKind.Bswap64:
                int size = kind == SimpleKind.Bswap32 ? 4 : 8, register = ModifyRegister(op.Reg, size, Host.Rdx);
                _e.Bswap(size, register);
                if (register == Host.Rdx)
                    StoreFrom(op.Reg, 8, Host.Rdx);
                break;
            case SimpleKind.AddressLong:
                AddressLong(op);
                break;
            case SimpleKind.FarAddress:
                _e.RegMem(8, Opcode.MovLoad, Host.Rax, CpuField.Slot(Slots.CodeBase));
                _e.MovConstant(Host.Rcx, op.Imm);
                _e.RegMem(8, Opcode.Lea, Host.Rax, new HostMemory(Host.Rax, 0, Host.Rcx));
                _e.RegMem(8, Opcode.MovStore, Host.Rax, CpuField.Slot(Slots.Address));
                break;
            case SimpleKind.Lea32B or SimpleKind.Lea32X:
                Lea(op, 4);
                break;
            case SimpleKind.Lea64B or SimpleKind.Lea64X:
                Lea(op, 8);
                break;
            default:
                Flow(ref op, kind);
                break;
        }
    }

    private void SignToDx(SimpleKind kind)
    {
        if (kind == SimpleKind.Cwd)
        {
            LoadTo(Host.Rax, 0, 4);
            _e.Extend(true, 2, 4, Host.Rax, Host.Rax);
        }
        else
            LoadTo(Host.Rax, 0, 8);
        if (kind == SimpleKind.Cqo)
            _e.Cqo();
        else
            _e.Cdq();
        StoreFrom(2, kind switch { SimpleKind.Cwd => 2, SimpleKind.Cdq => 4, _ => 8 }, Host.Rdx);
    }

    private void AddressLong(in Op op)
    {
        EffectiveAddress(Host.Rax, op);
        if (op.V != 0)
            _e.RegReg(4, Opcode.MovLoad, Host.Rax, Host.Rax);
        if (op.Segment >= Seg.Fs)
        {
            _e.RegMem(8, Opcode.MovLoad, Host.Rcx, _field.SegmentBase(op.Segment));
            _e.RegMem(8, Opcode.Lea, Host.Rax, new HostMemory(Host.Rax, 0, Host.Rcx));
        }

        _e.RegMem(8, Opcode.MovStore, Host.Rax, CpuField.Slot(Slots.Address));
    }

    private void Lea(in Op op, int size)
    {
        int host = HostRegisters.Find(op.Reg), b = HostRegisters.Find(op.Base), x = op.Index == Slots.Zero ? Host.None : HostRegisters.Find(op.Index);
        if (host >= 0 && b >= 0 && (x >= 0 || op.Index == Slots.Zero))
        {
            _e.RegMem(size, Opcode.Lea, host, new HostMemory(b, op.Disp, x, op.Scale & 3));
            return;
        }

        EffectiveAddress(Host.Rax, op);
        StoreFrom(op.Reg, size, Host.Rax);
    }

    private void Condition(in Op op, in OpInfo info)
    {
        LoadFlags();
        int cc = info.Form;
        switch ((ConditionUse)info.Kind)
        {
            case ConditionUse.Jump:
                SaveFlags();
                AddEdge(_e.Jcc(cc));
                break;
            case ConditionUse.Set:
                SetByCondition(op.Reg, cc);
                break;
            default:
                int size = (ConditionUse)info.Kind switch { ConditionUse.Move16 => 2, ConditionUse.Move32 => 4, _ => 8 };
                int source = Use(op.Rm, size, Host.Rcx), target = ModifyRegister(op.Reg, size, Host.Rdx);
                _e.RegReg(size, Opcode.Cmovcc + cc, target, source);
                if (target == Host.Rdx)
                    StoreFrom(op.Reg, size, Host.Rdx);
                break;
        }
    }

    private void SetByCondition(int register, int cc)
    {
        int host = HostRegisters.Find(register >> 3);
        if (host >= 0 && !IsHigh(register))
            _e.RegReg(1, Opcode.Setcc + cc, 0, host);
        else if (host < 0)
            _e.RegMem(1, Opcode.Setcc + cc, 0, CpuField.Byte(register));
        else
        {
            _e.RegReg(1, Opcode.Setcc + cc, 0, Host.Rax);
            StoreByte(register, Host.Rax);
        }
    }

    private void Fused(in Op op, in OpInfo info)
    {
        var kind = (info.Kind & 1) != 0 ? AluKind.Test : AluKind.Cmp;
        AluOnRegister(kind, info.Size, op.Reg, (info.Kind & 2) != 0 ? -1 : op.Rm, op.Disp);
        DefineFlags();
        SaveFlags();
        AddEdge(_e.Jcc(info.Form));
    }
}
