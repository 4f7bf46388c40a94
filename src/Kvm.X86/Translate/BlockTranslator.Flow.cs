// Invariants: see BlockTranslator.cs. A direct jump's Imm is its stub or the entry op of a block of the same page (Branch.cs).
using Kvm.X86.Decode;
using Kvm.X86.Execute;
using Kvm.X86.State;

namespace Kvm.X86.Translate;

internal sealed unsafe partial class BlockTranslator
{
    /// <summary>Where an entry op keeps its offset in the page and its code.</summary>
    private const int ImmField = 8, OffsetField = 28;

    private void Flow(ref Op op, SimpleKind kind)
    {
        switch (kind)
        {
            case SimpleKind.Jump:
                Clobber();
                Edge(ref op);
                break;
            case SimpleKind.JumpRegister:
                Clobber();
                LoadTo(Host.Rax, op.Reg, 8);
                Indirect(op);
                break;
            case SimpleKind.Call or SimpleKind.CallRegister:
                Call(ref op, kind == SimpleKind.CallRegister);
                break;
            case SimpleKind.Ret:
                Return(op);
                break;
            case SimpleKind.Push or SimpleKind.PushImm:
                Push(op, kind == SimpleKind.PushImm);
                break;
            case SimpleKind.Pop:
                Pop(op);
                break;
            case SimpleKind.Leave:
                LeaveFrame();
                break;
            case SimpleKind.HelperEnd:
                Interpret();
                break;
            default:
                Single();
                break;
        }
    }

    /// <summary>RAX ← the stack pointer less eight, looked up to be written.</summary>
    private HostMemory PushLookup()
    {
        Clobber();
        byte* retry = _e.At;
        StackAddress(-8);
        return Lookup(8, AccessForm.Write, retry);
    }

    /// <summary>RAX ← the stack pointer, looked up to be read.</summary>
    private HostMemory PopLookup(int register = 4)
    {
        Clobber();
        byte* retry = _e.At;
        LoadTo(Host.Rax, register, 8);
        return Lookup(8, AccessForm.Read, retry);
    }

    private void StackAddress(int displacement)
    {
        int host = HostRegisters.Find(4);
        if (host < 0)
            _e.RegMem(8, Opcode.MovLoad, Host.Rax, CpuField.Slot(4));
        _e.RegMem(8, Opcode.Lea, Host.Rax, new HostMemory(host < 0 ? Host.Rax : host, displacement));
    }

    private void Push(in Op op, bool immediate)
    {
        var memory = PushLookup();
        if (immediate)
            _e.MemImm(8, Opcode.MovImmediate, 0, memory, (int)op.Imm);
        else
            _e.RegMem(8, Opcode.MovStore, Use(op.Reg, 8, Host.Rdx), memory);
        StoreFrom(4, 8, Host.Rax);
    }

    private void Pop(in Op op)
    {
        var memory = PopLookup();
        _e.RegMem(8, Opcode.MovLoad, Host.Rdx, memory);
        _e.RegMem(8, Opcode.Lea, Host.Rax, new HostMemory(Host.Rax, 8));
        StoreFrom(4, 8, Host.Rax);
        StoreFrom(op.Reg, 8, Host.Rdx); // POP RSP keeps what was read
    }

    private void LeaveFrame()
    {
        var memory = PopLookup(5);
        _e.RegMem(8, Opcode.MovLoad, Host.Rdx, memory);
        _e.RegMem(8, Opcode.Lea, Host.Rax, new HostMemory(Host.Rax, 8));
        StoreFrom(4, 8, Host.Rax);
        StoreFrom(5, 8, Host.Rdx);
    }

    private void Call(ref Op op, bool indirect)
    {
        var memory = PushLookup();
        _e.RegMem(8, Opcode.MovLoad, Host.Rdx, CpuField.Slot(Slots.CodeBase));
        _e.RegMem(8, Opcode.Lea, Host.Rdx, new HostMemory(Host.Rdx, op.Disp));
        _e.RegMem(8, Opcode.MovStore, Host.Rdx, memory);
        if (!indirect)
        {
            StoreFrom(4, 8, Host.Rax);
            Edge(ref op);
            return;
        }

        // The target may be RSP's old value.
        _e.RegReg(8, Opcode.MovLoad, Host.Rcx, Host.Rax);
        LoadTo(Host.Rax, op.Reg, 8);
        StoreFrom(4, 8, Host.Rcx);
        Indirect(op);
    }

    private void Return(in Op op)
    {
        var memory = PopLookup();
        _e.RegReg(8, Opcode.MovLoad, Host.Rdx, Host.Rax);
        _e.RegMem(8, Opcode.MovLoad, Host.Rax, memory);
        _e.RegMem(8, Opcode.Lea, Host.Rdx, new HostMemory(Host.Rdx, (int)op.Imm));
        StoreFrom(4, 8, Host.Rdx);
        Indirect(op);
    }

    /// <summary>The taken side of a conditional jump is written out of the way.</summary>
    private void AddEdge(byte* jump) => AddStub(ExitKind.Chain, jump).Place = StubPlace.Edge;

