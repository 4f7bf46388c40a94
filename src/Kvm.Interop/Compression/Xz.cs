using System.Runtime.InteropServices;

namespace Kvm.Interop.Compression;

/// <summary>xz by the system's liblzma.so.5 (lzma/base.h, lzma/container.h).</summary>
/// <remarks>
/// The streaming calls are used on whole buffers: the one-call decoder does not tell a truncated input from a full output.
/// </remarks>
internal static unsafe partial class Xz
{
    private const string Library = "liblzma.so.5";

    /// <summary>
    /// The most memory a decoder may take. Kernels are packed with dictionaries of up to 128 MiB
    /// (scripts/xz_wrap.sh of Linux 6.9 and later); the format allows 4 GiB.
    /// </summary>
    private const ulong MemoryLimit = 256UL << 20;

    // lzma/base.h: lzma_ret and lzma_action
    private const int Ok = 0;
    private const int StreamEnd = 1;
    private const int MemError = 5;
    private const int MemLimitError = 6;
    private const int OptionsError = 8;
    private const int BufError = 10;
    private const int Finish = 3;

    internal static DecompressStatus Decompress(ReadOnlySpan<byte> source, Span<byte> destination, out int written)
    {
        written = 0;
        byte empty;
        LzmaStream stream = default;
        fixed (byte* input = source, output = destination)
        {
            int result = lzma_stream_decoder(&stream, MemoryLimit, 0);
            if (result == Ok)
            {
                stream.NextIn = input;
                stream.AvailIn = (nuint)source.Length;
                stream.NextOut = output is null ? &empty : output; // null is refused even for no bytes
                stream.AvailOut = (nuint)destination.Length;
                result = lzma_code(&stream, Finish);
                lzma_end(&stream);
            }

            if (result == StreamEnd)
                written = (int)stream.TotalOut;
            return Translate(result, stream);
        }
    }

    private static DecompressStatus Translate(int result, in LzmaStream stream) => result switch
    {
        StreamEnd => stream.AvailIn == 0 ? DecompressStatus.Done : DecompressStatus.Corrupt,
        Ok or BufError => stream.AvailOut == 0 && stream.AvailIn != 0 ? DecompressStatus.OutputFull : DecompressStatus.Corrupt,
        MemError or MemLimitError => DecompressStatus.OutOfMemory,
        OptionsError => DecompressStatus.Unsupported,
        _ => DecompressStatus.Corrupt,
    };

    /// <summary>lzma/base.h <c>lzma_stream</c>; the part after what is used is reserved and zero.</summary>
    [StructLayout(LayoutKind.Sequential, Size = 136)]
    private struct LzmaStream
    {
        public byte* NextIn;
        public nuint AvailIn;
        public ulong TotalIn;
        public byte* NextOut;
        public nuint AvailOut;
        public ulong TotalOut;
        public void* Allocator;
        public void* Internal;
    }

    [LibraryImport(Library)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int lzma_stream_decoder(LzmaStream* stream, ulong memoryLimit, uint flags);

    [LibraryImport(Library)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int lzma_code(LzmaStream* stream, int action);

    [LibraryImport(Library)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial void lzma_end(LzmaStream* stream);
}
