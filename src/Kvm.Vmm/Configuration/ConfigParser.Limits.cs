using System.Text.Json;
using Kvm.Devices.Limits;

namespace Kvm.Vmm.Configuration;

/// <summary>Firecracker's <c>rate_limiter</c>: two token buckets, each of a size, a time in ms to fill it, and a burst that comes once.</summary>
internal ref partial struct ConfigParser
{
    /// <summary>The longest time to fill a bucket, in ms: a day.</summary>
    private const long LongestRefill = 86_400_000;

    private IoLimits ReadRateLimiter(string name)
    {
        if (IsNull())
            return IoLimits.None;
        ExpectObject(name);
        RateLimit? bandwidth = null, operations = null;
        var seen = 0u;
        while (NextMember(ConfigMembers.OfRateLimiter, name, ref seen) is { } member)
        {
            if (member == ConfigMembers.Bandwidth)
                bandwidth = ReadTokenBucket(member);
            else
                operations = ReadTokenBucket(member);
        }

        return (bandwidth, operations) == (null, null) ? IoLimits.None : new IoLimits(bandwidth, operations);
    }

    /// <summary>A bucket; one of size 0 or time 0 limits nothing, as with Firecracker.</summary>
    private RateLimit? ReadTokenBucket(string name)
    {
        if (IsNull())
            return null;
        ExpectObject(name);
        long size = 0, burst = 0, refill = 0;
        var seen = 0u;
        while (NextMember(ConfigMembers.OfTokenBucket, name, ref seen) is { } member)
        {
            if (member == ConfigMembers.Size)
                size = Number(member, 0, LimitText.Most);
            else if (member == ConfigMembers.RefillTime)
                refill = Milliseconds(member);
            else if (!IsNull())
                burst = Number(member, 0, LimitText.Most);
        }

        return size == 0 || refill == 0 ? null : new RateLimit(size, refill, burst);
    }

    // Fractions, to the nanosecond, are ours: a rate from the command line need not be a whole number a millisecond.
    private readonly long Milliseconds(string member) =>
        _json.TokenType == JsonTokenType.Number && _json.TryGetDecimal(out decimal value) && value >= 0 && value <= LongestRefill
            ? (long)(value * NanosecondsPerMillisecond)
            : throw BadValue(member, $"is not a number from 0 to {LongestRefill}");
}
