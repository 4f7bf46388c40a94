namespace Kvm.Vmm.Virtio;

/// <summary>
/// How long a device's thread looks for more requests before it sleeps. Waking a thread takes longer than many a request; looking for nothing
/// takes a processor from others. So the window opens, by doubling, when a sleep turns out to have been so short that looking would have
/// caught its end, and closes, by halving, when a sleep was long. Not thread-safe.
/// </summary>
internal struct PollWindow
{
    /// <summary>The longest window, in nanoseconds: about what waking a thread and its processor takes on slow hosts.</summary>
    public const long Longest = 50_000;

    private const long Shortest = 4_000;

    /// <summary>The window now, in nanoseconds; 0 is not to look at all.</summary>
    public long Nanoseconds { get; private set; }

    /// <summary>A sleep ended.</summary>
    /// <param name="idle">Nanoseconds since there was last something to do.</param>
    public void Woke(long idle)
    {
        if (idle <= Longest)
            Nanoseconds = Math.Clamp(2 * Nanoseconds, Shortest, Longest);
        else
            Nanoseconds = Nanoseconds > Shortest ? Nanoseconds / 2 : 0;
    }
}
