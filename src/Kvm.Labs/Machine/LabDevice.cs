using Kvm.Devices.Bus;

namespace Kvm.Labs.Machine;

/// <summary>A device of a lab: a function for reads and one for writes, values instead of bytes.</summary>
/// <param name="read">Offset and width in bytes to the value read.</param>
/// <param name="write">Offset, width in bytes, value.</param>
internal sealed class LabDevice(Func<uint, int, ulong>? read, Action<uint, int, ulong>? write) : IBusDevice
{
    /// <inheritdoc/>
    public void Read(ulong offset, Span<byte> data)
    {
        ulong value = read?.Invoke((uint)offset, data.Length) ?? ulong.MaxValue;
        for (int i = 0; i < data.Length; i++)
            data[i] = i < 8 ? (byte)(value >> (8 * i)) : (byte)0xff;
    }

    /// <inheritdoc/>
    public void Write(ulong offset, ReadOnlySpan<byte> data)
    {
        ulong value = 0;
        for (int i = Math.Min(data.Length, 8) - 1; i >= 0; i--)
            value = value << 8 | data[i];
        write?.Invoke((uint)offset, data.Length, value);
    }
}
