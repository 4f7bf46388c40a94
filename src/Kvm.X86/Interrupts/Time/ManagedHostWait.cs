namespace Kvm.X86.Interrupts;

/// <summary>The <see cref="IHostWait"/> of hosts that supply none: whole milliseconds, rounded up.</summary>
public sealed class ManagedHostWait : IHostWait, IDisposable
{
    private const ulong NanosecondsPerMillisecond = 1_000_000;
    private readonly AutoResetEvent _wake = new(false);

    /// <inheritdoc/>
    public void Wait(ulong nanoseconds)
    {
        ulong milliseconds = nanoseconds / NanosecondsPerMillisecond + (nanoseconds % NanosecondsPerMillisecond == 0 ? 0UL : 1UL);
        _wake.WaitOne(milliseconds >= int.MaxValue ? Timeout.Infinite : (int)milliseconds);
    }

    /// <inheritdoc/>
    public void Wake() => _wake.Set();

    /// <summary>Frees the event; nobody may be waiting.</summary>
    public void Dispose() => _wake.Dispose();
}
