namespace Kvm.Devices.Limits;

/// <summary>A rate as a bucket of tokens: so many flow in over a time, and no more than so many are in it.</summary>
/// <param name="Size">Tokens the bucket holds, which is also what flows in during <paramref name="RefillNanoseconds"/>; at least 1.</param>
/// <param name="RefillNanoseconds">Nanoseconds an empty bucket takes to be full; at least 1.</param>
/// <param name="OneTimeBurst">Tokens on top of that which are spent first and never come again; at least 0.</param>
public readonly record struct RateLimit(long Size, long RefillNanoseconds, long OneTimeBurst = 0)
{
    private const long NanosecondsPerSecond = 1_000_000_000;

    /// <summary>How many buckets flow in per second where nobody says how much may go at once: what is late by less than 10 ms is not lost.</summary>
    private const int BucketsPerSecond = 100;

    /// <summary>Tokens a second.</summary>
    public double Rate => (double)Size * NanosecondsPerSecond / RefillNanoseconds;

    /// <summary>The same rate but for so many thousandths of it; the bucket stays as large.</summary>
    /// <param name="perMille">1 to 1,000.</param>
    public RateLimit Part(int perMille)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(perMille, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(perMille, 1000);
        return this with { RefillNanoseconds = (long)Int128.Min((Int128)RefillNanoseconds * 1000 / perMille, long.MaxValue), OneTimeBurst = 0 };
    }

    /// <summary>A rate per second.</summary>
    /// <param name="rate">Tokens a second; at least 1.</param>
    /// <param name="burst">Tokens that may go at once after a rest; fewer than flow in during 10 ms count as those, and at least 1.</param>
    public static RateLimit PerSecond(long rate, long burst = 0)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(rate, 1);
        long size = Math.Max(burst, Math.Max(rate / BucketsPerSecond, 1));
        return new RateLimit(size, (long)Int128.Clamp((Int128)size * NanosecondsPerSecond / rate, 1, long.MaxValue));
    }
}

/// <summary>The limits of a device's transfers; null is none.</summary>
/// <param name="Bandwidth">Of bytes.</param>
/// <param name="Operations">Of requests, or packets.</param>
public sealed record IoLimits(RateLimit? Bandwidth = null, RateLimit? Operations = null)
{
    /// <summary>No limits.</summary>
    public static IoLimits None { get; } = new();
}
