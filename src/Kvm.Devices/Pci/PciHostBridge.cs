namespace Kvm.Devices.Pci;

/// <summary>
/// The host bridge at 00:00.0: an identity and a class, by which kernels recognise that there is a PCI bus at all.
/// </summary>
/// <param name="name">The state's name, such as <c>pci-host</c>.</param>
public sealed class PciHostBridge(string name) : PciFunction(name, new PciConfigSpace(VendorId, DeviceId, ClassCode))
{
    /// <summary>Red Hat's, who keep a range of device IDs for virtual hardware that needs no driver.</summary>
    public const ushort VendorId = 0x1b36;

    /// <summary>The generic host bridge of that range: no kernel applies a chipset's workarounds to it.</summary>
    public const ushort DeviceId = 0x0008;

    /// <summary>Bridge, host bridge.</summary>
    public const uint ClassCode = 0x060000;
}
