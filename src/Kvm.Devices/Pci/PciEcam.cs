using Kvm.Devices.Bus;

namespace Kvm.Devices.Pci;

/// <summary>
/// Configuration space in memory (PCI Express Base 5.0, 7.2.2): 4 KiB for each function, 1 MiB for each bus. Buses other than 0 are empty.
/// </summary>
/// <param name="bus">Bus 0.</param>
public sealed class PciEcam(PciBus bus) : IBusDevice
{
    /// <summary>Bytes of one bus.</summary>
    public const ulong BusSize = 1 << 20;

    /// <inheritdoc/>
    public void Read(ulong offset, Span<byte> data)
    {
        if (offset < BusSize)
            bus.ReadConfig((int)(offset >> 12), (int)(offset & 0xfff), data);
        else
            data.Fill(0xff);
    }

    /// <inheritdoc/>
    public void Write(ulong offset, ReadOnlySpan<byte> data)
    {
        if (offset < BusSize)
            bus.WriteConfig((int)(offset >> 12), (int)(offset & 0xfff), data);
    }
}
