using System.Runtime.InteropServices;

namespace Kvm.Interop.Compression;

/// <summary>Zstandard by the system's libzstd.so.1 (zstd.h), in one call: it then needs no window besides the output.</summary>
internal static unsafe partial class Zstd
{
    private const string Library = "libzstd.so.1";

    // zstd_errors.h: a negative result is the negative of an error code.
    private const int ErrorMemoryAllocation = 64;
    private const int ErrorDestinationTooSmall = 70;

    internal static DecompressStatus Decompress(ReadOnlySpan<byte> source, Span<byte> destination, out int written)
    {
        nint result;
        fixed (byte* input = source, output = destination)
            result = ZSTD_decompress(output, destination.Length, input, source.Length);
        written = result >= 0 ? (int)result : 0;
        return result switch
        {
            >= 0 => DecompressStatus.Done,
            -ErrorDestinationTooSmall => DecompressStatus.OutputFull,
            -ErrorMemoryAllocation => DecompressStatus.OutOfMemory,
            _ => DecompressStatus.Corrupt,
        };
    }

    [LibraryImport(Library)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial nint ZSTD_decompress(byte* destination, nint capacity, byte* source, nint size);
}
