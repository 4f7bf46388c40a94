namespace Kvm.Vmm.Boot;

/// <summary>One PT_LOAD segment (System V gABI, "Program Header"). Checked: in the file, not wrapping, file part within memory part.</summary>
/// <param name="Index">Number of its program header.</param>
/// <param name="FileOffset">Where its bytes are in the file.</param>
/// <param name="FileSize">How many bytes the file has of it.</param>
/// <param name="Address">Guest-physical address (p_paddr).</param>
/// <param name="MemorySize">Bytes in memory; those past <paramref name="FileSize"/> are zero.</param>
/// <param name="VirtualAddress">p_vaddr.</param>
internal readonly record struct ElfSegment(
    int Index, ulong FileOffset, ulong FileSize, ulong Address, ulong MemorySize, ulong VirtualAddress)
{
    /// <summary>The guest-physical memory it takes.</summary>
    public AddressRange Range => new(Address, MemorySize);
}

/// <summary>What was learned from an ELF executable; nothing of it has touched guest memory.</summary>
internal sealed class ElfImage
{
    private const ulong KernelMap64 = 0xffff_ffff_8000_0000;
    private const ulong KernelMap32 = 0xc000_0000;

    /// <summary>True for ELF64.</summary>
    public required bool Is64 { get; init; }

    /// <summary>e_entry as it stands in the header.</summary>
    public required ulong Entry { get; init; }

    /// <summary>The PT_LOAD segments with memory, in the order of the program headers; no two overlap in memory.</summary>
    public required ElfSegment[] Segments { get; init; }

    /// <summary>What the notes say.</summary>
    public required ElfNotes Notes { get; init; }

    /// <summary>Lowest to highest guest-physical address of all segments.</summary>
    public AddressRange Extent
    {
        get
        {
            ulong start = Segments.Min(s => s.Address);
            return new(start, Segments.Max(s => s.Range.End) - start);
        }
    }

    /// <summary>
    /// True if the image shows that it is Linux: by its notes, or, where no system names itself there, by being linked
    /// into Linux's kernel mapping (__START_KERNEL_map, or PAGE_OFFSET of a 32-bit kernel).
    /// </summary>
    public bool IsLinux
    {
        get
        {
            ulong map = Is64 ? KernelMap64 : KernelMap32;
            return Notes.IsLinux
                || (Notes.GuestOs is null && Segments.Any(s => s.VirtualAddress >= map && s.VirtualAddress - map == s.Address));
        }
    }

    /// <summary>
    /// The physical address of an entry point: itself if it is in a segment's physical range, else its segment's
    /// translation if it is in a virtual one. Null if it is in neither.
    /// </summary>
    public ulong? ToPhysical(ulong entry)
    {
        foreach (var s in Segments)
        {
            if (entry >= s.Address && entry - s.Address < s.MemorySize)
                return entry;
        }

        foreach (var s in Segments)
        {
            if (entry >= s.VirtualAddress && entry - s.VirtualAddress < s.MemorySize)
                return s.Address + (entry - s.VirtualAddress);
        }

        return null;
    }
}

/// <summary>What the PT_NOTE segments of an image say.</summary>
internal sealed class ElfNotes
{
    /// <summary>The 32-bit PVH entry (XEN_ELFNOTE_PHYS32_ENTRY), or null.</summary>
    public ulong? PvhEntry { get; set; }

    /// <summary>The offset of that note in the file.</summary>
    public ulong PvhEntryOffset { get; set; }

    /// <summary>True if a note of owner "Linux" is there, or Xen's GUEST_OS note says linux.</summary>
    public bool IsLinux { get; set; }

    /// <summary>Xen's GUEST_OS note, or null.</summary>
    public string? GuestOs { get; set; }
}
