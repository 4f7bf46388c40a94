using Kvm.Devices.Bus;
using Kvm.Devices.Interrupts;
using Kvm.Devices.Snapshot;

namespace Kvm.Devices.Platform;

/// <summary>
/// A 16550A UART: eight byte registers, 16-byte FIFOs, modem lines of an always-present terminal, loopback.
/// Rules are those of the PC16550D data sheet (National Semiconductor, 1995), section 8; where PCs differ, a comment says so.
/// </summary>
/// <remarks>
/// <para>The line has no speed: a byte written is sent at once, so the transmitter is always empty, and the four character
/// times of the receive timeout have passed as soon as the host has nothing more to deliver.</para>
/// <para>Input waits in a bounded queue of <see cref="InputCapacity"/> bytes, of which the guest sees the first 16. The host is
/// a well-behaved peer: it sends only while the guest asserts RTS, has enabled the receive interrupt, or has never touched
/// the modem control register (a polling guest). So what was typed or piped before a driver opens the port is not
/// thrown away by the driver's resets.</para>
/// <para>Safe from any thread. Nothing is allocated after construction.</para>
/// </remarks>
public sealed partial class Serial16550 : IBusDevice, IStateful
{
    /// <summary>Ports it takes.</summary>
    public const int Size = 8;

    /// <summary>Bytes of input that wait for the guest at most.</summary>
    public const int InputCapacity = 4096;

    private const int FifoDepth = 16;

    private const byte IerData = 1 << 0, IerTransmit = 1 << 1, IerLine = 1 << 2, IerModem = 1 << 3;
    private const byte LcrDlab = 1 << 7;
    private const byte McrRts = 1 << 1, McrLoop = 1 << 4;
    private const byte LsrData = 1 << 0, LsrOverrun = 1 << 1, LsrErrors = 0x1e, LsrTransmitterEmpty = 0x60;
    private const byte MsrDeltas = 0x0f, MsrRing = 1 << 6, MsrTerminalPresent = 0xb0; // DCD, DSR, CTS
    private const byte IirLine = 6, IirData = 4, IirTimeout = 12, IirTransmit = 2, IirModem = 0, IirNone = 1;

    private readonly Lock _registers = new();
    private readonly Lock _output = new();
    private readonly ISerialSink _sink;
    private readonly ByteRing _input = new(InputCapacity);
    private readonly ByteRing _looped = new(FifoDepth);

    private LineDriver _interrupt;
    private byte _ier, _lcr, _mcr, _lsrErrors, _msr = MsrTerminalPresent, _scratch;
    private ushort _divisor = 12; // 9600 baud, what firmware leaves
    private bool _fifoEnabled, _transmitPending, _modemControlWritten, _inputRefused;
    private int _trigger = 1;
    private long _sent, _received;

    /// <summary>Makes a port as it is after a reset.</summary>
    /// <param name="name">The state's name, such as <c>serial0</c>.</param>
    /// <param name="interrupt">The port's interrupt wire (IRQ 4 for the first port of a PC).</param>
    /// <param name="sink">Takes what the guest sends.</param>
    public Serial16550(string name, IInterruptLine interrupt, ISerialSink sink)
    {
        ArgumentException.ThrowIfNullOrEmpty(name);
        ArgumentNullException.ThrowIfNull(interrupt);
        ArgumentNullException.ThrowIfNull(sink);
        StateName = name;
        _interrupt = new LineDriver(interrupt);
        _sink = sink;
    }

    /// <summary>
    /// Raised after <see cref="Receive"/> refused bytes, once the queue is at most half full. Comes on a vCPU thread with no lock
    /// held; the handler must not throw and must not block: it wakes whoever reads the host's input.
    /// </summary>
    public event Action? InputSpaceAvailable;

    /// <summary>Bytes the guest has sent.</summary>
    public long BytesSent => Interlocked.Read(ref _sent);

