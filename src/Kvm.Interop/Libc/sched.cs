using System.Runtime.InteropServices;

namespace Kvm.Interop;

internal static unsafe partial class Libc
{
    [LibraryImport(C)]
    public static partial int sched_setaffinity(int thread, nuint size, ulong* mask);

    [LibraryImport(C)]
    public static partial int sched_getaffinity(int thread, nuint size, ulong* mask);

    [LibraryImport(C)]
    public static partial int sched_getcpu();

    public const int RUSAGE_THREAD = 1;

    [LibraryImport(C)]
    public static partial int getrusage(int who, long* usage);
}
