using System.Buffers.Binary;
using Kvm.Devices.Bus;
using Kvm.Devices.Snapshot;

namespace Kvm.Devices.Pci;

/// <summary>
/// PCI's configuration mechanism #1 (PCI Local Bus 3.0, 3.2.2.3.2): an address register at offset 0 and a data window at offset 4, 0xcf8
/// and 0xcfc on a PC; and at offset 1, for byte accesses, the reset control register of PC chipsets.
/// </summary>
/// <remarks>Safe from any thread, though a guest's two-step access needs the guest's own lock. Nothing is allocated per access.</remarks>
public sealed class PciConfigPorts : IBusDevice, IStateful
{
    /// <summary>Ports it takes.</summary>
    public const int Size = 8;

    /// <summary>Offset of the reset control register.</summary>
    public const int ResetControlOffset = 1;

    private const uint Enabled = 1u << 31, AddressBits = 0x80ff_fffc;
    private const byte ResetProcessor = 1 << 2, ResetControlBits = 0x0e;

    private readonly Lock _lock = new();
    private readonly PciBus _bus;
    private readonly Action? _reset;
    private uint _address;
    private byte _resetControl;

    /// <summary>Makes the ports of a bus.</summary>
    /// <param name="name">The state's name, such as <c>pci-config</c>.</param>
    /// <param name="bus">Bus 0; other buses read as empty.</param>
    /// <param name="reset">Called when bit 2 of the reset control register goes from 0 to 1; on a vCPU thread, with no lock held; must not throw.</param>
    public PciConfigPorts(string name, PciBus bus, Action? reset = null)
    {
        ArgumentException.ThrowIfNullOrEmpty(name);
        ArgumentNullException.ThrowIfNull(bus);
        StateName = name;
        _bus = bus;
        _reset = reset;
    }

    /// <inheritdoc/>
    public string StateName { get; }

    /// <inheritdoc/>
    public ushort StateVersion => 1;

    /// <inheritdoc/>
    public void Read(ulong offset, Span<byte> data)
    {
        data.Fill(0xff);
        lock (_lock)
        {
            if (offset is >= 4 and < Size)
            {
                int lane = (int)offset - 4;
                var within = data[..Math.Min(data.Length, 4 - lane)];
                if (Selected is { } slot)
                    _bus.ReadConfig(slot, Register + lane, within);
            }
            else if (offset == 0 && data.Length == 4)
            {
                BinaryPrimitives.WriteUInt32LittleEndian(data, _address);
            }
            else if (offset == ResetControlOffset && data.Length == 1)
            {
                data[0] = _resetControl;
            }
        }
    }

    /// <inheritdoc/>
    public void Write(ulong offset, ReadOnlySpan<byte> data)
    {
        bool reset = false;
        lock (_lock)
        {
            if (offset is >= 4 and < Size)
            {
                int lane = (int)offset - 4;
                if (Selected is { } slot)
                    _bus.WriteConfig(slot, Register + lane, data[..Math.Min(data.Length, 4 - lane)]);
            }
            else if (offset == 0 && data.Length == 4)
            {
                // Only a whole double word is the address register's; narrower accesses belong to whatever else is there.
                _address = BinaryPrimitives.ReadUInt32LittleEndian(data) & AddressBits;
            }
            else if (offset == ResetControlOffset && data.Length == 1)
            {
                reset = (data[0] & ~_resetControl & ResetProcessor) != 0;
                _resetControl = (byte)(data[0] & ResetControlBits);
            }
        }

        if (reset)
            _reset?.Invoke();
    }

    /// <inheritdoc/>
    public void Save(StateWriter writer)
    {
        ArgumentNullException.ThrowIfNull(writer);
        lock (_lock)
        {
            writer.U32(_address);
            writer.U8(_resetControl);
        }
    }

    /// <inheritdoc/>
    public bool TryRestore(ref StateReader reader, ushort version)
    {
        uint address = reader.U32();
        byte resetControl = reader.U8();
        if (version != 1 || !reader.Complete || (address & ~AddressBits) != 0 || (resetControl & ~ResetControlBits) != 0)
            return false;
        lock (_lock)
            (_address, _resetControl) = (address, resetControl);
        return true;
    }

    private int Register => (int)(_address & 0xfc);

    private int? Selected => (_address & Enabled) != 0 && (_address >> 16 & 0xff) == 0 ? (int)(_address >> 8 & 0xff) : null;
}
