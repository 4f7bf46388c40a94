using System.Runtime.InteropServices;

namespace Kvm.Interop;

/// <summary><c>struct itimerspec</c> (sys/timerfd.h).</summary>
internal struct Itimerspec
{
    public Timespec ItInterval;
    public Timespec ItValue;
}

internal static unsafe partial class Libc
{
    public const int TFD_NONBLOCK = 0x800;
    public const int TFD_CLOEXEC = 0x80000;
    public const int TFD_TIMER_ABSTIME = 1;

    [LibraryImport(C)]
    public static partial int timerfd_create(int clock, int flags);

    [LibraryImport(C)]
    public static partial int timerfd_settime(int fd, int flags, Itimerspec* value, Itimerspec* old);
}
