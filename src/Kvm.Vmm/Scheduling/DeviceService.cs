namespace Kvm.Vmm.Scheduling;

/// <summary>What a machine's devices did so far.</summary>
/// <param name="DiskBytes">Bytes its disks read and wrote.</param>
/// <param name="DiskOperations">Requests they carried out.</param>
/// <param name="NetworkBytes">Bytes its network cards sent and received.</param>
internal readonly record struct DeviceService(long DiskBytes, long DiskOperations, long NetworkBytes)
{
    // What there is room for in the table, see GateSlot.NetworkKib.
    private const long NetworkCycle = 1L << 42;

    /// <summary>What was done since; below 0 where a number went back. Of the network, which is counted in a cycle, never below 0.</summary>
    public DeviceService Since(DeviceService before) =>
        new(DiskBytes - before.DiskBytes, DiskOperations - before.DiskOperations, (NetworkBytes - before.NetworkBytes) & (NetworkCycle - 1));
}

/// <summary>The thousandths of the limits of a machine's devices that are to hold, 1 to 999 of each; 0 for all.</summary>
/// <param name="DiskBytes">Of its disks' bytes.</param>
/// <param name="DiskOperations">Of its disks' requests.</param>
/// <param name="Network">Of its cards' bytes.</param>
internal readonly record struct DeviceParts(int DiskBytes, int DiskOperations, int Network)
{
    private const int Bits = 10, Mask = (1 << Bits) - 1;

    /// <summary>All of them in a word.</summary>
    public int Packed => DiskBytes | DiskOperations << Bits | Network << (2 * Bits);

    /// <summary>Out of a word, whatever is in it.</summary>
    public static DeviceParts Unpack(int packed) => new(packed & Mask, packed >>> Bits & Mask, packed >>> (2 * Bits) & Mask);
}
