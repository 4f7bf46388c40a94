using System.Buffers.Binary;

namespace Kvm.X86.Interrupts;

/// <summary>
/// One counter of an 8254 (datasheet 231164-005): what it counts is computed from the time it was loaded at, so nothing
/// runs while nobody looks. Without lock: <see cref="Pit8254"/> has it.
/// </summary>
internal sealed class PitChannel
{
    /// <summary>Bytes of KVM's <c>struct kvm_pit_channel_state</c>.</summary>
    public const int KvmStateSize = 24;

    private const byte Lsb = 1, Msb = 2, Word0 = 3, Word1 = 4;

    private uint _count = 0x10000;
    private ushort _latchedCount;
    private byte _countLatched;
    private bool _statusLatched;
    private byte _status;
    private byte _readState = Word0;
    private byte _writeState = Word0;
    private byte _writeLatch;
    private byte _access = 3;
    private byte _mode = 3;
    private bool _bcd;
    private bool _gate;

    // Counting: since tick _start of the machine's time if running, as the chip changes on its clock's edges only; if it
    // stands still, _frozen ticks have been counted.
    private bool _loaded;
    private bool _running;
    private ulong _start;
    private ulong _frozen;

    public PitChannel(bool gate) => _gate = gate;

    public byte Mode => _mode;

    /// <summary>Ticks counted since the count was loaded or triggered.</summary>
    public ulong Elapsed(ulong now) => _running ? Math.Max(Pit8254.ToTicks(now), _start) - _start : _frozen;

    /// <summary>The counter's output (datasheet, "mode definitions").</summary>
    public bool Output(ulong now)
    {
        if (!_loaded)
            return _mode != 0;
        ulong elapsed = Elapsed(now);
        return _mode switch
        {
            0 => elapsed >= _count,
            1 => !_running || elapsed >= _count,
            2 => !_running || elapsed % _count != _count - 1,
            3 => !_running || elapsed % _count < (_count + 1) / 2,
            _ => !_running || elapsed != _count,
        };
    }

    /// <summary>
    /// When the output will rise next, in ns, or <see cref="TimerQueue.Never"/>; rises closer together than
    /// <paramref name="closest"/> ticks are skipped, keeping the phase.
    /// </summary>
    public ulong NextRise(ulong now, ulong closest)
    {
        if (!_running)
            return TimerQueue.Never;
        ulong elapsed = Elapsed(now);
        ulong rise;
        switch (_mode)
        {
            case 2 or 3:
                rise = (elapsed / _count + 1) * _count;
                if (rise - elapsed < closest)
                    rise = (elapsed + closest + _count - 1) / _count * _count;
                break;
            case 0 when elapsed < _count:
            case 1 when elapsed < _count:
                rise = _count;
                break;
            case 4 or 5 when elapsed <= _count:
                rise = _count + 1;
                break;
            default:
                return TimerQueue.Never;
        }

        return rise > ulong.MaxValue - _start ? TimerQueue.Never : Pit8254.ToNanoseconds(_start + rise);
    }

    /// <summary>A control word for this counter; counting stops until a count is written.</summary>
    public void Control(byte word, ulong now)
    {
        int access = (word >> 4) & 3;
        if (access == 0)
        {
            LatchCount(now);
            return;
        }

        _access = (byte)access;
        _readState = _writeState = (byte)access;
        // Modes 6 and 7 are 2 and 3 with a bit that does not count.
        int mode = (word >> 1) & 7;
        _mode = (byte)(mode > 5 ? mode - 4 : mode);
        _bcd = (word & 1) != 0;
        _countLatched = 0;
        _statusLatched = false;
        Stop(0);
        _loaded = false;
    }

    /// <summary>The read-back command (datasheet, "read-back command"); what is latched already stays.</summary>
    public void ReadBack(bool count, bool status, ulong now)
    {
        if (count)
            LatchCount(now);
        if (status && !_statusLatched)
        {
            _status = (byte)((Output(now) ? 0x80 : 0) | (_loaded ? 0 : 0x40) | (_access << 4) | (_mode << 1) | (_bcd ? 1 : 0));
            _statusLatched = true;
        }
    }

    public byte Read(ulong now)
    {
        if (_statusLatched)
        {
            _statusLatched = false;
            return _status;
        }

        ushort value = _countLatched != 0 ? _latchedCount : Current(now);
        byte state = _countLatched != 0 ? _countLatched : _readState;
        byte result = state is Msb or Word1 ? (byte)(value >> 8) : (byte)value;
        byte next = state switch { Word0 => Word1, Word1 => Word0, _ => state };
        if (_countLatched == 0)
            _readState = next;
        else
            _countLatched = next == Word1 ? Word1 : (byte)0;
        return result;
    }

    /// <summary>A byte of the count; true once it is complete.</summary>
    public bool Write(byte value, ulong now)
    {
        switch (_writeState)
        {
            case Lsb:
                Load(value, now);
                return true;
            case Msb:
                Load((uint)value << 8, now);
                return true;
            case Word0:
                _writeLatch = value;
                _writeState = Word1;
                // In mode 0 the first byte stops the counting (datasheet, mode 0).
                if (_mode == 0)
                    Stop(Elapsed(now));
                return false;
            default:
                _writeState = Word0;
                Load(_writeLatch | ((uint)value << 8), now);
                return true;
        }
    }

