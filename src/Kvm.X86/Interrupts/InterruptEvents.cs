namespace Kvm.X86.Interrupts;

/// <summary>What waits at a processor's interrupt pins: bits of <see cref="IInterruptSource.Pending"/>, in rising order of priority.</summary>
[Flags]
public enum InterruptEvents
{
    /// <summary>Nothing waits.</summary>
    None = 0,

    /// <summary>The local APIC holds a vector above the processor priority (SDM vol. 3, 11.8.3). Taken when RFLAGS.IF is set and no shadow blocks it.</summary>
    Interrupt = 1 << 0,

    /// <summary>An external controller (8259) asserts INTR and the local APIC lets it through. Taken under the same conditions as <see cref="Interrupt"/>.</summary>
    ExternalInterrupt = 1 << 1,

    /// <summary>A non-maskable interrupt waits. Taken unless the processor blocks NMIs until IRET.</summary>
    Nmi = 1 << 2,

    /// <summary>A start-up IPI waits; it counts only while the processor waits for one and is dropped otherwise.</summary>
    Startup = 1 << 3,

    /// <summary>INIT was received: the processor resets and, unless it is the bootstrap processor, waits for a start-up IPI.</summary>
    Init = 1 << 4,

    /// <summary>
    /// Another NMI came while one waited that the processor did not block. It would have been taken at once, and the second been kept:
    /// so both count, until <see cref="IInterruptSource.MergeNmis"/>.
    /// </summary>
    SecondNmi = 1 << 5,

    /// <summary>Either kind of maskable interrupt.</summary>
    Maskable = Interrupt | ExternalInterrupt,
}
