namespace Kvm.X86.Interrupts;

/// <summary>
/// Time that follows the host's monotonic clock while the machine runs and stands still while it is stopped. Starts stopped.
/// </summary>
public sealed class HostGuestClock : GuestClock
{
    private readonly TimeProvider _host;
    private readonly Lock _changes = new();

    // Guest time = host time in ns + _offset while running; _offset alone (as the frozen time) while stopped. One word
    // with the running bit beside it would tear; a version makes readers retry instead.
    private long _offset;
    private bool _running;
    private int _version;

    /// <summary>Makes a stopped clock at time 0.</summary>
    /// <param name="tscFrequency">Frequency of the time-stamp counter in Hz, 1 MHz to 100 GHz.</param>
    /// <param name="host">The host's clock; <see cref="TimeProvider.System"/> if null.</param>
    public HostGuestClock(ulong tscFrequency = DefaultTscFrequency, TimeProvider? host = null)
        : base(tscFrequency) => _host = host ?? TimeProvider.System;

    /// <inheritdoc/>
    public override ulong Now
    {
        get
        {
            while (true)
            {
                int before = Volatile.Read(ref _version);
                long offset = Volatile.Read(ref _offset);
                bool running = Volatile.Read(ref _running);
                long now = running ? HostNanoseconds() + offset : offset;
                if ((before & 1) == 0 && Volatile.Read(ref _version) == before)
                    return (ulong)now;
            }
        }
    }

    /// <summary>Lets time run; nothing happens if it does already.</summary>
    public void Start()
    {
        lock (_changes)
        {
            if (!_running)
                Change(Volatile.Read(ref _offset) - HostNanoseconds(), true);
        }
    }

    /// <summary>Makes time stand still; nothing happens if it does already.</summary>
    public void Stop()
    {
        lock (_changes)
        {
            if (_running)
                Change((long)Now, false);
        }
    }

    /// <summary>Sets the time of a stopped clock, before a snapshot's chips are restored.</summary>
    /// <exception cref="InvalidOperationException">The clock runs.</exception>
    /// <exception cref="ArgumentOutOfRangeException">The time is above 2⁶² ns (146 years).</exception>
    public void Set(ulong nanoseconds)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(nanoseconds, 1UL << 62);
        lock (_changes)
        {
            if (_running)
                throw new InvalidOperationException("the clock runs: stop it before setting it");
            Change((long)nanoseconds, false);
        }
    }

    private void Change(long offset, bool running)
    {
        Interlocked.Increment(ref _version);
        Volatile.Write(ref _offset, offset);
        Volatile.Write(ref _running, running);
        Interlocked.Increment(ref _version);
    }

    private long HostNanoseconds()
    {
        long ticks = _host.GetTimestamp();
        long frequency = _host.TimestampFrequency;
        return frequency == (long)NanosecondsPerSecond
            ? ticks
            : (long)((Int128)ticks * (long)NanosecondsPerSecond / frequency);
    }
}
