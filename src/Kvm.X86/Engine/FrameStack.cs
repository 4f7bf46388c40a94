using System.Buffers.Binary;
using Kvm.X86.Execute;
using Kvm.X86.Paging;
using Kvm.X86.State;

namespace Kvm.X86.Engine;

/// <summary>
/// A stack being pushed to or popped from on behalf of a transfer of control: not yet (or no longer) the processor's own, so that
/// nothing changes before the whole frame has gone through.
/// </summary>
internal ref struct FrameStack
{
    private readonly ref Cpu _cpu;
    private readonly CpuContext _context;
    private readonly SegmentRegister _segment;
    private readonly ulong _mask;
    private readonly bool _flat;
    private readonly Privilege _privilege;
    private readonly uint _error;

    /// <summary>Prepares a stack.</summary>
    /// <param name="cpu">The processor.</param>
    /// <param name="context">Its context.</param>
    /// <param name="segment">SS to be; its limits are checked unless the stack is 64-bit.</param>
    /// <param name="pointer">RSP to begin with.</param>
    /// <param name="wide">64-bit stack.</param>
    /// <param name="cpl">Level whose rights accesses have.</param>
    /// <param name="error">Error code of #SS.</param>
    public FrameStack(ref Cpu cpu, CpuContext context, in SegmentRegister segment, ulong pointer, bool wide, int cpl, uint error = 0)
    {
        _cpu = ref cpu;
        _context = context;
        _segment = segment;
        _flat = wide;
        _mask = wide ? ulong.MaxValue : segment.IsBig ? uint.MaxValue : ushort.MaxValue;
        bool smap = (cpu.Cr4 & Bits.Cr4Smap) != 0 && (cpu.Rflags & Bits.Ac) == 0;
        _privilege = cpl == 3 ? Privilege.User : smap ? Privilege.SupervisorSmap : Privilege.Supervisor;
        _error = error;
        Pointer = pointer;
    }

    /// <summary>RSP now.</summary>
    public ulong Pointer { get; private set; }

    /// <summary>RSP as the register is to have it: bits the stack does not use stay.</summary>
    public readonly ulong Register(ulong old) => _mask == ushort.MaxValue ? (old & ~_mask) | (Pointer & _mask) : Pointer & _mask;

    /// <summary>Pushes.</summary>
    public bool TryPush(ulong value, int size)
    {
        ulong pointer = (Pointer - (ulong)size) & _mask;
        Span<byte> bytes = stackalloc byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, value);
        if (!TryLinear(pointer, size, out ulong linear) || !_context.TryWriteAs(linear, bytes[..size], _privilege))
            return NotCanonical(linear);
        Pointer = (Pointer & ~_mask) | pointer;
        return true;
    }

    /// <summary>Pops.</summary>
    public bool TryPop(int size, out ulong value)
    {
        Span<byte> bytes = stackalloc byte[8];
        bytes.Clear();
        value = 0;
        ulong pointer = Pointer & _mask;
        if (!TryLinear(pointer, size, out ulong linear) || !_context.TryReadAs(linear, bytes[..size], _privilege))
            return NotCanonical(linear);
        value = BinaryPrimitives.ReadUInt64LittleEndian(bytes);
        Pointer = (Pointer & ~_mask) | ((pointer + (ulong)size) & _mask);
        return true;
    }

    /// <summary>Skips bytes.</summary>
    public void Skip(ulong bytes) => Pointer = (Pointer & ~_mask) | ((Pointer + bytes) & _mask);

    /// <summary>A stack address that is not canonical is #SS, not #GP.</summary>
    private readonly bool NotCanonical(ulong linear)
    {
        if (_flat && !Modes.IsCanonical(ref _cpu, linear))
            Fault.Raise(ref _cpu, Vector.StackFault, _error);
        return false;
    }

    private readonly bool TryLinear(ulong pointer, int size, out ulong linear)
    {
        linear = pointer;
        if (_flat)
            return true;
        uint offset = (uint)pointer, last = offset + (uint)(size - 1);
        linear = (uint)(_segment.Base + offset);
        bool inside = _segment.IsExpandDown
            ? offset > _segment.Limit && last >= offset && (_segment.IsBig || last <= 0xffff)
            : last >= offset && last <= _segment.Limit;
        return inside || Fault.Raise(ref _cpu, Vector.StackFault, _error);
    }
}
