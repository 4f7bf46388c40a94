using Kvm.Devices.Memory;

namespace Kvm.X86.Paging;

/// <summary>Guest-physical memory as the page walker needs it: aligned entries, read at once and compare-exchanged atomically.</summary>
internal sealed class PhysicalMemory(GuestMemory memory)
{
    /// <summary>The memory behind it.</summary>
    public GuestMemory Memory => memory;

    /// <summary>Reads an aligned 64-bit entry; all-ones where there is no memory, as an empty bus gives.</summary>
    public unsafe ulong Read64(ulong address)
    {
        // SAFETY: TryPointer bounded the eight bytes; the caller's address is a multiple of 8, so the access is single-copy atomic.
        return memory.TryPointer(address, 8, false, out nint host) ? Volatile.Read(ref *(ulong*)host) : ulong.MaxValue;
    }

    /// <summary>Reads an aligned 32-bit entry; all-ones where there is no memory.</summary>
    public unsafe uint Read32(ulong address)
    {
        // SAFETY: as Read64, four bytes.
        return memory.TryPointer(address, 4, false, out nint host) ? Volatile.Read(ref *(uint*)host) : uint.MaxValue;
    }

    /// <summary>Replaces an aligned entry if it still is what was read; true also where memory cannot be written (tables in ROM keep their bits).</summary>
    public unsafe bool TryReplace64(ulong address, ulong expected, ulong value)
    {
        // SAFETY: as Read64, and the region is writable.
        return !memory.TryPointer(address, 8, true, out nint host) || Interlocked.CompareExchange(ref *(ulong*)host, value, expected) == expected;
    }

    /// <summary>32-bit form of <see cref="TryReplace64"/>.</summary>
    public unsafe bool TryReplace32(ulong address, uint expected, uint value)
    {
        // SAFETY: as Read32, and the region is writable.
        return !memory.TryPointer(address, 4, true, out nint host) || Interlocked.CompareExchange(ref *(uint*)host, value, expected) == expected;
    }
}
