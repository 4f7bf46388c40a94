using System.Buffers.Binary;
using Kvm.Devices.Bus;
using Kvm.Devices.Interrupts;
using Kvm.Devices.Snapshot;

namespace Kvm.Devices.Virtio.Transport;

/// <summary>
/// virtio over MMIO, version 2 (virtio 1.2, 4.2): one device's registers in a page of device memory, and one wire.
/// </summary>
/// <remarks>Safe from any thread. Control registers take aligned 32-bit accesses (4.2.2.2); others read as zero and are lost.</remarks>
public sealed class VirtioMmio : IBusDevice, IStateful, IVirtioInterrupts
{
    /// <summary>Bytes of registers.</summary>
    public const int Size = 0x1000;

    /// <summary>Offset of the register that a notification writes a queue's number to, as 32 bits.</summary>
    public const int QueueNotifyOffset = 0x50;

    private const uint Magic = 0x7472_6976, Version = 2, Vendor = 0x4d56_4b23; // "#KVM"
    private const int ConfigStart = 0x100;

    private readonly VirtioDevice _device;
    private readonly InterruptStatus _interrupt;
    private volatile uint _offeredSelect;
    private volatile uint _acceptedSelect;
    private volatile uint _queueSelect;

    /// <summary>Puts a device behind registers.</summary>
    /// <param name="device">A device that no other transport has.</param>
    /// <param name="line">Its wire, level-triggered.</param>
    public VirtioMmio(VirtioDevice device, IInterruptLine? line)
    {
        ArgumentNullException.ThrowIfNull(device);
        _device = device;
        _interrupt = new InterruptStatus(line);
        StateName = device.StateName + "-mmio";
        device.Connect(this);
    }

    /// <inheritdoc/>
    public string StateName { get; }

    /// <inheritdoc/>
    public ushort StateVersion => 1;

    /// <inheritdoc/>
    public void Read(ulong offset, Span<byte> data)
    {
        data.Clear();
        if (offset >= ConfigStart)
            _device.ReadConfig(offset - ConfigStart, data);
        else if (data.Length == 4 && offset % 4 == 0)
            BinaryPrimitives.WriteUInt32LittleEndian(data, ReadRegister((int)offset));
    }

    /// <inheritdoc/>
    public void Write(ulong offset, ReadOnlySpan<byte> data)
    {
        if (offset >= ConfigStart)
            _device.WriteConfig(offset - ConfigStart, data);
        else if (data.Length == 4 && offset % 4 == 0)
            WriteRegister((int)offset, BinaryPrimitives.ReadUInt32LittleEndian(data));
    }

    private int Selected => (int)Math.Min(_queueSelect, int.MaxValue);

    private uint ReadRegister(int offset) => offset switch
    {
        0x000 => Magic,
        0x004 => Version,
        0x008 => (uint)_device.Type,
        0x00c => Vendor,
        0x010 => _device.OfferedWord(_offeredSelect),
        0x034 => (uint)_device.MaxQueueSize(Selected),
        0x044 => _device.QueueRegistersOf(Selected).Enabled ? 1u : 0,
        0x060 => _interrupt.Reasons,
        0x070 => _device.Status,
        // No shared memory: length and base of every region are all ones (4.2.2).
        0x0b0 or 0x0b4 or 0x0b8 or 0x0bc => uint.MaxValue,
        0x0fc => _device.ConfigGeneration,
        _ => 0,
    };

    private void WriteRegister(int offset, uint value)
    {
        switch (offset)
        {
            case 0x014:
                _offeredSelect = value;
                break;
            case 0x020:
                _device.AcceptWord(_acceptedSelect, value);
                break;
            case 0x024:
                _acceptedSelect = value;
                break;
            case 0x030:
                _queueSelect = value;
                break;
            case 0x038:
                _device.SetQueueSize(Selected, value);
                break;
            case 0x044:
                WriteReady(value);
                break;
            case QueueNotifyOffset:
                _device.Notify((int)Math.Min(value, int.MaxValue));
                break;
            case 0x064:
                _interrupt.Clear((byte)(value & 0xff));
                break;
            case 0x070:
                WriteStatus(value);
                break;
            case 0x080 or 0x084:
                _device.SetQueueAddress(Selected, QueueArea.Descriptor, (offset & 4) != 0, value);
                break;
            case 0x090 or 0x094:
                _device.SetQueueAddress(Selected, QueueArea.Driver, (offset & 4) != 0, value);
                break;
            case 0x0a0 or 0x0a4:
                _device.SetQueueAddress(Selected, QueueArea.Device, (offset & 4) != 0, value);
                break;
            case 0x0c0 when value == 1:
                _device.ResetQueue(Selected);
                break;
        }
    }

    /// <summary>4.2.2.2: one starts the queue; zero stops it, which is done when the write is.</summary>
    private void WriteReady(uint value)
    {
        if (value == 1)
            _device.EnableQueue(Selected);
        else if (value == 0)
            _device.DisableQueue(Selected);
    }

    private void WriteStatus(uint value)
    {
        if (value > byte.MaxValue)
            return;
        _device.WriteStatus((byte)value);
        // 4.2.2.1: a reset clears InterruptStatus; no queue runs that could raise it again.
        if (value == 0)
        {
            _interrupt.Take();
            (_offeredSelect, _acceptedSelect, _queueSelect) = (0, 0, 0);
        }
    }

    /// <inheritdoc/>
    void IVirtioInterrupts.SignalQueue(int queue) => _interrupt.Raise(InterruptStatus.Queue);

    /// <inheritdoc/>
    void IVirtioInterrupts.SignalConfig() => _interrupt.Raise(InterruptStatus.Config);

    /// <inheritdoc/>
    public void Save(StateWriter writer)
    {
        ArgumentNullException.ThrowIfNull(writer);
        writer.U32(_offeredSelect);
        writer.U32(_acceptedSelect);
        writer.U32(_queueSelect);
        writer.U8(_interrupt.Reasons);
    }

    /// <inheritdoc/>
    public bool TryRestore(ref StateReader reader, ushort version)
    {
        uint offered = reader.U32(), accepted = reader.U32(), queue = reader.U32();
        byte reasons = reader.U8();
        if (version != 1 || !reader.Complete || (reasons & ~(InterruptStatus.Queue | InterruptStatus.Config)) != 0)
            return false;
        (_offeredSelect, _acceptedSelect, _queueSelect) = (offered, accepted, queue);
        _interrupt.Restore(reasons, masked: false);
        return true;
    }
}
