namespace Kvm.X86.Interrupts;

/// <summary>
/// One 8259A (datasheet 231468-003) in 8086 mode, without lock or output: <see cref="Pic8259"/> joins two and asks for the
/// request after each change.
/// </summary>
internal sealed class Pic8259Chip
{
    /// <summary>Bytes of KVM's <c>struct kvm_pic_state</c>.</summary>
    public const int KvmStateSize = 16;

    private const int CascadePin = 2;
    private readonly byte _levelWritable;
    private readonly bool _master;

    // A rise latches a request in _edges until it is acknowledged, even if the line falls first: devices of ours pulse
    // their lines, and the chip's answer to that, a spurious IR7, would lose the interrupt.
    private byte _edges;
    private byte _lines;
    private byte _mask;
    private byte _inService;
    private byte _level;
    private byte _first;
    private byte _base;
    private byte _step;
    private bool _allLevel;
    private bool _readInService;
    private bool _poll;
    private bool _specialMask;
    private bool _autoEoi;
    private bool _rotateAutoEoi;
    private bool _specialFullyNested;
    private bool _expectIcw4;
    private bool _single;

    public Pic8259Chip(bool master)
    {
        _master = master;
        // IRQ 0, 1, 2, 8 and 13 are edge-triggered on every PC (chipset datasheets, ELCR).
        _levelWritable = master ? (byte)0xf8 : (byte)0xde;
    }

    /// <summary>Edge/level control register.</summary>
    public byte Elcr
    {
        get => _level;
        set => _level = (byte)(value & _levelWritable);
    }

    /// <summary>Interrupt request register: latched rises of edge inputs, levels of level inputs.</summary>
    public byte Requests => (byte)((_edges & ~LevelInputs) | (_lines & LevelInputs));

    private byte LevelInputs => _allLevel ? (byte)0xff : _level;

    public void SetLine(int pin, bool asserted)
    {
        byte bit = (byte)(1 << pin);
        if (asserted)
        {
            _edges |= (byte)(bit & ~_lines);
            _lines |= bit;
        }
        else
        {
            _lines &= (byte)~bit;
        }
    }

    /// <summary>The slave's output on the master's IR2: a level, whatever the mode, so that nothing is lost or made up in between.</summary>
    public void SetCascade(bool asserted)
    {
        byte bit = 1 << CascadePin;
        _edges = (byte)(asserted ? _edges | bit : _edges & ~bit);
        _lines = (byte)(asserted ? _lines | bit : _lines & ~bit);
    }

    /// <summary>The input to be served now, 0 to 7, or −1 (datasheet, "fully nested mode" and its variations).</summary>
    public int Request()
    {
        int priority = Priority(Requests & ~_mask);
        if (priority == 8)
            return -1;
        int busy = _inService;
        if (_specialMask)
            busy &= ~_mask;
        if (_specialFullyNested && _master)
            busy &= ~(1 << CascadePin);
        return priority < Priority(busy) ? (priority + _first) & 7 : -1;
    }

    /// <summary>The acknowledge cycle for an input; gives its vector.</summary>
    public byte Acknowledge(int input)
    {
        byte bit = (byte)(1 << input);
        if ((LevelInputs & bit) == 0)
            _edges &= (byte)~bit;
        if (!_autoEoi)
            _inService |= bit;
        else if (_rotateAutoEoi)
            _first = (byte)((input + 1) & 7);
        return (byte)(_base + input);
    }

    /// <summary>The vector of a request that went away: IR7's, without an in-service bit.</summary>
    public byte Spurious => (byte)(_base + 7);

    public byte Read(int port)
    {
        if (_poll)
        {
            _poll = false;
            int input = Request();
            if (input < 0)
                return 0;
            Acknowledge(input);
            return (byte)(0x80 | input);
        }

        return port == 1 ? _mask : _readInService ? _inService : Requests;
    }

    public void Write(int port, byte value)
    {
        if (port == 1)
            WriteData(value);
        else if ((value & 0x10) != 0)
            Initialize(value);
        else if ((value & 0x08) != 0)
            WriteOcw3(value);
        else
            WriteOcw2(value);
    }

    /// <summary>Power-up: everything masked until initialised, so that no stray request reaches vector 0.</summary>
    public void Reset()
    {
        Initialize(0);
        _step = 0;
        _base = 0;
        _level = 0;
        _mask = 0xff;
    }

