using Kvm.Devices.Snapshot;

namespace Kvm.Devices.Platform;

public sealed partial class Rtc
{
    /// <inheritdoc/>
    /// <remarks>The difference to the host's clock is saved, not the time: a restored guest's clock is right, not late.</remarks>
    public void Save(StateWriter writer)
    {
        ArgumentNullException.ThrowIfNull(writer);
        lock (_lock)
        {
            WorkOutFlags();
            writer.U8(_index);
            writer.U8(_flags);
            writer.U64(unchecked((ulong)_offset));
            writer.Bytes(_cmos);
        }
    }

    /// <inheritdoc/>
    public bool TryRestore(ref StateReader reader, ushort version)
    {
        byte index = reader.U8(), flags = reader.U8();
        long offset = unchecked((long)reader.U64());
        var cmos = reader.Bytes(Registers);
        if (version != 1 || !reader.Complete || cmos.Length != Registers || (flags & ~Sources) != 0
            || offset is < -LastTick or > LastTick || (cmos[A] & UpdateInProgress) != 0)
        {
            return false;
        }

        lock (_lock)
        {
            (_index, _flags, _offset) = (index, flags, offset);
            cmos.CopyTo(_cmos);
            _checked = Now();
            _interrupt.Force(Requested);
            UpdateInterrupt();
        }

        return true;
    }
}
