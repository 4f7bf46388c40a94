using System.Runtime.InteropServices;

namespace Kvm.Interop.Compression;

/// <summary>
/// Zstandard frames (RFC 8878) by the system's libzstd.so.1 (zstd.h), a whole block in one call, so that no window is needed besides it, and with the
/// library's state kept between blocks: nothing is allocated after the first. Input is not trusted. Not thread-safe.
/// </summary>
public sealed unsafe partial class ZstdBlocks : IDisposable
{
    private const string Library = "libzstd.so.1";

    private readonly int _level;
    private void* _decompress;
    private void* _compress;
    private bool _disposed;

    /// <summary>Takes no memory before it is used.</summary>
    /// <param name="level">As zstd's; 3 is its own choice.</param>
    public ZstdBlocks(int level = 3) => _level = level;

    /// <summary>Frees what nobody disposed of.</summary>
    ~ZstdBlocks() => Free();

    /// <summary>Fills <paramref name="to"/> from the frames at the front of <paramref name="from"/>, which may go on behind them.</summary>
    /// <returns>True if all of it was filled; false if the input is damaged or too short, or there is no library or memory.</returns>
    public bool TryDecompress(ReadOnlySpan<byte> from, Span<byte> to)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        try
        {
            if (_decompress is null && (_decompress = ZSTD_createDCtx()) is null)
                return false;
            fixed (byte* input = from, output = to)
            {
                nint read = 0, written = 0;
                while (written < to.Length && read < from.Length)
                {
                    nint frame = ZSTD_findFrameCompressedSize(input + read, from.Length - read);
                    // Errors are small negative numbers (zstd_errors.h).
                    if (frame <= 0 || frame > from.Length - read)
                        return false;
                    nint more = ZSTD_decompressDCtx(_decompress, output + written, to.Length - written, input + read, frame);
                    if (more < 0)
                        return false;
                    (read, written) = (read + frame, written + more);
                }

                return written == to.Length;
            }
        }
        catch (Exception e) when (e is DllNotFoundException or EntryPointNotFoundException)
        {
            return false;
        }
    }

    /// <summary>Compresses into one frame.</summary>
    /// <returns>Bytes written, or 0 if they do not fit, or there is no library or memory.</returns>
    public int Compress(ReadOnlySpan<byte> from, Span<byte> to)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        try
        {
            if (_compress is null && (_compress = ZSTD_createCCtx()) is null)
                return 0;
            fixed (byte* input = from, output = to)
            {
                nint count = ZSTD_compressCCtx(_compress, output, to.Length, input, from.Length, _level);
                return count > 0 ? (int)count : 0;
            }
        }
        catch (Exception e) when (e is DllNotFoundException or EntryPointNotFoundException)
        {
            return 0;
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Free();
        GC.SuppressFinalize(this);
    }

    private void Free()
    {
        _disposed = true;
        if (_decompress is not null)
            ZSTD_freeDCtx(_decompress);
        if (_compress is not null)
            ZSTD_freeCCtx(_compress);
        _decompress = null;
        _compress = null;
    }

    [LibraryImport(Library)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial void* ZSTD_createDCtx();

    [LibraryImport(Library)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial nint ZSTD_freeDCtx(void* context);

    [LibraryImport(Library)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial nint ZSTD_findFrameCompressedSize(byte* source, nint size);

    [LibraryImport(Library)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial nint ZSTD_decompressDCtx(void* context, byte* destination, nint capacity, byte* source, nint size);

    [LibraryImport(Library)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial void* ZSTD_createCCtx();

    [LibraryImport(Library)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial nint ZSTD_freeCCtx(void* context);

    [LibraryImport(Library)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial nint ZSTD_compressCCtx(void* context, byte* destination, nint capacity, byte* source, nint size, int level);
}
