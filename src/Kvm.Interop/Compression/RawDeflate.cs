using System.Runtime.InteropServices;

namespace Kvm.Interop.Compression;

/// <summary>
/// Deflate without a header (RFC 1951) by the system's libz.so.1 (zlib.h), in one call for each block and with its state kept between them: nothing
/// is allocated after the first. Input is not trusted. Not thread-safe.
/// </summary>
public sealed unsafe partial class RawDeflate : IDisposable
{
    private const string Library = "libz.so.1";

    // zlib.h
    private const int Ok = 0, StreamEnd = 1, BufError = -5;
    private const int Finish = 4, Deflated = 8, DefaultStrategy = 0, MaxMemLevel = 9;
    // Negative: no header. Any window is understood, 4 KiB is written, which every reader of cluster formats has.
    private const int ReadWindowBits = -15, WriteWindowBits = -12;

    private readonly int _level;
    private bool _disposed;
    // Outside the collector's reach: zlib's state points back at it.
    private ZStream* _inflate;
    private ZStream* _deflate;

    /// <summary>Takes no memory before it is used.</summary>
    /// <param name="level">1 (fast) to 9 (small); −1 for the library's own choice.</param>
    public RawDeflate(int level = -1) => _level = level;

    /// <summary>Frees what nobody disposed of.</summary>
    ~RawDeflate() => Free();

    /// <summary>Fills <paramref name="to"/> from the front of <paramref name="from"/>, which may go on behind its end.</summary>
    /// <returns>True if all of it was filled; false if the input is damaged or too short, or there is no library or memory.</returns>
    public bool TryInflate(ReadOnlySpan<byte> from, Span<byte> to)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        if (_inflate is null && !TryStart(ref _inflate, inflate: true))
            return false;
        if (inflateReset(_inflate) != Ok)
            return false;
        fixed (byte* input = from, output = to)
        {
            _inflate->NextIn = input;
            _inflate->AvailIn = (uint)from.Length;
            _inflate->NextOut = output;
            _inflate->AvailOut = (uint)to.Length;
            int result = inflate(_inflate, Finish);
            return result is StreamEnd or BufError && _inflate->AvailOut == 0;
        }
    }

    /// <summary>Compresses.</summary>
    /// <returns>Bytes written, or 0 if they do not fit, or there is no library or memory.</returns>
    public int Deflate(ReadOnlySpan<byte> from, Span<byte> to)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        if (_deflate is null && !TryStart(ref _deflate, inflate: false))
            return 0;
        if (deflateReset(_deflate) != Ok)
            return 0;
        fixed (byte* input = from, output = to)
        {
            _deflate->NextIn = input;
            _deflate->AvailIn = (uint)from.Length;
            _deflate->NextOut = output;
            _deflate->AvailOut = (uint)to.Length;
            return deflate(_deflate, Finish) == StreamEnd ? to.Length - (int)_deflate->AvailOut : 0;
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Free();
        GC.SuppressFinalize(this);
    }

    private bool TryStart(ref ZStream* stream, bool inflate)
    {
        var fresh = (ZStream*)NativeMemory.AllocZeroed((nuint)sizeof(ZStream));
        int result;
        try
        {
            fixed (byte* version = "1.2.11\0"u8)
            {
                result = inflate
                    ? inflateInit2_(fresh, ReadWindowBits, version, sizeof(ZStream))
                    : deflateInit2_(fresh, _level, Deflated, WriteWindowBits, MaxMemLevel, DefaultStrategy, version, sizeof(ZStream));
            }
        }
        catch (Exception e) when (e is DllNotFoundException or EntryPointNotFoundException)
        {
            result = BufError;
        }

        if (result != Ok)
        {
            NativeMemory.Free(fresh);
            return false;
        }

        stream = fresh;
        return true;
    }

    private void Free()
    {
        _disposed = true;
        if (_inflate is not null)
        {
            _ = inflateEnd(_inflate);
            NativeMemory.Free(_inflate);
            _inflate = null;
        }

        if (_deflate is not null)
        {
            _ = deflateEnd(_deflate);
            NativeMemory.Free(_deflate);
            _deflate = null;
        }
    }

    /// <summary>zlib.h <c>z_stream</c>.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private struct ZStream
    {
        public byte* NextIn;
        public uint AvailIn;
        public nuint TotalIn;
        public byte* NextOut;
        public uint AvailOut;
        public nuint TotalOut;
        public void* Message;
        public void* State;
        public void* Allocate;
        public void* Free;
        public void* Opaque;
        public int DataType;
        public nuint Adler;
        public nuint Reserved;
    }

    [LibraryImport(Library)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int inflateInit2_(ZStream* stream, int windowBits, byte* version, int size);

    [LibraryImport(Library)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int inflateReset(ZStream* stream);

    [LibraryImport(Library)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int inflate(ZStream* stream, int flush);

    [LibraryImport(Library)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int inflateEnd(ZStream* stream);

    [LibraryImport(Library)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int deflateInit2_(ZStream* stream, int level, int method, int windowBits, int memLevel, int strategy, byte* version, int size);

    [LibraryImport(Library)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int deflateReset(ZStream* stream);

    [LibraryImport(Library)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int deflate(ZStream* stream, int flush);

    [LibraryImport(Library)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int deflateEnd(ZStream* stream);
}
