using System.Runtime.InteropServices;

namespace Kvm.Interop;

internal static unsafe partial class Libc
{
    public const int PROT_NONE = 0;
    public const int PROT_READ = 1;
    public const int PROT_WRITE = 2;
    public const int PROT_EXEC = 4;

    public const int MAP_SHARED = 0x01;
    public const int MAP_PRIVATE = 0x02;
    public const int MAP_FIXED = 0x10;
    public const int MAP_ANONYMOUS = 0x20;
    public const int MAP_NORESERVE = 0x4000;
    public const int MAP_POPULATE = 0x8000;
    public const int MAP_HUGETLB = 0x40000;
    public const int MAP_FIXED_NOREPLACE = 0x100000;

    public const int MADV_NORMAL = 0;
    public const int MADV_DONTNEED = 4;
    public const int MADV_REMOVE = 9;
    public const int MADV_DONTFORK = 10;
    public const int MADV_MERGEABLE = 12;
    public const int MADV_HUGEPAGE = 14;
    public const int MADV_NOHUGEPAGE = 15;
    public const int MADV_DONTDUMP = 16;
    public const int MADV_POPULATE_WRITE = 23;

    public const uint MFD_CLOEXEC = 1;
    public const uint MFD_ALLOW_SEALING = 2;
    public const uint MFD_HUGETLB = 4;
    public const uint MFD_EXEC = 0x10;

    public static readonly void* MAP_FAILED = (void*)-1;

    [LibraryImport(C)]
    public static partial void* mmap(void* address, nuint length, int protection, int flags, int fd, long offset);

    [LibraryImport(C)]
    public static partial int munmap(void* address, nuint length);

    [LibraryImport(C)]
    public static partial int mprotect(void* address, nuint length, int protection);

    [LibraryImport(C)]
    public static partial int madvise(void* address, nuint length, int advice);

    [LibraryImport(C)]
    public static partial int mlock(void* address, nuint length);

    [LibraryImport(C)]
    public static partial int munlock(void* address, nuint length);

    public const int MCL_CURRENT = 1;
    public const int MCL_FUTURE = 2;
    public const int MCL_ONFAULT = 4;

    [LibraryImport(C)]
    public static partial int mlockall(int flags);

    [LibraryImport(C)]
    public static partial int memfd_create(byte* name, uint flags);

    [LibraryImport(C)]
    public static partial int mincore(void* address, nuint length, byte* residency);
}
