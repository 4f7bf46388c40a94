namespace Kvm.Devices.Virtio;

/// <summary>Device identifiers (virtio 1.2, 5).</summary>
public enum VirtioDeviceType : ushort
{
    /// <summary>Network card.</summary>
    Net = 1,

    /// <summary>Block device.</summary>
    Block = 2,

    /// <summary>Console.</summary>
    Console = 3,

    /// <summary>Entropy source.</summary>
    Entropy = 4,

    /// <summary>Memory ballooning (traditional).</summary>
    Balloon = 5,

    /// <summary>Socket.</summary>
    Vsock = 19,
}
