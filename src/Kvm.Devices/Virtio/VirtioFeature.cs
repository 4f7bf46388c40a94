namespace Kvm.Devices.Virtio;

/// <summary>Feature bits that belong to rings and transports rather than to a device type (virtio 1.2, 6).</summary>
public static class VirtioFeature
{
    /// <summary>Descriptors may refer to tables of descriptors.</summary>
    public const ulong IndirectDescriptors = 1UL << 28;

    /// <summary>Each side says at which entry it wants to be told.</summary>
    public const ulong EventIndex = 1UL << 29;

    /// <summary>The driver follows virtio 1.0 or later.</summary>
    public const ulong Version1 = 1UL << 32;

    /// <summary>Packed virtqueues.</summary>
    public const ulong RingPacked = 1UL << 34;

    /// <summary>Queues may be reset one by one.</summary>
    public const ulong RingReset = 1UL << 40;

    /// <summary>What every device here offers besides its own.</summary>
    public const ulong Common = IndirectDescriptors | EventIndex | Version1 | RingPacked | RingReset;
}

/// <summary>Bits of the device status (virtio 1.2, 2.1).</summary>
internal static class VirtioStatus
{
    public const byte Acknowledge = 1, Driver = 2, DriverOk = 4, FeaturesOk = 8, NeedsReset = 64, Failed = 128;

    /// <summary>What a driver may set.</summary>
    public const byte DriverBits = Acknowledge | Driver | DriverOk | FeaturesOk | Failed;
}
