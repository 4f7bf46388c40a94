using System.IO.Compression;
using Kvm.Devices.Block;
using Kvm.Devices.Block.Qcow2;
using Kvm.Devices.Memory;

namespace Kvm.Devices.Tests.Block.Qcow2;

/// <summary>Images in memory, and bytes moved in and out of them.</summary>
internal sealed class Rig : IDisposable
{
    private readonly AlignedBuffer _memory = new(2 << 20);

    public static Qcow2OpenOptions Open { get; } = new() { Codecs = _ => new DeflateCodec(), CacheBytes = Qcow2OpenOptions.MinCacheBytes };

    /// <summary>Makes an image.</summary>
    public static Qcow2Image Create(GrowingFile file, ulong size, int clusterSize = 4096, int refcountBits = 16, int version = 3, IDiskImage? backing = null) =>
        Qcow2Creator.Create(file,
            new Qcow2CreateOptions
            {
                Size = size,
                ClusterSize = clusterSize,
                RefcountBits = refcountBits,
                Version = version,
                Backing = backing is null ? null : new BackingFile("below", "raw"),
            },
            Open with { OpenBacking = _ => backing! });

    /// <summary>The bytes of an image that has data, zeros and holes, closed.</summary>
    public static byte[] Valid(int clusterSize = 4096, int refcountBits = 16, int version = 3)
    {
        var file = new GrowingFile();
        using (var rig = new Rig())
        using (var image = Create(file, 1 << 20, clusterSize, refcountBits, version))
        {
            rig.Write(image, 0, Pattern(200 * 512, 1)).Should().Be(DiskResult.Done);
            rig.Write(image, 0x40200, Pattern(512, 2)).Should().Be(DiskResult.Done);
            image.WriteZeroes(0x2000, 0x2000, mayUnmap: false).Should().Be(DiskResult.Done);
        }

        return file.ToArray();
    }

    public static byte[] Pattern(int length, int seed)
    {
        byte[] bytes = new byte[length];
        new Random(seed).NextBytes(bytes);
        return bytes;
    }

    public byte[] Read(IDiskImage image, ulong position, int length)
    {
        TryRead(image, position, length, out byte[] bytes).Should().Be(DiskResult.Done);
        return bytes;
    }

    public DiskResult TryRead(IDiskImage image, ulong position, int length, out byte[] bytes)
    {
        var (first, second) = Pieces(length);
        _memory.Buffer.Slice(0, length).Span.Fill(0xee);
        var result = image.Read(position, [first, second]);
        bytes = _memory.Buffer.Slice(0, length).Span.ToArray();
        return result;
    }

    public DiskResult Write(IDiskImage image, ulong position, ReadOnlySpan<byte> bytes)
    {
        bytes.CopyTo(_memory.Buffer.Span);
        var (first, second) = Pieces(bytes.Length);
        return image.Write(position, [first, second]);
    }

    /// <summary>Writes a compressed cluster all of whose bytes are the same.</summary>
    public DiskResult WriteCompressed(Qcow2Image image, ulong position, byte fill)
    {
        byte[] cluster = new byte[image.ClusterSize], packed = Deflate([.. cluster.Select(_ => fill)]);
        packed.CopyTo(_memory.Buffer.Span);
        return image.WriteCompressed(position, _memory.Buffer.Slice(0, packed.Length));
    }

    public static byte[] Deflate(byte[] bytes)
    {
        var packed = new MemoryStream();
        using (var deflate = new DeflateStream(packed, CompressionLevel.Fastest))
            deflate.Write(bytes);
        return packed.ToArray();
    }

    public void Dispose() => _memory.Dispose();

    private (HostBuffer First, HostBuffer Second) Pieces(int length)
    {
        int cut = Math.Min(length, 300);
        return (_memory.Buffer.Slice(0, cut), _memory.Buffer.Slice(cut, length - cut));
    }

    /// <summary>Deflate by the framework: what Kvm.Vmm takes from the system's library.</summary>
    private sealed class DeflateCodec : IClusterCodec
    {
        public bool TryDecompress(ReadOnlySpan<byte> from, Span<byte> to)
        {
            try
            {
                using var deflate = new DeflateStream(new MemoryStream(from.ToArray()), CompressionMode.Decompress);
                byte[] bytes = new byte[to.Length];
                int count = deflate.ReadAtLeast(bytes, bytes.Length, throwOnEndOfStream: false);
                bytes.CopyTo(to);
                return count == to.Length;
            }
            catch (InvalidDataException)
            {
                return false;
            }
        }

        public int Compress(ReadOnlySpan<byte> from, Span<byte> to)
        {
            byte[] bytes = Deflate(from.ToArray());
            if (bytes.Length > to.Length)
                return 0;
            bytes.CopyTo(to);
            return bytes.Length;
        }

        public void Dispose()
        {
        }
    }
}
