namespace Kvm.Devices.Interrupts;

/// <summary>A wire from a device to an interrupt controller. Implementations are safe to call from any thread and never block for long.</summary>
public interface IInterruptLine
{
    /// <summary>Drives the wire: true is asserted. Repeating a level is harmless. An edge-triggered pin sees the rise.</summary>
    void Set(bool asserted);
}
