namespace Kvm.Devices.Virtio.Queue;

/// <summary>Where a driver put a queue, and in what form: what a transport's queue registers and the negotiated features say.</summary>
public readonly record struct QueueSetup
{
    /// <summary>Entries: for a split queue a power of two, 1 to 32,768; for a packed one any number in that range.</summary>
    public ushort Size { get; init; }

    /// <summary>Guest-physical address of the descriptor area (split: descriptor table; packed: descriptor ring).</summary>
    public ulong DescriptorArea { get; init; }

    /// <summary>Guest-physical address of the driver area (split: available ring; packed: driver event suppression).</summary>
    public ulong DriverArea { get; init; }

    /// <summary>Guest-physical address of the device area (split: used ring; packed: device event suppression).</summary>
    public ulong DeviceArea { get; init; }

    /// <summary>VIRTIO_F_RING_PACKED was negotiated.</summary>
    public bool Packed { get; init; }

    /// <summary>VIRTIO_F_INDIRECT_DESC was negotiated.</summary>
    public bool Indirect { get; init; }

    /// <summary>VIRTIO_F_EVENT_IDX was negotiated.</summary>
    public bool EventIndex { get; init; }
}

/// <summary>How far a queue has come: what is left of it when it is stopped, and where it goes on when it is started.</summary>
/// <param name="Available">
/// The next entry to be taken: for a split queue the free-running index; for a packed one the entry in bits 0 to 14 and the wrap counter in bit 15.
/// </param>
/// <param name="Used">The next entry to be used, in the same form.</param>
public readonly record struct QueuePosition(ushort Available, ushort Used)
{
    /// <summary>The start of a packed queue: entry 0, both wrap counters 1 (virtio 1.2, 2.8.1).</summary>
    public static QueuePosition PackedStart { get; } = new(0x8000, 0x8000);

    /// <summary>Where a new queue starts.</summary>
    public static QueuePosition Start(bool packed) => packed ? PackedStart : default;
}
