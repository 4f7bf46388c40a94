using System.Buffers.Binary;
using Kvm.Devices.Pci;

namespace Kvm.Devices.Virtio.Transport;

/// <summary>The function's configuration space: identity, capabilities, and the window through which registers are reached without memory.</summary>
public sealed partial class VirtioPci
{
    private const byte MsixId = 0x11, VendorSpecificId = 0x09;
    private const ushort MsixEnable = 1 << 15, MsixFunctionMask = 1 << 14;
    private const byte CommonType = 1, NotifyType = 2, IsrType = 3, DeviceType = 4, AccessType = 5;

    // Offsets in struct virtio_pci_cap (4.1.4); the body starts after the identifier and the link.
    private const int CapabilityBar = 4, CapabilityOffset = 8, CapabilityLength = 12, CapabilityEnd = 16;

    /// <inheritdoc/>
    protected internal override void ReadConfig(int offset, Span<byte> data)
    {
        if (Touches(offset, data.Length, _accessCapability + CapabilityEnd, 4))
            AccessRegisters(write: false);
        Config.Read(offset, data);
        // The Interrupt Status bit is the OR of ISR's bits where messages are off (4.1.4.5.1).
        const int interruptStatus = 1 << 3;
        int status = PciConfigSpace.Status - offset;
        if (status >= 0 && status < data.Length && _interrupt.Reasons != 0 && !_msix.Enabled)
            data[status] |= interruptStatus;
    }

    /// <inheritdoc/>
    protected internal override void WriteConfig(int offset, ReadOnlySpan<byte> data)
    {
        base.WriteConfig(offset, data);
        if (Touches(offset, data.Length, _accessCapability + CapabilityEnd, 4))
            AccessRegisters(write: true);
    }

    private static PciConfigSpace MakeConfig(VirtioDevice device, bool transitional)
    {
        // 4.1.2.1: revision 1 and a subsystem of 0x40 or more keep drivers of the legacy interface away. 4.1.2.3: revision 0 and the
        // device's type as the subsystem bring them.
        ushort id = transitional ? TransitionalId(device.Type) : (ushort)(FirstDeviceId + (ushort)device.Type);
        var config = new PciConfigSpace(VirtioVendor, id, ClassOf(device.Type), revision: transitional ? (byte)0 : (byte)1);
        config.SetSubsystem(VirtioVendor, (ushort)((transitional ? 0 : 0x40) + (ushort)device.Type));
        config.SetInterruptPin(1);
        if (transitional)
            config.AddBar(LegacyBar, PciBarKind.Io, VirtioPciLegacy.WindowSize(device));
        config.AddBar(MsixBar, PciBarKind.Memory32, MsixTable.BarSize);
        config.AddBar(RegistersBar, PciBarKind.Memory32, BarSize);
        return config;
    }

    /// <summary>True if drivers from before virtio 1.0 know devices of this type, so that a function may be transitional.</summary>
    public static bool HasLegacy(VirtioDeviceType type) => type != VirtioDeviceType.Vsock;

    /// <summary>4.1.2.1: not every type has one.</summary>
    private static ushort TransitionalId(VirtioDeviceType type) => type switch
    {
        VirtioDeviceType.Net => 0x1000,
        VirtioDeviceType.Block => 0x1001,
        VirtioDeviceType.Balloon => 0x1002,
        VirtioDeviceType.Console => 0x1003,
        VirtioDeviceType.Entropy => 0x1005,
        _ => throw new ArgumentException($"legacy drivers know no device of type {type}", nameof(type)),
    };

    private static uint ClassOf(VirtioDeviceType type) => type switch
    {
        VirtioDeviceType.Net => 0x020000,
        VirtioDeviceType.Block => 0x010000,
        VirtioDeviceType.Console => 0x078000,
        _ => 0xff0000,
    };

    /// <summary>Adds MSI-X (PCI Local Bus 3.0, 6.8.2).</summary>
    private static int AddMsix(PciConfigSpace config, int vectors)
    {
        Span<byte> body = stackalloc byte[10];
        BinaryPrimitives.WriteUInt16LittleEndian(body, (ushort)(vectors - 1));
        BinaryPrimitives.WriteUInt32LittleEndian(body[2..], MsixBar);
        BinaryPrimitives.WriteUInt32LittleEndian(body[6..], MsixTable.PendingOffset | MsixBar);
        return config.AddCapability(MsixId, body, [0, (MsixEnable | MsixFunctionMask) >> 8]);
    }

    /// <summary>Adds the structures' places (4.1.4) and gives the offset of the configuration access capability.</summary>
    private static int AddVirtioCapabilities(PciConfigSpace config, VirtioDevice device)
    {
        AddStructure(config, CommonType, CommonOffset, VirtioPciRegisters.CommonSize);
        AddStructure(config, IsrType, IsrOffset, 4);
        if (device.ConfigSize > 0)
            AddStructure(config, DeviceType, DeviceOffset, device.ConfigSize);
        AddStructure(config, NotifyType, NotifyOffset, device.QueueCount * NotifyStride, NotifyStride);
        return AddStructure(config, AccessType, 0, 0, 0);
    }

    private static int AddStructure(PciConfigSpace config, byte type, int offset, int length, uint? extra = null)
    {
        Span<byte> body = stackalloc byte[(extra is null ? CapabilityEnd : CapabilityEnd + 4) - 2];
        body.Clear();
        body[0] = (byte)(body.Length + 2);
        body[1] = type;
        body[CapabilityBar - 2] = type == AccessType ? (byte)0 : (byte)RegistersBar;
        BinaryPrimitives.WriteInt32LittleEndian(body[(CapabilityOffset - 2)..], offset);
        BinaryPrimitives.WriteInt32LittleEndian(body[(CapabilityLength - 2)..], length);
        if (extra is { } value)
            BinaryPrimitives.WriteUInt32LittleEndian(body[(CapabilityEnd - 2)..], value);
        // 4.1.4.9: of the access capability bar, offset, length and data are the driver's.
        ReadOnlySpan<byte> writable = type == AccessType
            ? [0, 0, 0xff, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]
            : [];
        return config.AddCapability(VendorSpecificId, body, writable);
    }

    /// <summary>4.1.4.9.1: reads registers into the capability's data, or writes them from it; nothing if it points at no structure of ours.</summary>
    private void AccessRegisters(bool write)
    {
        uint offset = Config.U32(_accessCapability + CapabilityOffset), length = Config.U32(_accessCapability + CapabilityLength);
        if (Config.U16(_accessCapability + CapabilityBar) % 256 != RegistersBar || length is not (1 or 2 or 4) || offset % length != 0 || offset >= BarSize)
            return;
        Span<byte> data = stackalloc byte[4];
        BinaryPrimitives.WriteUInt32LittleEndian(data, Config.U32(_accessCapability + CapabilityEnd));
        if (write)
        {
            _registers.Write(offset, data[..(int)length]);
            return;
        }

        _registers.Read(offset, data[..(int)length]);
        Config.SetU32(_accessCapability + CapabilityEnd, BinaryPrimitives.ReadUInt32LittleEndian(data));
    }

    private static bool Touches(int offset, int length, int start, int size) => offset < start + size && start < offset + length;
}
