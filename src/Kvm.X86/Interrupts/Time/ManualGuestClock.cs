namespace Kvm.X86.Interrupts;

/// <summary>Time that moves only when told: from retired instructions in deterministic mode, by hand in tests.</summary>
/// <remarks>One thread moves it; any thread reads it.</remarks>
public sealed class ManualGuestClock(ulong tscFrequency = GuestClock.DefaultTscFrequency) : GuestClock(tscFrequency)
{
    private ulong _now;

    /// <inheritdoc/>
    public override ulong Now => Volatile.Read(ref _now);

    /// <summary>Moves time forward by <paramref name="nanoseconds"/>; stops at 2⁶⁴−1.</summary>
    public void Advance(ulong nanoseconds) => AdvanceTo(_now > ulong.MaxValue - nanoseconds ? ulong.MaxValue : _now + nanoseconds);

    /// <summary>Moves time to <paramref name="nanoseconds"/>; does nothing if that is in the past.</summary>
    public void AdvanceTo(ulong nanoseconds)
    {
        if (nanoseconds > _now)
            Volatile.Write(ref _now, nanoseconds);
    }

    /// <summary>Sets the time of a machine that is not running, also backwards: before a snapshot's chips are restored.</summary>
    public void Set(ulong nanoseconds) => Volatile.Write(ref _now, nanoseconds);
}
