using Kvm.Devices.Interrupts;

namespace Kvm.X86.Interrupts;

/// <summary>
/// One interrupt wire of the board, to an input of the 8259s, a pin of the I/O APIC, or both. Several devices may share
/// it: it is asserted while any of them asserts it.
/// </summary>
internal sealed class GsiWire(Pic8259? pic, int picInput, IoApic ioApic, int pin)
{
    private readonly Lock _lock = new();
    private int _asserting;

    /// <summary>A device's end of the wire.</summary>
    public IInterruptLine Connect() => new Tap(this);

    private sealed class Tap(GsiWire wire) : IInterruptLine
    {
        private bool _asserted;

        public void Set(bool asserted)
        {
            // The lock also keeps the chips' view in the order of the wire's changes.
            lock (wire._lock)
            {
                if (asserted == _asserted)
                    return;
                _asserted = asserted;
                wire._asserting += asserted ? 1 : -1;
                if (wire._asserting == (asserted ? 1 : 0))
                    wire.Drive(asserted);
            }
        }
    }

    private void Drive(bool asserted)
    {
        if (picInput >= 0)
            pic?.SetLine(picInput, asserted);
        ioApic.SetPin(pin, asserted);
    }
}
