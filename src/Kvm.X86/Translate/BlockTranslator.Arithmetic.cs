// Invariants: see BlockTranslator.cs.
using Kvm.X86.Decode;
using Kvm.X86.Execute;
using Kvm.X86.State;

namespace Kvm.X86.Translate;

internal sealed unsafe partial class BlockTranslator
{
    private void Alu(in Op op, in OpInfo info)
    {
        var kind = (AluKind)info.Kind;
        int size = info.Size;
        switch ((AluForm)info.Form)
        {
            case AluForm.RegReg or AluForm.RegRegQuiet:
                AluRegister(kind, size, op, false);
                break;
            case AluForm.RegImm or AluForm.RegImmQuiet:
                AluRegister(kind, size, op, true);
                break;
            case AluForm.RegMemB or AluForm.RegMemX:
                AluFromMemory(kind, size, op);
                break;
            case AluForm.Locked:
                AluToMemory(kind, size, op, op.V != 0, true);
                break;
            default:
                AluToMemory(kind, size, op, (AluForm)info.Form is AluForm.MemImmB or AluForm.MemImmX, false);
                break;
        }

        DefineFlags();
    }

    private static bool Carries(AluKind kind) => kind is AluKind.Adc or AluKind.Sbb;

    private static bool Stores(AluKind kind) => kind is not (AluKind.Cmp or AluKind.Test);

    private void AluRegister(AluKind kind, int size, in Op op, bool immediate)
    {
        if (Carries(kind))
            LoadCarry();
        AluOnRegister(kind, size, op.Reg, immediate ? -1 : op.Rm, (int)op.Imm);
    }

    /// <summary>reg ← reg ∘ source, or immediate if there is none.</summary>
    private void AluOnRegister(AluKind kind, int size, int register, int source, int immediate)
    {
        var place = Modify(register, size, Host.Rdx);
        if (source >= 0)
            AluReg(kind, size, place, Use(source, size, Host.Rcx));
        else
            AluImm(kind, size, place, immediate);
        if (Stores(kind))
            EndModify(register, size, place, Host.Rdx);
    }

    private void AluReg(AluKind kind, int size, in Place place, int source)
    {
        int opcode = kind == AluKind.Test ? Opcode.TestStore : Opcode.AluStore + (8 * (int)kind);
        if (place.IsRegister)
            _e.RegReg(size, opcode, source, place.Register);
        else
            _e.RegMem(size, opcode, source, place.Memory);
    }

    private void AluImm(AluKind kind, int size, in Place place, int immediate)
    {
        int opcode = kind == AluKind.Test ? Opcode.Group3 : Opcode.AluImmediate, digit = kind == AluKind.Test ? 0 : (int)kind;
        if (place.IsRegister)
            _e.RegImm(size, opcode, digit, place.Register, immediate);
        else
            _e.MemImm(size, opcode, digit, place.Memory, immediate);
    }

    /// <summary>reg ← reg ∘ [mem].</summary>
    private void AluFromMemory(AluKind kind, int size, in Op op)
    {
        if (Carries(kind))
            NormalizeFlags();
        var memory = Access(op, size, AccessForm.Read);
        if (Carries(kind))
            LoadCarry();
        var place = Modify(op.Reg, size, Host.Rdx);
        if (place.IsRegister && kind != AluKind.Test)
            _e.RegMem(size, Opcode.AluLoad + (8 * (int)kind), place.Register, memory);
        else if (place.IsRegister)
            _e.RegMem(size, Opcode.TestStore, place.Register, memory);
        else
        {
            _e.RegMem(size, Opcode.MovLoad, Host.Rdx, memory);
            AluReg(kind, size, place, Host.Rdx);
        }

        if (Stores(kind))
            EndModify(op.Reg, size, place, Host.Rdx);
    }

