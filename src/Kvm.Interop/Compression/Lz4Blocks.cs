using System.Runtime.InteropServices;

namespace Kvm.Interop.Compression;

/// <summary>
/// LZ4 blocks (without a frame) by the system's liblz4.so.1 (lz4.h), with the compressor's state kept between blocks: nothing is allocated after the
/// first. Input is not trusted. Not thread-safe.
/// </summary>
public sealed unsafe partial class Lz4Blocks : IDisposable
{
    private const string Library = "liblz4.so.1";

    private readonly int _acceleration;
    private void* _state;
    private bool _disposed;

    /// <summary>Takes no memory before it is used.</summary>
    /// <param name="acceleration">As lz4's: 1 is its own choice, each step more is a few per cent faster and packs less.</param>
    public Lz4Blocks(int acceleration = 1) => _acceleration = acceleration;

    /// <summary>Frees what nobody disposed of.</summary>
    ~Lz4Blocks() => Free();

    /// <summary>Unpacks one block.</summary>
    /// <returns>True if it is whole and fills <paramref name="to"/> exactly; false if it is damaged, or there is no library.</returns>
    public bool TryDecompress(ReadOnlySpan<byte> from, Span<byte> to)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        try
        {
            fixed (byte* input = from, output = to)
                return LZ4_decompress_safe(input, output, from.Length, to.Length) == to.Length;
        }
        catch (Exception e) when (e is DllNotFoundException or EntryPointNotFoundException)
        {
            return false;
        }
    }

    /// <summary>Compresses into one block.</summary>
    /// <returns>Bytes written, or 0 if they do not fit, or there is no library or memory.</returns>
    public int Compress(ReadOnlySpan<byte> from, Span<byte> to)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        try
        {
            if (_state is null)
                _state = NativeMemory.AlignedAlloc((nuint)LZ4_sizeofState(), 16);
            fixed (byte* input = from, output = to)
                return Math.Max(0, LZ4_compress_fast_extState(_state, input, output, from.Length, to.Length, _acceleration));
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
        NativeMemory.AlignedFree(_state);
        _state = null;
    }

    [LibraryImport(Library)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int LZ4_sizeofState();

    [LibraryImport(Library)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int LZ4_compress_fast_extState(void* state, byte* source, byte* destination, int size, int capacity, int acceleration);

    [LibraryImport(Library)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int LZ4_decompress_safe(byte* source, byte* destination, int compressedSize, int capacity);
}
