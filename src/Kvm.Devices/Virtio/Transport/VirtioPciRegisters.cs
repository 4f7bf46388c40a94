using System.Buffers.Binary;
using Kvm.Devices.Bus;
using Kvm.Devices.Snapshot;

namespace Kvm.Devices.Virtio.Transport;

/// <summary>
/// The registers of a virtio PCI function: common configuration, ISR status, the device's configuration, notifications (virtio 1.2, 4.1.4.3 to
/// 4.1.4.6). Safe from any thread.
/// </summary>
/// <param name="device">The device.</param>
/// <param name="vectors">Number of MSI-X vectors.</param>
/// <param name="interrupt">The ISR status and the wire.</param>
internal sealed class VirtioPciRegisters(VirtioDevice device, int vectors, InterruptStatus interrupt) : IBusDevice
{
    /// <summary>Bytes of struct virtio_pci_common_cfg, <c>queue_reset</c> included.</summary>
    public const int CommonSize = 0x3c;

    public const ushort NoVector = 0xffff;

    private readonly Lock _lock = new();
    private readonly ushort[] _queueVectors = NoVectors(device.QueueCount);
    private uint _offeredSelect;
    private uint _acceptedSelect;
    private ushort _queueSelect;
    private volatile ushort _configVector = NoVector;

    /// <summary>The vector of configuration changes, or <see cref="NoVector"/>.</summary>
    public int ConfigVector => _configVector;

    /// <summary>A queue's vector, or <see cref="NoVector"/>.</summary>
    public int VectorOf(int queue) => Volatile.Read(ref _queueVectors[queue]);

    /// <inheritdoc/>
    public void Read(ulong offset, Span<byte> data)
    {
        data.Clear();
        switch (offset >> 12)
        {
            case VirtioPci.CommonOffset >> 12 when offset < CommonSize:
                ReadCommon((int)offset, data);
                break;
            case VirtioPci.IsrOffset >> 12 when offset == VirtioPci.IsrOffset:
                data[0] = interrupt.Take();
                break;
            case VirtioPci.DeviceOffset >> 12:
                device.ReadConfig(offset - VirtioPci.DeviceOffset, data);
                break;
        }
    }

    /// <inheritdoc/>
    public void Write(ulong offset, ReadOnlySpan<byte> data)
    {
        switch (offset >> 12)
        {
            case VirtioPci.CommonOffset >> 12:
                WriteCommon((int)offset, data);
                break;
            case VirtioPci.DeviceOffset >> 12:
                device.WriteConfig(offset - VirtioPci.DeviceOffset, data);
                break;
            case VirtioPci.NotifyOffset >> 12 when offset % VirtioPci.NotifyStride == 0:
                // The address alone says which queue; an ioeventfd would not look at the value either.
                device.Notify((int)(offset - VirtioPci.NotifyOffset) / VirtioPci.NotifyStride);
                break;
        }
    }

    /// <summary>Any bytes of the structure, whatever the width: all fields are made, and those asked for copied.</summary>
    private void ReadCommon(int offset, Span<byte> data)
    {
        Span<byte> all = stackalloc byte[CommonSize];
        lock (_lock)
        {
            int queue = _queueSelect;
            var registers = device.QueueRegistersOf(queue);
            BinaryPrimitives.WriteUInt32LittleEndian(all, _offeredSelect);
            BinaryPrimitives.WriteUInt32LittleEndian(all[0x04..], device.OfferedWord(_offeredSelect));
            BinaryPrimitives.WriteUInt32LittleEndian(all[0x08..], _acceptedSelect);
            BinaryPrimitives.WriteUInt32LittleEndian(all[0x0c..], device.AcceptedWord(_acceptedSelect));
            BinaryPrimitives.WriteUInt16LittleEndian(all[0x10..], _configVector);
            BinaryPrimitives.WriteUInt16LittleEndian(all[0x12..], (ushort)device.QueueCount);
            all[0x14] = device.Status;
            all[0x15] = (byte)(device.ConfigGeneration & 0xff);
            BinaryPrimitives.WriteUInt16LittleEndian(all[0x16..], _queueSelect);
            BinaryPrimitives.WriteUInt16LittleEndian(all[0x18..], registers.Size);
            BinaryPrimitives.WriteUInt16LittleEndian(all[0x1a..], queue < _queueVectors.Length ? _queueVectors[queue] : NoVector);
            BinaryPrimitives.WriteUInt16LittleEndian(all[0x1c..], registers.Enabled ? (ushort)1 : (ushort)0);
            BinaryPrimitives.WriteUInt16LittleEndian(all[0x1e..], queue < _queueVectors.Length ? (ushort)queue : (ushort)0);
            BinaryPrimitives.WriteUInt64LittleEndian(all[0x20..], registers.DescriptorArea);
            BinaryPrimitives.WriteUInt64LittleEndian(all[0x28..], registers.DriverArea);
            BinaryPrimitives.WriteUInt64LittleEndian(all[0x30..], registers.DeviceArea);
            // queue_notify_data exists only with a feature that is not offered; queue_reset is over when its write is.
            BinaryPrimitives.WriteUInt32LittleEndian(all[0x38..], 0);
        }

        all.Slice(offset, Math.Min(data.Length, CommonSize - offset)).CopyTo(data);
    }

