namespace Kvm.X86.Interrupts;

/// <summary>Who hears the EOIs of level-triggered interrupts: the I/O APIC.</summary>
public interface IEndOfInterruptSink
{
    /// <summary>A processor finished a level-triggered interrupt at <paramref name="vector"/>. Safe from any thread.</summary>
    void EndOfInterrupt(byte vector);
}
