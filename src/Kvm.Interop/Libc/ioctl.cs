using System.Runtime.InteropServices;

namespace Kvm.Interop;

internal static unsafe partial class Libc
{
    public const uint TIOCGWINSZ = 0x5413;
    public const uint TIOCGPGRP = 0x540f;
    public const uint BLKSSZGET = 0x1268;

    // linux/fs.h: _IOW(0x94, 9, int).
    public const uint FICLONE = 0x40049409;

    // Blocks in KVM_RUN: never SuppressGCTransition. Variadic in C, see fcntl.
    [LibraryImport(C)]
    public static partial int ioctl(int fd, nuint request, nuint argument);
}
