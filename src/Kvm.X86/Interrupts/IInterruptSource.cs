namespace Kvm.X86.Interrupts;

/// <summary>
/// The interrupt chips as one processor sees them: its pins, its local APIC's page and model-specific registers.
/// <see cref="Pending"/> may be read from any thread; everything else belongs to the processor's own thread.
/// </summary>
/// <remarks>
/// The protocol at a block end, when the processor's attention word is set: clear the word, read <see cref="Pending"/>,
/// and take the highest event that can be taken now. When an event cannot be taken (IF clear, NMI blocked, interrupt
/// shadow), nothing is lost: read <see cref="Pending"/> again when the obstacle goes (STI, POPF, IRET, end of the shadow)
/// and, through this interface's own members, whenever a write may have unmasked something. <see cref="IInterruptTarget.Notify"/>
/// is also called on the processor's own thread when one of its writes (TPR, EOI, a self-IPI) makes something pending.
/// </remarks>
public interface IInterruptSource
{
    /// <summary>What waits. One volatile read.</summary>
    InterruptEvents Pending { get; }

    /// <summary>
    /// The interrupt-acknowledge cycle: takes the vector the processor is to deliver, external controller first.
    /// −1 if the request went away meanwhile; the processor then goes on as if nothing had happened.
    /// </summary>
    int AcknowledgeInterrupt();

    /// <summary>Takes the pending NMI; false if there is none.</summary>
    bool TakeNmi();

    /// <summary>NMIs are no longer blocked (IRET): those that came meanwhile are one (SDM vol. 3, 6.7.1).</summary>
    void MergeNmis();

    /// <summary>
    /// Takes a pending INIT and puts the local APIC into its state after INIT (SDM vol. 3, 11.4.7.3); the processor then
    /// resets itself. False if there is none.
    /// </summary>
    bool TakeInit();

    /// <summary>Takes a pending start-up IPI: its vector (the real-mode segment is vector × 0x100), or −1.</summary>
    int TakeStartup();

    /// <summary>True for the processor whose IA32_APIC_BASE has the BSP flag: after INIT it starts at the reset vector.</summary>
    bool IsBootstrapProcessor { get; }

    /// <summary>CR8: the task-priority class, 0 to 15 (bits above are ignored).</summary>
    byte TaskPriorityClass { get; set; }

    /// <summary>
    /// Guest-physical address of the 4 KiB page of the local APIC's registers, or <see cref="ulong.MaxValue"/> if there is
    /// none now (disabled, or x2APIC). It lies over RAM and devices. Changes only inside <see cref="TryWriteMsr"/> of
    /// IA32_APIC_BASE and inside <see cref="TakeInit"/>: drop cached translations of the old and the new page then.
    /// </summary>
    ulong ApicPage { get; }

    /// <summary>Reads from the local APIC's page: any length from 1 to 8 at any offset below 4096.</summary>
    void ReadApicPage(uint offset, Span<byte> data);

    /// <summary>Writes to the local APIC's page: any length from 1 to 8 at any offset below 4096.</summary>
    void WriteApicPage(uint offset, ReadOnlySpan<byte> data);

    /// <summary>
    /// Reads a register of the chips: IA32_APIC_BASE (0x1b), IA32_TIME_STAMP_COUNTER (0x10), IA32_TSC_ADJUST (0x3b),
    /// IA32_TSC_DEADLINE (0x6e0), x2APIC (0x800–0x8ff), KVM paravirtual registers (0x11, 0x12, 0x4b564d00–0x4b564dff).
    /// False where RDMSR of one of these must raise #GP(0), and for every other number.
    /// </summary>
    bool TryReadMsr(uint msr, out ulong value);

    /// <summary>Writes a register of the chips, the list as for <see cref="TryReadMsr"/>; false where WRMSR must raise #GP(0).</summary>
    bool TryWriteMsr(uint msr, ulong value);

    /// <summary>The processor's time-stamp counter, what RDTSC gives; the offset the guest made by writing it is in.</summary>
    ulong ReadTsc();
}
