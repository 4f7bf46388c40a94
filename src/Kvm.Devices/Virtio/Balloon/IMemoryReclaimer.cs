namespace Kvm.Devices.Virtio.Balloon;

/// <summary>Gives guest memory back to the host: the other side of a balloon.</summary>
public interface IMemoryReclaimer
{
    /// <summary>
    /// Lets the host have a range's pages; they read as zeros when they are touched again. Safe from any thread; must not throw.
    /// </summary>
    /// <param name="address">Guest-physical, a multiple of 4096.</param>
    /// <param name="length">Bytes, a multiple of 4096; the range lies in one region of writable guest memory.</param>
    /// <returns>False if the host did not take them.</returns>
    bool Discard(ulong address, ulong length);
}
