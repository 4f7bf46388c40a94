using Kvm.Devices.Bus;
using Kvm.Devices.Pci;
using Kvm.Devices.Platform;
using Kvm.Devices.Snapshot;
using Kvm.Devices.Tests.Support;

namespace Kvm.Devices.Tests.Properties;

/// <summary>One of each device on a clock of its own, with everything it says to the outside written down.</summary>
internal sealed class Machine : IDisposable
{
    public const int DeviceCount = 11;

    private readonly List<IDisposable> _disposables = [];
    private readonly PciFunction[] _functions;
    private readonly List<string> _said = [];

    public Machine(TimeProvider? time = null)
    {
        Time = new ManualTime();
        time ??= Time;
        Serial = new Serial16550("serial0", Line("serial"), new Sink(Say));
        var rtc = new Rtc("rtc", time, Line("rtc"));
        var pm = new AcpiPm("acpi-pm", time, Line("sci"), () => Say("off"), () => Say("pm reset"));
        var bus = new PciBus(new IoBus(), new IoBus());
        _functions = [new PciHostBridge("pci-host"), new Card()];
        var watchdog = new WatchdogBoard(time, () => Say("watchdog"));
        bus.Add(0, _functions[0]);
        bus.Add(8, _functions[1]);
        Devices =
        [
            Serial,
            new I8042("i8042", () => Say("i8042 reset"), Line("i8042")),
            rtc,
            pm,
            new DebugExitPort("debug-exit", value => Say($"exit {value}")),
            new PvPanic("pvpanic", events => Say($"panic {events}")),
            new SystemControlB("port61", time),
            new SystemControlA("port92", () => Say("port92 reset")),
            new PostCodePort("port80"),
            new PciConfigPorts("pci-config", bus, () => Say("cf9 reset")),
            watchdog,
        ];
        _disposables.AddRange([rtc, pm, watchdog]);
    }

    public ManualTime Time { get; }

    public Serial16550 Serial { get; }

    public IBusDevice[] Devices { get; }

    /// <summary>Interrupts, output and callbacks in order.</summary>
    public IReadOnlyList<string> Said => _said;

    public IStateful State(int device) => (IStateful)Devices[device];

    /// <summary>All that has state behind a device: with the PCI ports also the functions on the bus.</summary>
    public IStateful[] Parts(int device) => Devices[device] is PciConfigPorts ports ? [ports, .. _functions] : [State(device)];

    public void Dispose() => _disposables.ForEach(d => d.Dispose());

    private void Say(string what)
    {
        lock (_said)
            _said.Add(what);
    }

    private LoggedLine Line(string name) => new(name, Say);

    private sealed class LoggedLine(string name, Action<string> say) : Kvm.Devices.Interrupts.IInterruptLine
    {
        private bool _level;

        public void Set(bool asserted)
        {
            // A restore repeats the level, which is harmless and no difference in behaviour.
            if (asserted != _level)
                say($"{name} {(asserted ? "up" : "down")}");
            _level = asserted;
        }
    }

    private sealed class Sink(Action<string> say) : ISerialSink
    {
        public void Write(ReadOnlySpan<byte> bytes)
        {
            foreach (byte b in bytes)
                say($"sent {b}");
        }
    }

    private sealed class Card() : PciFunction("card", MakeConfig())
    {
        private readonly PostCodePort _registers = new("card-registers");

        protected internal override IBusDevice? BarDevice(int index) => _registers;

        private static PciConfigSpace MakeConfig()
        {
            var config = new PciConfigSpace(0x1af4, 0x1042, 0x018000);
            config.AddBar(0, PciBarKind.Memory64, 0x1000);
            config.AddBar(2, PciBarKind.Io, 64);
            config.AddCapability(0x09, [1, 2, 3, 4], [0xff, 0x0f]);
            return config;
        }
    }
}