    /// <summary>Bytes taken from the host.</summary>
    public long BytesReceived => Interlocked.Read(ref _received);

    /// <summary>
    /// Delivers input and returns how many of the bytes were taken, from the start of <paramref name="bytes"/>.
    /// When it is fewer than all, <see cref="InputSpaceAvailable"/> will tell when to go on.
    /// </summary>
    public int Receive(ReadOnlySpan<byte> bytes)
    {
        lock (_registers)
        {
            int accepted = _input.Push(bytes);
            _inputRefused |= accepted < bytes.Length;
            _received += accepted;
            UpdateInterrupt();
            return accepted;
        }
    }

    /// <inheritdoc/>
    public void Read(ulong offset, Span<byte> data)
    {
        bool space;
        lock (_registers)
        {
            // ISA splits a wide access into byte accesses of consecutive ports.
            for (int i = 0; i < data.Length; i++)
                data[i] = offset < Size && offset + (ulong)i < Size ? ReadRegister((int)offset + i) : (byte)0xff;
            UpdateInterrupt();
            space = TakeSpaceNotice();
        }

        if (space)
            InputSpaceAvailable?.Invoke();
    }

    /// <inheritdoc/>
    public void Write(ulong offset, ReadOnlySpan<byte> data)
    {
        bool space;
        int sent = -1;
        lock (_registers)
        {
            for (int i = 0; i < data.Length && offset < Size && offset + (ulong)i < Size; i++)
            {
                int register = (int)offset + i;
                if (register == 0 && (_lcr & LcrDlab) == 0)
                    sent = Transmit(data[i]);
                else
                    WriteRegister(register, data[i]);
                // After each byte, so that an edge between two bytes of one access is not lost.
                UpdateInterrupt();
            }

            space = TakeSpaceNotice();
        }

        if (sent >= 0)
            Emit((byte)sent);
        if (space)
            InputSpaceAvailable?.Invoke();
    }

    private void Emit(byte value)
    {
        lock (_output)
        {
            _sent++;
            _sink.Write(new ReadOnlySpan<byte>(in value));
        }
    }

    private byte ReadRegister(int register)
    {
        bool dlab = (_lcr & LcrDlab) != 0;
        switch (register)
        {
            case 0:
                return dlab ? (byte)(_divisor & 0xff) : TakeInput();
            case 1:
                return dlab ? (byte)(_divisor >> 8) : _ier;
            case 2:
                return ReadInterruptId();
            case 3:
                return _lcr;
            case 4:
                return _mcr;
            case 5:
                byte status = (byte)(LsrTransmitterEmpty | _lsrErrors | (Visible > 0 ? LsrData : 0));
                _lsrErrors = 0;
                return status;
            case 6:
                byte modem = _msr;
                _msr &= unchecked((byte)~MsrDeltas);
                return modem;
            default:
                return _scratch;
        }
    }

    private void WriteRegister(int register, byte value)
    {
        bool dlab = (_lcr & LcrDlab) != 0;
        switch (register)
        {
            case 0:
                _divisor = (ushort)((_divisor & 0xff00) | value);
                break;
            case 1 when dlab:
                _divisor = (ushort)((_divisor & 0x00ff) | value << 8);
                break;
            case 1:
                // Enabling the transmit interrupt while the transmitter is empty raises it each time (8.6.5): drivers start sending so.
                if ((value & ~_ier & IerTransmit) != 0)
                    _transmitPending = true;
                _ier = (byte)(value & 0x0f);
                break;
            case 2:
                WriteFifoControl(value);
                break;
            case 3:
                _lcr = value;
                break;
            case 4:
                _mcr = (byte)(value & 0x1f);
                _modemControlWritten = true;
                UpdateModemLines();
                break;
            case 7:
                _scratch = value;
                break;
            default:
                break; // LSR and MSR: writing is for factory tests.
        }
    }

