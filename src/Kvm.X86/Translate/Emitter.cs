// Invariants: _at stays below _end + Slack: the caller asks HasRoom before each guest op, which needs at most MaxOpBytes, and the arena
// keeps that much behind _end. The bytes belong to the writable view of a code buffer.
using System.Runtime.CompilerServices;

namespace Kvm.X86.Translate;

/// <summary>
/// Writes host instructions (SDM vol. 2, chapter 2): prefix, REX, opcode, ModRM, SIB, displacement, immediate. Nothing is
/// allocated, nothing is looked up; the caller keeps to encodings that exist.
/// </summary>
internal sealed unsafe class Emitter
{
    /// <summary>Host bytes one guest op may need at most, its stubs not counted.</summary>
    public const int MaxOpBytes = 512;

    private byte* _at;
    private byte* _end;

    /// <summary>The next byte to write, in the writable view.</summary>
    public byte* At => _at;

    /// <summary>Begins to write at an address.</summary>
    public void Start(byte* at, byte* end)
    {
        _at = at;
        _end = end;
    }

    /// <summary>Whether another <paramref name="bytes"/> fit.</summary>
    public bool HasRoom(int bytes) => _end - _at >= bytes;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Byte(int value) => *_at++ = (byte)value;

    public void Int32(int value)
    {
        *(int*)_at = value;
        _at += 4;
    }

    public void Int64(long value)
    {
        *(long*)_at = value;
        _at += 8;
    }

    /// <summary>Leaves bytes for the caller to fill.</summary>
    public void Skip(int bytes) => _at += bytes;

    /// <summary>Writes NOPs up to a multiple of a power of two.</summary>
    public void Align(int alignment)
    {
        while (((nint)_at & (alignment - 1)) != 0)
            Byte(0x90);
    }

    /// <summary>An operation of size 1, 2, 4 or 8 bytes on registers; the opcode is the 8-bit form's where there is one.</summary>
    public void RegReg(int size, int opcode, int reg, int rm)
    {
        Head(size, opcode, reg, 0, rm, size == 1 && (reg >= Host.Rsp || rm >= Host.Rsp));
        Byte(0xc0 | ((reg & 7) << 3) | (rm & 7));
    }

    /// <summary>The same with a memory operand.</summary>
    public void RegMem(int size, int opcode, int reg, in HostMemory m)
    {
        Head(size, opcode, reg, m.Index < 0 ? 0 : m.Index, m.Base, size == 1 && reg >= Host.Rsp);
        Operand(reg, m);
    }

    /// <summary>An operation that takes an immediate: the group's digit in place of a register.</summary>
    public void RegImm(int size, int opcode, int digit, int rm, int immediate)
    {
        bool narrow = opcode == Opcode.AluImmediate && size > 1 && immediate == (sbyte)immediate;
        Head(size, narrow ? Opcode.AluImmediate8 : opcode, digit, 0, rm, size == 1 && rm >= Host.Rsp);
        Byte(0xc0 | (digit << 3) | (rm & 7));
        Immediate(narrow ? 1 : size, immediate);
    }

    /// <summary>The same with a memory operand.</summary>
    public void MemImm(int size, int opcode, int digit, in HostMemory m, int immediate)
    {
        bool narrow = opcode == Opcode.AluImmediate && size > 1 && immediate == (sbyte)immediate;
        Head(size, narrow ? Opcode.AluImmediate8 : opcode, digit, m.Index < 0 ? 0 : m.Index, m.Base, false);
        Operand(digit, m);
        Immediate(narrow ? 1 : size, immediate);
    }

    /// <summary>An operation whose immediate has one byte whatever the operand's size (shifts, BT family, SHLD).</summary>
    public void RegImm8(int size, int opcode, int digit, int rm, int immediate)
    {
        RegReg(size, opcode, digit, rm);
        Byte(immediate);
    }

    /// <summary>The same with a memory operand.</summary>
    public void MemImm8(int size, int opcode, int digit, in HostMemory m, int immediate)
    {
        RegMem(size, opcode, digit, m);
        Byte(immediate);
    }

