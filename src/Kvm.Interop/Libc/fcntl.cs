using System.Runtime.InteropServices;

namespace Kvm.Interop;

/// <summary><c>struct flock</c> on x86-64.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct FileLock
{
    public short LType;
    public short LWhence;
    public long LStart;
    public long LLen;

    /// <summary>Must be 0 for locks of open file descriptions.</summary>
    public int LPid;
}

internal static unsafe partial class Libc
{
    public const int O_RDONLY = 0;
    public const int O_WRONLY = 1;
    public const int O_RDWR = 2;
    public const int O_CREAT = 0x40;
    public const int O_TRUNC = 0x200;
    public const int O_NONBLOCK = 0x800;
    public const int O_DIRECT = 0x4000;
    public const int O_DIRECTORY = 0x10000;
    public const int O_NOFOLLOW = 0x20000;
    public const int O_CLOEXEC = 0x80000;

    public const int F_GETFL = 3;
    public const int F_SETFL = 4;
    public const int F_OFD_SETLK = 37;
    public const int F_OFD_SETLKW = 38;
    public const short F_RDLCK = 0;
    public const short F_WRLCK = 1;
    public const short F_UNLCK = 2;
    public const int F_DUPFD_CLOEXEC = 1030;
    public const int F_ADD_SEALS = 1033;
    public const int F_GET_SEALS = 1034;
    public const int F_SEAL_SEAL = 1;
    public const int F_SEAL_SHRINK = 2;
    public const int F_SEAL_GROW = 4;
    public const int F_SEAL_WRITE = 8;

    public const int FALLOC_FL_KEEP_SIZE = 1;
    public const int FALLOC_FL_PUNCH_HOLE = 2;
    public const int FALLOC_FL_ZERO_RANGE = 0x10;

    [LibraryImport(C)]
    public static partial int open(byte* path, int flags, int mode);

    // Variadic, as fcntl.
    [LibraryImport(C)]
    public static partial int openat(int folder, byte* path, int flags, int mode);

    // fcntl is variadic; on x86-64 an integer argument travels in the same register either way, and AL (the count of vector registers) is not read for it.
    [LibraryImport(C)]
    public static partial int fcntl(int fd, int command, nint argument);

    [LibraryImport(C)]
    public static partial int fallocate(int fd, int mode, long offset, long length);
}
