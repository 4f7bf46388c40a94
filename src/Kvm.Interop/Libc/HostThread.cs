namespace Kvm.Interop;

/// <summary>What the kernel knows of a thread: its processors and its CPU time. Numbers are those of <see cref="ThreadSignals.CurrentThreadId"/>; 0 is the calling thread.</summary>
public static unsafe class HostThread
{
    // CONFIG_NR_CPUS is at most 8192 on x86-64.
    private const int MaskWords = 8192 / 64;

    /// <summary>sched_setaffinity: the processors a thread may run on. Returns 0 or -errno (EINVAL: none of them is there or allowed; ESRCH: no such thread).</summary>
    public static int SetAffinity(int threadId, ReadOnlySpan<int> processors)
    {
        ulong* mask = stackalloc ulong[MaskWords];
        new Span<ulong>(mask, MaskWords).Clear();
        foreach (int processor in processors)
        {
            if ((uint)processor >= MaskWords * 64)
            {
                return -Errno.EINVAL;
            }

            mask[processor / 64] |= 1UL << (processor % 64);
        }

        return Libc.sched_setaffinity(threadId, MaskWords * sizeof(ulong), mask) == 0 ? 0 : -Errno.Last;
    }

    /// <summary>sched_getaffinity: the processors a thread may run on, ascending; empty where there is no such thread.</summary>
    public static int[] GetAffinity(int threadId)
    {
        ulong* mask = stackalloc ulong[MaskWords];
        new Span<ulong>(mask, MaskWords).Clear();
        if (Libc.sched_getaffinity(threadId, MaskWords * sizeof(ulong), mask) != 0)
        {
            return [];
        }

        List<int> processors = [];
        for (int i = 0; i < MaskWords * 64; i++)
        {
            if ((mask[i / 64] >> (i % 64) & 1) != 0)
            {
                processors.Add(i);
            }
        }

        return [.. processors];
    }

    /// <summary>Has the calling thread run, and reach the storage, only where nobody else wants to (SCHED_IDLE, and the idle class of ioprio_set): for good, as an ordinary user cannot go back. 0 or -errno.</summary>
    public static int GiveWay()
    {
        // linux/ioprio.h: IOPRIO_WHO_PROCESS, IOPRIO_CLASS_IDLE. A disk's scheduler that knows no classes does not mind.
        const int whoProcess = 1, classIdle = 3 << 13;
        SchedParam none = default;
        _ = Libc.syscall(Libc.SYS_ioprio_set, whoProcess, 0, classIdle);
        return Libc.sched_setscheduler(0, Libc.SCHED_IDLE, &none) == 0 ? 0 : -Errno.Last;
    }

    /// <summary>The processor the calling thread runs on at this moment.</summary>
    public static int CurrentProcessor() => Libc.sched_getcpu();

    /// <summary>CPU time a thread of this process has used, in nanoseconds; -1 where there is no such thread. Allocates nothing.</summary>
    public static long CpuTime(int threadId)
    {
        // clock_getcpuclockid(3): a thread's clock is its number, inverted, above the bits "per thread" (4) and "scheduler's count" (2).
        int clock = (~threadId << 3) | 4 | 2;
        Timespec now = default;
        return Libc.clock_gettime(clock, &now) == 0 ? (now.TvSec * 1_000_000_000) + now.TvNsec : -1;
    }

    /// <summary>CPU time the calling thread has used, in nanoseconds. Allocates nothing.</summary>
    public static long CurrentCpuTime()
    {
        Timespec now = default;
        return Libc.clock_gettime(Libc.CLOCK_THREAD_CPUTIME_ID, &now) == 0 ? (now.TvSec * 1_000_000_000) + now.TvNsec : 0;
    }

    /// <summary>
    /// SCHED_FIFO for a thread: it runs before all ordinary threads of its processor. What it starts is ordinary again.
    /// </summary>
    /// <param name="priority">1, the lowest of real time, to 99.</param>
    /// <param name="threadId">A thread of any process; 0 is the calling thread.</param>
    /// <returns>0 or -errno (EPERM: neither CAP_SYS_NICE nor RLIMIT_RTPRIO allows it; ESRCH).</returns>
    public static int SetRealTime(int priority, int threadId = 0)
    {
        SchedParam parameters = new() { SchedPriority = priority };
        return Libc.sched_setscheduler(threadId, Libc.SCHED_FIFO | Libc.SCHED_RESET_ON_FORK, &parameters) == 0 ? 0 : -Errno.Last;
    }

    /// <summary>SCHED_OTHER for a thread, with the niceness it had. Returns 0 or -errno.</summary>
    public static int SetOrdinary(int threadId)
    {
        SchedParam parameters = default;
        return Libc.sched_setscheduler(threadId, Libc.SCHED_OTHER, &parameters) == 0 ? 0 : -Errno.Last;
    }

    /// <summary>The calling thread's niceness from now on: 19 gives way to all others. Returns 0 or -errno.</summary>
    public static int SetNice(int niceness) => Libc.setpriority(Libc.PRIO_PROCESS, (uint)ThreadSignals.CurrentThreadId(), niceness) == 0 ? 0 : -Errno.Last;

    /// <summary>Whether a thread is one of real time (SCHED_FIFO or SCHED_RR); 0 is the calling thread.</summary>
    public static bool IsRealTime(int threadId) => (Libc.sched_getscheduler(threadId) & ~Libc.SCHED_RESET_ON_FORK) is 1 or 2;

    /// <summary>mlockall of what is mapped and what will be, as it is touched. Returns 0 or -errno (EPERM, ENOMEM: over RLIMIT_MEMLOCK).</summary>
    public static int LockMemory() => Libc.mlockall(Libc.MCL_CURRENT | Libc.MCL_FUTURE | Libc.MCL_ONFAULT) == 0 ? 0 : -Errno.Last;

    /// <summary>How often the calling thread has waited for something instead of running (voluntary context switches, getrusage(2)). Allocates nothing.</summary>
    public static long CurrentSleeps()
    {
        // struct rusage: two timevals, then fourteen longs, of which ru_nvcsw is the thirteenth.
        long* usage = stackalloc long[18];
        return Libc.getrusage(Libc.RUSAGE_THREAD, usage) == 0 ? usage[16] : 0;
    }

    /// <summary>PR_SET_NAME of the calling thread: what ps and top show; the kernel keeps 15 bytes.</summary>
    public static void SetName(string name)
    {
        ArgumentNullException.ThrowIfNull(name);
        byte* bytes = stackalloc byte[16];
        new Span<byte>(bytes, 16).Clear();
        for (int i = 0; i < Math.Min(name.Length, 15); i++)
        {
            bytes[i] = char.IsAscii(name[i]) ? (byte)name[i] : (byte)'?';
        }

        _ = Libc.prctl(Libc.PR_SET_NAME, (nuint)bytes, 0, 0, 0);
    }

    /// <summary>PR_SET_TIMERSLACK of the calling thread: how much later than asked its sleeps may end, in nanoseconds. Returns 0 or -errno.</summary>
    public static int SetTimerSlack(ulong nanoseconds) =>
        Libc.prctl(Libc.PR_SET_TIMERSLACK, (nuint)nanoseconds, 0, 0, 0) == 0 ? 0 : -Errno.Last;
}
