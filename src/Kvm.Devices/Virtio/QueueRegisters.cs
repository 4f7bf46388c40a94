namespace Kvm.Devices.Virtio;

/// <summary>What a driver has said of one queue so far. Kept under the device's control lock; fixed while the queue is enabled.</summary>
internal struct QueueRegisters
{
    public ushort Size;
    public ulong DescriptorArea;
    public ulong DriverArea;
    public ulong DeviceArea;
    public bool Enabled;
}

/// <summary>One of a queue's addresses.</summary>
internal enum QueueArea
{
    Descriptor,
    Driver,
    Device,
}
