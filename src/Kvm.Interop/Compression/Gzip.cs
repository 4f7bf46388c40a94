using System.IO.Compression;

namespace Kvm.Interop.Compression;

/// <summary>gzip by System.IO.Compression, which brings its own zlib: no system library is needed.</summary>
internal static unsafe class Gzip
{
    /// <summary>Length of the shortest member: header, empty block, CRC and size (RFC 1952, 2.3).</summary>
    private const int ShortestMember = 20;

    internal static DecompressStatus Decompress(ReadOnlySpan<byte> source, Span<byte> destination, out int written)
    {
        written = 0;
        if (source.Length < ShortestMember)
            return DecompressStatus.Corrupt;
        fixed (byte* input = source)
        {
            using var memory = new UnmanagedMemoryStream(input, source.Length);
            using var gzip = new GZipStream(memory, CompressionMode.Decompress);
            try
            {
                while (written < destination.Length)
                {
                    int n = gzip.Read(destination[written..]);
                    if (n == 0)
                        break;
                    written += n;
                }

                if (written == destination.Length && gzip.ReadByte() >= 0)
                    return DecompressStatus.OutputFull;
            }
            catch (Exception e) when (e is InvalidDataException or IOException)
            {
                return DecompressStatus.Corrupt;
            }
        }

        // The stream ends without a word where its input is cut short; the size at the end tells (RFC 1952, ISIZE).
        return Decompressor.U32(source[^4..]) == (uint)written ? DecompressStatus.Done : DecompressStatus.Corrupt;
    }
}
