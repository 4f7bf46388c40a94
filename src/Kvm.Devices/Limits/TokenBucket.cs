namespace Kvm.Devices.Limits;

/// <summary>
/// A <see cref="RateLimit"/> as time goes by, exact to the nanosecond: what it holds is counted in tokens times nanoseconds, so that no rounding
/// adds up. Not thread-safe; a pure function of the times it is given, which do not go back.
/// </summary>
/// <remarks>
/// Something larger than the bucket goes when the bucket is full, and leaves it in debt. What had to wait is charged to the time at which it might
/// have gone, and what flowed in since may be in the bucket on top of what it holds, up to <see cref="MostLate"/>: a waiter that comes round late loses
/// nothing by it, and what is let through is never more than flowed in.
/// </remarks>
internal struct TokenBucket
{
    /// <summary>Nanoseconds of lateness that are made up for: with a bucket of 10 ms no second gets more than 5 % too much.</summary>
    public const long MostLate = 40_000_000;

    private const long Nobody = long.MaxValue;

    private readonly long _size;
    private readonly long _refill;
    private Int128 _level;
    // What may be in the bucket besides: what came late and is not yet taken.
    private Int128 _credit;
    private long _burst;
    private long _last;
    private long _due = Nobody;

    /// <summary>Makes a full one.</summary>
    /// <param name="limit">The rate.</param>
    /// <param name="now">Nanoseconds.</param>
    public TokenBucket(RateLimit limit, long now)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(limit.Size, 1, nameof(limit));
        ArgumentOutOfRangeException.ThrowIfLessThan(limit.RefillNanoseconds, 1, nameof(limit));
        ArgumentOutOfRangeException.ThrowIfNegative(limit.OneTimeBurst, nameof(limit));
        (_size, _refill, _burst, _last) = (limit.Size, limit.RefillNanoseconds, limit.OneTimeBurst, now);
        _level = Full;
    }

    private readonly Int128 Full => (Int128)_size * _refill;

    /// <summary>Nanoseconds until so many tokens may be taken; 0 is now.</summary>
    /// <param name="tokens">Tokens, at least 0.</param>
    /// <param name="now">Nanoseconds, of the same clock as ever.</param>
    public long WaitFor(long tokens, long now)
    {
        Int128 need = (Int128)Math.Min(Math.Max(tokens - _burst, 0), _size) * _refill;
        if (_due <= now)
        {
            Refill(_due);
            if (_level >= need)
            {
                _credit = (Int128)Math.Min(now - _due, MostLate) * _size;
                return 0;
            }
        }

        Refill(now);
        if (_level >= need)
            return 0;
        Int128 wait = (need - _level + _size - 1) / _size;
        _due = wait < Nobody - now ? now + (long)wait : Nobody;
        return (long)Int128.Min(wait, long.MaxValue);
    }

    /// <summary>Takes tokens, after <see cref="WaitFor"/> said 0.</summary>
    public void Take(long tokens)
    {
        long atOnce = Math.Min(tokens, _burst);
        _burst -= atOnce;
        _level -= (Int128)(tokens - atOnce) * _refill;
        _due = Nobody;
    }

    private void Refill(long now)
    {
        if (now <= _last)
            return;
        _level = Int128.Min(Full + _credit, _level + (Int128)(now - _last) * _size);
        _credit = Int128.Max(_level - Full, 0);
        _last = now;
    }
}
