namespace Kvm.X86.Interrupts;

/// <summary>Delivery modes of interrupt messages, as encoded in bits 8–10 of ICR, LVT, redirection entries and MSI data (SDM vol. 3, 11.5.1, 11.6.1).</summary>
public enum ApicDelivery : byte
{
    /// <summary>To every processor of the destination, at the vector.</summary>
    Fixed = 0,

    /// <summary>To the one processor of the destination with the lowest priority.</summary>
    LowestPriority = 1,

    /// <summary>System management interrupt; there is no SMM here, so it is dropped.</summary>
    Smi = 2,

    /// <summary>Reserved; dropped.</summary>
    Reserved = 3,

    /// <summary>Non-maskable interrupt; the vector is ignored.</summary>
    Nmi = 4,

    /// <summary>Processor reset.</summary>
    Init = 5,

    /// <summary>Start of a processor that waits after INIT; the vector is the page of its first instruction.</summary>
    Startup = 6,

    /// <summary>As if the external controller had asserted INTR: the vector comes from its acknowledge cycle.</summary>
    External = 7,
}

/// <summary>One interrupt message on the way to local APICs, whatever sent it.</summary>
/// <param name="Destination">An APIC id, a logical destination, or <see cref="Broadcast"/>; guest-chosen.</param>
/// <param name="Logical">True if <paramref name="Destination"/> is logical (SDM vol. 3, 11.6.2.2).</param>
/// <param name="Delivery">Delivery mode.</param>
/// <param name="Vector">Vector, 0 to 255; below 16 is an error the receiver notes.</param>
/// <param name="LevelTriggered">True if the receiver's EOI must come back to the I/O APIC.</param>
/// <param name="RedirectionHint">MSI's hint: deliver to one processor of a logical destination, as lowest priority does.</param>
public readonly record struct ApicMessage(
    uint Destination, bool Logical, ApicDelivery Delivery, byte Vector, bool LevelTriggered = false, bool RedirectionHint = false)
{
    /// <summary>The destination that means every local APIC.</summary>
    public const uint Broadcast = uint.MaxValue;

    /// <summary>Widens an 8-bit destination of an xAPIC, an I/O APIC or an MSI: 0xff is broadcast.</summary>
    public static uint WidenDestination(byte destination) => destination == 0xff ? Broadcast : destination;
}
