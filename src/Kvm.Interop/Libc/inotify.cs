using System.Runtime.InteropServices;

namespace Kvm.Interop;

internal static unsafe partial class Libc
{
    public const int IN_CLOEXEC = 0x80000;
    public const int IN_NONBLOCK = 0x800;
    public const uint IN_MODIFY = 0x0002;
    public const uint IN_MOVED_TO = 0x0080;
    public const uint IN_CREATE = 0x0100;
    public const uint IN_DELETE = 0x0200;
    public const uint IN_DELETE_SELF = 0x0400;

    [LibraryImport(C)]
    public static partial int inotify_init1(int flags);

    [LibraryImport(C)]
    public static partial int inotify_add_watch(int fd, byte* path, uint mask);
}
