using System.Buffers.Binary;
using System.IO.Compression;
using System.Runtime.InteropServices;
using Kvm.Interop.Compression;

namespace Kvm.TestSupport;

/// <summary>Makes compressed fixtures by the libraries that the product decodes with.</summary>
internal static unsafe class TestCompressors
{
    private const int Lz4BlockSize = 8 << 20;

    public static byte[] Compress(CompressionFormat format, byte[] data) => format switch
    {
        CompressionFormat.Gzip => Gzip(data),
        CompressionFormat.Lz4Legacy => Lz4Legacy(data),
        CompressionFormat.Zstd => Zstd(data),
        CompressionFormat.Xz => Xz(data),
        _ => throw new ArgumentOutOfRangeException(nameof(format)),
    };

    public static byte[] Gzip(byte[] data)
    {
        using var result = new MemoryStream();
        using (var gzip = new GZipStream(result, CompressionLevel.Optimal, leaveOpen: true))
            gzip.Write(data);
        return result.ToArray();
    }

    public static byte[] Lz4Legacy(byte[] data)
    {
        using var result = new MemoryStream();
        result.Write([0x02, 0x21, 0x4c, 0x18]);
        Span<byte> size = stackalloc byte[4];
        for (int at = 0; at < data.Length; at += Lz4BlockSize)
        {
            var block = data.AsSpan(at, Math.Min(Lz4BlockSize, data.Length - at));
            byte[] packed = new byte[LZ4_compressBound(block.Length)];
            int n;
            fixed (byte* source = block, destination = packed)
                n = LZ4_compress_default(source, destination, block.Length, packed.Length);
            n.Should().BePositive();
            BinaryPrimitives.WriteInt32LittleEndian(size, n);
            result.Write(size);
            result.Write(packed.AsSpan(0, n));
        }

        return result.ToArray();
    }

    public static byte[] Zstd(byte[] data)
    {
        byte[] packed = new byte[(int)ZSTD_compressBound(data.Length)];
        nint n;
        fixed (byte* source = data, destination = packed)
            n = ZSTD_compress(destination, packed.Length, source, data.Length, 3);
        ((long)n).Should().BePositive();
        return packed[..(int)n];
    }

    public static byte[] Xz(byte[] data)
    {
        const int checkCrc32 = 1; // as kernels have it
        byte[] packed = new byte[(int)lzma_stream_buffer_bound((nuint)data.Length)];
        nuint at = 0;
        int result;
        byte dummy;
        fixed (byte* source = data, destination = packed)
            result = lzma_easy_buffer_encode(1, checkCrc32, null, source is null ? &dummy : source, (nuint)data.Length, destination, &at, (nuint)packed.Length);
        result.Should().Be(0);
        return packed[..(int)at];
    }

    [DllImport("liblz4.so.1")]
    private static extern int LZ4_compressBound(int size);

    [DllImport("liblz4.so.1")]
    private static extern int LZ4_compress_default(byte* source, byte* destination, int size, int capacity);

    [DllImport("libzstd.so.1")]
    private static extern nint ZSTD_compressBound(nint size);

    [DllImport("libzstd.so.1")]
    private static extern nint ZSTD_compress(byte* destination, nint capacity, byte* source, nint size, int level);

    [DllImport("liblzma.so.5")]
    private static extern nuint lzma_stream_buffer_bound(nuint size);

    [DllImport("liblzma.so.5")]
    private static extern int lzma_easy_buffer_encode(
        uint preset, int check, void* allocator, byte* source, nuint size, byte* destination, nuint* at, nuint capacity);
}