    /// <summary>[mem] ← [mem] ∘ reg or immediate.</summary>
    private void AluToMemory(AluKind kind, int size, in Op op, bool immediate, bool locked)
    {
        if (Carries(kind))
            NormalizeFlags();
        var memory = Access(op, size, Stores(kind) ? AccessForm.ReadWrite : AccessForm.Read);
        if (Carries(kind))
            LoadCarry();
        int source = immediate ? 0 : Use(op.Reg, size, Host.Rdx);
        if (locked)
            _e.Lock();
        if (immediate)
            AluImm(kind, size, new Place(-1, memory), (int)op.Imm);
        else
            AluReg(kind, size, new Place(-1, memory), source);
    }

    private void Unary(in Op op, in OpInfo info)
    {
        var kind = (UnaryKind)info.Kind;
        bool counts = kind is UnaryKind.Inc or UnaryKind.Dec;
        if ((UnaryForm)info.Form <= UnaryForm.Quiet)
        {
            if (counts && (LiveAfter & FlagSet.Carry) != 0 && (UnaryForm)info.Form != UnaryForm.Quiet)
                LoadCarry();
            var place = Modify(op.Reg, info.Size, Host.Rdx);
            UnaryOn(kind, info.Size, place);
            EndModify(op.Reg, info.Size, place, Host.Rdx);
        }
        else
        {
            if (counts)
                NormalizeFlags();
            var memory = Access(op, info.Size, AccessForm.ReadWrite);
            if (counts && (LiveAfter & FlagSet.Carry) != 0)
                LoadCarry();
            if ((UnaryForm)info.Form == UnaryForm.Locked)
                _e.Lock();
            UnaryOn(kind, info.Size, new Place(-1, memory));
        }

        if (kind != UnaryKind.Not)
            DefineFlags();
    }

    private void UnaryOn(UnaryKind kind, int size, in Place place)
    {
        (int opcode, int digit) = kind switch
        {
            UnaryKind.Inc => (Opcode.Group4, 0),
            UnaryKind.Dec => (Opcode.Group4, 1),
            UnaryKind.Not => (Opcode.Group3, 2),
            _ => (Opcode.Group3, 3),
        };
        if (place.IsRegister)
            _e.RegReg(size, opcode, digit, place.Register);
        else
            _e.RegMem(size, opcode, digit, place.Memory);
    }

    private void Shift(in Op op, in OpInfo info)
    {
        var kind = (ShiftKind)info.Kind;
        bool byCl = info.Form != 0, rotates = kind < ShiftKind.Shl;
        // Rotates leave SF, ZF, AF and PF; a count of zero in CL leaves everything.
        if (byCl)
            LoadKept(FlagSet.None);
        else if (rotates)
            LoadKept(FlagSet.Carry);
        if (kind is ShiftKind.Rcl or ShiftKind.Rcr)
            LoadCarry();
        if (byCl)
            LoadTo(Host.Rcx, 1, 4);
        var place = Modify(op.Reg, info.Size, Host.Rdx);
        int opcode = byCl ? Opcode.ShiftCl : Opcode.ShiftImmediate;
        if (place.IsRegister)
            _e.RegReg(info.Size, opcode, (int)kind, place.Register);
        else
            _e.RegMem(info.Size, opcode, (int)kind, place.Memory);
        if (!byCl)
            _e.Byte((int)op.Imm);
        EndModify(op.Reg, info.Size, place, Host.Rdx);
        DefineFlags();
    }

    private void DoubleShift(in Op op, in OpInfo info)
    {
        bool byCl = op.Imm < 0, left = info.Kind != 0;
        if (byCl || (op.Imm & (info.Size == 8 ? 63 : 31)) == 0)
            LoadKept(FlagSet.None);
        if (byCl)
            LoadTo(Host.Rcx, 1, 4);
        int source = Use(op.Rm, info.Size, Host.Rax), target = ModifyRegister(op.Reg, info.Size, Host.Rdx);
        int opcode = left ? (byCl ? Opcode.ShldCl : Opcode.ShldImmediate) : byCl ? Opcode.ShrdCl : Opcode.ShrdImmediate;
        if (byCl)
            _e.RegReg(info.Size, opcode, source, target);
        else
            _e.RegImm8(info.Size, opcode, source, target, (int)op.Imm);
        if (target == Host.Rdx)
            StoreFrom(op.Reg, info.Size, Host.Rdx);
        DefineFlags();
    }