    /// <summary>A byte into the transmit holding register: the byte to send, or −1 if it went round the loop.</summary>
    private int Transmit(byte value)
    {
        // Written and, at a line without speed, empty again: the interrupt comes (again).
        _transmitPending = true;
        if ((_mcr & McrLoop) == 0)
            return value;

        if (Visible < Depth)
        {
            _looped.Push(new ReadOnlySpan<byte>(in value));
        }
        else
        {
            // 8.6.4: with FIFOs the newest character is lost, without them it replaces the one not yet read.
            _lsrErrors |= LsrOverrun;
            if (!_fifoEnabled)
            {
                _looped.Drop(_looped.Count);
                _looped.Push(new ReadOnlySpan<byte>(in value));
            }
        }

        return -1;
    }

    private void WriteFifoControl(byte value)
    {
        bool enable = (value & 1) != 0;
        // 8.5: changing the mode clears both FIFOs; bit 0 must be set for the others to be taken.
        if (enable != _fifoEnabled || (enable && (value & 2) != 0))
            ResetReceiver();
        _fifoEnabled = enable;
        if (enable)
            _trigger = (value >> 6) switch { 0 => 1, 1 => 4, 2 => 8, _ => 14 };
    }

    private void ResetReceiver()
    {
        int visibleInput = Visible - Math.Min(_looped.Count, Depth);
        _looped.Drop(_looped.Count);
        // Before the port was ever set up the peer has, so to say, not sent yet.
        if (_modemControlWritten)
            _input.Drop(visibleInput);
    }

    private byte ReadInterruptId()
    {
        byte id = InterruptId();
        if (id == IirTransmit)
            _transmitPending = false;
        return (byte)(id | (_fifoEnabled ? 0xc0 : 0));
    }

    /// <summary>The highest interrupt that is enabled and present (8.6, table IV).</summary>
    private byte InterruptId()
    {
        if ((_ier & IerLine) != 0 && _lsrErrors != 0)
            return IirLine;
        if ((_ier & IerData) != 0 && Visible is > 0 and var count)
            return !_fifoEnabled || count >= _trigger ? IirData : IirTimeout;
        if ((_ier & IerTransmit) != 0 && _transmitPending)
            return IirTransmit;
        return (_ier & IerModem) != 0 && (_msr & MsrDeltas) != 0 ? IirModem : IirNone;
    }

    // Not gated by OUT2, as a PC's adapter card would: guests written for other virtual machines leave it clear.
    private void UpdateInterrupt() => _interrupt.Set(InterruptId() != IirNone);

    private void UpdateModemLines()
    {
        // Loopback (8.6.7): RTS, DTR, OUT1, OUT2 come back as CTS, DSR, RI, DCD.
        int lines = MsrTerminalPresent;
        if ((_mcr & McrLoop) != 0)
            lines = (_mcr & 2) << 3 | (_mcr & 1) << 5 | (_mcr & 0xc) << 4;
        int changed = (lines ^ _msr) & 0xf0;
        // RI's delta tells only its end.
        if ((lines & MsrRing) != 0)
            changed &= ~MsrRing;
        _msr = (byte)(lines | (_msr & MsrDeltas) | changed >> 4);
    }

    private int Depth => _fifoEnabled ? FifoDepth : 1;

    private bool Connected =>
        (_mcr & McrLoop) == 0 && (!_modemControlWritten || (_mcr & McrRts) != 0 || (_ier & IerData) != 0);

    /// <summary>Received bytes the guest can see: what the FIFO holds.</summary>
    private int Visible => Math.Min(Depth, _looped.Count + (Connected ? _input.Count : 0));

    private byte TakeInput()
    {
        if (_looped.Count > 0)
            return _looped.Pop();
        return Connected ? _input.Pop() : (byte)0;
    }

    private bool TakeSpaceNotice()
    {
        if (!_inputRefused || _input.Count > InputCapacity / 2)
            return false;
        _inputRefused = false;
        return true;
    }
}
