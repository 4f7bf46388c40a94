namespace Kvm.Devices.Interrupts;

/// <summary>
/// A level-triggered wire with several devices on it: asserted while any of them asserts it, as PCI's INTx lines are (PCI Local Bus 3.0, 2.2.6).
/// Safe from any thread.
/// </summary>
/// <param name="target">Where the wire goes.</param>
public sealed class SharedLine(IInterruptLine target)
{
    private readonly Lock _lock = new();
    private int _asserted;

    /// <summary>Another device's end of the wire. A device drives its end from under its own lock.</summary>
    public IInterruptLine Join() => new Input(this);

    private void Change(Input input, bool asserted)
    {
        lock (_lock)
        {
            if (asserted == input.Asserted)
                return;
            input.Asserted = asserted;
            _asserted += asserted ? 1 : -1;
            if (_asserted == (asserted ? 1 : 0))
                target.Set(asserted);
        }
    }

    private sealed class Input(SharedLine line) : IInterruptLine
    {
        public bool Asserted { get; set; }

        public void Set(bool asserted) => line.Change(this, asserted);
    }
}
