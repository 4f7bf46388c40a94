namespace Kvm.Interop;

internal static unsafe partial class Libc
{
    public const long SYS_futex = 202;
    public const int FUTEX_WAKE = 1;
    public const int FUTEX_WAIT_BITSET = 9;
    public const uint FUTEX_BITSET_MATCH_ANY = 0xffffffff;
}

/// <summary>Waiting for a word of memory to change (futex(2)), also between processes that share the memory. Allocates nothing.</summary>
public static unsafe class Futex
{
    /// <summary>
    /// Sleeps as long as the word has the value and nobody wakes it. Returns at once where the word differs; may return early without a
    /// reason, so callers look again.
    /// </summary>
    /// <param name="address">An aligned 32-bit word in memory that stays mapped.</param>
    /// <param name="value">What the word was when the caller decided to wait.</param>
    /// <param name="deadline">When to give up, on the clock of <see cref="HostClock.Monotonic"/>; <see cref="long.MaxValue"/> for never.</param>
    /// <returns>0 after a wake-up, else -errno: EAGAIN (the word differs), ETIMEDOUT, EINTR.</returns>
    public static int Wait(nint address, int value, long deadline)
    {
        Timespec until = new() { TvSec = deadline / 1_000_000_000, TvNsec = deadline % 1_000_000_000 };
        nint timeout = deadline == long.MaxValue ? 0 : (nint)(&until);
        // WAIT_BITSET and not WAIT: its timeout is a moment and no duration, so that a retry waits no longer.
        long result = Libc.syscall(Libc.SYS_futex, address, Libc.FUTEX_WAIT_BITSET, value, timeout, 0, unchecked((nint)Libc.FUTEX_BITSET_MATCH_ANY));
        return result == 0 ? 0 : -Errno.Last;
    }

    /// <summary>Wakes who waits for the word, at most so many. Returns how many were woken, or -errno.</summary>
    public static int Wake(nint address, int most)
    {
        long result = Libc.syscall(Libc.SYS_futex, address, Libc.FUTEX_WAKE, most, 0, 0, 0);
        return result >= 0 ? (int)result : -Errno.Last;
    }
}
