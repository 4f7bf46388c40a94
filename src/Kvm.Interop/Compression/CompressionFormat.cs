namespace Kvm.Interop.Compression;

/// <summary>A compression format, as its magic number tells.</summary>
public enum CompressionFormat
{
    /// <summary>None of those below.</summary>
    Unknown,

    /// <summary>gzip (RFC 1952), one member.</summary>
    Gzip,

    /// <summary>LZ4's legacy frame: blocks of up to 8 MiB, each behind its size; what Linux uses for kernels.</summary>
    Lz4Legacy,

    /// <summary>Zstandard (RFC 8878).</summary>
    Zstd,

    /// <summary>xz (the .xz file format 1.0.4).</summary>
    Xz,

    /// <summary>The older LZMA-alone format: recognized, not decoded.</summary>
    Lzma,

    /// <summary>bzip2: recognized, not decoded.</summary>
    Bzip2,

    /// <summary>lzop: recognized, not decoded.</summary>
    Lzo,
}

/// <summary>How a decompression ended.</summary>
public enum DecompressStatus
{
    /// <summary>The whole input was decoded and its checksum, where it has one, is right.</summary>
    Done,

    /// <summary>The output is full and the input has more.</summary>
    OutputFull,

    /// <summary>The input is damaged or cut short.</summary>
    Corrupt,

    /// <summary>The decoder could not get the memory it needs, or the input asks for more than allowed.</summary>
    OutOfMemory,

    /// <summary>The system does not have the library for this format.</summary>
    LibraryMissing,

    /// <summary>The format cannot be decoded here.</summary>
    Unsupported,
}
