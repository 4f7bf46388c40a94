using System.Runtime.InteropServices;

namespace Kvm.Interop;

internal static unsafe partial class Libc
{
    [LibraryImport(C)]
    public static partial nint getrandom(void* buffer, nuint length, uint flags);
}
