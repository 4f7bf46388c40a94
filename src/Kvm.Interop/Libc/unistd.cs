using System.Runtime.InteropServices;

namespace Kvm.Interop;

/// <summary>
/// The C library's functions a VMM needs: one declaration a function, in a file named after its header, blittable, returning what C returns.
/// After a failure read <see cref="System.Runtime.InteropServices.Marshal.GetLastSystemError"/> at once. Safe wrappers stand beside the declarations where there are any.
/// </summary>
internal static unsafe partial class Libc
{
    private const string C = "libc";

    [LibraryImport(C)]
    public static partial int close(int fd);

    [LibraryImport(C)]
    public static partial nint read(int fd, void* buffer, nuint count);

    [LibraryImport(C)]
    public static partial nint write(int fd, void* buffer, nuint count);

    [LibraryImport(C)]
    public static partial nint pread(int fd, void* buffer, nuint count, long offset);

    [LibraryImport(C)]
    public static partial nint pwrite(int fd, void* buffer, nuint count, long offset);

    public const int SEEK_END = 2;
    public const int SEEK_DATA = 3;
    public const int SEEK_HOLE = 4;

    [LibraryImport(C)]
    public static partial nint copy_file_range(int from, long* fromOffset, int to, long* toOffset, nuint length, uint flags);

    [LibraryImport(C)]
    public static partial long lseek(int fd, long offset, int whence);

    [LibraryImport(C)]
    public static partial int ftruncate(int fd, long length);

    [LibraryImport(C)]
    public static partial int isatty(int fd);

    [LibraryImport(C)]
    public static partial int getpid();

    [LibraryImport(C)]
    public static partial int getpgrp();

    [LibraryImport(C)]
    public static partial int fdatasync(int fd);

    [LibraryImport(C)]
    public static partial int fsync(int fd);

    [LibraryImport(C)]
    public static partial int unlink(byte* path);

    [LibraryImport(C)]
    public static partial int link(byte* path, byte* another);

    [LibraryImport(C)]
    public static partial int unlinkat(int folder, byte* path, int flags);

    [LibraryImport(C)]
    public static partial int symlinkat(byte* target, int folder, byte* path);

    [LibraryImport(C)]
    public static partial nint readlinkat(int folder, byte* path, byte* target, nuint length);

    [LibraryImport(C)]
    public static partial uint geteuid();

    [LibraryImport(C)]
    public static partial int execve(byte* path, byte** argv, byte** envp);
}
