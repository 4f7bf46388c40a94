// Invariants: see BlockTranslator.cs. Nothing here changes the host's flags.
using Kvm.X86.Decode;
using Kvm.X86.State;

namespace Kvm.X86.Translate;

internal sealed unsafe partial class BlockTranslator
{
    /// <summary>A register operand as host code names it: a host register, or its slot in memory.</summary>
    private readonly record struct Place(int Register, HostMemory Memory)
    {
        public bool IsRegister => Register >= 0;
    }

    /// <summary>Where a slot is.</summary>
    private static Place PlaceOf(int slot) => new(HostRegisters.Find(slot), CpuField.Slot(slot));

    /// <summary>Whether a register operand of one byte is bits 8–15 of its register.</summary>
    private static bool IsHigh(int register) => (register & 7) == 1;

    /// <summary>Copies a register operand to a scratch register, zero-extended from sizes below 8 (from 2 and 4 at least to 32 bits).</summary>
    private void LoadTo(int scratch, int register, int size)
    {
        if (size == 1)
        {
            LoadByte(scratch, register);
            return;
        }

        int host = HostRegisters.Find(register);
        if (size == 2)
        {
            if (host >= 0)
                _e.Extend(false, 2, 4, scratch, host);
            else
                _e.ExtendMem(false, 2, 4, scratch, CpuField.Slot(register));
        }
        else if (host >= 0)
            _e.RegReg(size, Opcode.MovLoad, scratch, host);
        else
            _e.RegMem(size, Opcode.MovLoad, scratch, CpuField.Slot(register));
    }

    private void LoadByte(int scratch, int register)
    {
        int host = HostRegisters.Find(register >> 3);
        if (host < 0)
            _e.ExtendMem(false, 1, 4, scratch, CpuField.Byte(register));
        else if (!IsHigh(register))
            _e.Extend(false, 1, 4, scratch, host);
        else
        {
            // Without REX, 4 + n names bits 8–15 of RAX, RCX, RDX.
            _e.RegReg(4, Opcode.MovLoad, scratch, host);
            _e.ExtendHigh(scratch);
        }
    }

    /// <summary>A host register with the operand's value in its low bits: its own, or the scratch register.</summary>
    private int Use(int register, int size, int scratch)
    {
        int host = size == 1 ? (IsHigh(register) ? -1 : HostRegisters.Find(register >> 3)) : HostRegisters.Find(register);
        if (host >= 0)
            return host;
        LoadTo(scratch, register, size);
        return scratch;
    }

    /// <summary>Writes a register operand from a scratch register by x86-64's rules: 32 bits clear the upper half, 8 and 16 leave the rest.</summary>
    private void StoreFrom(int register, int size, int source)
    {
        if (size == 1)
        {
            StoreByte(register, source);
            return;
        }

        int host = HostRegisters.Find(register);
        if (host >= 0)
            _e.RegReg(size, Opcode.MovLoad, host, source);
        else if (size != 4)
            _e.RegMem(size, Opcode.MovStore, source, CpuField.Slot(register));
        else
        {
            _e.RegReg(4, Opcode.MovLoad, source, source);
            _e.RegMem(8, Opcode.MovStore, source, CpuField.Slot(register));
        }
    }

    private void StoreByte(int register, int source)
    {
        int slot = register >> 3, host = HostRegisters.Find(slot);
        if (host < 0)
            _e.RegMem(1, Opcode.MovStore, source, CpuField.Byte(register));
        else if (!IsHigh(register))
            _e.RegReg(1, Opcode.MovLoad, host, source);
        else
        {
            // Through memory: shifts and ORs would change the flags. AH and its like are rare.
            _e.RegMem(8, Opcode.MovStore, host, CpuField.Slot(slot));
            _e.RegMem(1, Opcode.MovStore, source, CpuField.Byte(register));
            _e.RegMem(8, Opcode.MovLoad, host, CpuField.Slot(slot));
        }
    }

    /// <summary>Where an operation of this size can work on a register operand in place; otherwise a scratch register, loaded.</summary>
    private Place Modify(int register, int size, int scratch)
    {
        int slot = size == 1 ? register >> 3 : register, host = HostRegisters.Find(slot);
        if (host >= 0 && !(size == 1 && IsHigh(register)))
            return new Place(host, default);
        if (host < 0 && size != 4)
            return new Place(-1, size == 1 ? CpuField.Byte(register) : CpuField.Slot(register));
        LoadTo(scratch, register, size);
        return new Place(scratch, default);
    }

