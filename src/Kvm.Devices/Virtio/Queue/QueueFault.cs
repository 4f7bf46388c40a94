namespace Kvm.Devices.Virtio.Queue;

/// <summary>
/// What a driver did to a ring that leaves the device no way to go on: it cannot tell which buffers it owns. The queue stops taking
/// buffers, and the device asks for a reset (virtio 1.2, 2.1.2, DEVICE_NEEDS_RESET).
/// </summary>
public enum QueueFault : byte
{
    /// <summary>None: the queue works.</summary>
    None,

    /// <summary>Size, alignment or place of the ring cannot be (2.7, 2.8.10.1).</summary>
    BadSetup,

    /// <summary>More buffers were made available than the ring has entries (2.7.6.1).</summary>
    AvailableIndexJumped,

    /// <summary>A chain's head, or a packed buffer's identifier, is not below the queue's size.</summary>
    HeadOutOfRange,

    /// <summary>A head or identifier was made available again before it was used.</summary>
    HeadInFlight,

    /// <summary>A <c>next</c> field leads out of the table.</summary>
    NextOutOfRange,

    /// <summary>A chain has more elements than the queue has entries; a loop is one (2.7.5.2, 2.7.5.3.1, 2.8.17).</summary>
    ChainTooLong,

    /// <summary>A device-readable element follows a device-writable one (2.7.4.2, 2.8.17).</summary>
    ReadableAfterWritable,

    /// <summary>An indirect table without VIRTIO_F_INDIRECT_DESC (2.7.5.3.1, 2.8.19).</summary>
    IndirectNotNegotiated,

    /// <summary>An indirect table inside an indirect table (2.7.5.3.1).</summary>
    IndirectNested,

    /// <summary>An indirect descriptor with NEXT, or of a length that is zero, no multiple of 16 or over 1 MiB (2.7.5.3.1, 2.8.7).</summary>
    IndirectShape,

    /// <summary>An indirect table outside guest memory.</summary>
    IndirectOutsideMemory,
}
