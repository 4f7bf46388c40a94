using System.Buffers.Binary;

namespace Kvm.Interop.Compression;

/// <summary>
/// Decodes a compressed block of memory into another: no copy of the output is made, and nothing is written past it.
/// The input is not trusted. Every method may be called from any thread.
/// </summary>
public static class Decompressor
{
    /// <summary>The names of the formats that <see cref="Decompress"/> decodes, for messages.</summary>
    public const string SupportedFormats = "gzip, LZ4 (legacy), zstd, xz";

    /// <summary>The format that the first bytes of <paramref name="data"/> announce (six decide all of them).</summary>
    public static CompressionFormat Detect(ReadOnlySpan<byte> data) => data switch
    {
        [0x1f, 0x8b or 0x9e, ..] => CompressionFormat.Gzip,
        [0x02, 0x21, 0x4c, 0x18, ..] => CompressionFormat.Lz4Legacy,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => CompressionFormat.Zstd,
        [0xfd, (byte)'7', (byte)'z', (byte)'X', (byte)'Z', 0, ..] => CompressionFormat.Xz,
        [0x5d, 0, 0, ..] => CompressionFormat.Lzma,
        [(byte)'B', (byte)'Z', (byte)'h', ..] => CompressionFormat.Bzip2,
        [0x89, (byte)'L', (byte)'Z', (byte)'O', ..] => CompressionFormat.Lzo,
        _ => CompressionFormat.Unknown,
    };

    /// <summary>Decodes <paramref name="source"/>, which is one compressed file and nothing after it.</summary>
    /// <param name="format">What <see cref="Detect"/> said of it.</param>
    /// <param name="source">The compressed bytes.</param>
    /// <param name="destination">Receives the output; on failure its contents are undefined.</param>
    /// <param name="written">Bytes of output; meaningful for <see cref="DecompressStatus.Done"/> only.</param>
    public static DecompressStatus Decompress(
        CompressionFormat format, ReadOnlySpan<byte> source, Span<byte> destination, out int written)
    {
        written = 0;
        if (source.IsEmpty && format != CompressionFormat.Unknown)
            return DecompressStatus.Corrupt;
        try
        {
            return format switch
            {
                CompressionFormat.Gzip => Gzip.Decompress(source, destination, out written),
                CompressionFormat.Lz4Legacy => Lz4.DecompressLegacy(source, destination, out written),
                CompressionFormat.Zstd => Zstd.Decompress(source, destination, out written),
                CompressionFormat.Xz => Xz.Decompress(source, destination, out written),
                _ => DecompressStatus.Unsupported,
            };
        }
        catch (Exception e) when (e is DllNotFoundException or EntryPointNotFoundException)
        {
            return DecompressStatus.LibraryMissing;
        }
    }

    /// <summary>Reads a little-endian 32-bit number.</summary>
    internal static uint U32(ReadOnlySpan<byte> at) => BinaryPrimitives.ReadUInt32LittleEndian(at);
}