    /// <summary>The same where the operation needs a register.</summary>
    private int ModifyRegister(int register, int size, int scratch)
    {
        int host = size == 1 ? (IsHigh(register) ? -1 : HostRegisters.Find(register >> 3)) : HostRegisters.Find(register);
        if (host >= 0)
            return host;
        LoadTo(scratch, register, size);
        return scratch;
    }

    /// <summary>Writes back what <see cref="Modify"/> had to load.</summary>
    private void EndModify(int register, int size, in Place place, int scratch)
    {
        if (place.IsRegister && place.Register == scratch)
            StoreFrom(register, size, scratch);
    }

    /// <summary>scratch ← address of the op's memory operand.</summary>
    private void EffectiveAddress(int scratch, in Op op)
    {
        int displacement = op.Disp;
        int b = BaseRegister(op.Base, scratch);
        if (op.Index != Slots.Zero)
        {
            int x = HostRegisters.Find(op.Index);
            if (x < 0)
            {
                x = scratch == Host.Rcx || b == Host.Rcx ? Host.Rdx : Host.Rcx;
                _e.RegMem(8, Opcode.MovLoad, x, CpuField.Slot(op.Index));
            }

            int scale = op.Scale & 3;
            if (b < 0)
            {
                _e.MovConstant(scratch, displacement);
                b = scratch;
                displacement = 0;
            }

            _e.RegMem(8, Opcode.Lea, scratch, new HostMemory(b, displacement, x, scale));
        }
        else if (b < 0)
            _e.MovConstant(scratch, displacement);
        else if (displacement != 0)
            _e.RegMem(8, Opcode.Lea, scratch, new HostMemory(b, displacement));
        else if (b != scratch)
            _e.RegReg(8, Opcode.MovLoad, scratch, b);
    }

    /// <summary>The register of a base, loaded if it lives in memory; −1 if there is none.</summary>
    private int BaseRegister(int slot, int scratch)
    {
        if (slot == Slots.Zero)
            return -1;
        int host = HostRegisters.Find(slot);
        if (host >= 0)
            return host;
        _e.RegMem(8, Opcode.MovLoad, scratch, CpuField.Slot(slot));
        return scratch;
    }

    /// <summary>
    /// Looks the op's linear address, in RAX, up in the translation buffer. What comes back is the host memory. Uses RCX and RDX,
    /// of which RDX is free again. The flags must have been saved.
    /// </summary>
    private HostMemory Lookup(int bytes, AccessForm form, byte* retry)
    {
        _e.RegReg(8, Opcode.MovLoad, Host.Rcx, Host.Rax);
        _e.RegImm8(8, Opcode.ShiftImmediate, 5, Host.Rcx, Execute.Tlb.IndexShift);
        _e.RegImm(4, Opcode.AluImmediate, 4, Host.Rcx, (int)Execute.Tlb.IndexMask);
        _e.RegMem(8, Opcode.AluLoad, Host.Rcx, _field.Tlb);
        if (bytes == 1)
            _e.RegReg(8, Opcode.MovLoad, Host.Rdx, Host.Rax);
        else
            _e.RegMem(8, Opcode.Lea, Host.Rdx, new HostMemory(Host.Rax, bytes - 1));
        _e.RegImm(8, Opcode.AluImmediate, 4, Host.Rdx, -4096);
        bool write = form != AccessForm.Read;
        _e.RegMem(8, Opcode.AluLoad + 56, Host.Rdx, new HostMemory(Host.Rcx, write ? 8 : 0));
        ref var stub = ref AddStub(ExitKind.Access, _e.Jcc(Cc.Ne));
        stub.Bytes = (byte)bytes;
        stub.Form = form;
        stub.Retry = retry;
        _e.RegMem(8, Opcode.MovLoad, Host.Rcx, new HostMemory(Host.Rcx, 16));
        return new HostMemory(Host.Rax, 0, Host.Rcx);
    }

    /// <summary>Address and lookup of the op's memory operand.</summary>
    private HostMemory Access(in Op op, int bytes, AccessForm form)
    {
        Clobber();
        byte* retry = _e.At;
        EffectiveAddress(Host.Rax, op);
        return Lookup(bytes, form, retry);
    }
}
