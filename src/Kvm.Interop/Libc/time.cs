using System.Runtime.InteropServices;

namespace Kvm.Interop;

/// <summary><c>struct timespec</c> (time.h).</summary>
internal struct Timespec
{
    public long TvSec;
    public long TvNsec;
}

internal static unsafe partial class Libc
{
    public const int CLOCK_REALTIME = 0;
    public const int CLOCK_MONOTONIC = 1;
    public const int CLOCK_THREAD_CPUTIME_ID = 3;
    public const int CLOCK_BOOTTIME = 7;

    [LibraryImport(C)]
    public static partial int clock_gettime(int clock, Timespec* now);
}

/// <summary>Clocks of the host that the class library does not show.</summary>
public static unsafe class HostClock
{
    /// <summary>CLOCK_MONOTONIC in nanoseconds: the same clock in all processes of the host. Allocates nothing.</summary>
    public static long Monotonic()
    {
        Timespec now = default;
        _ = Libc.clock_gettime(Libc.CLOCK_MONOTONIC, &now);
        return (now.TvSec * 1_000_000_000) + now.TvNsec;
    }

    /// <summary>Nanoseconds by which CLOCK_BOOTTIME is ahead of CLOCK_MONOTONIC: how long the host was suspended since it booted.</summary>
    public static long SuspendedNanoseconds()
    {
        Timespec boot = default;
        Timespec monotonic = default;
        _ = Libc.clock_gettime(Libc.CLOCK_MONOTONIC, &monotonic);
        _ = Libc.clock_gettime(Libc.CLOCK_BOOTTIME, &boot);
        return ((boot.TvSec - monotonic.TvSec) * 1_000_000_000) + boot.TvNsec - monotonic.TvNsec;
    }
}
