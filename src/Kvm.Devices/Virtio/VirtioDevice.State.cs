using Kvm.Devices.Snapshot;
using Kvm.Devices.Virtio.Queue;

namespace Kvm.Devices.Virtio;

/// <summary>Save and restore.</summary>
public abstract partial class VirtioDevice : IStateful
{
    /// <inheritdoc/>
    public string StateName { get; }

    /// <inheritdoc/>
    public virtual ushort StateVersion => 1;

    /// <inheritdoc/>
    /// <remarks>After <see cref="Pause"/>. The transport saves its own registers by itself.</remarks>
    public void Save(StateWriter writer)
    {
        ArgumentNullException.ThrowIfNull(writer);
        lock (_control)
        {
            writer.U64(_driverFeatures);
            writer.U8(Status);
            writer.U32(ConfigGeneration);
            writer.U8((byte)_queues.Length);
            for (int i = 0; i < _queues.Length; i++)
            {
                ref readonly var registers = ref _registers[i];
                writer.U16(registers.Size);
                writer.U64(registers.DescriptorArea);
                writer.U64(registers.DriverArea);
                writer.U64(registers.DeviceArea);
                writer.Bool(registers.Enabled);
                lock (_queues[i].Gate)
                    _queues[i].Save(writer);
            }

            SaveDevice(writer);
        }
    }

    /// <inheritdoc/>
    /// <remarks>Guest memory has been restored before. Call <see cref="Resume"/> when the whole machine has been.</remarks>
    public bool TryRestore(ref StateReader reader, ushort version)
    {
        if (version == 0 || version > StateVersion)
            return false;
        ulong features = reader.U64();
        byte status = reader.U8();
        uint generation = reader.U32();
        int count = reader.U8();
        if (reader.Failed || count != _queues.Length || !IsPossible(status, features))
            return false;
        var records = new QueueRecord[count];
        for (int i = 0; i < count; i++)
        {
            records[i] = QueueRecord.Read(ref reader);
            if (reader.Failed || !IsPossible(records[i], i, status, features))
                return false;
        }

        lock (_control)
        {
            // The device's own part comes last in the record, so that it is applied only when the rest is known to be good.
            if (!TryRestoreDevice(ref reader, version, features))
                return false;
            Apply(status, features, generation, records);
        }

        return true;
    }

    /// <summary>Writes what the device type has to keep besides registers and queues; under the control lock.</summary>
    protected virtual void SaveDevice(StateWriter writer)
    {
    }

    /// <summary>
    /// Reads what <see cref="SaveDevice"/> wrote, to the record's end, and applies it if it is good; under the control lock, before queues run.
    /// </summary>
    /// <param name="reader">At the device's own part.</param>
    /// <param name="version">The record's version.</param>
    /// <param name="features">The driver's features of the record.</param>
    protected virtual bool TryRestoreDevice(ref StateReader reader, ushort version, ulong features) => reader.Complete;

    private bool IsPossible(byte status, ulong features)
    {
        bool settled = (status & VirtioStatus.FeaturesOk) != 0;
        return (status & ~(VirtioStatus.DriverBits | VirtioStatus.NeedsReset)) == 0
            && (settled ? CanAccept(features) : (status & VirtioStatus.DriverOk) == 0 || (IsTransitional && features == LegacyFeatures(features)));
    }

    private bool IsPossible(in QueueRecord record, int index, byte status, ulong features)
    {
        if (record.Registers.Size > _queues[index].MaxSize || !Enum.IsDefined(record.Fault))
            return false;
        if (!record.Running)
            return true;
        // Whether the ring can be there is asked of a queue that nobody uses.
        return (status & VirtioStatus.DriverOk) != 0 && record.Registers.Enabled
            && new VirtQueue(Memory, _queues[index].MaxSize).Start(SetupOf(record.Registers, features), record.Position);
    }

    private void Apply(byte status, ulong features, uint generation, QueueRecord[] records)
    {
        for (int i = 0; i < _queues.Length; i++)
            StopQueue(i, abandon: true);
        _driverFeatures = features;
        for (int i = 0; i < _queues.Length; i++)
        {
            _registers[i] = records[i].Registers;
            if (!records[i].Running)
                continue;
            lock (_queues[i].Gate)
                _queues[i].Start(SetupOf(records[i].Registers, features), records[i].Position);
        }

        LastFault = Array.Find(records, r => r.Fault != QueueFault.None).Fault;
        lock (_configLock)
            (_configGeneration, _configChanged) = (generation, true);
        Volatile.Write(ref _status, status);
    }

    private struct QueueRecord
    {
        public QueueRegisters Registers;
        public bool Running;
        public QueueFault Fault;
        public QueuePosition Position;

        public static QueueRecord Read(ref StateReader reader) => new()
        {
            Registers = new QueueRegisters
            {
                Size = reader.U16(),
                DescriptorArea = reader.U64(),
                DriverArea = reader.U64(),
                DeviceArea = reader.U64(),
                Enabled = reader.Bool(),
            },
            Running = reader.Bool(),
            Fault = (QueueFault)reader.U8(),
            Position = new QueuePosition(reader.U16(), reader.U16()),
        };
    }
}