    private void Mul(in Op op, in OpInfo info)
    {
        switch ((MulForm)info.Form)
        {
            case MulForm.RegReg:
                int target = ModifyRegister(op.Reg, info.Size, Host.Rdx);
                _e.RegReg(info.Size, Opcode.Imul, target, Use(op.Rm, info.Size, Host.Rcx));
                if (target == Host.Rdx)
                    StoreFrom(op.Reg, info.Size, Host.Rdx);
                DefineFlags();
                break;
            case MulForm.RegRegImm:
                int source = Use(op.Rm, info.Size, Host.Rcx);
                bool narrow = op.Imm == (sbyte)op.Imm;
                _e.RegReg(info.Size, narrow ? Opcode.ImulImmediate8 : Opcode.ImulImmediate, Host.Rdx, source);
                _e.Immediate(narrow ? 1 : info.Size, (int)op.Imm);
                StoreFrom(op.Reg, info.Size, Host.Rdx);
                DefineFlags();
                break;
            case MulForm.Mul or MulForm.Imul:
                Multiply(op, info.Size, (MulForm)info.Form == MulForm.Mul ? 4 : 5);
                DefineFlags();
                break;
            default:
                Divide(op, info.Size, (MulForm)info.Form == MulForm.Idiv);
                break;
        }
    }

    /// <summary>rDX:rAX ← rAX · source; one byte: AX.</summary>
    private void Multiply(in Op op, int size, int digit)
    {
        int source = Use(op.Rm, size, Host.Rcx);
        LoadTo(Host.Rax, 0, size);
        _e.RegReg(size, Opcode.Group3, digit, source);
        StoreFrom(0, size == 1 ? 2 : size, Host.Rax);
        if (size > 1)
            StoreFrom(2, size, Host.Rdx);
    }

    /// <summary>
    /// Division where it cannot fault: the upper half of the dividend is below the divisor or, signed, the sign of the lower
    /// half, and the divisor is neither 0 nor −1. The handler does the rest. Flags are left as they were.
    /// </summary>
    private void Divide(in Op op, int size, bool signed)
    {
        if (size < 4)
        {
            Single();
            return;
        }

        Clobber();
        LoadTo(Host.Rcx, op.Rm, size);
        if (signed)
        {
            _e.RegMem(size, Opcode.Lea, Host.Rdx, new HostMemory(Host.Rcx, 1));
            _e.RegImm(size, Opcode.AluImmediate, 7, Host.Rdx, 1);
            AddStub(ExitKind.Single, _e.Jcc(Cc.Be));
            LoadTo(Host.Rax, 0, size);
            if (size == 8)
                _e.Cqo();
            else
                _e.Cdq();
            Compare(size, Host.Rdx, 2);
            AddStub(ExitKind.Single, _e.Jcc(Cc.Ne));
        }
        else
        {
            LoadTo(Host.Rdx, 2, size);
            _e.RegReg(size, Opcode.AluLoad + 56, Host.Rdx, Host.Rcx);
            AddStub(ExitKind.Single, _e.Jcc(Cc.Ae));
            LoadTo(Host.Rax, 0, size);
        }

        _e.RegReg(size, Opcode.Group3, signed ? 7 : 6, Host.Rcx);
        StoreFrom(0, size, Host.Rax);
        StoreFrom(2, size, Host.Rdx);
    }

    private void Compare(int size, int host, int register)
    {
        int other = HostRegisters.Find(register);
        if (other >= 0)
            _e.RegReg(size, Opcode.AluLoad + 56, host, other);
        else
            _e.RegMem(size, Opcode.AluLoad + 56, host, CpuField.Slot(register));
    }

