using System.Runtime.InteropServices;

namespace Kvm.Interop.Compression;

/// <summary>LZ4 blocks by the system's liblz4.so.1 (lz4.h), and the legacy frame around them by us.</summary>
internal static unsafe partial class Lz4
{
    private const string Library = "liblz4.so.1";
    private const uint LegacyMagic = 0x184c2102;

    /// <summary>No block of the legacy format unpacks to more (LZ4 Frame Format, "Legacy frame").</summary>
    private const int LegacyBlockSize = 8 << 20;

    /// <summary>No block of the legacy format is longer: LZ4_COMPRESSBOUND of 8 MiB.</summary>
    private const int LegacyBlockBound = LegacyBlockSize + (LegacyBlockSize / 255) + 16;

    internal static DecompressStatus DecompressLegacy(ReadOnlySpan<byte> source, Span<byte> destination, out int written)
    {
        written = 0;
        if (source.Length < 4 || Decompressor.U32(source) != LegacyMagic)
            return DecompressStatus.Corrupt;
        int at = 4;
        while (source.Length - at >= 4)
        {
            uint size = Decompressor.U32(source[at..]);
            at += 4;
            if (size == LegacyMagic)
                continue; // a further frame begins
            if (size > LegacyBlockBound || size > (uint)(source.Length - at))
                return DecompressStatus.Corrupt;
            var status = DecompressBlock(source.Slice(at, (int)size), destination[written..], out int n);
            if (status != DecompressStatus.Done)
                return status;
            written += n;
            at += (int)size;
        }

        return at == source.Length ? DecompressStatus.Done : DecompressStatus.Corrupt;
    }

    private static DecompressStatus DecompressBlock(ReadOnlySpan<byte> block, Span<byte> destination, out int written)
    {
        int room = Math.Min(destination.Length, LegacyBlockSize);
        fixed (byte* input = block, output = destination)
        {
            written = LZ4_decompress_safe(input, output, block.Length, room);
            if (written >= 0)
                return DecompressStatus.Done;
            // The library has one answer for damage and for too little room: a partial decode tells them apart.
            bool full = room < LegacyBlockSize && LZ4_decompress_safe_partial(input, output, block.Length, room, room) == room;
            written = 0;
            return full ? DecompressStatus.OutputFull : DecompressStatus.Corrupt;
        }
    }

    [LibraryImport(Library)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int LZ4_decompress_safe(byte* source, byte* destination, int compressedSize, int capacity);

    [LibraryImport(Library)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int LZ4_decompress_safe_partial(byte* source, byte* destination, int compressedSize, int target, int capacity);
}
