using System.Runtime.InteropServices;

namespace Kvm.Interop;

internal static unsafe partial class Libc
{
    public const int POSIX_SPAWN_SETSIGMASK = 0x08;
    public const int POSIX_SPAWN_SETSID = 0x80;

    // These return the error number itself, not -1. Both objects are opaque; 1,024 bytes hold either in every C library.
    [LibraryImport(C)]
    public static partial int posix_spawn_file_actions_init(void* actions);

    [LibraryImport(C)]
    public static partial int posix_spawn_file_actions_destroy(void* actions);

    [LibraryImport(C)]
    public static partial int posix_spawn_file_actions_addopen(void* actions, int fd, byte* path, int flags, uint mode);

    [LibraryImport(C)]
    public static partial int posix_spawn_file_actions_adddup2(void* actions, int fd, int newFd);

    [LibraryImport(C)]
    public static partial int posix_spawnattr_init(void* attributes);

    [LibraryImport(C)]
    public static partial int posix_spawnattr_destroy(void* attributes);

    [LibraryImport(C)]
    public static partial int posix_spawnattr_setflags(void* attributes, short flags);

    [LibraryImport(C)]
    public static partial int posix_spawnattr_setsigmask(void* attributes, SigSet* mask);

    [LibraryImport(C)]
    public static partial int posix_spawn(int* pid, byte* path, void* actions, void* attributes, byte** argv, byte** envp);
}
