namespace Kvm.X86.Interrupts;

/// <summary>
/// All timers of a machine's chips, as deadlines in guest time. It has no thread and no host timer of its own: a driver
/// reads <see cref="NextDeadline"/>, waits in its own way, and calls <see cref="Advance()"/>.
/// </summary>
/// <remarks>
/// <para>Real time: a thread (<see cref="TimerThread"/>) sleeps until the next deadline, or a processor that halts sleeps
/// until then itself. Deterministic: the engine moves its <see cref="ManualGuestClock"/> with the retired instructions and
/// calls <see cref="Advance()"/> when <see cref="NextDeadline"/> is due; when every processor halts it moves the clock
/// to <see cref="NextDeadline"/> first. Timers due at once fire in order of deadline, then of creation: always the same.</para>
/// <para>Safe from any thread; several drivers may call <see cref="Advance()"/> at once. A machine has one timer per
/// processor and two or three more, so a scan under a small lock beats a heap.</para>
/// </remarks>
public sealed class TimerQueue
{
    /// <summary>The deadline that never comes.</summary>
    public const ulong Never = ulong.MaxValue;

    private readonly Lock _lock = new();
    private Slot[] _slots = [];
    private ulong _next = Never;
    private ITimerDriver? _driver;

    private struct Slot
    {
        public ulong Deadline;
        public ITimerClient? Client;
    }

    /// <summary>Makes an empty queue on <paramref name="clock"/>.</summary>
    public TimerQueue(GuestClock clock)
    {
        ArgumentNullException.ThrowIfNull(clock);
        Clock = clock;
    }

    /// <summary>The clock deadlines are compared with.</summary>
    public GuestClock Clock { get; }

    /// <summary>The earliest deadline in ns of guest time, or <see cref="Never"/>. One volatile read: cheap enough for a processor's loop.</summary>
    public ulong NextDeadline => Volatile.Read(ref _next);

    /// <summary>Who is told when the earliest deadline becomes earlier; set once, before the machine runs.</summary>
    public ITimerDriver? Driver
    {
        get => Volatile.Read(ref _driver);
        set => Volatile.Write(ref _driver, value);
    }

    /// <summary>Adds a disarmed timer. Allocates: chips add theirs while the machine is built.</summary>
    internal int Add(ITimerClient client)
    {
        lock (_lock)
        {
            int free = Array.FindIndex(_slots, static s => s.Client is null);
            if (free < 0)
            {
                free = _slots.Length;
                _slots = [.. _slots, default];
            }

            _slots[free] = new Slot { Deadline = Never, Client = client };
            return free;
        }
    }

    /// <summary>Takes a timer away. It fires once more if a driver had decided so just before.</summary>
    internal void Remove(int timer)
    {
        lock (_lock)
        {
            _slots[timer] = new Slot { Deadline = Never };
            Volatile.Write(ref _next, Earliest(out _));
        }
    }

    /// <summary>Arms a timer for <paramref name="deadline"/>, replacing what it had; <see cref="Never"/> disarms.</summary>
    internal void Arm(int timer, ulong deadline)
    {
        bool earlier;
        lock (_lock)
        {
            ulong old = _slots[timer].Deadline;
            _slots[timer].Deadline = deadline;
            earlier = deadline < _next;
            if (earlier)
                Volatile.Write(ref _next, deadline);
            else if (old == _next && deadline != old)
                Volatile.Write(ref _next, Earliest(out _));
        }

        if (earlier)
            Driver?.DeadlineMoved(deadline);
    }

    /// <summary>Fires every timer that is due now; returns the next deadline.</summary>
    public ulong Advance() => Advance(Clock.Now);

    /// <summary>Fires every timer whose deadline is at or before <paramref name="now"/>; returns the next deadline.</summary>
    /// <remarks>Bounded: at most as many firings a call as there are timers, whatever deadlines they arm meanwhile.</remarks>
    public ulong Advance(ulong now)
    {
        if (NextDeadline > now)
            return NextDeadline;

        for (int fired = 0; fired < _slots.Length; fired++)
        {
            ITimerClient? client;
            lock (_lock)
            {
                if (Earliest(out int due) > now)
                    break;
                client = _slots[due].Client;
                _slots[due].Deadline = Never;
                Volatile.Write(ref _next, Earliest(out _));
            }

            client?.TimerExpired(now);
        }

        return NextDeadline;
    }

    private ulong Earliest(out int timer)
    {
        ulong earliest = Never;
        timer = -1;
        for (int i = 0; i < _slots.Length; i++)
        {
            if (_slots[i].Deadline < earliest)
            {
                earliest = _slots[i].Deadline;
                timer = i;
            }
        }

        return earliest;
    }
}