    /// <summary>The gate input: a level in modes 0 and 4, a level and a trigger in 2 and 3, a trigger in 1 and 5.</summary>
    public void SetGate(bool gate, ulong now)
    {
        bool rose = gate && !_gate;
        bool fell = !gate && _gate;
        _gate = gate;
        if (!_loaded)
            return;
        if (_mode is 0 or 4)
        {
            if (fell)
                Stop(Elapsed(now));
            else if (rose)
                Resume(now);
        }
        else if (rose)
        {
            _frozen = 0;
            Resume(now);
        }
        else if (fell && _mode is 2 or 3)
        {
            Stop(0);
        }
    }

    public void Save(Span<byte> state)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(state, _count);
        BinaryPrimitives.WriteUInt16LittleEndian(state[4..], _latchedCount);
        state[6] = _countLatched;
        state[7] = _statusLatched ? (byte)1 : (byte)0;
        state[8] = _status;
        state[9] = _readState;
        state[10] = _writeState;
        state[11] = _writeLatch;
        state[12] = _access;
        state[13] = _mode;
        state[14] = _bcd ? (byte)1 : (byte)0;
        state[15] = _gate ? (byte)1 : (byte)0;
        BinaryPrimitives.WriteUInt64LittleEndian(state[16..], Pit8254.ToNanoseconds(_start));
    }

    /// <summary>Takes KVM's layout; the count starts anew at <paramref name="now"/>, as KVM_SET_PIT2 does it.</summary>
    public void Load(ReadOnlySpan<byte> state, ulong now)
    {
        _count = Math.Clamp(BinaryPrimitives.ReadUInt32LittleEndian(state), 1, 0x10000);
        _latchedCount = BinaryPrimitives.ReadUInt16LittleEndian(state[4..]);
        _countLatched = state[6] <= Word1 ? state[6] : (byte)0;
        _statusLatched = state[7] != 0;
        _status = state[8];
        _readState = ValidState(state[9]);
        _writeState = ValidState(state[10]);
        _writeLatch = state[11];
        _access = state[12] is >= 1 and <= 3 ? state[12] : (byte)3;
        _mode = state[13] <= 5 ? state[13] : (byte)3;
        _bcd = state[14] != 0;
        _gate = state[15] != 0;
        _loaded = true;
        _frozen = 0;
        _running = false;
        if (_gate && _mode is not (1 or 5))
            Resume(now);
    }

    /// <summary>What KVM's layout has no place for: whether and since when it counts.</summary>
    public (bool Loaded, bool Running, ulong Start, ulong Frozen) Progress
    {
        get => (_loaded, _running, _start, _frozen);
        set => (_loaded, _running, _start, _frozen) = value;
    }

    private static byte ValidState(byte state) => state is >= Lsb and <= Word1 ? state : Word0;

    private void Load(uint value, ulong now)
    {
        _count = _bcd ? FromBcd((ushort)value) : value;
        if (_count == 0)
            _count = _bcd ? 10_000u : 0x10000u;
        // A rate of one tick cannot be generated (datasheet, modes 2 and 3: minimum 2).
        if (_mode is 2 or 3 && _count == 1)
            _count = 2;
        _loaded = true;
        _frozen = 0;
        _running = false;
        if (_gate && _mode is not (1 or 5))
            Resume(now);
    }

    private void Resume(ulong now)
    {
        ulong tick = Pit8254.ToTicks(now);
        _start = tick - Math.Min(tick, _frozen);
        _running = true;
    }

    private void Stop(ulong frozen)
    {
        _running = false;
        _frozen = frozen;
    }

    private void LatchCount(ulong now)
    {
        if (_countLatched != 0)
            return;
        _latchedCount = Current(now);
        _countLatched = _access == 3 ? Word0 : _access;
    }

    private ushort Current(ulong now)
    {
        ulong elapsed = Elapsed(now);
        uint modulus = _bcd ? 10_000u : 0x10000u;
        uint value = _mode switch
        {
            2 => (uint)(_count - (elapsed % _count)),
            // Counts by two, twice a period; an odd count loads one less.
            3 => (uint)((_count & ~1u) - (2 * elapsed % Math.Max(_count & ~1u, 2))),
            _ => (uint)((_count + modulus - (elapsed % modulus)) % modulus),
        };
        value %= modulus;
        return _bcd ? ToBcd(value) : (ushort)value;
    }

    private static uint FromBcd(ushort value) =>
        ((uint)(value >> 12) * 1000) + ((uint)((value >> 8) & 0xf) * 100) + ((uint)((value >> 4) & 0xf) * 10) + (uint)(value & 0xf);

    private static ushort ToBcd(uint value) =>
        (ushort)((value / 1000 % 10 << 12) | (value / 100 % 10 << 8) | (value / 10 % 10 << 4) | (value % 10));
}
