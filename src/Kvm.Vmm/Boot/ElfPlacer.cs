namespace Kvm.Vmm.Boot;

/// <summary>Decides how an ELF or flat Multiboot image is entered, and places it.</summary>
internal static class ElfPlacer
{
    /// <summary>Places the image of a whole file.</summary>
    internal static PlacedKernel Place(KernelImage image, BootRequest request, GuestRam ram)
    {
        var (mode, entry, isLinux) = Choose(image, request.Protocol);
        bool flat = mode == EntryMode.Multiboot32 && image.Multiboot!.FlatEntry is not null;
        ElfSegment[] segments = flat ? [image.Multiboot!.Flat] : image.Elf!.Segments;
        SegmentPlacer.PlaceFromFile(image.File, segments, ram, request.MemoryIsZero, mode is EntryMode.Linux64 or EntryMode.Linux32);
        return new PlacedKernel
        {
            Mode = mode,
            Entry = entry,
            Extent = flat ? segments[0].Range : image.Elf!.Extent,
            InitrdMax = mode switch { EntryMode.Linux64 => 0x7fff_ffff, EntryMode.Linux32 => 0x37ff_ffff, _ => uint.MaxValue },
            CommandLineMax = isLinux || mode is EntryMode.Linux64 or EntryMode.Linux32 ? PlacedKernel.LinuxCommandLineMax : MachineLayout.CommandLineSize - 1,
            IsLinux = isLinux,
        };
    }

    /// <summary>The entry of a kernel that came out of a bzImage: Linux, so by Linux's protocol unless PVH is asked for.</summary>
    internal static (EntryMode Mode, ulong Entry) ChooseUnpacked(ImageSource file, ElfImage elf, BootProtocol protocol) => protocol switch
    {
        BootProtocol.Pvh => (EntryMode.Pvh32, PvhEntry(file, elf)),
        BootProtocol.Auto when !elf.Is64 => (EntryMode.Linux32, Entry(file, elf)),
        BootProtocol.Auto or BootProtocol.Linux64 when elf.Is64 => (EntryMode.Linux64, Entry(file, elf)),
        BootProtocol.Multiboot => throw NotOffered(file, "Multiboot"),
        _ => throw NotOffered(file, "the 64-bit Linux protocol"),
    };

    private static (EntryMode Mode, ulong Entry, bool IsLinux) Choose(KernelImage image, BootProtocol protocol)
    {
        var (file, elf, multiboot) = (image.File, image.Elf, image.Multiboot);
        if (protocol == BootProtocol.Auto)
            protocol = Default(file, elf, multiboot);
        bool isLinux = elf is { IsLinux: true };
        return protocol switch
        {
            BootProtocol.Linux64 when elf is { Is64: true } => (EntryMode.Linux64, Entry(file, elf), isLinux),
            BootProtocol.Linux32 when elf is { Is64: false } => (EntryMode.Linux32, Entry(file, elf), isLinux),
            BootProtocol.Pvh when elf is not null => (EntryMode.Pvh32, PvhEntry(file, elf), isLinux),
            BootProtocol.Multiboot when multiboot is not null => (EntryMode.Multiboot32, MultibootEntry(file, elf, multiboot), isLinux),
            _ => throw NotOffered(file, protocol.ToString()),
        };
    }

    private static BootProtocol Default(ImageSource file, ElfImage? elf, MultibootHeader? multiboot)
    {
        if (elf is null)
            return BootProtocol.Multiboot;
        if (elf is { Is64: true, IsLinux: true })
            return BootProtocol.Linux64;
        if (elf.Notes.PvhEntry is not null)
            return BootProtocol.Pvh;
        if (multiboot is not null)
            return BootProtocol.Multiboot;
        if (elf.Is64)
            return BootProtocol.Linux64; // a bare 64-bit executable: entered as vmlinux is
        if (elf.IsLinux)
            return BootProtocol.Linux32;
        throw LoadException.Whole(LoadErrors.NoEntry, file, "ELF32 image", "it has neither a PVH note nor a Multiboot header, and is not Linux");
    }

    private static ulong Entry(ImageSource file, ElfImage elf)
    {
        ulong entry = elf.ToPhysical(elf.Entry)
            ?? throw LoadException.At(LoadErrors.NoEntry, file, "e_entry", 24, $"0x{elf.Entry:x} is in no segment");
        return CheckWidth(file, "e_entry", 24, entry);
    }

    private static ulong PvhEntry(ImageSource file, ElfImage elf)
    {
        ulong entry = elf.Notes.PvhEntry ?? throw NotOffered(file, "PVH (no XEN_ELFNOTE_PHYS32_ENTRY note)");
        // Physical by definition, unlike e_entry: no translation.
        if (!Array.Exists(elf.Segments, s => entry >= s.Address && entry - s.Address < s.MemorySize))
            throw LoadException.At(LoadErrors.NoEntry, file, "XEN_ELFNOTE_PHYS32_ENTRY", elf.Notes.PvhEntryOffset, $"0x{entry:x} is in no segment");
        return CheckWidth(file, "XEN_ELFNOTE_PHYS32_ENTRY", elf.Notes.PvhEntryOffset, entry);
    }

    private static ulong MultibootEntry(ImageSource file, ElfImage? elf, MultibootHeader multiboot)
    {
        if (multiboot.FlatEntry is not { } entry)
            return Entry(file, elf ?? throw NotOffered(file, "Multiboot"));
        var range = multiboot.Flat.Range;
        if (entry < range.Start || entry >= range.End)
            throw LoadException.At(LoadErrors.NoEntry, file, "Multiboot entry_addr", multiboot.Offset + 28, $"0x{entry:x} is not in {range}");
        return entry;
    }

    /// <summary>32-bit entries reach no further, and for 64-bit entries no more is mapped.</summary>
    private static ulong CheckWidth(ImageSource file, string field, ulong offset, ulong entry) =>
        entry > uint.MaxValue
            ? throw LoadException.At(LoadErrors.NoEntry, file, field, offset, $"0x{entry:x} is not below 4 GiB")
            : entry;

    private static LoadException NotOffered(ImageSource file, string protocol) =>
        LoadException.Whole(LoadErrors.NoEntry, file, "boot protocol", $"the image does not offer {protocol}");
}
