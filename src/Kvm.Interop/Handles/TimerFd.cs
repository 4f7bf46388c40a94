namespace Kvm.Interop;

/// <summary>A timer that can be waited for as a descriptor, on CLOCK_MONOTONIC. Non-blocking. Thread-safe but for disposal.</summary>
public sealed unsafe class TimerFd : IDisposable
{
    private const long NanosecondsPerSecond = 1_000_000_000;

    /// <summary>Makes a disarmed timer.</summary>
    public TimerFd()
    {
        int fd = Libc.timerfd_create(Libc.CLOCK_MONOTONIC, Libc.TFD_CLOEXEC | Libc.TFD_NONBLOCK);
        if (fd < 0)
        {
            throw new KvmException("timerfd_create", Errno.Last);
        }

        Handle = new FdHandle(fd);
    }

    /// <summary>The descriptor; readable once the timer expired.</summary>
    public FdHandle Handle { get; }

    /// <summary>Arms the timer. Allocates nothing.</summary>
    /// <param name="nanoseconds">From now; 0 or less expires at once.</param>
    /// <param name="intervalNanoseconds">Then every so often; 0 for once.</param>
    public void Arm(long nanoseconds, long intervalNanoseconds = 0)
    {
        // A value of zero would disarm.
        Set(Math.Max(nanoseconds, 1), Math.Max(intervalNanoseconds, 0));
    }

    /// <summary>Disarms the timer; an expiry not yet drained is forgotten.</summary>
    public void Disarm() => Set(0, 0);

    /// <summary>How often the timer expired since it was asked last.</summary>
    public ulong Drain()
    {
        ulong count = 0;
        while (true)
        {
            if (Libc.read(Handle.Fd, &count, sizeof(ulong)) == sizeof(ulong))
            {
                return count;
            }

            if (Errno.Last != Errno.EINTR)
            {
                return 0;
            }
        }
    }

    /// <inheritdoc/>
    public void Dispose() => Handle.Dispose();

    private void Set(long value, long interval)
    {
        Itimerspec spec = new()
        {
            ItValue = new Timespec { TvSec = value / NanosecondsPerSecond, TvNsec = value % NanosecondsPerSecond },
            ItInterval = new Timespec { TvSec = interval / NanosecondsPerSecond, TvNsec = interval % NanosecondsPerSecond },
        };
        if (Libc.timerfd_settime(Handle.Fd, 0, &spec, null) != 0)
        {
            throw new KvmException("timerfd_settime", Errno.Last);
        }
    }
}
