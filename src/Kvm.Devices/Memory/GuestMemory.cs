namespace Kvm.Devices.Memory;

/// <summary>
/// The guest's physical memory as devices, loaders and the processor see it: a short sorted list of regions.
/// Every access is checked; nothing a guest chooses can reach outside the regions. An access never spans two
/// regions, even adjacent ones: the machine lays RAM out so that this does not matter.
/// </summary>
/// <remarks>
/// Immutable after construction and safe to use from any thread. Contents are shared with running guest code:
/// copy a structure once, then validate the copy.
/// </remarks>
public sealed partial class GuestMemory
{
    /// <summary>Size of a page in bytes; the granularity of regions and of dirty tracking.</summary>
    public const int PageSize = 4096;

    private readonly GuestRegion[] _regions;

    /// <summary>Takes the regions in any order.</summary>
    /// <exception cref="ArgumentException">A region is empty, unaligned, wraps, or overlaps another.</exception>
    public GuestMemory(IEnumerable<GuestRegion> regions)
    {
        ArgumentNullException.ThrowIfNull(regions);
        _regions = [.. regions.OrderBy(r => r.Start)];
        for (int i = 0; i < _regions.Length; i++)
        {
            var r = _regions[i];
            if (r.Size == 0 || (r.Size | r.Start) % PageSize != 0 || r.Last < r.Start || r.Host == 0)
                throw new ArgumentException($"region {r.Start:x}+{r.Size:x} is empty, unaligned, wraps or has no host memory", nameof(regions));
            if (i > 0 && _regions[i - 1].Last >= r.Start)
                throw new ArgumentException($"region {r.Start:x}+{r.Size:x} overlaps its neighbour", nameof(regions));
        }
    }

    /// <summary>The regions in ascending order of address.</summary>
    public ReadOnlySpan<GuestRegion> Regions => _regions;

    /// <summary>
    /// Told address and length of bytes written through this object, on the writer's thread: the software engine keeps decoded code of
    /// guest memory. Copies in are told when they are done; a slice, buffer or pointer to write to is told when it is handed out, and
    /// again by whoever fills it later (<see cref="NotifyWritten"/>). Set before the machine runs; any thread may call it.
    /// </summary>
    public Action<ulong, ulong>? WriteObserver { get; set; }

    /// <summary>
    /// Says that bytes of a slice, buffer or pointer handed out before have now changed (a disk read has ended, a packet is in its
    /// buffers), before the guest hears of it. Costs a test where nobody observes.
    /// </summary>
    /// <param name="address">Guest-physical address.</param>
    /// <param name="length">Bytes.</param>
    public void NotifyWritten(ulong address, ulong length) => WriteObserver?.Invoke(address, length);

    /// <summary>Bytes of memory the guest may write (RAM, without ROM).</summary>
    public ulong RamSize
    {
        get
        {
            ulong sum = 0;
            foreach (var r in _regions)
                sum += r.ReadOnly ? 0 : r.Size;
            return sum;
        }
    }

    /// <summary>True if all of <paramref name="length"/> bytes at <paramref name="address"/> lie in one region.</summary>
    public bool Contains(ulong address, ulong length) => TryFind(address, length, out _);

    /// <summary>True if any of <paramref name="length"/> bytes at <paramref name="address"/> lies in a region; what would wrap ends with the address space.</summary>
    public bool Overlaps(ulong address, ulong length)
    {
        if (length == 0)
            return false;
        ulong last = address + Math.Min(length - 1, ulong.MaxValue - address);
        foreach (ref readonly var r in _regions.AsSpan())
        {
            if (address <= r.Last && r.Start <= last)
                return true;
        }

        return false;
    }

    /// <summary>The guest-physical address of a buffer that <see cref="TryBuffer"/> gave; false for memory that is not the guest's.</summary>
    internal bool TryAddress(in HostBuffer buffer, out ulong address)
    {
        foreach (ref readonly var r in _regions.AsSpan())
        {
            ulong offset = unchecked((ulong)(buffer.Address - r.Host));
            if (offset < r.Size && (ulong)buffer.Length <= r.Size - offset)
            {
                address = r.Start + offset;
                return true;
            }
        }

        address = 0;
        return false;
    }

    private bool TryFind(ulong address, ulong length, out GuestRegion region)
    {
        // Regions are few (two to four): a linear search beats a tree.
        foreach (ref readonly var r in _regions.AsSpan())
        {
            if (address < r.Start)
                continue;
            ulong offset = address - r.Start;
            if (offset < r.Size && length <= r.Size - offset)
            {
                region = r;
                return true;
            }
        }

        region = default;
        return false;
    }
}
