namespace Kvm.X86.Interrupts;

/// <summary>
/// One processor's time-stamp counter: the machine's, plus the offset the guest made by writing it (SDM vol. 3, 18.17.3).
/// Written on the processor's thread, read from any.
/// </summary>
public sealed class ProcessorTsc
{
    private ulong _offset;

    /// <summary>A counter equal to the machine's.</summary>
    public ProcessorTsc(GuestClock clock)
    {
        ArgumentNullException.ThrowIfNull(clock);
        Clock = clock;
    }

    /// <summary>The machine's time.</summary>
    public GuestClock Clock { get; }

    /// <summary>What RDTSC gives now.</summary>
    public ulong Value => Clock.Tsc + Offset;

    /// <summary>
    /// Difference to the machine's counter, modulo 2⁶⁴. It is IA32_TSC_ADJUST as well, since the counter starts equal to
    /// the machine's and every write of either register moves both by the same amount.
    /// </summary>
    public ulong Offset
    {
        get => Volatile.Read(ref _offset);
        set => Volatile.Write(ref _offset, value);
    }

    /// <summary>WRMSR of IA32_TIME_STAMP_COUNTER.</summary>
    public void Write(ulong value) => Offset = value - Clock.Tsc;

    /// <summary>The guest time in ns at which this counter reaches <paramref name="tsc"/>; <paramref name="now"/> if it has.</summary>
    internal ulong TimeOf(ulong tsc, ulong now)
    {
        ulong machine = Clock.ToTsc(now);
        ulong current = machine + Offset;
        if (tsc <= current)
            return now;
        ulong left = tsc - current;
        return left > ulong.MaxValue - machine ? TimerQueue.Never - 1 : Math.Min(Clock.ToNanoseconds(machine + left), TimerQueue.Never - 1);
    }
}
