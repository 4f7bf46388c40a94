namespace Kvm.Devices.Memory;

/// <summary>One contiguous piece of guest-physical memory backed by host memory.</summary>
/// <param name="Start">First guest-physical address, in bytes; a multiple of 4096.</param>
/// <param name="Size">Length in bytes; a multiple of 4096, not zero, and <c>Start + Size</c> does not wrap.</param>
/// <param name="Host">Address of the first byte in this process. Whoever made the mapping keeps it alive.</param>
/// <param name="ReadOnly">True for ROM: the guest's writes are refused.</param>
public readonly record struct GuestRegion(ulong Start, ulong Size, nint Host, bool ReadOnly = false)
{
    /// <summary>Address of the last byte (inclusive, so that a region may end at 2⁶⁴−1).</summary>
    public ulong Last => unchecked(Start + (Size - 1));
}
