using System.Runtime.InteropServices;

namespace Kvm.Interop;

internal static unsafe partial class Libc
{
    public const int PR_SET_PDEATHSIG = 1;
    public const int PR_SET_DUMPABLE = 4;
    public const int PR_SET_NAME = 15;
    public const int PR_SET_TIMERSLACK = 29;
    public const int PR_GET_TIMERSLACK = 30;
    public const int PR_SET_NO_NEW_PRIVS = 38;

    // Variadic in C, see fcntl.
    [LibraryImport(C)]
    public static partial int prctl(int option, nuint a, nuint b, nuint c, nuint d);
}
