using Iced.Intel;
using Kvm.X86.Execute;
using Kvm.X86.State;

namespace Kvm.X86.Decode;

internal sealed partial class BlockBuilder
{
    /// <summary>A memory operand ready to be put into an op.</summary>
    private struct MemoryOperand
    {
        public byte Base, Index, Scale, Segment;
        public int Disp;

        public readonly bool Indexed => Index != Slots.Zero;

        public readonly void Apply(ref Op op)
        {
            op.Base = Base;
            op.Index = Index;
            op.Scale |= Scale;
            op.Disp = Disp;
            op.LengthSegment |= (byte)(Segment << 4);
            op.Rm = Op.Memory;
        }
    }

    private OpKind Kind0 => _i.Op0Kind;

    private OpKind Kind1 => _i.Op1Kind;

    private static bool IsRegister(OpKind kind) => kind == OpKind.Register;

    /// <summary>Size in bytes of operand 0 or 1, whichever says it.</summary>
    private int OperandSize()
    {
        if (IsRegister(Kind0))
            return RegisterNumber.SizeOf(_i.Op0Register);
        if (_i.OpCount > 1 && IsRegister(Kind1) && Kind0 == OpKind.Memory && _i.MemorySize == MemorySize.Unknown)
            return RegisterNumber.SizeOf(_i.Op1Register);
        return _i.MemorySize.GetSize();
    }

    /// <summary>
    /// Describes the instruction's explicit memory operand; emits an address micro-op first where segmentation, address size
    /// or an unusual displacement ask for one.
    /// </summary>
    private MemoryOperand Memory(int size, bool write)
    {
        var m = new MemoryOperand { Segment = (byte)(_i.MemorySegment - Register.ES) };
        int addressSize = AddressSize(out bool ipRelative);
        Describe(ref m, ipRelative, out long far);
        if (far != 0)
        {
            if (ipRelative)
                Add(SimpleKind.FarAddress, Effects.None).Imm = far;
            else
                SetSlot(Slots.Address, far);
            m = new MemoryOperand { Segment = m.Segment, Base = Slots.Address, Index = Slots.Zero };
        }

        return AddressOf(m, addressSize, size, write);
    }

    /// <summary>The operand as it is, or computed by an address micro-op where it is not plain 64-bit addressing.</summary>
    private MemoryOperand AddressOf(in MemoryOperand m, int addressSize, int size, bool write)
    {
        bool plain = _long && addressSize == 8 && m.Segment < Seg.Fs;
        if (plain)
            return m;
        ref var op = ref Add(_long ? SimpleKind.AddressLong : SimpleKind.AddressLegacy, _long ? Effects.None : Effects.Exits);
        m.Apply(ref op);
        if (_long)
            op.V = (byte)(addressSize == 8 ? 0 : 1);
        else
            op.Imm = (long)(uint)Math.Max(size, 1) | (write ? SegmentAccess.WriteBit : 0) | (addressSize == 2 ? SegmentAccess.Address16Bit : 0);
        return new MemoryOperand { Segment = m.Segment, Base = Slots.Address, Index = Slots.Zero };
    }

    /// <summary>Address size in bytes of the memory operand.</summary>
    private int AddressSize(out bool ipRelative)
    {
        ipRelative = _i.IsIPRelativeMemoryOperand;
        if (ipRelative)
            return _i.MemoryBase == Register.RIP ? 8 : 4;
        if (_i.MemoryBase != Register.None)
            return RegisterNumber.SizeOf(_i.MemoryBase);
        if (_i.MemoryIndex != Register.None)
            return RegisterNumber.SizeOf(_i.MemoryIndex);
        return _i.MemoryDisplSize;
    }

    private void SetSlot(int slot, long value)
    {
        ref var op = ref Add(HotTable.Mov(8, MovForm.RegImm), Effects.None);
        op.Reg = (byte)slot;
        op.Imm = value;
    }

    private void Describe(ref MemoryOperand m, bool ipRelative, out long far)
    {
        far = 0;
        if (ipRelative)
        {
            // The decoder's IP is the offset in the page, so the target is relative to the page's RIP.
            long relative = (long)_i.IPRelativeMemoryAddress;
            if (_i.MemoryBase == Register.EIP)
                relative = (int)relative;
            m.Base = Slots.CodeBase;
            m.Index = Slots.Zero;
            if (relative == (int)relative)
                m.Disp = (int)relative;
            else
                far = relative;
            return;
        }

        m.Base = RegisterNumber.Slot(_i.MemoryBase);
        m.Index = RegisterNumber.Slot(_i.MemoryIndex);
        m.Scale = (byte)(_i.MemoryIndexScale switch { 2 => 1, 4 => 2, 8 => 3, _ => 0 });
        long displacement = (long)_i.MemoryDisplacement64;
        if (_long && displacement != (int)displacement && _i.MemoryDisplSize == 8)
            far = displacement; // MOV moffs64
        else
            m.Disp = (int)displacement;
    }

    /// <summary>Loads the explicit memory operand into slot Temp (zero fill: the slot is scratch); returns the register number to use.</summary>
    private byte LoadTemp(int size)
    {
        var m = Memory(size, false);
        ref var op = ref Add(HotTable.Mov(size, m.Indexed ? MovForm.LoadX : MovForm.LoadB), Effects.Exits);
        m.Apply(ref op);
        return op.Reg = TempOf(size);
    }

    private static byte TempOf(int size) => (byte)(size == 1 ? Slots.Temp * 8 : Slots.Temp);

    /// <summary>The register of operand <paramref name="operand"/>, or slot Temp loaded from memory.</summary>
    private byte Source(int operand, int size) =>
        _i.GetOpKind(operand) == OpKind.Register ? RegisterNumber.Of(_i.GetOpRegister(operand)) : LoadTemp(size);

    /// <summary>Slot Temp ← memory, proven writable; <see cref="StoreTemp"/> writes it back.</summary>
    private MemoryOperand LoadToModify(int size)
    {
        var m = Memory(size, true);
        ref var op = ref Add(HotTable.Mov(size, MovForm.LoadToModify), Effects.Exits);
        m.Apply(ref op);
        op.Reg = TempOf(size);
        return m;
    }

    private void StoreTemp(in MemoryOperand m, int size)
    {
        ref var op = ref Add(HotTable.Mov(size, m.Indexed ? MovForm.StoreX : MovForm.StoreB), Effects.Exits);
        m.Apply(ref op);
        op.Reg = TempOf(size);
    }

    /// <summary>The immediate operand, sign-extended to 64 bits from the operand's size.</summary>
    private long Immediate(int operand, int size)
    {
        ulong value = _i.GetImmediate(operand);
        return size switch
        {
            1 => (sbyte)value,
            2 => (short)value,
            4 => (int)value,
            _ => (long)value,
        };
    }
}
