using System.Buffers.Binary;
using System.Text;
using Kvm.Devices.Memory;
using Kvm.Devices.Platform;
using Kvm.Devices.Virtio.Queue;

namespace Kvm.Devices.Virtio.Console;

/// <summary>
/// A virtio console with one or more ports (virtio 1.2, 5.3): text consoles, and named channels between programs of guest and host. What either
/// side sends waits, bounded, until the other takes it; nothing is lost but input that a guest never asked for and that was not accepted.
/// </summary>
public sealed partial class ConsoleDevice : VirtioDevice
{
    /// <summary>The most ports.</summary>
    public const int MaxPorts = 30;

    /// <summary>Bytes of input that wait for a port's guest.</summary>
    public const int InputCapacity = 16 << 10;

    private const ulong SizeFeature = 1 << 0, Multiport = 1 << 1, EmergencyWrite = 1 << 2;
    private const int ColumnsOffset = 0, PortsOffset = 4, EmergencyOffset = 8, ConfigLength = 12;
    private const int QueueEntries = 64, ControlInput = 2, ControlOutput = 3;

    private readonly ConsolePort[] _ports;
    private readonly PortState[] _states;
    private readonly Lock _portLock = new();
    private readonly ConsoleControl _control;
    private readonly bool _multiport;
    // Of a console without control messages: nobody has said anything yet, so that nobody may be there to listen.
    private volatile bool _isSilent;

    /// <summary>What belongs to a port; input under the port lock, the rest under its transmit queue's gate.</summary>
    private sealed class PortState
    {
        public readonly ByteRing Input = new(InputCapacity);
        public bool InputRefused;
        public bool GuestOpen;
        public int Consumed;
        public long Sent;
        public long Received;
    }

    /// <summary>Makes a device.</summary>
    /// <param name="name">The state's name, such as <c>console0</c>.</param>
    /// <param name="memory">Guest memory.</param>
    /// <param name="ports">Its ports, 1 to <see cref="MaxPorts"/>; the first is the one a driver without VIRTIO_CONSOLE_F_MULTIPORT uses.</param>
    /// <param name="multiport">
    /// VIRTIO_CONSOLE_F_MULTIPORT is offered. Without it there is port 0 alone, which Linux has as hvc0 as soon as its driver has started: with it, hvc0
    /// comes some time after that, and perhaps after the first program has opened the console. Nobody says then when the port is open, and Linux throws
    /// input away until it has set its console up: input waits for the first output.
    /// </param>
    /// <exception cref="ArgumentException">There are none or too many, or a name is too long.</exception>
    public ConsoleDevice(string name, GuestMemory memory, IReadOnlyList<ConsolePort> ports, bool multiport = true)
        : base(name, VirtioDeviceType.Console, memory, SizeFeature | EmergencyWrite | (multiport ? Multiport : 0), QueueSizes(ports), ConfigLength)
    {
        _multiport = multiport;
        _isSilent = !multiport;
        _ports = [.. ports];
        _states = [.. ports.Select(_ => new PortState())];
        _control = new ConsoleControl(_ports);
        Span<byte> count = stackalloc byte[4];
        BinaryPrimitives.WriteInt32LittleEndian(count, ports.Count);
        SetConfig(PortsOffset, count);
    }

    /// <summary>Raised, on a queue's thread, when a port takes input again after <see cref="SendInput"/> took less than it was given; must not throw.</summary>
    public event Action<int>? InputSpaceAvailable;

    /// <summary>Number of ports.</summary>
    public int PortCount => _ports.Length;

    /// <summary>Bytes a port's guest has sent and was sent.</summary>
    public (long Sent, long Received) Traffic(int port) => (Volatile.Read(ref _states[port].Sent), Volatile.Read(ref _states[port].Received));

    /// <summary>True if a program in the guest has the port open.</summary>
    public bool IsGuestOpen(int port)
    {
        lock (_portLock)
            return _states[port].GuestOpen;
    }

    /// <summary>Sends input to a port's guest. Any thread.</summary>
    /// <returns>
    /// How many bytes were taken; the rest waits for <see cref="InputSpaceAvailable"/>, or for the guest to open a port that is no text console's.
    /// </returns>
    public int SendInput(int port, ReadOnlySpan<byte> bytes)
    {
        int taken;
        lock (_portLock)
        {
            bool closed = Has(Multiport) && !_states[port].GuestOpen && !_ports[port].IsConsole;
            taken = closed ? 0 : _states[port].Input.Push(bytes);
            _states[port].InputRefused |= taken < bytes.Length;
        }

        WakeQueue(InputQueue(port));
        return taken;
    }

