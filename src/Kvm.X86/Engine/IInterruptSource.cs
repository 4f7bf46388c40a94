namespace Kvm.X86.Engine;

/// <summary>
/// A processor's interrupt controller as the engine sees it (the local APIC with the 8259 behind it). The engine calls it on the
/// processor's thread; the controller tells of news by <see cref="IProcessorSignals"/> from any thread.
/// </summary>
public interface IInterruptSource
{
    /// <summary>An interrupt could be accepted now, task and processor priority considered. Cheap: one or two loads.</summary>
    bool HasPending { get; }

    /// <summary>
    /// Takes the highest interrupt: it moves into service, and its vector is returned. −1 if there is none any more. A spurious
    /// interrupt is returned as its vector.
    /// </summary>
    int Acknowledge();

    /// <summary>CR8: bits 7–4 of the task priority register, 0–15.</summary>
    ulong TaskPriority { get; set; }

    /// <summary>Reads an MSR of the controller: IA32_APIC_BASE (0x1b), IA32_TSC_DEADLINE (0x6e0), x2APIC (0x800–0x8ff). False: #GP(0).</summary>
    bool TryReadMsr(uint index, out ulong value);

    /// <summary>Writes one of those. False: #GP(0).</summary>
    bool TryWriteMsr(uint index, ulong value);
}

/// <summary>What interrupt controllers tell a processor. Safe from any thread; never blocks.</summary>
public interface IProcessorSignals
{
    /// <summary>An interrupt became pending (or priorities changed): look at <see cref="IInterruptSource.HasPending"/> again.</summary>
    void InterruptPending();

    /// <summary>Non-maskable interrupt.</summary>
    void Nmi();

    /// <summary>INIT: reset and wait for a start-up IPI.</summary>
    void Init();

    /// <summary>Start-up IPI: begin at vector × 4096 in real mode, if waiting for it.</summary>
    void Startup(byte vector);
}
