using System.Numerics;

namespace Kvm.X86.Interrupts;

/// <summary>
/// A processor's local APIC (SDM vol. 3, chapter 11): priorities and acknowledgement here; delivery from other threads,
/// registers, timer and saved state in the other parts.
/// </summary>
/// <remarks>
/// <para>Who may do what: the interrupt request and trigger-mode registers, the pending events and the error bits are changed
/// by any thread, with interlocked operations. In-service bits, priorities, local vector table and commands belong
/// to the processor's thread; others only read them. The timer has a small lock, as its deadline fires on a driver's thread.</para>
/// <para>No interrupt is lost between a sender and the processor: the sender sets the request bit, then compares with the
/// processor priority; the processor lowers its priority, then looks at the request bits (both with a full fence between).</para>
/// </remarks>
public sealed partial class LocalApic
{
    private const int Words = 8;

    private readonly uint[] _irr = new uint[Words];
    private readonly uint[] _tmr = new uint[Words];
    private readonly uint[] _isr = new uint[Words];
    private readonly ApicBus _bus;
    private readonly ProcessorTsc _tsc;
    private readonly TimerQueue _timers;
    private readonly int _timer;
    private IInterruptTarget? _target;
    private IEndOfInterruptSink? _endOfInterrupt;
    private IExternalInterruptController? _external;
    private int _events;
    private int _startupVector;
    private int _taskPriority;
    private int _processorPriority;

    /// <summary>Makes the local APIC of one processor, as after power-up, and puts it on <paramref name="bus"/>.</summary>
    /// <param name="bus">Carries IPIs; gives this APIC the next id.</param>
    /// <param name="tsc">The processor's time-stamp counter.</param>
    /// <param name="timers">The machine's timers.</param>
    public LocalApic(ApicBus bus, ProcessorTsc tsc, TimerQueue timers)
    {
        ArgumentNullException.ThrowIfNull(bus);
        ArgumentNullException.ThrowIfNull(tsc);
        ArgumentNullException.ThrowIfNull(timers);
        _bus = bus;
        _tsc = tsc;
        _timers = timers;
        _timer = timers.Add(this);
        Id = bus.Add(this);
        PowerUp();
    }

    /// <summary>The APIC id, also the processor's index; fixed, as on processors since Nehalem (SDM vol. 3, 11.4.6).</summary>
    public uint Id { get; }

    /// <summary>The processor to notify; set before the machine runs.</summary>
    public IInterruptTarget? Target
    {
        get => Volatile.Read(ref _target);
        set => Volatile.Write(ref _target, value);
    }

    /// <summary>What waits at the processor's pins. One volatile read, from any thread.</summary>
    public InterruptEvents Pending => (InterruptEvents)Volatile.Read(ref _events);

    /// <summary>CR8, bits 4–7 of the task-priority register. Processor's thread.</summary>
    public byte TaskPriorityClass
    {
        get => (byte)(_taskPriority >> 4);
        set => SetTaskPriority((value & 0xf) << 4);
    }

    /// <summary>Connects the chips that the processor's EOIs and acknowledge cycles go to; before the machine runs.</summary>
    public void Connect(IEndOfInterruptSink? endOfInterrupt, IExternalInterruptController? external)
    {
        _endOfInterrupt = endOfInterrupt;
        _external = external;
    }

    /// <summary>
    /// The interrupt-acknowledge cycle, external controller first as INTR is not subject to the APIC's priorities; −1 if
    /// nothing can be delivered (any more). Processor's thread.
    /// </summary>
    public int AcknowledgeInterrupt()
    {
        if ((Pending & InterruptEvents.ExternalInterrupt) != 0 && TakeExternal() is var external and >= 0)
            return external;

        int vector = Highest(_irr);
        if (vector >> 4 <= _processorPriority >> 4)
        {
            EvaluateRequests();
            return -1;
        }

        uint bit = 1u << (vector & 31);
        Interlocked.And(ref _irr[vector >> 5], ~bit);
        _isr[vector >> 5] |= bit;
        // The vector is above every one in service and above the task priority, so it alone is the processor priority now.
        Volatile.Write(ref _processorPriority, vector & 0xf0);
        EvaluateRequests();
        return vector;
    }

