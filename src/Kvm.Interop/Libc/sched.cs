using System.Runtime.InteropServices;

namespace Kvm.Interop;

/// <summary><c>struct sched_param</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct SchedParam
{
    public int SchedPriority;
}

internal static unsafe partial class Libc
{
    public const int SCHED_OTHER = 0;
    public const int SCHED_FIFO = 1;
    public const int SCHED_IDLE = 5;
    public const int SCHED_RESET_ON_FORK = 0x40000000;

    [LibraryImport(C)]
    public static partial int sched_setscheduler(int thread, int policy, SchedParam* parameters);

    [LibraryImport(C)]
    public static partial int sched_getscheduler(int thread);

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
