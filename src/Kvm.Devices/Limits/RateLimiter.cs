namespace Kvm.Devices.Limits;

/// <summary>The <see cref="IoLimits"/> of a device: bytes and operations, both of which must have room. Safe from several threads at once; allocates nothing after construction.</summary>
public sealed class RateLimiter
{
    private const long NanosecondsPerTick = 100;

    private readonly TimeProvider _time;
    private readonly long _start;
    private readonly Lock _gate = new();
    private readonly bool _hasBandwidth, _hasOperations;
    private TokenBucket _bandwidth, _operations;

    /// <summary>Makes one with full buckets.</summary>
    /// <param name="limits">What may go.</param>
    /// <param name="time">The clock.</param>
    /// <exception cref="ArgumentOutOfRangeException">A limit is out of its range.</exception>
    public RateLimiter(IoLimits limits, TimeProvider time)
    {
        ArgumentNullException.ThrowIfNull(limits);
        ArgumentNullException.ThrowIfNull(time);
        (_time, _start) = (time, time.GetTimestamp());
        if (limits.Bandwidth is { } bandwidth)
            (_hasBandwidth, _bandwidth) = (true, new TokenBucket(bandwidth, 0));
        if (limits.Operations is { } operations)
            (_hasOperations, _operations) = (true, new TokenBucket(operations, 0));
    }

    /// <summary>Takes what an operation needs, or nothing.</summary>
    /// <param name="bytes">Bytes it transfers.</param>
    /// <returns>0 if it may go; else nanoseconds after which to ask again.</returns>
    public long TryTake(long bytes)
    {
        lock (_gate)
        {
            long now = _time.GetElapsedTime(_start).Ticks * NanosecondsPerTick;
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