    /// <summary>4.1.3.1: fields are written whole, 64-bit ones by halves; any other access is lost.</summary>
    private void WriteCommon(int offset, ReadOnlySpan<byte> data)
    {
        switch (data.Length)
        {
            case 1 when offset == 0x14:
                WriteStatus(data[0]);
                break;
            case 2:
                WriteCommon16(offset, BinaryPrimitives.ReadUInt16LittleEndian(data));
                break;
            case 4:
                WriteCommon32(offset, BinaryPrimitives.ReadUInt32LittleEndian(data));
                break;
            case 8 when offset is 0x20 or 0x28 or 0x30:
                WriteCommon32(offset, BinaryPrimitives.ReadUInt32LittleEndian(data));
                WriteCommon32(offset + 4, BinaryPrimitives.ReadUInt32LittleEndian(data[4..]));
                break;
        }
    }

    private void WriteCommon16(int offset, ushort value)
    {
        lock (_lock)
        {
            int queue = _queueSelect;
            switch (offset)
            {
                case 0x10:
                    _configVector = value < vectors ? value : NoVector;
                    break;
                case 0x16:
                    _queueSelect = value;
                    break;
                case 0x18:
                    device.SetQueueSize(queue, value);
                    break;
                case 0x1a when queue < _queueVectors.Length:
                    Volatile.Write(ref _queueVectors[queue], value < vectors ? value : NoVector);
                    break;
            }
        }

        // These two run queues or wait for them: not under the lock.
        if (offset == 0x1c && value == 1)
            device.EnableQueue(SelectedQueue);
        else if (offset == 0x3a && value == 1)
            device.ResetQueue(SelectedQueue);
    }

    /// <summary>The queue that registers are of.</summary>
    internal int SelectedQueue
    {
        get
        {
            lock (_lock)
                return _queueSelect;
        }
    }

    private void WriteCommon32(int offset, uint value)
    {
        lock (_lock)
        {
            switch (offset)
            {
                case 0x00:
                    _offeredSelect = value;
                    break;
                case 0x08:
                    _acceptedSelect = value;
                    break;
                case 0x0c:
                    device.AcceptWord(_acceptedSelect, value);
                    break;
                case 0x20 or 0x24:
                    device.SetQueueAddress(_queueSelect, QueueArea.Descriptor, (offset & 4) != 0, value);
                    break;
                case 0x28 or 0x2c:
                    device.SetQueueAddress(_queueSelect, QueueArea.Driver, (offset & 4) != 0, value);
                    break;
                case 0x30 or 0x34:
                    device.SetQueueAddress(_queueSelect, QueueArea.Device, (offset & 4) != 0, value);
                    break;
            }
        }
    }

    private void WriteStatus(byte value)
    {
        device.WriteStatus(value);
        if (value != 0)
            return;
        // 4.1.5.1.2.1: events are unmapped by a reset. No queue runs that could use a vector or raise the status again.
        lock (_lock)
        {
            (_offeredSelect, _acceptedSelect, _queueSelect) = (0, 0, 0);
            _configVector = NoVector;
            for (int i = 0; i < _queueVectors.Length; i++)
                Volatile.Write(ref _queueVectors[i], NoVector);
        }

        interrupt.Take();
    }

    public void Save(StateWriter writer)
    {
        lock (_lock)
        {
            writer.U32(_offeredSelect);
            writer.U32(_acceptedSelect);
            writer.U16(_queueSelect);
            writer.U16(_configVector);
            foreach (ushort vector in _queueVectors)
                writer.U16(vector);
        }
    }

    public void Apply(Record record)
    {
        lock (_lock)
        {
            (_offeredSelect, _acceptedSelect, _queueSelect) = (record.OfferedSelect, record.AcceptedSelect, record.QueueSelect);
            _configVector = record.ConfigVector;
            for (int i = 0; i < _queueVectors.Length; i++)
                Volatile.Write(ref _queueVectors[i], record.QueueVectors[i]);
        }
    }

    private static ushort[] NoVectors(int count)
    {
        var vectors = new ushort[count];
        Array.Fill(vectors, NoVector);
        return vectors;
    }

    /// <summary>What <see cref="Save"/> wrote.</summary>
    internal readonly record struct Record(uint OfferedSelect, uint AcceptedSelect, ushort QueueSelect, ushort ConfigVector, ushort[] QueueVectors)
    {
        public static Record Read(ref StateReader reader, int queues)
        {
            var record = new Record(reader.U32(), reader.U32(), reader.U16(), reader.U16(), new ushort[queues]);
            for (int i = 0; i < queues; i++)
                record.QueueVectors[i] = reader.U16();
            return record;
        }

        public bool IsPossible(int vectors) => IsVector(ConfigVector, vectors) && Array.TrueForAll(QueueVectors, v => IsVector(v, vectors));

        private static bool IsVector(ushort vector, int vectors) => vector == NoVector || vector < vectors;
    }
}