    /// <summary>Widens a register of 1, 2 or 4 bytes; from 4 to 8 bytes unsigned it is a move of 4.</summary>
    public void Extend(bool signed, int from, int to, int reg, int rm)
    {
        if (from == 4)
        {
            RegReg(signed ? to : 4, signed ? Opcode.Movsxd : Opcode.MovLoad, reg, rm);
            return;
        }

        Rex16(to, reg, 0, rm, from == 1 && rm >= Host.Rsp);
        OpcodeBytes(ExtendOpcode(signed, from));
        Byte(0xc0 | ((reg & 7) << 3) | (rm & 7));
    }

    /// <summary>Zero-extends bits 8–15 of RAX, RCX or RDX over the register.</summary>
    public void ExtendHigh(int reg)
    {
        OpcodeBytes(Opcode.Movzx);
        Byte(0xc0 | (reg << 3) | (reg + 4));
    }

    /// <summary>The same from memory.</summary>
    public void ExtendMem(bool signed, int from, int to, int reg, in HostMemory m)
    {
        if (from == 4)
        {
            RegMem(signed ? to : 4, signed ? Opcode.Movsxd : Opcode.MovLoad, reg, m);
            return;
        }

        Rex16(to, reg, m.Index < 0 ? 0 : m.Index, m.Base, false);
        OpcodeBytes(ExtendOpcode(signed, from));
        Operand(reg, m);
    }

    private static int ExtendOpcode(bool signed, int from) => (signed ? Opcode.Movsx : Opcode.Movzx) | (from == 2 ? 1 : 0);

    private void Rex16(int size, int reg, int index, int rm, bool force)
    {
        if (size == 2)
            Byte(0x66);
        Rex(size == 8, reg, index, rm, force);
    }

    /// <summary>An immediate of at most four bytes, as wide as the operand.</summary>
    public void Immediate(int size, int value)
    {
        switch (size)
        {
            case 1:
                Byte(value);
                break;
            case 2:
                *(short*)_at = (short)value;
                _at += 2;
                break;
            default:
                Int32(value);
                break;
        }
    }

    /// <summary>register ← constant, by the shortest encoding that leaves the flags.</summary>
    public void MovConstant(int reg, long value)
    {
        if (value == (uint)value)
        {
            Rex(false, 0, 0, reg, false);
            Byte(0xb8 | (reg & 7));
            Int32((int)value);
        }
        else if (value == (int)value)
            RegImm(8, Opcode.MovImmediate, 0, reg, (int)value);
        else
        {
            Rex(true, 0, 0, reg, false);
            Byte(0xb8 | (reg & 7));
            Int64(value);
        }
    }

    /// <summary>register ← address of a byte of the same buffer.</summary>
    public void LeaCode(int reg, byte* target)
    {
        Rex(true, reg, 0, 0, false);
        Byte(Opcode.Lea);
        Byte(((reg & 7) << 3) | 5);
        Int32((int)(target - (_at + 4)));
    }

    /// <summary>A jump whose target is filled in by <see cref="Patch"/>; returns where.</summary>
    public byte* Jmp()
    {
        Byte(Opcode.JmpNear);
        _at += 4;
        return _at - 4;
    }

    /// <summary>A jump to known code.</summary>
    public void Jmp(byte* target) => Patch(Jmp(), target);

    /// <summary>A conditional jump whose target is filled in by <see cref="Patch"/>; returns where.</summary>
    public byte* Jcc(int cc)
    {
        Byte(0x0f);
        Byte((Opcode.JccNear & 0xff) | cc);
        _at += 4;
        return _at - 4;
    }

    /// <summary>A conditional jump over less than 128 bytes; <see cref="PatchShort"/> ends it.</summary>
    public byte* JccShort(int cc)
    {
        Byte(Opcode.JccShort | cc);
        return _at++;
    }

    /// <summary>A jump over less than 128 bytes; <see cref="PatchShort"/> ends it.</summary>
    public byte* JmpShort()
    {
        Byte(Opcode.JmpShort);
        return _at++;
    }

    /// <summary>Ends a short jump here.</summary>
    public void PatchShort(byte* jump) => *jump = (byte)(_at - (jump + 1));

    /// <summary>Fills in the target of a near jump. Aligned stores of four bytes would be atomic; nothing else runs this code meanwhile.</summary>
    public static void Patch(byte* jump, byte* target) => *(int*)jump = (int)(target - (jump + 4));

