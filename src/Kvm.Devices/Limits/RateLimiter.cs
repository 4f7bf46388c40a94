namespace Kvm.Devices.Limits;

/// <summary>The <see cref="IoLimits"/> of a device: bytes and operations, both of which must have room. Safe from several threads at once; allocates nothing after construction.</summary>
public sealed class RateLimiter
{
    private const long NanosecondsPerTick = 100;

    private readonly TimeProvider _time;
    private readonly long _start;
    private readonly Lock _gate = new();
    private bool _hasBandwidth, _hasOperations;
    private IoLimits _limits;
    private TokenBucket _bandwidth, _operations;

    /// <summary>Makes one with full buckets.</summary>
    /// <param name="limits">What may go.</param>
    /// <param name="time">The clock.</param>
    /// <exception cref="ArgumentOutOfRangeException">A limit is out of its range.</exception>
    public RateLimiter(IoLimits limits, TimeProvider time)
    {
        ArgumentNullException.ThrowIfNull(limits);
        ArgumentNullException.ThrowIfNull(time);
        (_time, _start, _limits) = (time, time.GetTimestamp(), limits);
        Fill(0);
    }

    private long Now => _time.GetElapsedTime(_start).Ticks * NanosecondsPerTick;

    /// <summary>Has other limits hold from now on, from full buckets. Whoever holds something back asks again.</summary>
    /// <param name="limits">What may go.</param>
    /// <exception cref="ArgumentOutOfRangeException">A limit is out of its range.</exception>
    public void Change(IoLimits limits)
    {
        ArgumentNullException.ThrowIfNull(limits);
        lock (_gate)
        {
            _limits = limits;
            Fill(Now);
        }
    }

    private void Fill(long now)
    {
        (_hasBandwidth, _hasOperations) = (_limits.Bandwidth is not null, _limits.Operations is not null);
        if (_limits.Bandwidth is { } bandwidth)
            _bandwidth = new TokenBucket(bandwidth, now);
        if (_limits.Operations is { } operations)
            _operations = new TokenBucket(operations, now);
    }

    /// <summary>
    /// Lets so many thousandths of each limit go from now on, from buckets that are full. Whoever holds something back asks again: it may go
    /// earlier than it was told.
    /// </summary>
    /// <param name="bandwidth">Of the bytes, 1 to 1,000.</param>
    /// <param name="operations">Of the operations, 1 to 1,000.</param>
    public void Restrict(int bandwidth, int operations)
    {
        lock (_gate)
        {
            if (_limits.Bandwidth is { } bytes)
                _bandwidth = new TokenBucket(bytes.Part(bandwidth), Now);
            if (_limits.Operations is { } requests)
                _operations = new TokenBucket(requests.Part(operations), Now);
        }
    }

    /// <summary>Takes what an operation needs, or nothing.</summary>
    /// <param name="bytes">Bytes it transfers.</param>
    /// <returns>0 if it may go; else nanoseconds after which to ask again.</returns>
    public long TryTake(long bytes)
    {
        lock (_gate)
        {
            long now = Now;
            long wait = Math.Max(_hasBandwidth ? _bandwidth.WaitFor(bytes, now) : 0, _hasOperations ? _operations.WaitFor(1, now) : 0);
            if (wait != 0)
                return wait;
            if (_hasBandwidth)
                _bandwidth.Take(bytes);
            if (_hasOperations)
                _operations.Take(1);
            return 0;
        }
    }
}
