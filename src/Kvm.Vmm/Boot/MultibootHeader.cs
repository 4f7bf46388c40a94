using System.Buffers;
using System.Buffers.Binary;

namespace Kvm.Vmm.Boot;

/// <summary>A Multiboot 1 header (Multiboot Specification 0.6.96, 3.1).</summary>
internal sealed class MultibootHeader
{
    /// <summary>The header lies in the first 8192 bytes of the file, at a multiple of 4 (3.1).</summary>
    private const int SearchSize = 8192;

    private const uint Magic = 0x1badb002;
    private const uint FlagPageAlign = 1 << 0;
    private const uint FlagMemoryInfo = 1 << 1;
    private const uint FlagVideo = 1 << 2;
    private const uint FlagAddresses = 1 << 16;

    /// <summary>Requirements that a loader must understand or refuse (3.1.2).</summary>
    private const uint RequiredMask = 0xffff;

    /// <summary>Where the header is in the file.</summary>
    public required ulong Offset { get; init; }

    /// <summary>The entry point of the address fields, or null if the executable's own headers say where it is loaded.</summary>
    public uint? FlatEntry { get; init; }

    /// <summary>The one segment that the address fields describe; meaningful with <see cref="FlatEntry"/>.</summary>
    public ElfSegment Flat { get; init; }

    /// <summary>Looks for a header; null if there is none.</summary>
    /// <exception cref="LoadException">There is one, and it asks for what cannot be given or contradicts itself.</exception>
    internal static MultibootHeader? Find(ImageSource file)
    {
        int length = (int)Math.Min(file.Length, SearchSize);
        byte[] buffer = ArrayPool<byte>.Shared.Rent(SearchSize);
        try
        {
            var head = buffer.AsSpan(0, length);
            file.Read(0, head, "the first 8 KiB");
            for (int at = 0; length - at >= 12; at += 4)
            {
                uint flags = U32(head, at + 4);
                // The checksum makes the sum of the three 0: unchecked on purpose.
                if (U32(head, at) == Magic && unchecked(Magic + flags + U32(head, at + 8)) == 0)
                    return Parse(file, head[at..], (ulong)at, flags);
            }

            return null;
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }

    private static MultibootHeader Parse(ImageSource file, ReadOnlySpan<byte> header, ulong offset, uint flags)
    {
        if ((flags & FlagVideo) != 0)
            throw LoadException.At(LoadErrors.NoEntry, file, "Multiboot flags", offset + 4, "the kernel requires a video mode (bit 2); this machine has no display");
        uint unknown = flags & RequiredMask & ~(FlagPageAlign | FlagMemoryInfo);
        if (unknown != 0)
            throw LoadException.At(LoadErrors.NoEntry, file, "Multiboot flags", offset + 4, $"the kernel requires 0x{unknown:x}, which no version of the specification defines");
        if ((flags & FlagAddresses) == 0)
            return new MultibootHeader { Offset = offset };
        if (header.Length < 32)
            throw LoadException.At(LoadErrors.Truncated, file, "Multiboot address fields", offset + 12, "they reach past the end of the file");
        return ParseAddresses(file, header, offset);
    }

    /// <summary>3.1.3: the address fields take the place of an executable's headers.</summary>
    private static MultibootHeader ParseAddresses(ImageSource file, ReadOnlySpan<byte> header, ulong offset)
    {
        uint headerAddress = U32(header, 12), load = U32(header, 16), loadEnd = U32(header, 20), bssEnd = U32(header, 24), entry = U32(header, 28);
        if (load > headerAddress || headerAddress - load > offset)
        {
            throw LoadException.At(LoadErrors.BadHeader, file, "Multiboot load_addr", offset + 16,
                $"0x{load:x} does not match header_addr 0x{headerAddress:x} for a header at file offset 0x{offset:x}");
        }

        ulong fileOffset = offset - (headerAddress - load);
        ulong fileSize = file.Length - fileOffset;
        if (loadEnd != 0)
        {
            if (loadEnd < load || loadEnd - load > fileSize)
                throw LoadException.At(LoadErrors.Truncated, file, "Multiboot load_end_addr", offset + 20, $"0x{loadEnd:x} reaches past the end of the file");
            fileSize = loadEnd - load;
        }

        ulong memorySize = fileSize;
        if (bssEnd != 0)
        {
            if (bssEnd < load || bssEnd - load < fileSize)
                throw LoadException.At(LoadErrors.BadHeader, file, "Multiboot bss_end_addr", offset + 24, $"0x{bssEnd:x} lies below the end of what is loaded");
            memorySize = bssEnd - load;
        }

        return new MultibootHeader
        {
            Offset = offset,
            FlatEntry = entry,
            Flat = new ElfSegment(0, fileOffset, fileSize, load, memorySize, load),
        };
    }

    private static uint U32(ReadOnlySpan<byte> at, int offset) => BinaryPrimitives.ReadUInt32LittleEndian(at[offset..]);
}
