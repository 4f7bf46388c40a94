using Kvm.Devices.Snapshot;

namespace Kvm.Devices.Virtio.Console;

/// <summary>Save and restore: what waits, and who has what open.</summary>
public sealed partial class ConsoleDevice
{
    /// <inheritdoc/>
    protected override void SaveDevice(StateWriter writer)
    {
        ArgumentNullException.ThrowIfNull(writer);
        byte[] waiting = new byte[InputCapacity];
        lock (_portLock)
        {
            writer.U16(_control.Size.Columns);
            writer.U16(_control.Size.Rows);
            writer.U8((byte)_ports.Length);
            for (int port = 0; port < _ports.Length; port++)
            {
                var state = _states[port];
                writer.Bool(state.GuestOpen);
                writer.Bool(_control.IsOpen(port));
                writer.U32(_control.Waiting(port));
                writer.U32((uint)state.Consumed);
                writer.Bytes(waiting.AsSpan(0, state.Input.CopyTo(waiting)));
            }
        }
    }

    /// <inheritdoc/>
    protected override bool TryRestoreDevice(ref StateReader reader, ushort version, ulong features)
    {
        ushort columns = reader.U16(), rows = reader.U16();
        if (reader.U8() != _ports.Length)
            return false;
        var records = new PortRecord[_ports.Length];
        for (int i = 0; i < records.Length; i++)
        {
            records[i] = PortRecord.Read(ref reader);
            if (reader.Failed || !ConsoleControl.CanWait(records[i].Waiting) || records[i].Consumed > MostBuffer)
                return false;
        }

        if (!reader.Complete)
            return false;
        _isSilent = false;
        lock (_portLock)
        {
            _control.Size = (columns, rows);
            for (int port = 0; port < records.Length; port++)
            {
                var (record, state) = (records[port], _states[port]);
                (state.GuestOpen, state.Consumed) = (record.GuestOpen, (int)record.Consumed);
                _control.SetOpen(port, record.HostOpen);
                _control.RestoreWaiting(port, record.Waiting);
                state.Input.Drop(state.Input.Count);
                state.Input.Push(record.Input);
            }
        }

        for (int port = 0; port < records.Length; port++)
            _ports[port].Sink.GuestOpened(records[port].GuestOpen);
        return true;
    }

    private sealed record PortRecord(bool GuestOpen, bool HostOpen, uint Waiting, uint Consumed, byte[] Input)
    {
        public static PortRecord Read(ref StateReader reader) =>
            new(reader.Bool(), reader.Bool(), reader.U32(), reader.U32(), reader.Bytes(InputCapacity).ToArray());
    }
}
