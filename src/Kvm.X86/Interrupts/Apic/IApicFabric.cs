namespace Kvm.X86.Interrupts;

/// <summary>
/// What carries messages from an I/O APIC or an MSI to the local APICs: <see cref="ApicBus"/> in the software engine, a
/// translation to KVM_SIGNAL_MSI where KVM keeps the local APICs.
/// </summary>
public interface IApicFabric
{
    /// <summary>Delivers a message; false if no local APIC accepted it. Safe from any thread, never blocks for long.</summary>
    bool Deliver(in ApicMessage message);
}