    /// <summary>BT family: CF is the bit, the other flags stay.</summary>
    private void Bit(in Op op, in OpInfo info)
    {
        var kind = (BitKind)info.Kind;
        if ((BitForm)info.Form == BitForm.Locked)
        {
            LockedBit(kind, op, info.Size);
            return;
        }

        LoadKept(FlagSet.Carry);
        int target = ModifyRegister(op.Reg, info.Size, Host.Rdx);
        if ((BitForm)info.Form == BitForm.RegImm)
            _e.RegImm8(info.Size, Opcode.BitImmediate, 4 + (int)kind, target, (int)op.Imm & ((info.Size * 8) - 1));
        else
            _e.RegReg(info.Size, BitOpcode(kind), Use(op.Rm, info.Size, Host.Rcx), target);
        if (target == Host.Rdx && kind != BitKind.Test)
            StoreFrom(op.Reg, info.Size, Host.Rdx);
        DefineFlags();
    }

    private static int BitOpcode(BitKind kind) => kind switch { BitKind.Test => Opcode.Bt, BitKind.Set => Opcode.Bts, BitKind.Reset => Opcode.Btr, _ => Opcode.Btc };

    private void LockedBit(BitKind kind, in Op op, int size)
    {
        NormalizeFlags();
        var memory = Access(op, size, AccessForm.ReadWrite);
        // RAX is wanted for the flags.
        _e.RegMem(8, Opcode.Lea, Host.Rcx, memory);
        memory = new HostMemory(Host.Rcx, 0);
        bool immediate = op.V != 0;
        if (!immediate)
        {
            LoadTo(Host.Rdx, op.Reg, 4);
            _e.RegImm(4, Opcode.AluImmediate, 4, Host.Rdx, (size * 8) - 1);
        }

        LoadKept(FlagSet.Carry);
        _e.Lock();
        if (immediate)
            _e.MemImm8(size, Opcode.BitImmediate, 4 + (int)kind, memory, (int)op.Imm & ((size * 8) - 1));
        else
            _e.RegMem(size, BitOpcode(kind), Host.Rdx, memory);
        DefineFlags();
    }

    private void Scan(in Op op, in OpInfo info)
    {
        switch ((ScanKind)info.Kind)
        {
            case ScanKind.BitAddress:
                BitAddress(op, info.Size);
                return;
            case ScanKind.Bsf or ScanKind.Bsr:
                // A zero source leaves all of the destination.
                LoadTo(Host.Rcx, op.Rm, info.Size);
                _e.RegReg(8, (ScanKind)info.Kind == ScanKind.Bsf ? Opcode.Bsf : Opcode.Bsr, Host.Rdx, Host.Rcx);
                byte* zero = _e.JccShort(Cc.E);
                StoreFrom(op.Reg, info.Size, Host.Rdx);
                _e.PatchShort(zero);
                DefineFlags();
                return;
            case ScanKind.Popcnt when System.Runtime.Intrinsics.X86.Popcnt.IsSupported:
                Count(op, info.Size, Opcode.Popcnt);
                return;
            case ScanKind.Tzcnt when System.Runtime.Intrinsics.X86.Bmi1.IsSupported:
                Count(op, info.Size, Opcode.Tzcnt);
                return;
            case ScanKind.Lzcnt when System.Runtime.Intrinsics.X86.Lzcnt.IsSupported:
                Count(op, info.Size, Opcode.Lzcnt);
                return;
            default:
                Single();
                return;
        }
    }

    private void Count(in Op op, int size, int opcode)
    {
        _e.RegReg(size, opcode, Host.Rdx, Use(op.Rm, size, Host.Rcx));
        StoreFrom(op.Reg, size, Host.Rdx);
        DefineFlags();
    }

