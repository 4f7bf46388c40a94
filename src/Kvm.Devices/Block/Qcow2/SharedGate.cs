namespace Kvm.Devices.Block.Qcow2;

/// <summary>
/// Lets many in together, or one alone. Going in and out together is one interlocked operation each: requests of allocated clusters take less than a
/// microsecond, and a general lock of this kind would be a twentieth of that. Whoever wants to be alone keeps newcomers out until it was.
/// </summary>
internal sealed class SharedGate : IDisposable
{
    private const int Alone = 1 << 30;

    private readonly Lock _alone = new();
    private readonly AutoResetEvent _empty = new(false);
    // Those inside, and Alone while somebody is alone or waits to be.
    private int _state;

    /// <summary>Goes in with others.</summary>
    public void EnterShared()
    {
        if (Interlocked.Increment(ref _state) < Alone)
            return;
        ExitShared();
        // Nobody is alone while this is held.
        lock (_alone)
            Interlocked.Increment(ref _state);
    }

    /// <summary>Leaves after <see cref="EnterShared"/>.</summary>
    public void ExitShared()
    {
        if (Interlocked.Decrement(ref _state) == Alone)
            _empty.Set();
    }

    /// <summary>Goes in alone, when the others have left.</summary>
    public void EnterAlone()
    {
        _alone.Enter();
        if (Interlocked.Add(ref _state, Alone) == Alone)
            return;
        // The last to leave sets it, and so may a newcomer that was turned away: looked at again each time.
        while (Volatile.Read(ref _state) != Alone)
            _empty.WaitOne();
    }

    /// <summary>Leaves after <see cref="EnterAlone"/>.</summary>
    public void ExitAlone()
    {
        Interlocked.Add(ref _state, -Alone);
        _alone.Exit();
    }

    public void Dispose() => _empty.Dispose();
}