    /// <summary>
    /// Whether a port's guest still has input to take; if so, <see cref="InputSpaceAvailable"/> is raised when it took some. Any thread.
    /// </summary>
    public bool WatchInput(int port)
    {
        lock (_portLock)
            return _states[port].InputRefused = _states[port].Input.Count > 0;
    }

    /// <summary>Says that a port's sink takes output again. Any thread.</summary>
    public void OutputReady(int port) => WakeQueue(InputQueue(port) + 1);

    /// <summary>Says that the host's end of a port was opened or closed. Any thread.</summary>
    public void SetHostOpen(int port, bool open)
    {
        lock (_portLock)
        {
            if (_control.IsOpen(port) == open)
                return;
            _control.SetOpen(port, open);
            if (Has(Multiport))
                _control.Send(port, ConsoleEvent.PortOpen);
        }

        WakeQueue(ControlInput);
    }

    /// <summary>Tells the guest the size of the text consoles. Any thread.</summary>
    public void Resize(ushort columns, ushort rows)
    {
        Span<byte> size = stackalloc byte[4];
        BinaryPrimitives.WriteUInt16LittleEndian(size, columns);
        BinaryPrimitives.WriteUInt16LittleEndian(size[2..], rows);
        SetConfig(ColumnsOffset, size);
        lock (_portLock)
        {
            _control.Size = (columns, rows);
            for (int port = 0; port < _ports.Length && Has(Multiport); port++)
            {
                if (_ports[port].IsConsole)
                    _control.Send(port, ConsoleEvent.Resize);
            }
        }

        if (Has(SizeFeature))
            SignalConfig();
        WakeQueue(ControlInput);
    }

    /// <inheritdoc/>
    protected override void OnReset()
    {
        _isSilent = !_multiport;
        lock (_portLock)
        {
            _control.Clear();
            for (int port = 0; port < _ports.Length; port++)
            {
                Close(port);
                _states[port].Consumed = 0;
            }
        }

        foreach (var port in _ports)
            port.Sink.GuestOpened(false);
    }

    /// <inheritdoc/>
    protected override void OnActivate()
    {
        // Without control messages port 0 is simply there.
        if (!Has(Multiport))
            SetGuestOpen(0, true);
    }

    /// <inheritdoc/>
    protected override void OnConfigWrite(int offset, ReadOnlySpan<byte> data)
    {
        // 5.3.5.1: at any time, even before the device is configured.
        if (offset == EmergencyOffset)
            _ports[0].Sink.Write(data[..1]);
    }

    /// <summary>Queues 0 and 1 are port 0's, 2 and 3 the control queues, and from 4 on two for each further port (5.3.2).</summary>
    private static int InputQueue(int port) => port == 0 ? 0 : 2 + port * 2;

    private static int PortOf(int queue) => queue < 2 ? 0 : queue / 2 - 1;

    private static int[] QueueSizes(IReadOnlyList<ConsolePort> ports)
    {
        ArgumentNullException.ThrowIfNull(ports);
        if (ports.Count is 0 or > MaxPorts)
            throw new ArgumentException($"{ports.Count} ports; a console has 1 to {MaxPorts}", nameof(ports));
        if (ports.FirstOrDefault(p => Encoding.UTF8.GetByteCount(p.Name) > ConsoleControl.MostName) is { } port)
            throw new ArgumentException($"the name '{port.Name}' is longer than {ConsoleControl.MostName} bytes", nameof(ports));
        var sizes = new int[2 + 2 * ports.Count];
        Array.Fill(sizes, QueueEntries);
        return sizes;
    }

    private void SetGuestOpen(int port, bool open)
    {
        lock (_portLock)
        {
            if (_states[port].GuestOpen == open)
                return;
            if (open)
                _states[port].GuestOpen = true;
            else
                Close(port);
        }

        _ports[port].Sink.GuestOpened(open);
        if (open)
            WakeQueue(InputQueue(port));
    }

    /// <summary>The guest closes a port: what its program did not take is not the next one's. A text console's input is nobody's in particular.</summary>
    private void Close(int port)
    {
        var state = _states[port];
        state.GuestOpen = false;
        if (!_ports[port].IsConsole)
            state.Input.Drop(state.Input.Count);
    }
}
