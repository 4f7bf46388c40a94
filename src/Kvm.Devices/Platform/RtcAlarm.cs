namespace Kvm.Devices.Platform;

/// <summary>When a real-time clock's alarm goes off: a match of hour, minute and second, each of which may be "any".</summary>
/// <param name="Hour">0–23, or null for any.</param>
/// <param name="Minute">0–59, or null for any.</param>
/// <param name="Second">0–59, or null for any.</param>
internal readonly record struct RtcAlarm(int? Hour, int? Minute, int? Second)
{
    private const long Day = 86_400;

    /// <summary>False if a field can never match, such as minute 75.</summary>
    public bool Possible => Hour is null or (>= 0 and < 24) && Minute is null or (>= 0 and < 60) && Second is null or (>= 0 and < 60);

    /// <summary>The first matching second after <paramref name="second"/> (both counted from any midnight), or null if none ever matches.</summary>
    public long? NextAfter(long second)
    {
        if (!Possible)
            return null;
        long t = second + 1;
        // Each pass moves to the next hour, minute or second that could match: at most 24 + 60 + 60 passes, and a few for carries.
        for (int i = 0; i < 200; i++)
        {
            long ofDay = t % Day;
            if (Hour is { } h && ofDay / 3600 != h)
                t += 3600 - ofDay % 3600;
            else if (Minute is { } m && ofDay / 60 % 60 != m)
                t += 60 - ofDay % 60;
            else if (Second is { } s && ofDay % 60 != s)
                t++;
            else
                return t;
        }

        return null;
    }
}
