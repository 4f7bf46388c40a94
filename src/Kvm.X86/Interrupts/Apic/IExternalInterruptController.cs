namespace Kvm.X86.Interrupts;

/// <summary>The controller behind a processor's INTR pin: the pair of 8259s.</summary>
public interface IExternalInterruptController
{
    /// <summary>The interrupt-acknowledge cycle: the vector to deliver; a spurious one if the request went away. Safe from any thread.</summary>
    byte Acknowledge();
}
