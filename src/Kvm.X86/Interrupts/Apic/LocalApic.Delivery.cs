namespace Kvm.X86.Interrupts;

/// <summary>What other threads do to a local APIC: messages, and the wires LINT0 and LINT1.</summary>
public sealed partial class LocalApic
{
    private int _externalLine;
    private int _externalMessage;
    private int _lint1Line;

    /// <summary>The priority class lowest-priority delivery compares. Any thread; a snapshot.</summary>
    internal int ArbitrationClass => Volatile.Read(ref _processorPriority) >> 4;

    /// <summary>True if the APIC takes part in delivery of maskable interrupts (SDM vol. 3, 11.4.7.2).</summary>
    internal bool AcceptsInterrupts => Mode != ApicMode.Disabled && (Volatile.Read(ref _spurious) & SpuriousEnable) != 0;

    /// <summary>True if a message's destination names this APIC (SDM vol. 3, 11.6.2 and 11.12.9, 11.12.10).</summary>
    internal bool Matches(uint destination, bool logical)
    {
        if (destination == ApicMessage.Broadcast)
            return Mode != ApicMode.Disabled;
        if (!logical)
            return destination == Id && Mode != ApicMode.Disabled;
        return Mode switch
        {
            ApicMode.X2Apic => destination >> 16 == Id >> 4 && (destination & (1u << (int)(Id & 15))) != 0,
            ApicMode.XApic => destination <= 0xff && MatchesFlatOrCluster(destination),
            _ => false,
        };
    }

    /// <summary>Takes a message that is for this APIC; false if it is not accepted. Any thread.</summary>
    internal bool Receive(ApicDelivery delivery, byte vector, bool levelTriggered)
    {
        switch (delivery)
        {
            case ApicDelivery.Fixed or ApicDelivery.LowestPriority:
                return AcceptFixed(vector, levelTriggered);
            case ApicDelivery.Nmi:
                RaiseNmi();
                return true;
            case ApicDelivery.Init:
                AcceptInit();
                return true;
            case ApicDelivery.Startup:
                Volatile.Write(ref _startupVector, vector);
                Raise(InterruptEvents.Startup);
                return true;
            case ApicDelivery.External when AcceptsInterrupts:
                Volatile.Write(ref _externalMessage, 1);
                Raise(InterruptEvents.ExternalInterrupt);
                return true;
            default:
                return false;
        }
    }

    /// <summary>The external controller's INTR output, wired to LINT0 (or straight to the processor while the APIC is disabled). Any thread; the controller orders its calls.</summary>
    public void SetExternalLine(bool asserted)
    {
        int before = Interlocked.Exchange(ref _externalLine, asserted ? 1 : 0);
        if (!asserted)
            EvaluateExternal();
        else if (ExternalPassesLint0)
            Raise(InterruptEvents.ExternalInterrupt);
        else if (before == 0)
            TriggerLint(ref _lvtLint0);
    }

    /// <summary>The wire LINT1, usually a button or chipset's NMI: acts on its rise as the LVT says. Any thread.</summary>
    public void SetLint1(bool asserted)
    {
        if (Interlocked.Exchange(ref _lint1Line, asserted ? 1 : 0) != 0 || !asserted)
            return;
        if (Mode == ApicMode.Disabled)
            RaiseNmi();
        else
            TriggerLint(ref _lvtLint1);
    }

    private bool MatchesFlatOrCluster(uint destination)
    {
        uint logicalId = Volatile.Read(ref _logicalDestination) >> 24;
        // DFR bits 28–31: all ones is the flat model, zero the cluster model; others are not defined and taken as flat.
        if (Volatile.Read(ref _destinationFormat) >> 28 != 0)
            return (logicalId & destination) != 0;
        uint cluster = destination >> 4;
        return (cluster == 0xf || cluster == logicalId >> 4) && (logicalId & destination & 0xf) != 0;
    }

    private bool AcceptFixed(byte vector, bool levelTriggered)
    {
        if (!AcceptsInterrupts)
            return false;
        if (vector < 16)
        {
            AddError(ApicError.ReceiveIllegalVector);
            return false;
        }

        int word = vector >> 5;
        uint bit = 1u << (vector & 31);
        if (levelTriggered)
            Interlocked.Or(ref _tmr[word], bit);
        else if ((Volatile.Read(ref _tmr[word]) & bit) != 0)
            Interlocked.And(ref _tmr[word], ~bit);
        Interlocked.Or(ref _irr[word], bit);
        if (vector >> 4 > Volatile.Read(ref _processorPriority) >> 4)
            Raise(InterruptEvents.Interrupt);
        return true;
    }

    /// <summary>INIT makes start-up IPIs sent before it void.</summary>
    private void AcceptInit()
    {
        Change(before => (before | InterruptEvents.Init) & ~InterruptEvents.Startup);
        Target?.Notify();
    }

    /// <summary>INTR reaches the processor while the APIC is hardware-disabled, and through LINT0 in ExtINT mode ("virtual wire", SDM vol. 3, 11.5.1).</summary>
    private bool ExternalPassesLint0
    {
        get
        {
            uint lint0 = Volatile.Read(ref _lvtLint0);
            return Mode == ApicMode.Disabled || ((lint0 & LvtMasked) == 0 && DeliveryOf(lint0) == ApicDelivery.External);
        }
    }

    /// <summary>As <see cref="EvaluateRequests"/>, for the external controller: cleared first, so that a rise meanwhile is not lost.</summary>
    private void EvaluateExternal()
    {
        Interlocked.And(ref _events, ~(int)InterruptEvents.ExternalInterrupt);
        if ((Volatile.Read(ref _externalLine) != 0 && ExternalPassesLint0) || Volatile.Read(ref _externalMessage) != 0)
            Raise(InterruptEvents.ExternalInterrupt);
    }

    private int TakeExternal()
    {
        bool message = Interlocked.Exchange(ref _externalMessage, 0) != 0;
        bool line = Volatile.Read(ref _externalLine) != 0 && ExternalPassesLint0;
        int vector = (message || line) && _external is { } controller ? controller.Acknowledge() : -1;
        EvaluateExternal();
        return vector;
    }

    /// <summary>A local interrupt other than the external controller's fires. Fixed LINT interrupts are taken as edge-triggered: no chip of ours drives a level there.</summary>
    private void TriggerLint(ref uint lvt)
    {
        uint entry = Volatile.Read(ref lvt);
        if ((entry & LvtMasked) == 0 && Mode != ApicMode.Disabled && DeliveryOf(entry) is not (ApicDelivery.LowestPriority or ApicDelivery.Startup))
            Receive(DeliveryOf(entry), (byte)entry, levelTriggered: false);
    }

    private static ApicDelivery DeliveryOf(uint entry) => (ApicDelivery)((entry >> 8) & 7);

    /// <summary>Notes an error for the next write of ESR to show, and interrupts if it is a new one (SDM vol. 3, 11.5.3).</summary>
    private void AddError(int error)
    {
        if ((Interlocked.Or(ref _errors, error) & error) != 0)
            return;
        uint entry = Volatile.Read(ref _lvtError);
        if ((entry & LvtMasked) == 0)
            AcceptFixed((byte)entry, levelTriggered: false);
    }
}
