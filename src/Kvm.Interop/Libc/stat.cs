using System.Runtime.InteropServices;

namespace Kvm.Interop;

/// <summary>The beginning of <c>struct statx</c>, as far as anybody here looks; the kernel writes <see cref="Libc.StatxBytes"/>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct Statx
{
    public uint StxMask;
    public uint StxBlksize;
    public ulong StxAttributes;
    public uint StxNlink;
    public uint StxUid;
    public uint StxGid;
    public ushort StxMode;
    public ulong StxIno;
    public ulong StxSize;
    public ulong StxBlocks;
    public ulong StxAttributesMask;
    public StatxTimestamp StxAtime;
    public StatxTimestamp StxBtime;
    public StatxTimestamp StxCtime;
    public StatxTimestamp StxMtime;
    public uint StxRdevMajor;
    public uint StxRdevMinor;
    public uint StxDevMajor;
    public uint StxDevMinor;
}

/// <summary><c>struct statx_timestamp</c>.</summary>
[StructLayout(LayoutKind.Sequential, Size = 16)]
internal struct StatxTimestamp
{
    public long TvSec;
    public uint TvNsec;
}

internal static unsafe partial class Libc
{
    public const int AT_SYMLINK_NOFOLLOW = 0x100;
    public const int AT_EMPTY_PATH = 0x1000;
    public const uint STATX_BASIC_STATS = 0x7ff;
    public const int S_IFMT = 0xf000;
    public const int S_IFSOCK = 0xc000;
    public const int S_IFBLK = 0x6000;
    public const int S_IFDIR = 0x4000;
    public const int S_IFLNK = 0xa000;
    public const int S_IFREG = 0x8000;

    /// <summary>AT_FDCWD: paths are relative to the process's folder.</summary>
    internal static int CurrentFolder => -100;

    /// <summary>Bytes of the whole <c>struct statx</c>.</summary>
    internal static int StatxBytes => 256;

    [LibraryImport(C)]
    public static partial int statx(int folder, byte* path, int flags, uint mask, void* result);

    [LibraryImport(C)]
    public static partial int mkdirat(int folder, byte* path, uint mode);

    [LibraryImport(C)]
    public static partial int futimens(int fd, Timespec* times);

    [LibraryImport(C)]
    public static partial int fchmod(int fd, uint mode);
}