    /// <summary>JMP to the address in memory or a register.</summary>
    public void JmpMemory(in HostMemory m)
    {
        Rex(false, 0, m.Index < 0 ? 0 : m.Index, m.Base, false);
        Byte(Opcode.Group5);
        Operand(4, m);
    }

    /// <summary>JMP to the address in a register.</summary>
    public void JmpRegister(int reg)
    {
        Rex(false, 0, 0, reg, false);
        Byte(Opcode.Group5);
        Byte(0xc0 | (4 << 3) | (reg & 7));
    }

    public void Push(int reg)
    {
        Rex(false, 0, 0, reg, false);
        Byte(0x50 | (reg & 7));
    }

    public void Pop(int reg)
    {
        Rex(false, 0, 0, reg, false);
        Byte(0x58 | (reg & 7));
    }

    public void Ret() => Byte(0xc3);

    public void Lock() => Byte(0xf0);

    /// <summary>AH ← SF ZF AF PF CF.</summary>
    public void Lahf() => Byte(0x9f);

    public void Sahf() => Byte(0x9e);

    public void Cdq() => Byte(0x99);

    public void Cqo()
    {
        Byte(0x48);
        Byte(0x99);
    }

    public void Bswap(int size, int reg)
    {
        Rex(size == 8, 0, 0, reg, false);
        Byte(0x0f);
        Byte(0xc8 | (reg & 7));
    }

    /// <summary>A vector operation on registers: the opcode carries its mandatory prefix.</summary>
    public void VectorReg(int opcode, int reg, int rm)
    {
        VectorHead(opcode, reg, 0, rm);
        Byte(0xc0 | ((reg & 7) << 3) | (rm & 7));
    }

    /// <summary>The same with a memory operand.</summary>
    public void VectorMem(int opcode, int reg, in HostMemory m)
    {
        VectorHead(opcode, reg, m.Index < 0 ? 0 : m.Index, m.Base);
        Operand(reg, m);
    }

    private void VectorHead(int opcode, int reg, int index, int rm)
    {
        if ((opcode >>> 24) != 0)
            Byte(opcode >>> 24);
        Rex(false, reg, index, rm, false);
        OpcodeBytes(opcode & 0xffffff);
    }

    /// <summary>Prefixes, REX and opcode. Opcodes with an 8-bit form have it at the even number.</summary>
    private void Head(int size, int opcode, int reg, int index, int rm, bool byteRegister)
    {
        if (size == 2)
            Byte(0x66);
        if ((opcode >>> 24) != 0)
            Byte(opcode >>> 24);
        Rex(size == 8, reg, index, rm, byteRegister);
        OpcodeBytes((opcode & 0xffffff) | (size > 1 && HasByteForm(opcode) ? 1 : 0));
    }

    private void OpcodeBytes(int opcode)
    {
        if (opcode > 0xffff)
            Byte(opcode >> 16);
        if (opcode > 0xff)
            Byte(opcode >> 8);
        Byte(opcode);
    }

    private static bool HasByteForm(int opcode) => opcode switch
    {
        >= 0 and < 0x40 or Opcode.AluImmediate or Opcode.TestStore or Opcode.XchgStore or Opcode.MovStore or Opcode.MovLoad or Opcode.MovImmediate
            or Opcode.ShiftImmediate or Opcode.ShiftCl or Opcode.Group3 or Opcode.Group4 or Opcode.Cmpxchg or Opcode.Xadd => true,
        _ => false,
    };

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void Rex(bool wide, int reg, int index, int rm, bool force)
    {
        int rex = (wide ? 8 : 0) | ((reg >> 3) << 2) | ((index >> 3) << 1) | (rm >> 3);
        if (rex != 0 || force)
            Byte(0x40 | rex);
    }

    private void Operand(int reg, in HostMemory m)
    {
        int low = m.Base & 7;
        bool sib = m.Index >= 0 || low == Host.Rsp;
        int mode = m.Displacement == 0 && low != Host.Rbp ? 0 : m.Displacement == (sbyte)m.Displacement ? 1 : 2;
        Byte((mode << 6) | ((reg & 7) << 3) | (sib ? 4 : low));
        if (sib)
            Byte((m.Scale << 6) | ((m.Index < 0 ? 4 : m.Index & 7) << 3) | low);
        if (mode == 1)
            Byte(m.Displacement);
        else if (mode == 2)
            Int32(m.Displacement);
    }
}
