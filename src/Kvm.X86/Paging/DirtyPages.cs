using Kvm.Devices.Memory;

namespace Kvm.X86.Paging;

/// <summary>Which pages of guest memory were written since the list was emptied: by guest code, page walks, devices or a debugger.</summary>
/// <remarks>Safe from any thread; a page that is noted while the list is emptied is in what is taken or stays noted.</remarks>
public sealed class DirtyPages
{
    private const int PageShift = 12;

    private readonly GuestRegion[] _regions;
    private readonly ulong[][] _bits;

    /// <summary>Makes an empty list for a memory.</summary>
    public DirtyPages(GuestMemory memory)
    {
        ArgumentNullException.ThrowIfNull(memory);
        _regions = memory.Regions.ToArray();
        _bits = [.. _regions.Select(r => new ulong[(r.Size >> PageShift) / 64 + 1])];
    }

    /// <summary>Notes the page of an address; nothing where there is no memory.</summary>
    public void Mark(ulong address)
    {
        if (TryBit(address, out var bits, out int word, out ulong bit))
            Set(ref bits[word], bit);
    }

    /// <summary>Notes the pages of a region whose bits are set, the first page's the lowest of the first word.</summary>
    public void Mark(int region, ReadOnlySpan<ulong> pages)
    {
        for (int word = 0; word < pages.Length && word < _bits[region].Length; word++)
            Set(ref _bits[region][word], pages[word]);
    }

    /// <summary>Notes the pages of a range.</summary>
    public void Mark(ulong address, ulong length)
    {
        if (length == 0)
            return;
        ulong last = address + Math.Min(length - 1, ulong.MaxValue - address);
        for (ulong page = address >> PageShift; page <= last >> PageShift; page++)
            Mark(page << PageShift);
    }

    /// <summary>Whether a page was noted.</summary>
    public bool Contains(ulong address) => TryBit(address, out var bits, out int word, out ulong bit) && (bits[word] & bit) != 0;

    /// <summary>Adds the noted pages' addresses, ascending, and empties the list.</summary>
    public void Take(ICollection<ulong> pages)
    {
        ArgumentNullException.ThrowIfNull(pages);
        for (int region = 0; region < _regions.Length; region++)
        {
            var bits = _bits[region];
            for (int word = 0; word < bits.Length; word++)
            {
                for (ulong left = Interlocked.Exchange(ref bits[word], 0); left != 0; left &= left - 1)
                    pages.Add(_regions[region].Start + (((ulong)word * 64 + (ulong)System.Numerics.BitOperations.TrailingZeroCount(left)) << PageShift));
            }
        }
    }

    private static void Set(ref ulong word, ulong bits)
    {
        if ((Volatile.Read(ref word) & bits) != bits)
            Interlocked.Or(ref word, bits);
    }

    private bool TryBit(ulong address, out ulong[] bits, out int word, out ulong bit)
    {
        for (int region = 0; region < _regions.Length; region++)
        {
            ulong offset = address - _regions[region].Start;
            if (address < _regions[region].Start || offset >= _regions[region].Size)
                continue;
            bits = _bits[region];
            word = (int)(offset >> (PageShift + 6));
            bit = 1UL << (int)((offset >> PageShift) & 63);
            return true;
        }

        (bits, word, bit) = ([], 0, 0);
        return false;
    }
}