    /// <summary>Takes the pending NMI. Processor's thread.</summary>
    public bool TakeNmi() =>
        (Change(before => (before & InterruptEvents.SecondNmi) != 0 ? before & ~InterruptEvents.SecondNmi : before & ~InterruptEvents.Nmi) & InterruptEvents.Nmi) != 0;

    /// <summary>Forgets all but one of the NMIs that wait. Processor's thread.</summary>
    public void MergeNmis() => Take(InterruptEvents.SecondNmi);

    /// <summary>Takes a pending start-up IPI's vector, or −1. Processor's thread.</summary>
    public int TakeStartup() => Take(InterruptEvents.Startup) ? Volatile.Read(ref _startupVector) : -1;

    /// <summary>Takes a pending INIT and resets the APIC, all but its id and IA32_APIC_BASE (SDM vol. 3, 11.4.7.3). Processor's thread.</summary>
    public bool TakeInit()
    {
        if (!Take(InterruptEvents.Init))
            return false;
        Reset();
        return true;
    }

    private bool Take(InterruptEvents one) => (Interlocked.And(ref _events, ~(int)one) & (int)one) != 0;

    private void RaiseNmi()
    {
        if ((Change(before => before | ((before & InterruptEvents.Nmi) == 0 ? InterruptEvents.Nmi : InterruptEvents.SecondNmi)) & InterruptEvents.Nmi) == 0)
            Target?.Notify();
    }

    /// <summary>Changes what waits, whole; the value is what it was. <paramref name="change"/> captures nothing, so that nothing is allocated.</summary>
    private InterruptEvents Change(Func<InterruptEvents, InterruptEvents> change)
    {
        int before;
        do
        {
            before = Volatile.Read(ref _events);
        }
        while (Interlocked.CompareExchange(ref _events, (int)change((InterruptEvents)before), before) != before);
        return (InterruptEvents)before;
    }

    private void Raise(InterruptEvents one)
    {
        int before = Interlocked.Or(ref _events, (int)one);
        // Still set from before: the processor was told then and has not looked yet, or cannot take it now and will look again.
        if ((before & (int)one) == 0)
            Target?.Notify();
    }

    /// <summary>EOI: ends the highest interrupt in service (SDM vol. 3, 11.8.5); with none in service nothing happens.</summary>
    private void EndOfInterrupt()
    {
        int vector = Highest(_isr);
        if (vector < 0)
            return;
        uint bit = 1u << (vector & 31);
        _isr[vector >> 5] &= ~bit;
        UpdateProcessorPriority();
        if ((Volatile.Read(ref _tmr[vector >> 5]) & bit) != 0 && (_spurious & SpuriousSuppressBroadcast) == 0)
            _endOfInterrupt?.EndOfInterrupt((byte)vector);
        EvaluateRequests();
    }

    private void SetTaskPriority(int priority)
    {
        _taskPriority = priority;
        UpdateProcessorPriority();
        EvaluateRequests();
    }

    /// <summary>The processor priority is the higher class of task priority and highest vector in service (SDM vol. 3, 11.8.3.1).</summary>
    private void UpdateProcessorPriority()
    {
        int inService = Math.Max(Highest(_isr), 0);
        int priority = _taskPriority >> 4 >= inService >> 4 ? _taskPriority : inService & 0xf0;
        Volatile.Write(ref _processorPriority, priority);
    }

    /// <summary>
    /// Finds out anew whether a request can be delivered. The event is cleared before the request bits are read: a sender
    /// that sets its bit later than that sees the lowered priority and raises the event itself.
    /// </summary>
    private void EvaluateRequests()
    {
        Interlocked.And(ref _events, ~(int)InterruptEvents.Interrupt);
        if (Highest(_irr) >> 4 > _processorPriority >> 4)
            Raise(InterruptEvents.Interrupt);
    }

    /// <summary>The highest bit set of 256, or −1.</summary>
    private static int Highest(uint[] words)
    {
        for (int i = Words - 1; i >= 0; i--)
        {
            uint word = Volatile.Read(ref words[i]);
            if (word != 0)
                return (i << 5) + 31 - BitOperations.LeadingZeroCount(word);
        }

        return -1;
    }
}
