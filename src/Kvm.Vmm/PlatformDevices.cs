using Kvm.Devices.Bus;
using Kvm.Devices.Memory;
using Kvm.Devices.Pci;
using Kvm.Devices.Platform;
using Kvm.Devices.Snapshot;
using Kvm.Vmm.Console;
using Kvm.Vmm.Reporting;
using Kvm.Vmm.Vcpu;

namespace Kvm.Vmm;

/// <summary>
/// The devices every machine has, at the ports <see cref="MachineLayout"/> says. Each asks the machine to end in its own
/// way: power-off, reset, debug-exit, panic.
/// </summary>
internal sealed class PlatformDevices : ISerialSink, IDisposable
{
    /// <summary>How long a guest that reported a panic may go on: it prints a back-trace, then usually resets by itself.</summary>
    private static readonly TimeSpan s_panicGrace = TimeSpan.FromSeconds(1);

    private readonly ConsoleWatcher _console;
    private readonly Serial16550 _serial;
    private readonly AcpiPm _acpi;
    private readonly Rtc _rtc;
    private readonly PvPanic _pvpanic;
    private readonly I8042 _keyboard;
    private readonly IoBus _ports;
    private readonly IoBus _mmio;
    private Watchdog6300Esb? _watchdog;
    private VirtualMachine? _machine;

    public PlatformDevices(IoBus ports, IoBus mmio, GuestMemory memory, IEngine engine, ConsoleWatcher console, TimeProvider time, bool hasKeyboard)
    {
        _console = console;
        _ports = ports;
        _mmio = mmio;
        _serial = new Serial16550("serial0", engine.Line(MachineLayout.Com1Gsi), this);
        _rtc = new Rtc("rtc", time, engine.Line(MachineLayout.RtcGsi));
        _acpi = new AcpiPm("acpi-pm", time, engine.Line(MachineLayout.SciGsi), PowerOff, Reset);
        _pvpanic = new PvPanic("pvpanic", OnPanic);
        var keyboard = _keyboard = new I8042("i8042", Reset, engine.Line(MachineLayout.KeyboardGsi), hasKeyboard);
        var control = new SystemControlA("system-control-a", Reset);
        var postCode = new PostCodePort("post-code");
        var delay = new PostCodePort("io-delay");
        var exit = new DebugExitPort("debug-exit", OnDebugExit);

        ports.Add(MachineLayout.Com1, Serial16550.Size, _serial);
        ports.Add(MachineLayout.Rtc, Rtc.Size, _rtc);
        ports.Add(MachineLayout.I8042Data, 1, keyboard);
        ports.Add(MachineLayout.I8042Command, 1, keyboard.CommandPort);
        ports.Add(MachineLayout.SystemControlA, SystemControlA.Size, control);
        ports.Add(MachineLayout.PostCode, PostCodePort.Size, postCode);
        ports.Add(MachineLayout.IoDelay, PostCodePort.Size, delay);
        ports.Add(MachineLayout.AcpiBlock, AcpiPm.Size, _acpi);
        ports.Add(MachineLayout.Pvpanic, PvPanic.Size, _pvpanic);
        ports.Add(MachineLayout.DebugExit, DebugExitPort.Size, exit);
        Pci = new PciBus(ports, mmio, memory);
        var bridge = new PciHostBridge("pci-host");
        Pci.Add(0, bridge);
        var configuration = new PciConfigPorts("pci-config", Pci, Reset);
        ports.Add(MachineLayout.PciConfig, MachineLayout.PciConfigSize, configuration);
        Parts = [_serial, _rtc, keyboard, control, postCode, delay, _acpi, _pvpanic, exit, bridge, configuration];
        mmio.Add(MachineLayout.PciEcam.Start, MachineLayout.PciEcam.Size, new PciEcam(Pci));
    }

    /// <summary>Adds a watchdog timer, which counts by <paramref name="time"/>.</summary>
    public void AddWatchdog(TimeProvider time)
    {
        _watchdog = new Watchdog6300Esb("watchdog", time, () => _machine?.OnWatchdog());
        Pci.Add(MachineLayout.PciWatchdog, _watchdog);
        Parts = [.. Parts, _watchdog];
    }