    /// <summary>A jump to the RIP in RAX: counts, and goes there; what the jump cache does not know is looked at first (Branch.Arrive).</summary>
    private void Indirect(in Op op)
    {
        byte* wanted = Count(op.V);
        byte* other = Dispatch(out byte* invalid);
        Emitter.Patch(wanted, _e.At);
        Emitter.Patch(other, _e.At);
        Emitter.Patch(invalid, _e.At);
        AddStub(ExitKind.Arrive, _e.Jmp());
    }

    /// <summary>Counts the instructions done. The value is the jump taken if the run loop wants control (Branch.Take). Uses RCX and the host's flags.</summary>
    private byte* Count(int instructions)
    {
        _e.RegMem(4, Opcode.MovLoad, Host.Rcx, _field.Left);
        _e.RegImm(4, Opcode.AluImmediate, 5, Host.Rcx, instructions);
        _e.RegMem(4, Opcode.MovStore, Host.Rcx, _field.Left);
        _e.RegMem(4, Opcode.AluLoad + 8, Host.Rcx, _field.Attention);
        return _e.Jcc(Cc.S);
    }

    /// <summary>A direct jump: counts, and goes to its target, patched in when the target is known.</summary>
    private void Edge(ref Op op)
    {
        AddStub(ExitKind.Chain, Count(op.V)).Place = StubPlace.Leave;
        var target = TargetOf(op, out bool crosses);
        if (crosses)
        {
            LoadTarget(op);
            Emitter.Patch(Dispatch(out byte* invalid), _arena.LeaveAtRip);
            Emitter.Patch(invalid, _arena.LeaveAtRip);
            return;
        }

        byte* jump = _e.Jmp();
        if (target == _entry)
            Emitter.Patch(jump, _start);
        else
            AddStub(ExitKind.Chain, jump).Retry = jump;
    }

    /// <summary>The block a direct jump is linked to, or null.</summary>
    private static Op* TargetOf(in Op op, out bool crosses)
    {
        var target = (Op*)op.Imm;
        bool stub = target->CodeValue == Op.NoCode;
        crosses = stub && OpCatalog.Find(target->Fn).Is(SimpleKind.CrossStub);
        return stub ? null : target;
    }

    /// <summary>RAX ← the RIP a direct jump goes to.</summary>
    private void LoadTarget(in Op op)
    {
        var target = (Op*)op.Imm;
        long offset = target->CodeValue == Op.NoCode ? target->Imm : target->Offset;
        _e.RegMem(8, Opcode.MovLoad, Host.Rax, CpuField.Slot(Slots.CodeBase));
        if (offset == (int)offset)
            _e.RegMem(8, Opcode.Lea, Host.Rax, new HostMemory(Host.Rax, (int)offset));
        else
        {
            _e.MovConstant(Host.Rcx, offset);
            _e.RegMem(8, Opcode.Lea, Host.Rax, new HostMemory(Host.Rax, 0, Host.Rcx));
        }
    }

    /// <summary>
    /// Goes on at the RIP in RAX by the jump cache (Branch.Dispatch). A block that is not translated has the way to the interpreter
    /// where others have their code. The jumps taken where the cache has another RIP's entry (the value) or one that no longer holds are the
    /// caller's to lead on; RAX is as it was.
    /// </summary>
    private byte* Dispatch(out byte* invalid)
    {
        _e.RegReg(8, Opcode.MovLoad, Host.Rcx, Host.Rax);
        _e.RegImm8(8, Opcode.ShiftImmediate, 5, Host.Rcx, 12);
        _e.RegReg(4, Opcode.AluLoad + 48, Host.Rcx, Host.Rax);
        _e.RegImm(4, Opcode.AluImmediate, 4, Host.Rcx, Branch.JumpCacheEntries - 1);
        _e.RegImm8(4, Opcode.ShiftImmediate, 4, Host.Rcx, 4);
        _e.RegMem(8, Opcode.AluLoad, Host.Rcx, _field.JumpCache);
        _e.RegMem(8, Opcode.AluLoad + 56, Host.Rax, new HostMemory(Host.Rcx, 0));
        byte* other = _e.Jcc(Cc.Ne);
        _e.RegMem(8, Opcode.MovLoad, Host.Rdx, new HostMemory(Host.Rcx, 8));
        _e.RegMem(8, Opcode.AluLoad + 48, Host.Rdx, _field.JumpKey);
        _e.RegReg(8, Opcode.MovLoad, Host.Rcx, Host.Rdx);
        _e.RegImm8(8, Opcode.ShiftImmediate, 5, Host.Rcx, 48);
        invalid = _e.Jcc(Cc.Ne);
        _e.ExtendMem(false, 2, 4, Host.Rcx, new HostMemory(Host.Rdx, OffsetField));
        _e.RegReg(8, Opcode.AluStore + 40, Host.Rcx, Host.Rax);
        _e.RegMem(8, Opcode.MovStore, Host.Rax, CpuField.Slot(Slots.CodeBase));
        _e.JmpMemory(new HostMemory(Host.Rdx, ImmField));
        return other;
    }
}
