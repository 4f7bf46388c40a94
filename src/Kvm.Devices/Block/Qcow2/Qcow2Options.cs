namespace Kvm.Devices.Block.Qcow2;

/// <summary>How clusters are compressed.</summary>
public enum Qcow2Compression : byte
{
    /// <summary>Deflate without a header (RFC 1951).</summary>
    Zlib,

    /// <summary>Zstandard frames (RFC 8878).</summary>
    Zstd,
}

/// <summary>Compresses and decompresses clusters: what an image consumes of the host's libraries. Not thread-safe: one for each thread.</summary>
public interface IClusterCodec : IDisposable
{
    /// <summary>Fills <paramref name="to"/> from the front of <paramref name="from"/>, which may have anything behind its end. The input is not trusted.</summary>
    /// <returns>True if all of it was filled.</returns>
    bool TryDecompress(ReadOnlySpan<byte> from, Span<byte> to);

    /// <summary>Compresses.</summary>
    /// <returns>Bytes written, or 0 if they do not fit.</returns>
    int Compress(ReadOnlySpan<byte> from, Span<byte> to);
}

/// <summary>A backing file as an image names it.</summary>
/// <param name="Name">Its name: a path, relative to the image that names it unless absolute; never empty, a protocol's or <c>json:</c>.</param>
/// <param name="Format">Its format as the image says (<c>raw</c>, <c>qcow2</c>), or null where it does not.</param>
public sealed record BackingFile(string Name, string? Format);

/// <summary>How an image is opened.</summary>
public sealed record Qcow2OpenOptions
{
    /// <summary>The least and the usual <see cref="CacheBytes"/>.</summary>
    public const int MinCacheBytes = 4 << 10, DefaultCacheBytes = 32 << 20;

    /// <summary>Writes are refused; true too where the file was opened for reading only.</summary>
    public bool ReadOnly { get; init; }

    /// <summary>
    /// Opens the backing file of the image, for reading only; the image disposes of it. It decides whether the name may be opened at all and throws
    /// <see cref="Qcow2Exception"/> (<see cref="Qcow2Problem.BackingRefused"/>) where not. Null: no backing file is allowed.
    /// </summary>
    public Func<BackingFile, IDiskImage>? OpenBacking { get; init; }

    /// <summary>Does not open the backing file: what it would show reads as zeros. For looking at, checking and re-basing a single file, never for a guest.</summary>
    public bool WithoutBacking { get; init; }

    /// <summary>Makes what compressed clusters need; null: such clusters cannot be read.</summary>
    public Func<Qcow2Compression, IClusterCodec>? Codecs { get; init; }

    /// <summary>The most bytes of L2 tables, and a quarter as many of refcounts, to keep in memory. Taken as they are needed.</summary>
    public int CacheBytes { get; init; } = DefaultCacheBytes;
}

/// <summary>How an image is made.</summary>
public sealed record Qcow2CreateOptions
{
    /// <summary>Bytes of the disk, a multiple of <see cref="IDiskImage.SectorSize"/>.</summary>
    public required ulong Size { get; init; }

    /// <summary>Bytes of a cluster, a power of two from 512 to 2 MiB.</summary>
    public int ClusterSize { get; init; } = 64 << 10;

    /// <summary>2 (compat=0.10) or 3 (compat=1.1).</summary>
    public int Version { get; init; } = 3;

    /// <summary>Bits of a refcount, a power of two from 1 to 64; 16 in version 2.</summary>
    public int RefcountBits { get; init; } = 16;

    /// <summary>Marks the image as one whose refcounts may be behind after a crash. Version 3 only.</summary>
    public bool LazyRefcounts { get; init; }

    /// <summary>How clusters will be compressed. Zstd: version 3 only.</summary>
    public Qcow2Compression Compression { get; init; }

    /// <summary>The backing file, named as it is to be found from the image's folder; its format must be given.</summary>
    public BackingFile? Backing { get; init; }

    /// <summary>Allocates every cluster (without writing the data), so that later writes change no table. Not with a backing file.</summary>
    public bool PreallocateMetadata { get; init; }
}

/// <summary>What a range of a disk is made of.</summary>
public enum ExtentKind : byte
{
    /// <summary>It reads as zeros, and no file of the chain holds bytes of it.</summary>
    Zero,

    /// <summary>Its bytes are in a file as they are.</summary>
    Data,

    /// <summary>Its bytes are in a file, compressed.</summary>
    Compressed,
}

/// <summary>A range of a disk that is made of one thing.</summary>
/// <param name="Position">First byte.</param>
/// <param name="Length">Bytes.</param>
/// <param name="Kind">What it is made of.</param>
/// <param name="Depth">Which file of the chain says so: 0 the image, 1 its backing file, and so on.</param>
/// <param name="HostOffset">Where in that file, for <see cref="ExtentKind.Data"/>, and for zeros that have storage; null else.</param>
public readonly record struct DiskExtent(ulong Position, ulong Length, ExtentKind Kind, int Depth, ulong? HostOffset);
