using System.Runtime.InteropServices;

namespace Kvm.Interop;

internal static unsafe partial class Libc
{
    public const int EFD_SEMAPHORE = 1;
    public const int EFD_NONBLOCK = 0x800;
    public const int EFD_CLOEXEC = 0x80000;

    [LibraryImport(C)]
    public static partial int eventfd(uint initial, int flags);
}
