using Kvm.Devices.Memory;

namespace Kvm.X86.Paging;

/// <summary>
/// Guest-physical memory as the processor needs it: host addresses of pages, and page-table entries read at once and
/// compare-exchanged atomically. Unlike <see cref="GuestMemory"/> it tells nobody of writes: the processor does that itself.
/// </summary>
internal sealed class PhysicalMemory(GuestMemory memory)
{
    private readonly GuestRegion[] _regions = memory.Regions.ToArray();

    /// <summary>Where written pages are noted; null where nobody asked.</summary>
    public DirtyPages? Dirty { get; set; }

    /// <summary>The memory behind it.</summary>
    public GuestMemory Memory => memory;

    /// <summary>The host address of bytes inside one region; false where there is no memory.</summary>
    public bool TryHost(ulong address, ulong length, out nint host, out bool readOnly)
    {
        foreach (ref readonly var r in _regions.AsSpan())
        {
            ulong offset = address - r.Start;
            if (address < r.Start || offset >= r.Size || length > r.Size - offset)
                continue;
            host = r.Host + (nint)offset;
            readOnly = r.ReadOnly;
            return true;
        }

        host = 0;
        readOnly = false;
        return false;
    }

    /// <summary>Reads an aligned 64-bit entry; all-ones where there is no memory, as an empty bus gives.</summary>
    public unsafe ulong Read64(ulong address)
    {
        // SAFETY: TryHost bounded the eight bytes; the caller's address is a multiple of 8, so the access is single-copy atomic.
        return TryHost(address, 8, out nint host, out _) ? Volatile.Read(ref *(ulong*)host) : ulong.MaxValue;
    }

    /// <summary>Reads an aligned 32-bit entry; all-ones where there is no memory.</summary>
    public unsafe uint Read32(ulong address)
    {
        // SAFETY: as Read64, four bytes.
        return TryHost(address, 4, out nint host, out _) ? Volatile.Read(ref *(uint*)host) : uint.MaxValue;
    }

    /// <summary>Replaces an aligned entry if it still is what was read; true also where memory cannot be written (tables in ROM keep their bits).</summary>
    public unsafe bool TryReplace64(ulong address, ulong expected, ulong value)
    {
        Dirty?.Mark(address);
        // SAFETY: as Read64, and the region is writable.
        return !TryHost(address, 8, out nint host, out bool readOnly) || readOnly
            || Interlocked.CompareExchange(ref *(ulong*)host, value, expected) == expected;
    }

    /// <summary>32-bit form of <see cref="TryReplace64"/>.</summary>
    public unsafe bool TryReplace32(ulong address, uint expected, uint value)
    {
        Dirty?.Mark(address);
        // SAFETY: as Read32, and the region is writable.
        return !TryHost(address, 4, out nint host, out bool readOnly) || readOnly
            || Interlocked.CompareExchange(ref *(uint*)host, value, expected) == expected;
    }
}
