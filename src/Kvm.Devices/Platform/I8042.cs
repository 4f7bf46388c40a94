using Kvm.Devices.Bus;
using Kvm.Devices.Interrupts;
using Kvm.Devices.Snapshot;

namespace Kvm.Devices.Platform;

/// <summary>
/// The PC's keyboard controller with no mouse, and a keyboard only where one was asked for: it answers every command at once, so that a driver finds out
/// in a few accesses that nothing is attached, and it resets the machine, which is what it is there for. The keyboard acknowledges everything, and has three keys.
/// </summary>
/// <remarks>
/// Data port at offset 0, status and command port at offset 4 (0x60 and 0x64 on a PC; use <see cref="CommandPort"/> for the second).
/// Commands are those of the IBM PC AT Technical Reference, "Keyboard controller", and the PS/2's auxiliary ones.
/// Safe from any thread. Nothing is allocated after construction.
/// </remarks>
public sealed class I8042 : IBusDevice, IStateful
{
    /// <summary>Offset of the data port.</summary>
    public const int DataOffset = 0;

    /// <summary>Offset of the status and command port.</summary>
    public const int CommandOffset = 4;

    private const byte StatusOutputFull = 1 << 0, StatusSystem = 1 << 2, StatusCommand = 1 << 3, StatusNotLocked = 1 << 4;
    private const byte StatusAuxiliary = 1 << 5, StatusTimeout = 1 << 6;
    private const byte ControlInterrupt = 1 << 0, ControlSystem = 1 << 2, ControlKeyboardOff = 1 << 4, ControlAuxiliaryOff = 1 << 5;
    private const byte ControlTranslate = 1 << 6;
    private const byte OutputNotReset = 1 << 0, OutputA20 = 1 << 1;
    private const byte NoAnswer = 0xfe; // what the controller reports when nothing on the wire acknowledges

    private const byte Acknowledge = 0xfa, KeyboardPassed = 0xaa;
    private const int MostKeys = 16;

    private readonly Lock _lock = new();
    private readonly Action _reset;
    private readonly bool _hasKeyboard;

    // What the keyboard says next: not part of the state, as a person may type again.
    private readonly byte[] _keys = new byte[MostKeys];
    private int _keyCount;

    private LineDriver _interrupt;
    private byte _control = ControlSystem | ControlTranslate | ControlKeyboardOff | ControlAuxiliaryOff;
    private byte _outputPort = OutputNotReset | OutputA20;
    private byte _status = StatusNotLocked;
    private byte _output;
    private byte _expecting; // the command whose data byte is awaited, or 0

    /// <summary>Makes a controller as firmware leaves it.</summary>
    /// <param name="name">The state's name, such as <c>i8042</c>.</param>
    /// <param name="reset">Called when the guest pulses the processor's reset line; on a vCPU thread, with no lock held; must not throw.</param>
    /// <param name="interrupt">The keyboard's interrupt wire (IRQ 1), if it is wired.</param>
    /// <param name="hasKeyboard">A keyboard is attached.</param>
    public I8042(string name, Action reset, IInterruptLine? interrupt = null, bool hasKeyboard = false)
    {
        ArgumentException.ThrowIfNullOrEmpty(name);
        ArgumentNullException.ThrowIfNull(reset);
        StateName = name;
        _reset = reset;
        _hasKeyboard = hasKeyboard;
        _interrupt = new LineDriver(interrupt);
        CommandPort = new BusWindow(this, CommandOffset);
    }

    /// <summary>The status and command port as a device of one byte.</summary>
    public IBusDevice CommandPort { get; }

    /// <inheritdoc/>
    public string StateName { get; }

    /// <inheritdoc/>
    public ushort StateVersion => 1;

    /// <summary>
    /// Types Ctrl-Alt-Del: the keys are pressed, and let go. In scan codes of set 1 where the controller translates, as drivers leave it, else of set 2 (IBM PS/2, "Keyboard and
    /// auxiliary device controller"). Nothing without a keyboard, or while the driver has not taken what was typed before.
    /// </summary>
    public void PressCtrlAltDel()
    {
        lock (_lock)
        {
            ReadOnlySpan<byte> codes = (_control & ControlTranslate) != 0
                ? [0x1d, 0x38, 0xe0, 0x53, 0xe0, 0xd3, 0xb8, 0x9d]
                : [0x14, 0x11, 0xe0, 0x71, 0xe0, 0xf0, 0x71, 0xf0, 0x11, 0xf0, 0x14];
            if (!_hasKeyboard || codes.Length > MostKeys - _keyCount)
                return;
            foreach (byte code in codes)
                Type(code);
            ShowKey();
            _interrupt.Set(InterruptDue);
        }
    }

    /// <inheritdoc/>
    public void Read(ulong offset, Span<byte> data)
    {
        lock (_lock)
        {
            for (int i = 0; i < data.Length; i++)
            {
                data[i] = unchecked(offset + (ulong)i) switch
                {
                    DataOffset => TakeOutput(),
                    CommandOffset => (byte)(_status | ((_control & ControlSystem) != 0 ? StatusSystem : 0)),
                    _ => 0xff,
                };
            }

            _interrupt.Set(InterruptDue);
        }
    }

    /// <inheritdoc/>
    public void Write(ulong offset, ReadOnlySpan<byte> data)
    {
        bool reset = false;
        lock (_lock)
        {
            for (int i = 0; i < data.Length; i++)
            {
                switch (unchecked(offset + (ulong)i))
                {
                    case DataOffset:
                        _status &= unchecked((byte)~StatusCommand);
                        reset |= WriteData(data[i]);
                        break;
                    case CommandOffset:
                        _status |= StatusCommand;
                        reset |= WriteCommand(data[i]);
                        break;
                    default:
                        break;
                }
            }

            _interrupt.Set(InterruptDue);
        }

        if (reset)
            _reset();
    }