    public void Save(Span<byte> state)
    {
        state[0] = _lines;
        state[1] = Requests;
        state[2] = _mask;
        state[3] = _inService;
        state[4] = _first;
        state[5] = _base;
        state[6] = Flag(_readInService);
        state[7] = Flag(_poll);
        state[8] = Flag(_specialMask);
        state[9] = _step;
        state[10] = Flag(_autoEoi);
        state[11] = Flag(_rotateAutoEoi);
        state[12] = Flag(_specialFullyNested);
        state[13] = Flag(_expectIcw4);
        state[14] = _level;
        state[15] = _levelWritable;
    }

    public void Load(ReadOnlySpan<byte> state)
    {
        _lines = state[0];
        _edges = state[1];
        _mask = state[2];
        _inService = state[3];
        _first = (byte)(state[4] & 7);
        _base = (byte)(state[5] & 0xf8);
        _readInService = state[6] != 0;
        _poll = state[7] != 0;
        _specialMask = state[8] != 0;
        _step = (byte)(state[9] & 3);
        _autoEoi = state[10] != 0;
        _rotateAutoEoi = state[11] != 0;
        _specialFullyNested = state[12] != 0;
        _expectIcw4 = state[13] != 0;
        Elcr = state[14];
    }

    /// <summary>What KVM's layout has no place for: ICW1's level mode and single mode.</summary>
    public byte Extra
    {
        get => (byte)(Flag(_allLevel) | (Flag(_single) << 1));
        set => (_allLevel, _single) = ((value & 1) != 0, (value & 2) != 0);
    }

    private static byte Flag(bool value) => value ? (byte)1 : (byte)0;

    /// <summary>How far the highest of some inputs is from the top of the (rotating) order; 8 if there is none.</summary>
    private int Priority(int inputs)
    {
        for (int priority = 0; priority < 8; priority++)
        {
            if ((inputs & (1 << ((priority + _first) & 7))) != 0)
                return priority;
        }

        return 8;
    }

    /// <summary>ICW1: latched edges, mask, in-service bits and modes are cleared; IR7 has the lowest priority.</summary>
    private void Initialize(byte icw1)
    {
        _edges = 0;
        _mask = 0;
        _inService = 0;
        _first = 0;
        _readInService = _poll = _specialMask = _autoEoi = _rotateAutoEoi = _specialFullyNested = false;
        _expectIcw4 = (icw1 & 1) != 0;
        _single = (icw1 & 2) != 0;
        _allLevel = (icw1 & 8) != 0;
        _step = 1;
    }

    private void WriteData(byte value)
    {
        switch (_step)
        {
            case 0:
                _mask = value;
                break;
            case 1:
                _base = (byte)(value & 0xf8);
                _step = (byte)(!_single ? 2 : _expectIcw4 ? 3 : 0);
                break;
            case 2:
                // ICW3: the cascade is wired to IR2 of the master.
                _step = (byte)(_expectIcw4 ? 3 : 0);
                break;
            default:
                _autoEoi = (value & 0x02) != 0;
                _specialFullyNested = (value & 0x10) != 0;
                _step = 0;
                break;
        }
    }

    private void WriteOcw3(byte value)
    {
        if ((value & 0x04) != 0)
            _poll = true;
        if ((value & 0x02) != 0)
            _readInService = (value & 0x01) != 0;
        if ((value & 0x40) != 0)
            _specialMask = (value & 0x20) != 0;
    }

    private void WriteOcw2(byte value)
    {
        int input = value & 7;
        switch (value >> 5)
        {
            case 0 or 4:
                _rotateAutoEoi = value >> 5 == 4;
                break;
            case 1 or 5:
                // In special mask mode a masked in-service bit is not cleared by a non-specific EOI.
                int priority = Priority(_specialMask ? _inService & ~_mask : _inService);
                if (priority < 8)
                    End((priority + _first) & 7, rotate: value >> 5 == 5);
                break;
            case 3 or 7:
                End(input, rotate: value >> 5 == 7);
                break;
            case 6:
                _first = (byte)((input + 1) & 7);
                break;
        }
    }

    private void End(int input, bool rotate)
    {
        _inService &= (byte)~(1 << input);
        if (rotate)
            _first = (byte)((input + 1) & 7);
    }
}