    /// <summary>Adds what test guests of hypervisors expect; ordinary machines do without.</summary>
    public void AddTestDevices(IEngine engine)
    {
        var interrupts = new TestInterruptPorts("test-interrupts", [.. Enumerable.Range(0, MachineLayout.IoApicPins).Select(gsi => engine.Line((uint)gsi))]);
        _ports.Add(MachineLayout.TestPorts, MachineLayout.TestPortsSize, new TestMemory("test-ports", MachineLayout.TestPortsSize));
        _ports.Add(MachineLayout.TestInterrupts, (ulong)interrupts.Size, interrupts);
        _mmio.Add(MachineLayout.TestMemory.Start, MachineLayout.TestMemory.Size, new TestMemory("test-memory", (int)MachineLayout.TestMemory.Size));
        SetFirmwareVectors();
    }

    /// <summary>
    /// The 8259s as a PC's firmware leaves them: vectors 0x08 and 0x70, and IRQ 11 alone let through. Real-mode tests rely on that.
    /// KVM's are not on this bus and stay as they are.
    /// </summary>
    private void SetFirmwareVectors()
    {
        ReadOnlySpan<(ushort Port, byte Value)> writes =
            [(0x20, 0x11), (0x21, 0x08), (0x21, 0x04), (0x21, 0x01), (0x21, 0xfb), (0xa0, 0x11), (0xa1, 0x70), (0xa1, 0x02), (0xa1, 0x01), (0xa1, 0xf7)];
        foreach (var (port, value) in writes)
            _ports.Write(port, [value]);
    }

    /// <summary>Each device with state.</summary>
    public IReadOnlyList<IStateful> Parts { get; private set; }

    /// <summary>PCI bus 0.</summary>
    public PciBus Pci { get; }

    /// <summary>See <see cref="VirtualMachine.ConsoleInputReady"/>.</summary>
    public event Action? ConsoleInputReady
    {
        add => _serial.InputSpaceAvailable += value;
        remove => _serial.InputSpaceAvailable -= value;
    }

    /// <summary>True once the guest told pvpanic that it panicked.</summary>
    public bool PanicReported => _pvpanic.Seen.HasFlag(PvPanicEvents.Panicked);

    /// <summary>Says whom to ask for an end; before this the devices only work.</summary>
    public void Connect(VirtualMachine machine) => _machine = machine;

    public int SendConsoleInput(ReadOnlySpan<byte> input) => _serial.Receive(input);

    public void PressCtrlAltDel() => _keyboard.PressCtrlAltDel();

    public bool PressPowerButton() => _acpi.PressPowerButton();

    /// <summary>Tells the guest that its generation id has changed.</summary>
    public void TellGeneration() => _acpi.RaiseGpe(Boot.GenerationId.Event);

    /// <summary>Counters of each device for the report.</summary>
    public SortedDictionary<string, IReadOnlyDictionary<string, long>> Counters() => new SortedDictionary<string, IReadOnlyDictionary<string, long>>(StringComparer.Ordinal)
    {
        ["bus"] = new SortedDictionary<string, long>(StringComparer.Ordinal)
        {
            ["refusedPciMappings"] = Pci.RefusedMappings,
            ["unclaimedMmio"] = _mmio.UnclaimedAccesses,
            ["unclaimedPorts"] = _ports.UnclaimedAccesses,
        },
        ["serial0"] = new SortedDictionary<string, long>(StringComparer.Ordinal)
        {
            ["bytesFromGuest"] = _serial.BytesSent,
            ["bytesToGuest"] = _serial.BytesReceived,
        },
    };

    /// <inheritdoc/>
    void ISerialSink.Write(ReadOnlySpan<byte> bytes) => _console.WriteSerial(bytes);

    public void Dispose()
    {
        _rtc.Dispose();
        _acpi.Dispose();
        _watchdog?.Dispose();
    }

    private void PowerOff() => _machine?.EndWith(VmOutcome.PowerOff);

    private void Reset() => _machine?.EndWith(VmOutcome.Reboot);

    private void OnDebugExit(ulong value) => _machine?.EndWith(VmOutcome.DebugExit, null, unchecked((uint)value));

    private void OnPanic(PvPanicEvents events)
    {
        if (events.HasFlag(PvPanicEvents.Panicked))
            _machine?.EndAfterPanic(s_panicGrace);
    }
}
