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

    [LibraryImport(C)]
    public static partial int clock_gettime(int clock, Timespec* now);
}
