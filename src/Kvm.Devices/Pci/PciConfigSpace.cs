using System.Buffers.Binary;

namespace Kvm.Devices.Pci;

/// <summary>What a base address register decodes.</summary>
public enum PciBarKind
{
    /// <summary>I/O ports.</summary>
    Io,

    /// <summary>Memory below 4 GiB.</summary>
    Memory32,

    /// <summary>Memory anywhere; takes two registers.</summary>
    Memory64,
}

/// <summary>Where a base address register points now.</summary>
/// <param name="Kind">What it decodes.</param>
/// <param name="Address">First address, a multiple of the size.</param>
/// <param name="Size">Bytes, a power of two.</param>
public readonly record struct PciBarRange(PciBarKind Kind, ulong Address, ulong Size);

/// <summary>
/// A function's configuration space (PCI Local Bus 3.0, chapter 6): bytes, of which the guest may write some and clear others.
/// </summary>
/// <remarks>Not thread-safe: <see cref="PciBus"/> serialises access. The set-up methods throw; nothing a guest does can.</remarks>
public sealed class PciConfigSpace
{
    /// <summary>Bytes of a conventional function's space.</summary>
    public const int ConventionalSize = 256;

    /// <summary>Bytes of a PCI Express function's space.</summary>
    public const int ExpressSize = 4096;

    /// <summary>Base address registers of an ordinary function.</summary>
    public const int BarCount = 6;

    internal const int Command = 0x04, Status = 0x06, FirstBar = 0x10, CapabilityPointer = 0x34, FirstCapability = 0x40;
    internal const int InterruptLine = 0x3c, InterruptPin = 0x3d;
    internal const ushort CommandIo = 1 << 0, CommandMemory = 1 << 1, CommandInterruptsOff = 1 << 10;
    private const ushort CommandBits = CommandIo | CommandMemory | 1 << 2 | 1 << 6 | 1 << 8 | CommandInterruptsOff; // master, parity, SERR#
    private const ushort StatusErrors = 0xf900, StatusCapabilities = 1 << 4;

    private readonly byte[] _bytes;
    private readonly byte[] _writable;
    private readonly byte[] _clearable;
    private readonly PciBarKind?[] _kinds = new PciBarKind?[BarCount];
    private readonly ulong[] _sizes = new ulong[BarCount];
    private int _nextCapability = FirstCapability;
    private int _lastCapabilityLink = CapabilityPointer;

    /// <summary>Makes the space of an ordinary function (header type 0) with nothing decoded.</summary>
    /// <param name="vendor">Vendor ID; 0xffff means no function and is refused.</param>
    /// <param name="device">Device ID.</param>
    /// <param name="classCode">Base class, subclass and interface in 24 bits.</param>
    /// <param name="revision">Revision ID.</param>
    /// <param name="size"><see cref="ConventionalSize"/> or <see cref="ExpressSize"/>.</param>
    public PciConfigSpace(ushort vendor, ushort device, uint classCode, byte revision = 0, int size = ConventionalSize)
    {
        ArgumentOutOfRangeException.ThrowIfEqual(vendor, (ushort)0xffff);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(classCode, 0xff_ffffu);
        if (size is not (ConventionalSize or ExpressSize))
            throw new ArgumentOutOfRangeException(nameof(size), size, "256 or 4096");
        _bytes = new byte[size];
        _writable = new byte[size];
        _clearable = new byte[size];
        SetU16(0x00, vendor);
        SetU16(0x02, device);
        SetU32(0x08, classCode << 8 | revision);
        Allow(Command, [CommandBits & 0xff, CommandBits >> 8]);
        _clearable[Status + 1] = StatusErrors >> 8;
        Allow(0x0c, [0xff]); // cache line size: kept, without effect
        Allow(InterruptLine, [0xff]); // interrupt line: kept for the guest
    }

    /// <summary>Bytes in the space.</summary>
    public int Size => _bytes.Length;

    /// <summary>Sets the subsystem's vendor and device.</summary>
    public void SetSubsystem(ushort vendor, ushort device)
    {
        SetU16(0x2c, vendor);
        SetU16(0x2e, device);
    }

