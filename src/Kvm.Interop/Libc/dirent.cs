using System.Runtime.InteropServices;

namespace Kvm.Interop;

internal static unsafe partial class Libc
{
    // Entries are struct linux_dirent64: number and offset (8 bytes each), length of the entry (2), kind (1), the name and a NUL.
    [LibraryImport(C)]
    public static partial nint getdents64(int folder, void* entries, nuint length);
}