    /// <inheritdoc/>
    public void Save(StateWriter writer)
    {
        ArgumentNullException.ThrowIfNull(writer);
        lock (_lock)
        {
            writer.U8(_control);
            writer.U8(_outputPort);
            writer.U8(_status);
            writer.U8(_output);
            writer.U8(_expecting);
        }
    }

    /// <inheritdoc/>
    public bool TryRestore(ref StateReader reader, ushort version)
    {
        byte control = reader.U8(), outputPort = reader.U8(), status = reader.U8(), output = reader.U8(), expecting = reader.U8();
        const byte Known = StatusOutputFull | StatusCommand | StatusNotLocked | StatusAuxiliary | StatusTimeout;
        if (version != 1 || !reader.Complete || (status & ~Known) != 0 || (outputPort & OutputNotReset) == 0 || !(expecting == 0 || TakesData(expecting)))
            return false;
        lock (_lock)
        {
            (_control, _outputPort, _status, _output, _expecting) = (control, outputPort, status, output, expecting);
            _interrupt.Force(InterruptDue);
        }

        return true;
    }

    private static bool TakesData(byte command) => command is (>= 0x60 and <= 0x7f) or (>= 0xd1 and <= 0xd4);

    private byte TakeOutput()
    {
        byte taken = _output;
        _status &= unchecked((byte)~(StatusOutputFull | StatusAuxiliary | StatusTimeout));
        // The wire goes down before the next byte takes it up: it is an edge that drivers see.
        _interrupt.Set(InterruptDue);
        ShowKey();
        return taken;
    }

    private void Type(byte code)
    {
        if (_keyCount < MostKeys)
            _keys[_keyCount++] = code;
    }

    /// <summary>Puts what the keyboard says next where the driver reads it, once it has read what was there, and wants it.</summary>
    private void ShowKey()
    {
        if (_keyCount == 0 || (_status & StatusOutputFull) != 0 || (_control & ControlKeyboardOff) != 0)
            return;
        Answer(_keys[0]);
        _keyCount--;
        _keys.AsSpan(1).CopyTo(_keys);
    }

    /// <summary>A byte to the keyboard: a command or what belongs to one.</summary>
    private void AnswerAsKeyboard(byte value)
    {
        _keyCount = 0;
        Type(Acknowledge);
        if (value == 0xff)
        {
            Type(KeyboardPassed);
        }
        else if (value == 0xf2)
        {
            // Which keyboard: an MF2.
            Type(0xab);
            Type(0x83);
        }

        ShowKey();
    }

    private void Answer(byte value, int flags = 0)
    {
        _output = value;
        _status = (byte)((_status & (StatusCommand | StatusNotLocked)) | StatusOutputFull | flags);
    }

    /// <summary>A byte at the command port; true if it resets the machine.</summary>
    private bool WriteCommand(byte command)
    {
        _expecting = 0;
        if (TakesData(command))
        {
            _expecting = command;
            return false;
        }

        switch (command)
        {
            case 0x20: // read the control byte
                Answer(_control);
                break;
            case > 0x20 and <= 0x3f: // read the controller's memory: none is modelled
                Answer(0);
                break;
            case 0xa7:
                _control |= ControlAuxiliaryOff;
                break;
            case 0xa8:
                _control &= unchecked((byte)~ControlAuxiliaryOff);
                break;
            case 0xa9: // test the mouse's wire: clock stuck, so nobody looks further
                Answer(1);
                break;
            case 0xaa: // self-test passed
                _control |= ControlSystem;
                Answer(0x55);
                break;
            case 0xab: // test the keyboard's wire: no fault
                Answer(0);
                break;
            case 0xad:
                _control |= ControlKeyboardOff;
                break;
            case 0xae:
                _control &= unchecked((byte)~ControlKeyboardOff);
                ShowKey();
                break;
            case 0xc0: // input port: keyboard not inhibited
                Answer(0x80);
                break;
            case 0xd0:
                Answer((byte)(_outputPort | ((_status & StatusOutputFull) != 0 ? 0x10 : 0)));
                break;
            case 0xdd:
                _outputPort &= unchecked((byte)~OutputA20);
                break;
            case 0xdf:
                _outputPort |= OutputA20;
                break;
            case >= 0xf0: // pulse the output port's low lines whose bit is 0; line 0 is the processor's reset
                return (command & 1) == 0;
            default:
                break;
        }

        return false;
    }

    /// <summary>A byte at the data port; true if it resets the machine.</summary>
    private bool WriteData(byte value)
    {
        byte command = _expecting;
        _expecting = 0;
        switch (command)
        {
            case 0 when _hasKeyboard:
                _control &= unchecked((byte)~ControlKeyboardOff);
                AnswerAsKeyboard(value);
                break;
            case 0: // to the keyboard, which is not there
                _control &= unchecked((byte)~ControlKeyboardOff);
                Answer(NoAnswer, StatusTimeout);
                break;
            case 0x60:
                _control = value;
                ShowKey();
                break;
            case 0xd1:
                _outputPort = (byte)(value | OutputNotReset);
                return (value & OutputNotReset) == 0;
            case 0xd2:
                Answer(value);
                break;
            case 0xd3: // with a mouse port this came back marked as the mouse's; unmarked says there is none
                Answer(value);
                break;
            case 0xd4: // to the mouse, which is not there
                Answer(NoAnswer, StatusAuxiliary | StatusTimeout);
                break;
            default: // the controller's memory: none is modelled
                break;
        }

        return false;
    }

    private bool InterruptDue =>
        (_control & ControlInterrupt) != 0 && (_status & (StatusOutputFull | StatusAuxiliary)) == StatusOutputFull;
}