    /// <summary>Gives the function an interrupt pin: 1 to 4 for INTA to INTD, 0 for none.</summary>
    public void SetInterruptPin(int pin)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(pin);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(pin, 4);
        _bytes[InterruptPin] = (byte)pin;
    }

    /// <summary>Declares a base address register.</summary>
    /// <param name="index">0 to 5; a 64-bit register takes the next one too.</param>
    /// <param name="kind">What it decodes.</param>
    /// <param name="size">A power of two: 4 to 256 bytes of ports, 16 bytes to 2 GiB of 32-bit memory, 16 bytes or more of 64-bit memory.</param>
    /// <param name="prefetchable">Memory whose reads have no effect.</param>
    public void AddBar(int index, PciBarKind kind, ulong size, bool prefetchable = false)
    {
        int registers = kind == PciBarKind.Memory64 ? 2 : 1;
        ArgumentOutOfRangeException.ThrowIfNegative(index);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(index, BarCount - registers);
        (ulong least, ulong most) = kind switch
        {
            PciBarKind.Io => (4UL, 256UL),
            PciBarKind.Memory32 => (16UL, 1UL << 31),
            _ => (16UL, 1UL << 62),
        };
        if (!ulong.IsPow2(size) || size < least || size > most)
            throw new ArgumentOutOfRangeException(nameof(size), size, $"a power of two from {least} to {most}");
        if (IsTaken(index) || (registers == 2 && IsTaken(index + 1)))
            throw new ArgumentException($"base address register {index} is taken", nameof(index));

        (_kinds[index], _sizes[index]) = (kind, size);
        int offset = FirstBar + index * 4;
        ulong mask = unchecked(~(size - 1));
        _bytes[offset] = kind switch
        {
            PciBarKind.Io => 1,
            PciBarKind.Memory32 => (byte)(prefetchable ? 8 : 0),
            _ => (byte)(prefetchable ? 12 : 4),
        };
        BinaryPrimitives.WriteUInt32LittleEndian(_writable.AsSpan(offset), (uint)(mask & 0xffff_ffff));
        if (registers == 2)
            BinaryPrimitives.WriteUInt32LittleEndian(_writable.AsSpan(offset + 4), (uint)(mask >> 32));
    }

    /// <summary>Adds a capability to the list and gives its offset.</summary>
    /// <param name="id">Capability ID.</param>
    /// <param name="body">What follows the ID and the link.</param>
    /// <param name="writable">For each byte of the body, the bits the guest may write; missing bytes are read-only.</param>
    /// <exception cref="InvalidOperationException">The space is full.</exception>
    public int AddCapability(byte id, ReadOnlySpan<byte> body, ReadOnlySpan<byte> writable = default)
    {
        int offset = _nextCapability;
        if (body.Length > ConventionalSize - offset - 2)
            throw new InvalidOperationException($"no room for a capability of {body.Length + 2} bytes at {offset:x}");
        if (writable.Length > body.Length)
            throw new ArgumentException("the mask is longer than the body", nameof(writable));
        _bytes[offset] = id;
        body.CopyTo(_bytes.AsSpan(offset + 2));
        Allow(offset + 2, writable);
        _bytes[_lastCapabilityLink] = (byte)offset;
        _bytes[Status] |= (byte)StatusCapabilities;
        _lastCapabilityLink = offset + 1;
        _nextCapability = (offset + 2 + body.Length + 3) & ~3;
        return offset;
    }

    /// <summary>Sets bits the guest may write from <paramref name="offset"/> on.</summary>
    public void Allow(int offset, ReadOnlySpan<byte> mask) => mask.CopyTo(_writable.AsSpan(offset));

    /// <summary>Reads 16 bits as the device sees them.</summary>
    public ushort U16(int offset) => BinaryPrimitives.ReadUInt16LittleEndian(_bytes.AsSpan(offset));

    /// <summary>Reads 32 bits as the device sees them.</summary>
    public uint U32(int offset) => BinaryPrimitives.ReadUInt32LittleEndian(_bytes.AsSpan(offset));

    /// <summary>Sets 16 bits, whether the guest may write them or not.</summary>
    public void SetU16(int offset, ushort value) => BinaryPrimitives.WriteUInt16LittleEndian(_bytes.AsSpan(offset), value);

    /// <summary>Sets 32 bits, whether the guest may write them or not.</summary>
    public void SetU32(int offset, uint value) => BinaryPrimitives.WriteUInt32LittleEndian(_bytes.AsSpan(offset), value);

    /// <summary>The guest's read; bytes outside the space read as ones.</summary>
    public void Read(int offset, Span<byte> data)
    {
        data.Fill(0xff);
        if (offset >= 0 && offset < _bytes.Length)
            _bytes.AsSpan(offset, Math.Min(data.Length, _bytes.Length - offset)).CopyTo(data);
    }

    /// <summary>The guest's write; bits it may not change stay.</summary>
    public void Write(int offset, ReadOnlySpan<byte> data)
    {
        for (int i = 0; i < data.Length && offset >= 0 && offset < _bytes.Length - i; i++)
        {
            int at = offset + i;
            int kept = _bytes[at] & ~_writable[at] & ~(data[i] & _clearable[at]);
            _bytes[at] = (byte)(kept | data[i] & _writable[at]);
        }
    }

    /// <summary>
    /// Where a register points, if the guest has switched its kind of decoding on. While a guest sizes the register it points at
    /// the top of the address space; such a range is given too, and whoever maps it has to bear it.
    /// </summary>
    public bool TryGetBar(int index, out PciBarRange range)
    {
        range = default;
        if (index is < 0 or >= BarCount || _kinds[index] is not { } kind)
            return false;
        ushort needed = kind == PciBarKind.Io ? CommandIo : CommandMemory;
        if ((U16(Command) & needed) == 0)
            return false;
        int offset = FirstBar + index * 4;
        ulong address = U32(offset) & ~(kind == PciBarKind.Io ? 3UL : 15UL);
        if (kind == PciBarKind.Memory64)
            address |= (ulong)U32(offset + 4) << 32;
        range = new PciBarRange(kind, address, _sizes[index]);
        return true;
    }

    /// <summary>What a base address register decodes and how much; false if there is none.</summary>
    internal bool TryGetBarSize(int index, out PciBarKind kind, out ulong size)
    {
        (kind, size) = (_kinds[index] ?? default, _sizes[index]);
        return _kinds[index] is not null;
    }

    /// <summary>Points a base address register at a multiple of its size.</summary>
    internal void SetBarAddress(int index, ulong address)
    {
        int offset = FirstBar + index * 4;
        SetU32(offset, (uint)(address & 0xffff_ffff) | U32(offset) & (_kinds[index] == PciBarKind.Io ? 3u : 15u));
        if (_kinds[index] == PciBarKind.Memory64)
            SetU32(offset + 4, (uint)(address >> 32));
    }

    /// <summary>The bits a guest can have changed, for a snapshot; the rest is the device's own making.</summary>
    internal void Save(Snapshot.StateWriter writer)
    {
        Span<byte> kept = stackalloc byte[ExpressSize];
        for (int i = 0; i < _bytes.Length; i++)
            kept[i] = (byte)(_bytes[i] & (_writable[i] | _clearable[i]));
        writer.Bytes(kept[.._bytes.Length]);
    }

    /// <summary>Checks a saved record without applying it: a bit that no guest can have changed is refused.</summary>
    internal bool Accepts(ReadOnlySpan<byte> record)
    {
        if (record.Length != _bytes.Length)
            return false;
        for (int i = 0; i < record.Length; i++)
        {
            if ((record[i] & ~(_writable[i] | _clearable[i])) != 0)
                return false;
        }

        return true;
    }

    /// <summary>Applies a record that <see cref="Accepts"/> found good.</summary>
    internal void Apply(ReadOnlySpan<byte> record)
    {
        for (int i = 0; i < record.Length; i++)
            _bytes[i] = (byte)(_bytes[i] & ~(_writable[i] | _clearable[i]) | record[i]);
    }

    private bool IsTaken(int index) => _kinds[index] is not null || (index > 0 && _kinds[index - 1] == PciBarKind.Memory64);
}
