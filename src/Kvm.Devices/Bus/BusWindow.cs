namespace Kvm.Devices.Bus;

/// <summary>
/// Part of a device as a bus device of its own, for devices whose registers lie apart (the keyboard controller has
/// ports 0x60 and 0x64 with another device's port between them).
/// </summary>
/// <param name="device">The device.</param>
/// <param name="first">The device's offset that this window's offset 0 stands for.</param>
public sealed class BusWindow(IBusDevice device, ulong first) : IBusDevice
{
    /// <inheritdoc/>
    public void Read(ulong offset, Span<byte> data) => device.Read(unchecked(first + offset), data);

    /// <inheritdoc/>
    public void Write(ulong offset, ReadOnlySpan<byte> data) => device.Write(unchecked(first + offset), data);
}