    /// <summary>slot Address ← operand address moved by the signed bit number, in whole operands.</summary>
    private void BitAddress(in Op op, int size)
    {
        Clobber();
        EffectiveAddress(Host.Rax, op);
        int host = HostRegisters.Find(op.Reg);
        if (host >= 0)
            ExtendTo8(size, host);
        else if (size == 8)
            _e.RegMem(8, Opcode.MovLoad, Host.Rcx, CpuField.Slot(op.Reg));
        else
            _e.ExtendMem(true, size, 8, Host.Rcx, CpuField.Slot(op.Reg));
        _e.RegImm8(8, Opcode.ShiftImmediate, 7, Host.Rcx, size switch { 2 => 4, 4 => 5, _ => 6 });
        _e.RegMem(8, Opcode.Lea, Host.Rax, new HostMemory(Host.Rax, 0, Host.Rcx, size switch { 2 => 1, 4 => 2, _ => 3 }));
        _e.RegMem(8, Opcode.MovStore, Host.Rax, CpuField.Slot(Slots.Address));
    }

    private void ExtendTo8(int size, int host)
    {
        if (size == 8)
            _e.RegReg(8, Opcode.MovLoad, Host.Rcx, host);
        else
            _e.Extend(true, size, 8, Host.Rcx, host);
    }

    private void Atomic(in Op op, in OpInfo info)
    {
        int size = info.Size;
        switch ((AtomicKind)info.Kind)
        {
            case AtomicKind.Exchange:
                var memory = Access(op, size, AccessForm.ReadWrite);
                LoadTo(Host.Rdx, op.Reg, size);
                _e.RegMem(size, Opcode.XchgStore, Host.Rdx, memory);
                StoreFrom(op.Reg, size, Host.Rdx);
                return;
            case AtomicKind.ExchangeAdd:
                memory = Access(op, size, AccessForm.ReadWrite);
                LoadTo(Host.Rdx, op.Reg, size);
                _e.Lock();
                _e.RegMem(size, Opcode.Xadd, Host.Rdx, memory);
                StoreFrom(op.Reg, size, Host.Rdx);
                break;
            case AtomicKind.CompareExchange:
                memory = Access(op, size, AccessForm.ReadWrite);
                _e.RegMem(8, Opcode.Lea, Host.Rcx, memory);
                int source = Use(op.Reg, size, Host.Rdx);
                LoadTo(Host.Rax, 0, 8);
                _e.Lock();
                _e.RegMem(size, Opcode.Cmpxchg, source, new HostMemory(Host.Rcx, 0));
                TakeSeen();
                break;
            case AtomicKind.RegisterExchangeAdd:
                LoadTo(Host.Rax, op.Rm, size);
                LoadTo(Host.Rdx, op.Reg, size);
                _e.RegReg(size, Opcode.Xadd, Host.Rdx, Host.Rax);
                StoreFrom(op.Reg, size, Host.Rdx);
                StoreFrom(op.Rm, size, Host.Rax);
                break;
            default:
                LoadTo(Host.Rax, 0, 8);
                LoadTo(Host.Rcx, op.Rm, size);
                _e.RegReg(size, Opcode.Cmpxchg, Use(op.Reg, size, Host.Rdx), Host.Rcx);
                // Processors differ in whether a 32-bit destination is widened where the comparison fails: here it is left alone.
                byte* failed = _e.JccShort(Cc.Ne);
                StoreFrom(op.Rm, size, Host.Rcx);
                _e.PatchShort(failed);
                TakeSeen();
                break;
        }

        DefineFlags();
    }

    /// <summary>A comparison that failed left what it saw in RAX, widened as a write of its size would be.</summary>
    private void TakeSeen()
    {
        int host = HostRegisters.Find(0);
        if (host >= 0)
        {
            _e.RegReg(8, Opcode.Cmovcc + Cc.Ne, host, Host.Rax);
            return;
        }

        byte* equal = _e.JccShort(Cc.E);
        _e.RegMem(8, Opcode.MovStore, Host.Rax, CpuField.Slot(0));
        _e.PatchShort(equal);
    }
}
