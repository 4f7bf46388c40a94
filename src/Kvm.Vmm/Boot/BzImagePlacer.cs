using Kvm.Interop.Compression;

namespace Kvm.Vmm.Boot;

/// <summary>
/// Places a bzImage: its payload unpacked by us and entered directly, or, for 32-bit kernels whose payload we cannot
/// unpack and on request, as a whole at code32_start, where it unpacks itself.
/// </summary>
internal static class BzImagePlacer
{
    /// <summary>
    /// The first segment of vmlinux is 2 MiB into the file of a 64-bit kernel: unpacked this far below its place, the
    /// text, which is most of the kernel, need not be moved. Any other file only costs the move.
    /// </summary>
    private const ulong FirstSegmentOffset = 0x20_0000;

    internal static PlacedKernel Place(KernelImage image, BootRequest request, GuestRam ram)
    {
        var (file, header) = (image.File, image.BzImage!);
        CheckInitSize(file, header, ram);
        if (request.Protocol == BootProtocol.Linux32 || header.Payload == 0)
            return PlaceWhole(file, header, ram);

        var format = PayloadUnpacker.Detect(file, header, out bool isElf);
        if (isElf)
        {
            var payload = file.Part(header.Payload, header.PayloadLength);
            var plain = ElfParser.Parse(payload);
            var way = ElfPlacer.ChooseUnpacked(payload, plain, request.Protocol);
            SegmentPlacer.PlaceFromFile(payload, plain.Segments, ram, request.MemoryIsZero, isLinux: true);
            return Describe(header, way, plain.Extent, CompressionFormat.Unknown);
        }

        if (format is not (CompressionFormat.Gzip or CompressionFormat.Lz4Legacy or CompressionFormat.Zstd or CompressionFormat.Xz))
        {
            if (!header.Is64)
                return PlaceWhole(file, header, ram);
            throw LoadException.At(LoadErrors.UnsupportedCompression, file, "payload", header.Payload,
                $"{(format == CompressionFormat.Unknown ? "an unknown format" : format)} is none of {Decompressor.SupportedFormats}");
        }

        return PlaceUnpacked(file, header, format, request, ram);
    }

    private static PlacedKernel PlaceUnpacked(
        ImageSource file, BzImageHeader header, CompressionFormat format, BootRequest request, GuestRam ram)
    {
        ulong preferred = header.PreferredAddress & ~0xfffUL;
        ulong at = preferred >= MachineLayout.HighMemory + FirstSegmentOffset ? preferred - FirstSegmentOffset : MachineLayout.HighMemory;
        uint size = PayloadUnpacker.Unpack(file, header, format, at, ram);
        using var unpacked = ImageSource.FromGuest($"{file.Name} (unpacked)", ram.Memory, at, size);
        var elf = ElfParser.Parse(unpacked);
        var way = ElfPlacer.ChooseUnpacked(unpacked, elf, request.Protocol);
        SegmentPlacer.PlaceFromGuest(unpacked, elf.Segments, new(at, size), ram, request.MemoryIsZero);
        return Describe(header, way, elf.Extent, format);
    }

    private static PlacedKernel Describe(BzImageHeader header, (EntryMode Mode, ulong Entry) way, AddressRange extent, CompressionFormat format)
    {
        // Without init_size the preferred address was not checked, and says nothing.
        ulong end = header.InitSize == 0 ? extent.End : Math.Max(extent.End, header.PreferredAddress + header.InitSize);
        return new PlacedKernel
        {
            Mode = way.Mode,
            Entry = way.Entry,
            Extent = extent with { Size = end - extent.Start },
            InitrdMax = header.InitrdMax,
            CommandLineMax = Math.Min(header.CommandLineMax, MachineLayout.CommandLineSize - 1),
            IsLinux = true,
            Setup = header,
            Compression = format,
        };
    }

    /// <summary>boot.rst, 32-bit boot protocol: the protected-mode code at its load address, entered at its start.</summary>
    private static PlacedKernel PlaceWhole(ImageSource file, BzImageHeader header, GuestRam ram)
    {
        var range = new AddressRange(header.Code32Start, file.Length - header.ProtectedMode);
        ram.CheckRoom(file, "protected-mode code", range);
        ram.ReadFile(file, header.ProtectedMode, range.Start, range.Size, "protected-mode code");
        return Describe(header, (EntryMode.Linux32, header.Code32Start), range, CompressionFormat.Unknown);
    }

    /// <summary>boot.rst, init_size: from the runtime start this much must be RAM. The start is the preferred address.</summary>
    private static void CheckInitSize(ImageSource file, BzImageHeader header, GuestRam ram)
    {
        if (header.InitSize == 0)
            return;
        ulong end = ram.Layout.LowRamEnd;
        if (header.PreferredAddress > end || header.InitSize > end - header.PreferredAddress)
        {
            throw LoadException.At(LoadErrors.DoesNotFit, file, "init_size", 0x260,
                $"the kernel needs RAM for 0x{header.InitSize:x} bytes at 0x{header.PreferredAddress:x}, the guest has {end >> 20} MiB below 4 GiB");
        }
    }
}
