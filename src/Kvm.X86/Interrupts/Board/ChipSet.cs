using Kvm.Devices.Bus;
using Kvm.Devices.Interrupts;
using Kvm.Devices.Snapshot;

namespace Kvm.X86.Interrupts;

/// <summary>
/// The interrupt side of a PC's board: local APICs, I/O APIC, the pair of 8259s, the 8254 and the wires between them and
/// devices. It drives no time: see <see cref="Timers"/>.
/// </summary>
/// <remarks>
/// A global system interrupt is a pin of the I/O APIC. ISA interrupts 1 and 3 to 15 are on the pins of their numbers, and on
/// the 8259s; ISA interrupt 0 (the 8254) is on pin 2, which ACPI and MP tables say as an interrupt source override. Locks are taken in one order: timer chip, wire, 8259s
/// or I/O APIC, and nothing is held there for long; local APICs and <see cref="IInterruptTarget"/>s take none.
/// </remarks>
public sealed class ChipSet
{
    /// <summary>The 8254's global system interrupt: ISA interrupt 0 is wired to pin 2 of the I/O APIC.</summary>
    public const int TimerGsi = 2;

    private readonly ProcessorChips[] _processors;
    private readonly GsiWire[] _wires;
    private readonly bool _virtualWire;

    /// <summary>Builds and wires the chips.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The number of processors or pins is outside its range.</exception>
    public ChipSet(ChipSetOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(options.Processors);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(options.Processors, ChipSetOptions.MaximumProcessors);
        ArgumentOutOfRangeException.ThrowIfLessThan(options.IoApicPins, 16);
        _virtualWire = options.VirtualWire;
        Timers = new TimerQueue(options.Clock);
        Bus = new ApicBus();
        var fabric = options.ExternalApics?.Fabric ?? Bus;
        IoApic = new IoApic(fabric, options.IoApicPins);
        Msi = new MsiRouter(fabric);
        Pic = options.Legacy ? new Pic8259(options.ExternalApics?.Interrupt ?? new ExternalInterruptLine(Bus)) : null;
        _processors = new ProcessorChips[options.ExternalApics is null ? options.Processors : 0];
        for (int i = 0; i < _processors.Length; i++)
            _processors[i] = MakeProcessor(options);
        _wires = new GsiWire[IoApic.Pins];
        for (int gsi = 0; gsi < _wires.Length; gsi++)
            _wires[gsi] = MakeWire(gsi);
        if (options.Legacy)
            Pit = new Pit8254(Timers, Connect(TimerGsi));
    }

    /// <summary>The chips' timers; whoever runs the machine drives them (<see cref="TimerThread"/>, or a deterministic engine).</summary>
    public TimerQueue Timers { get; }

    /// <summary>The local APICs.</summary>
    public ApicBus Bus { get; }

    /// <summary>The I/O APIC.</summary>
    public IoApic IoApic { get; }

    /// <summary>The 8259s, or null.</summary>
    public Pic8259? Pic { get; }

    /// <summary>The 8254, or null.</summary>
    public Pit8254? Pit { get; }

    /// <summary>Takes message-signalled interrupts.</summary>
    public MsiRouter Msi { get; }

    /// <summary>Each processor's chips; the index is the APIC id.</summary>
    public ReadOnlySpan<ProcessorChips> Processors => _processors;

    /// <summary>Every part with state, in the order to restore in (the machine's time is restored before).</summary>
    public IEnumerable<IStateful> Parts
    {
        get
        {
            foreach (var processor in _processors)
            {
                yield return processor;
                yield return processor.Apic;
            }

            yield return Bus;
            yield return IoApic;
            if (Pic is not null)
                yield return Pic;
            if (Pit is not null)
                yield return Pit;
        }
    }

    /// <summary>True if no processor's TSC was moved against the others'.</summary>
    internal bool CountersEqual
    {
        get
        {
            foreach (var processor in _processors)
            {
                if (processor.Counter.Offset != _processors[0].Counter.Offset)
                    return false;
            }

            return true;
        }
    }

    /// <summary>
    /// A new end of the wire of a global system interrupt: 1 to 15 go to the 8259s as well (2 as their input 0), the others
    /// to the I/O APIC alone. Ends of one wire are combined: each device takes its own.
    /// </summary>
    /// <exception cref="ArgumentOutOfRangeException">There is no such wire.</exception>
    public IInterruptLine Connect(int gsi)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(gsi);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(gsi, _wires.Length);
        return _wires[gsi].Connect();
    }

    /// <summary>Adds the chips' ports and the I/O APIC's page to the buses. Local APICs' pages are each processor's own and not on a bus.</summary>
    /// <exception cref="ArgumentException">Something lives at one of these addresses already.</exception>
    public void Register(IoBus ports, IoBus memory)
    {
        ArgumentNullException.ThrowIfNull(memory);
        Pic?.Register(ports);
        Pit?.Register(ports);
        memory.Add(IoApic.DefaultBase, IoApic.WindowSize, IoApic);
    }

    /// <summary>Puts every chip into its power-up state, for a reset of the machine; no processor runs. Time goes on, and devices keep driving their wires.</summary>
    public void Reset()
    {
        IoApic.Reset();
        Pit?.Reset();
        Pic?.Reset();
        foreach (var processor in _processors)
            processor.Reset(_virtualWire);
    }

    /// <summary>Tells every processor's kvmclock page that the machine was paused; call before it goes on. Harmless if the guest uses none.</summary>
    public void NotifyResumed() => PublishClocks(stopped: true);

    internal void PublishClocks(bool stopped)
    {
        bool stable = CountersEqual;
        foreach (var processor in _processors)
            processor.PublishClock(stable, stopped);
    }

    private ProcessorChips MakeProcessor(ChipSetOptions options)
    {
        var tsc = new ProcessorTsc(options.Clock);
        var apic = new LocalApic(Bus, tsc, Timers);
        apic.Connect(IoApic, Pic);
        if (_virtualWire)
            apic.SetVirtualWire();
        return new ProcessorChips(this, apic, tsc, new KvmClock(options.Memory, tsc, options.WallClock));
    }

    private GsiWire MakeWire(int gsi)
    {
        int picInput = gsi switch { 0 or > 15 => -1, TimerGsi => 0, _ => gsi };
        return new GsiWire(Pic, picInput, IoApic, gsi);
    }

    /// <summary>INTR goes to LINT0 of every local APIC; the LVT of each says what becomes of it, usually nothing but on the first.</summary>
    private sealed class ExternalInterruptLine(ApicBus bus) : IInterruptLine
    {
        public void Set(bool asserted)
        {
            foreach (var apic in bus.Apics)
                apic.SetExternalLine(asserted);
        }
    }
}
