using Kvm.Interop.Compression;

namespace Kvm.Vmm.Boot;

/// <summary>Unpacks the payload of a bzImage into guest memory, bounded by what the header, the memory and reason allow.</summary>
internal static class PayloadUnpacker
{
    /// <summary>No kernel's payload is longer; bounds the host memory for the compressed bytes.</summary>
    private const uint LongestPayload = 256 << 20;

    /// <summary>Kernels shrink to between a third and a twelfth; above <see cref="FreeSize"/> more than this is a bomb.</summary>
    private const uint LargestRatio = 64;

    /// <summary>Up to here any ratio is allowed.</summary>
    private const uint FreeSize = 16 << 20;

    /// <summary>The compression of the payload.</summary>
    internal static CompressionFormat Detect(ImageSource file, BzImageHeader header, out bool isElf)
    {
        Span<byte> head = stackalloc byte[8];
        head = head[..(int)Math.Min(header.PayloadLength, 8)];
        file.Read(header.Payload, head, "payload");
        isElf = ElfParser.Matches(head);
        return Decompressor.Detect(head);
    }

    /// <summary>Unpacks to <paramref name="address"/> and returns the bytes written there.</summary>
    /// <exception cref="LoadException">The payload is damaged, too large, or its library is missing.</exception>
    internal static uint Unpack(ImageSource file, BzImageHeader header, CompressionFormat format, ulong address, GuestRam ram)
    {
        uint length = header.PayloadLength;
        if (length > LongestPayload)
            throw LoadException.At(LoadErrors.PayloadTooLarge, file, "payload_length", 0x24c, $"{length} bytes are more than the {LongestPayload >> 20} MiB a payload may have");
        // Every decoder needs a few dozen bytes; the last four are the unpacked size (scripts/Makefile.lib: size_append; gzip has its own).
        if (length < 16)
            throw LoadException.At(LoadErrors.CorruptPayload, file, "payload_length", 0x24c, $"{length} bytes are too few");
        using var packed = new NativeBuffer((int)length);
        file.Read(header.Payload, packed.Span, "payload");
        uint size = System.Buffers.Binary.BinaryPrimitives.ReadUInt32LittleEndian(packed.Span[^4..]);
        CheckSize(file, header, size, address, ram);

        var input = format == CompressionFormat.Gzip ? packed.Span : packed.Span[..^4];
        var status = Decompressor.Decompress(format, input, ram.Slice(address, (int)size, "unpacked kernel"), out int written);
        if (status != DecompressStatus.Done)
            throw Explain(file, header, format, status, size);
        if (written != size)
            throw LoadException.At(LoadErrors.CorruptPayload, file, $"{format} payload", header.Payload, $"it unpacks to {written} bytes, its end says {size}");
        return size;
    }

    private static void CheckSize(ImageSource file, BzImageHeader header, uint size, ulong address, GuestRam ram)
    {
        ulong at = header.Payload + header.PayloadLength - 4;
        if (header.InitSize != 0 && size > header.InitSize)
            throw LoadException.At(LoadErrors.PayloadTooLarge, file, "unpacked size", at, $"{size} bytes are more than init_size, {header.InitSize}");
        if (size > FreeSize && size / LargestRatio > header.PayloadLength)
            throw LoadException.At(LoadErrors.PayloadTooLarge, file, "unpacked size", at, $"{size} bytes are more than {LargestRatio} times the payload's {header.PayloadLength}");
        if (size > int.MaxValue)
            throw LoadException.At(LoadErrors.PayloadTooLarge, file, "unpacked size", at, $"{size} bytes are more than any kernel has");
        ram.CheckRoom(file, "unpacked kernel", new(address, size));
    }

    private static LoadException Explain(ImageSource file, BzImageHeader header, CompressionFormat format, DecompressStatus status, uint size)
    {
        var (error, why) = status switch
        {
            DecompressStatus.OutputFull => (LoadErrors.PayloadTooLarge, $"it unpacks to more than the {size} bytes its end says"),
            DecompressStatus.OutOfMemory => (LoadErrors.PayloadTooLarge, "its decoder needs more memory than it is given"),
            DecompressStatus.LibraryMissing => (LoadErrors.MissingLibrary, "the library that decodes it cannot be loaded"),
            DecompressStatus.Unsupported => (LoadErrors.UnsupportedCompression, "it uses an option that the library does not know"),
            _ => (LoadErrors.CorruptPayload, "it is damaged or cut short"),
        };
        return LoadException.At(error, file, $"{format} payload", header.Payload, why);
    }
}
