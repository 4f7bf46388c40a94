using System.Runtime.InteropServices;

namespace Kvm.Interop;

internal static unsafe partial class Libc
{
    // struct rlimit is two unsigned longs: what holds, and the most it may be raised to.
    [LibraryImport(C)]
    public static partial int setrlimit(int resource, ulong* limits);

    public const int PRIO_PROCESS = 0;

    [LibraryImport(C)]
    public static partial int setpriority(int which, uint who, int priority);
}

/// <summary>Limits of this process.</summary>
public static unsafe class ResourceLimits
{
    /// <summary>No image of this process's memory is written when it fails (RLIMIT_CORE): a guest's secrets are in it. Returns 0 or -errno.</summary>
    public static int ForbidCore()
    {
        ulong* none = stackalloc ulong[2] { 0, 0 };
        return Libc.setrlimit(Libc.RLIMIT_CORE, none) == 0 ? 0 : -Errno.Last;
    }
}
