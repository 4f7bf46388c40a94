using Kvm.Devices.Bus;
using Kvm.Devices.Snapshot;

namespace Kvm.Devices.Platform;

/// <summary>
/// System control port A (0x92 on a PC): address line 20, which is always on in this machine though the bit is kept, and
/// the fast reset. Safe from any thread.
/// </summary>
public sealed class SystemControlA : IBusDevice, IStateful
{
    /// <summary>Ports it takes.</summary>
    public const int Size = 1;

    private const byte ResetBit = 1 << 0, A20 = 1 << 1;

    private readonly Lock _lock = new();
    private readonly Action _reset;
    private byte _value = A20;

    /// <summary>Makes a port with address line 20 on.</summary>
    /// <param name="name">The state's name, such as <c>port92</c>.</param>
    /// <param name="reset">Called when bit 0 goes from 0 to 1; on a vCPU thread, with no lock held; must not throw.</param>
    public SystemControlA(string name, Action reset)
    {
        ArgumentException.ThrowIfNullOrEmpty(name);
        ArgumentNullException.ThrowIfNull(reset);
        StateName = name;
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
        if (offset != 0 || data.IsEmpty)
            return;
        lock (_lock)
            data[0] = _value;
    }

    /// <inheritdoc/>
    public void Write(ulong offset, ReadOnlySpan<byte> data)
    {
        if (offset != 0 || data.IsEmpty)
            return;
        bool reset;
        lock (_lock)
        {
            reset = (data[0] & ~_value & ResetBit) != 0;
            _value = (byte)(data[0] & (ResetBit | A20));
        }

        if (reset)
            _reset();
    }

    /// <inheritdoc/>
    public void Save(StateWriter writer)
    {
        ArgumentNullException.ThrowIfNull(writer);
        lock (_lock)
            writer.U8(_value);
    }

    /// <inheritdoc/>
    public bool TryRestore(ref StateReader reader, ushort version)
    {
        byte value = reader.U8();
        if (version != 1 || !reader.Complete || (value & ~(ResetBit | A20)) != 0)
            return false;
        lock (_lock)
            _value = value;
        return true;
    }
}
