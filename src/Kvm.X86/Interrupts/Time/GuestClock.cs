namespace Kvm.X86.Interrupts;

/// <summary>
/// The machine's time: nanoseconds since it was started, never backwards, the same for all processors and chips. The
/// time-stamp counter is a function of it, so that timers, RDTSC and kvmclock never disagree.
/// </summary>
/// <remarks>Two kinds: <see cref="HostGuestClock"/> follows the host's, <see cref="ManualGuestClock"/> is moved by who drives it. Reading is safe from any thread.</remarks>
public abstract class GuestClock
{
    /// <summary>Nanoseconds a second.</summary>
    public const ulong NanosecondsPerSecond = 1_000_000_000;

    /// <summary>The usual frequency of the time-stamp counter: one tick is one nanosecond, so no conversion rounds.</summary>
    public const ulong DefaultTscFrequency = 1_000_000_000;

    /// <summary>Lowest time-stamp counter frequency accepted, in Hz.</summary>
    public const ulong MinimumTscFrequency = 1_000_000;

    /// <summary>Highest time-stamp counter frequency accepted, in Hz.</summary>
    public const ulong MaximumTscFrequency = 100_000_000_000;

    // Ticks per nanosecond with 48 fraction bits: wrong by one part in 2³⁹ at most, and both directions of conversion
    // use it, so they agree with each other exactly.
    private const int FractionBits = 48;
    private readonly ulong _ticksPerNanosecond;

    /// <summary>Makes a clock whose time-stamp counter runs at <paramref name="tscFrequency"/> Hz.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The frequency is outside 1 MHz to 100 GHz.</exception>
    protected GuestClock(ulong tscFrequency)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(tscFrequency, MinimumTscFrequency);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(tscFrequency, MaximumTscFrequency);
        TscFrequency = tscFrequency;
        _ticksPerNanosecond = (ulong)((((UInt128)tscFrequency << FractionBits) + (NanosecondsPerSecond / 2)) / NanosecondsPerSecond);
    }

    /// <summary>The time-stamp counter's frequency in Hz.</summary>
    public ulong TscFrequency { get; }

    /// <summary>Nanoseconds since the machine was started.</summary>
    public abstract ulong Now { get; }

    /// <summary>The time-stamp counter now, before a processor's own offset.</summary>
    public ulong Tsc => ToTsc(Now);

    /// <summary>The time-stamp counter at a time; saturates at 2⁶⁴−1.</summary>
    public ulong ToTsc(ulong nanoseconds)
    {
        if (TscFrequency == NanosecondsPerSecond)
            return nanoseconds;
        UInt128 ticks = ((UInt128)nanoseconds * _ticksPerNanosecond) >> FractionBits;
        return ticks > ulong.MaxValue ? ulong.MaxValue : (ulong)ticks;
    }

    /// <summary>The first time at which the time-stamp counter has reached <paramref name="tsc"/>; saturates at 2⁶⁴−1.</summary>
    public ulong ToNanoseconds(ulong tsc)
    {
        if (TscFrequency == NanosecondsPerSecond)
            return tsc;
        UInt128 nanoseconds = (((UInt128)tsc << FractionBits) + (_ticksPerNanosecond - 1)) / _ticksPerNanosecond;
        return nanoseconds > ulong.MaxValue ? ulong.MaxValue : (ulong)nanoseconds;
    }
}
