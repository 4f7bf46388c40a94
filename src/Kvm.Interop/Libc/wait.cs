using System.Runtime.InteropServices;

namespace Kvm.Interop;

internal static unsafe partial class Libc
{
    public const int WNOHANG = 1;

    [LibraryImport(C)]
    public static partial int waitpid(int pid, int* status, int options);
}
