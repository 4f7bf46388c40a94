namespace Kvm.X86.Interrupts;

/// <summary>The timer (SDM vol. 3, 11.5.4): one-shot, periodic and TSC-deadline. Its clock ticks once a nanosecond before the divider.</summary>
public sealed partial class LocalApic : ITimerClient
{
    /// <summary>Frequency of the timer's input clock in Hz, which CPUID 15H gives as the crystal's and 40000010H as the bus's.</summary>
    public const ulong BusFrequency = GuestClock.NanosecondsPerSecond;

    // A periodic timer costs the host a wake-up and an interrupt each period with no further act of the guest. No guest
    // ticks above 10 kHz; 20 us leaves room, and keeps a hostile one from more than 50,000 wake-ups a second.
    private const ulong MinimumPeriod = 20_000;

    private readonly Lock _timerLock = new();
    private uint _initialCount;
    private uint _divide;
    private ulong _deadline = TimerQueue.Never;
    private ulong _tscDeadline;

    private enum TimerMode
    {
        OneShot,
        Periodic,
        TscDeadline,
        Reserved,
    }

    /// <summary>IA32_TSC_DEADLINE: zero while the timer is not armed or in another mode.</summary>
    public ulong TscDeadline
    {
        get
        {
            lock (_timerLock)
                return _tscDeadline;
        }
    }

    private TimerMode Timer => (TimerMode)((Volatile.Read(ref _lvtTimer) & LvtTimerModes) >> 17);

    // Divide configuration bits 0, 1 and 3: 0 divides by 2, …, 6 by 128, 7 by 1 (SDM vol. 3, figure 11-10).
    private int DivideShift => (int)(((_divide & 3) | ((_divide >> 1) & 4)) + 1) & 7;

    private ulong Period => Math.Max((ulong)_initialCount << DivideShift, MinimumPeriod);

    /// <summary>Writes IA32_TSC_DEADLINE; ignored in other modes (SDM vol. 3, 11.5.4.1).</summary>
    public void WriteTscDeadline(ulong value)
    {
        ulong now = _tsc.Clock.Now;
        lock (_timerLock)
        {
            if (Timer != TimerMode.TscDeadline)
                return;
            _tscDeadline = value;
            ArmTscDeadline(now);
        }

        Expire(now);
    }

    /// <inheritdoc/>
    void ITimerClient.TimerExpired(ulong now) => Expire(now);

    /// <summary>The processor's TSC was written: an armed deadline comes at another time now.</summary>
    internal void TscChanged()
    {
        ulong now = _tsc.Clock.Now;
        lock (_timerLock)
        {
            if (_tscDeadline == 0)
                return;
            ArmTscDeadline(now);
        }

        Expire(now);
    }

    private void WriteLvtTimer(uint value)
    {
        // A count that is over, but whose driver has not come round to it, is over in the mode it ran in.
        Expire(_tsc.Clock.Now);
        lock (_timerLock)
        {
            uint before = _lvtTimer;
            Volatile.Write(ref _lvtTimer, value);
            // A change to or from TSC-deadline mode disarms the timer (SDM vol. 3, 11.5.4.1).
            bool was = (before & LvtTimerModes) >> 17 == (uint)TimerMode.TscDeadline;
            if (was != (Timer == TimerMode.TscDeadline) || Timer == TimerMode.Reserved)
            {
                _initialCount = 0;
                Disarm();
            }
        }
    }

    private void WriteInitialCount(uint value)
    {
        lock (_timerLock)
        {
            if (Timer is TimerMode.TscDeadline or TimerMode.Reserved)
                return;
            _initialCount = value;
            if (value == 0)
                Disarm();
            else
                ArmAt(After(_tsc.Clock.Now, Timer == TimerMode.Periodic ? Period : (ulong)value << DivideShift));
        }
    }

    /// <summary>A running count goes on from where it is, at the new rate.</summary>
    private void WriteDivide(uint value)
    {
        lock (_timerLock)
        {
            uint left = CurrentCountLocked();
            _divide = value;
            if (_deadline != TimerQueue.Never && _tscDeadline == 0)
                ArmAt(After(_tsc.Clock.Now, (ulong)left << DivideShift));
        }
    }

    private uint CurrentCount()
    {
        lock (_timerLock)
            return CurrentCountLocked();
    }

    private uint CurrentCountLocked()
    {
        if (_deadline == TimerQueue.Never || Timer == TimerMode.TscDeadline)
            return 0;
        ulong now = _tsc.Clock.Now;
        ulong left = _deadline > now ? (_deadline - now) >> DivideShift : 0;
        // Periodic and due, but its driver has not come round to it: the count has started again already.
        if (_deadline <= now && Timer == TimerMode.Periodic)
            left = (Period - ((now - _deadline) % Period)) >> DivideShift;
        return (uint)Math.Min(left, _initialCount);
    }

    private void Disarm()
    {
        _tscDeadline = 0;
        ArmAt(TimerQueue.Never);
    }

    private void ArmTscDeadline(ulong now) => ArmAt(_tscDeadline == 0 ? TimerQueue.Never : _tsc.TimeOf(_tscDeadline, now));

    private void ArmAt(ulong deadline)
    {
        _deadline = deadline;
        _timers.Arm(_timer, deadline);
    }

    /// <summary>
    /// Fires if the deadline is reached. Also called where a deadline was written that may be over already: it fires at
    /// once then, before the guest's next instruction.
    /// </summary>
    private void Expire(ulong now)
    {
        uint entry;
        lock (_timerLock)
        {
            // Armed anew or disarmed since the queue decided; Never is after every time.
            if (_deadline > now || _deadline == TimerQueue.Never)
                return;
            entry = _lvtTimer;
            _tscDeadline = 0;
            // Periods missed meanwhile are one interrupt, as they are in the request register of a busy processor.
            ArmAt(Timer == TimerMode.Periodic ? After(_deadline, Period * (1 + ((now - _deadline) / Period))) : TimerQueue.Never);
        }

        if ((entry & LvtMasked) == 0)
            AcceptFixed((byte)entry, levelTriggered: false);
    }

    private static ulong After(ulong now, ulong nanoseconds) =>
        nanoseconds >= TimerQueue.Never - now ? TimerQueue.Never - 1 : now + nanoseconds;
}
