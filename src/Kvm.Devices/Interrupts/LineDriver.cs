namespace Kvm.Devices.Interrupts;

/// <summary>
/// A device's end of a wire: passes changes of level on and keeps repetitions to itself, because behind a wire there may be a
/// system call. Not thread-safe: used under the device's lock, which also keeps the levels in order.
/// </summary>
internal struct LineDriver(IInterruptLine? line)
{
    private bool _level;

    /// <summary>Drives the wire.</summary>
    public void Set(bool asserted)
    {
        if (asserted == _level)
            return;
        _level = asserted;
        line?.Set(asserted);
    }

    /// <summary>Drives the wire even if the level is the same: after a restore nobody knows what the other end holds.</summary>
    public void Force(bool asserted)
    {
        _level = asserted;
        line?.Set(asserted);
    }
}
