using Kvm.Devices.Block.Qcow2;
using Kvm.Interop.Compression;

namespace Kvm.Vmm.Storage;

/// <summary>Compression of clusters by the system's libraries.</summary>
public static class ClusterCodec
{
    /// <summary>Makes what compresses and decompresses; a missing library shows when it is used.</summary>
    /// <param name="compression">How.</param>
    public static IClusterCodec Create(Qcow2Compression compression) => compression == Qcow2Compression.Zstd ? new Zstd() : new Zlib();

    private sealed class Zlib : IClusterCodec
    {
        private readonly RawDeflate _deflate = new();

        public bool TryDecompress(ReadOnlySpan<byte> from, Span<byte> to) => _deflate.TryInflate(from, to);

        public int Compress(ReadOnlySpan<byte> from, Span<byte> to) => _deflate.Deflate(from, to);

        public void Dispose() => _deflate.Dispose();
    }

    private sealed class Zstd : IClusterCodec
    {
        private readonly ZstdBlocks _blocks = new();

        public bool TryDecompress(ReadOnlySpan<byte> from, Span<byte> to) => _blocks.TryDecompress(from, to);

        public int Compress(ReadOnlySpan<byte> from, Span<byte> to) => _blocks.Compress(from, to);

        public void Dispose() => _blocks.Dispose();
    }
}
