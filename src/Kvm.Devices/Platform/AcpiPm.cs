using System.Buffers.Binary;
using Kvm.Devices.Bus;
using Kvm.Devices.Interrupts;
using Kvm.Devices.Snapshot;

namespace Kvm.Devices.Platform;

/// <summary>
/// ACPI's fixed hardware (ACPI 6.5, 4.8) in one block of ports: PM1a event and control, the power-management timer, the first block of
/// general-purpose events, and the reset register. The machine is always in ACPI mode: there is no SMI command port.
/// </summary>
/// <remarks>The FADT gives the block's base plus the offsets below. Safe from any thread. Nothing is allocated per access.</remarks>
public sealed class AcpiPm : IBusDevice, IStateful, IDisposable
{
    /// <summary>PM1a_EVT_BLK: status (2 bytes), enable (2 bytes).</summary>
    public const int EventOffset = 0;

    /// <summary>Length of PM1a_EVT_BLK in bytes.</summary>
    public const int EventLength = 4;

    /// <summary>PM1a_CNT_BLK.</summary>
    public const int ControlOffset = 4;

    /// <summary>Length of PM1a_CNT_BLK in bytes.</summary>
    public const int ControlLength = 2;

    /// <summary>PM_TMR_BLK, 4 bytes, 32 bits wide (FADT flag TMR_VAL_EXT).</summary>
    public const int TimerOffset = 8;

    /// <summary>GPE0_BLK: status (2 bytes), enable (2 bytes).</summary>
    public const int Gpe0Offset = 12;

    /// <summary>Length of GPE0_BLK in bytes: 16 events.</summary>
    public const int Gpe0Length = 4;

    /// <summary>RESET_REG, one byte.</summary>
    public const int ResetOffset = 16;

    /// <summary>RESET_VALUE: what to write to the reset register.</summary>
    public const byte ResetValue = 0x06;

    /// <summary>SLP_TYP of S5, soft off: the first element of the DSDT's <c>\_S5</c>.</summary>
    public const byte SoftOffSleepType = 5;

    /// <summary>Ports the block takes.</summary>
    public const int Size = 20;

    /// <summary>Ticks of the power-management timer a second (ACPI 6.5, 4.8.2.1).</summary>
    public const int TimerFrequency = 3_579_545;

    private const ushort TimerBit = 1 << 0, GlobalBit = 1 << 5, PowerButtonBit = 1 << 8, SleepButtonBit = 1 << 9, RtcBit = 1 << 10;
    private const ushort StatusBits = TimerBit | 1 << 4 | GlobalBit | PowerButtonBit | SleepButtonBit | RtcBit | 1 << 15;
    private const ushort EnableBits = TimerBit | GlobalBit | PowerButtonBit | SleepButtonBit | RtcBit;
    private const ushort SciEnabled = 1 << 0, BusMasterReload = 1 << 1;
    private const byte SleepTypeMask = 7 << 2, SleepEnable = 1 << 5; // in PM1 control's high byte

    private readonly Lock _lock = new();
    private readonly TimeProvider _time;
    private readonly ulong _frequency;
    private readonly Action _powerOff;
    private readonly Action _reset;
    private readonly DeadlineTimer _carry;

    private LineDriver _sci;
    private ushort _status, _enable, _control = SciEnabled, _gpeStatus, _gpeEnable;
    private long _started;
    private ulong _base; // timer ticks at _started
    private ulong _halvesSeen; // how often the timer's top bit had changed when last looked at
    private long _otherSleeps;

    /// <summary>Makes the block with the timer at 0.</summary>
    /// <param name="name">The state's name, such as <c>acpi-pm</c>.</param>
    /// <param name="time">The host's clock; its timestamp drives the timer.</param>
    /// <param name="sci">The system control interrupt's wire: a level, shared, asserted by <c>true</c>.</param>
    /// <param name="powerOff">Called when the guest enters S5; on a vCPU thread, with no lock held; must not throw.</param>
    /// <param name="reset">Called when the guest writes <see cref="ResetValue"/> to the reset register; likewise.</param>
    public AcpiPm(string name, TimeProvider time, IInterruptLine sci, Action powerOff, Action reset)
    {
        ArgumentException.ThrowIfNullOrEmpty(name);
        ArgumentNullException.ThrowIfNull(time);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(time.TimestampFrequency, 1_000_000_000_000, nameof(time));
        ArgumentNullException.ThrowIfNull(sci);
        ArgumentNullException.ThrowIfNull(powerOff);
        ArgumentNullException.ThrowIfNull(reset);
        StateName = name;
        (_time, _powerOff, _reset) = (time, powerOff, reset);
        _sci = new LineDriver(sci);
        _carry = new DeadlineTimer(time, OnCarry);
        _frequency = (ulong)time.TimestampFrequency;
        _started = time.GetTimestamp();
    }

    /// <summary>Sleeps asked for other than S5, which the machine does not have and ignores.</summary>
    public long UnsupportedSleeps => Interlocked.Read(ref _otherSleeps);

    /// <inheritdoc/>
    public string StateName { get; }

    /// <inheritdoc/>
    public ushort StateVersion => 1;

    /// <summary>Presses the power button. True if the guest has enabled its event, so that something will come of it.</summary>
    public bool PressPowerButton()
    {
        lock (_lock)
        {
            _status |= PowerButtonBit;
            UpdateSci();
            return (_enable & PowerButtonBit) != 0;
        }
    }

    /// <summary>Signals a general-purpose event. True if the guest has enabled it.</summary>
    /// <param name="number">0 to 15.</param>
    public bool RaiseGpe(int number)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(number);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(number, 15);
        lock (_lock)
        {
            _gpeStatus |= (ushort)(1 << number);
            UpdateSci();
            return (_gpeEnable & 1 << number) != 0;
        }
    }

    /// <inheritdoc/>
    public void Read(ulong offset, Span<byte> data)
    {
        data.Fill(0xff);
        if (offset >= Size)
            return;
        Span<byte> image = stackalloc byte[Size];
        lock (_lock)
        {
            ulong ticks = Ticks();
            WorkOutCarry(ticks);
            UpdateSci();
            BinaryPrimitives.WriteUInt16LittleEndian(image, _status);
            BinaryPrimitives.WriteUInt16LittleEndian(image[2..], _enable);
            BinaryPrimitives.WriteUInt32LittleEndian(image[ControlOffset..], _control);
            BinaryPrimitives.WriteUInt32LittleEndian(image[TimerOffset..], unchecked((uint)ticks));
            BinaryPrimitives.WriteUInt16LittleEndian(image[Gpe0Offset..], _gpeStatus);
            BinaryPrimitives.WriteUInt16LittleEndian(image[(Gpe0Offset + 2)..], _gpeEnable);
            image[ResetOffset..].Clear();
        }

        var rest = image[(int)offset..];
        rest[..Math.Min(rest.Length, data.Length)].CopyTo(data);
    }

    /// <inheritdoc/>
    public void Write(ulong offset, ReadOnlySpan<byte> data)
    {
        bool off = false, reset = false;
        lock (_lock)
        {
            WorkOutCarry(Ticks());
            for (int i = 0; i < data.Length && offset < Size && (int)offset + i < Size; i++)
            {
                int register = (int)offset + i;
                off |= register == ControlOffset + 1 && Sleeps(data[i]);
                reset |= register == ResetOffset && data[i] == ResetValue;
                WriteByte(register, data[i]);
            }

            UpdateSci();
        }

        if (off)
            _powerOff();
        else if (reset)
            _reset();
    }

    /// <inheritdoc/>
    /// <remarks>The timer is saved in whole ticks; it stands still while nobody runs.</remarks>
    public void Save(StateWriter writer)
    {
        ArgumentNullException.ThrowIfNull(writer);
        lock (_lock)
        {
            ulong ticks = Ticks();
            WorkOutCarry(ticks);
            writer.U16(_status);
            writer.U16(_enable);
            writer.U16(_control);
            writer.U16(_gpeStatus);
            writer.U16(_gpeEnable);
            writer.U64(ticks);
        }
    }

    /// <inheritdoc/>
    public bool TryRestore(ref StateReader reader, ushort version)
    {
        ushort status = reader.U16(), enable = reader.U16(), control = reader.U16(), gpeStatus = reader.U16(), gpeEnable = reader.U16();
        ulong ticks = reader.U64();
        if (version != 1 || !reader.Complete || (status & ~StatusBits) != 0 || (enable & ~EnableBits) != 0
            || (control & ~(SciEnabled | BusMasterReload | SleepTypeMask << 8)) != 0 || (control & SciEnabled) == 0)
        {
            return false;
        }

        lock (_lock)
        {
            (_status, _enable, _control, _gpeStatus, _gpeEnable) = (status, enable, control, gpeStatus, gpeEnable);
            _started = _time.GetTimestamp();
            _base = ticks;
            _halvesSeen = ticks >> 31;
            _sci.Force(SciDue);
            UpdateSci();
        }

        return true;
    }

    /// <summary>Stops the timer, if one runs. The registers stay usable.</summary>
    public void Dispose()
    {
        lock (_lock)
            _carry.Dispose();
    }

    private bool Sleeps(byte high)
    {
        if ((high & SleepEnable) == 0)
            return false;
        if ((high & SleepTypeMask) == SoftOffSleepType << 2)
            return true;
        _otherSleeps++;
        return false;
    }

    private void WriteByte(int register, byte value)
    {
        switch (register)
        {
            case EventOffset: // statuses are cleared by writing ones
                _status = (ushort)(_status & ~value);
                break;
            case EventOffset + 1:
                _status = (ushort)(_status & ~(value << 8));
                break;
            case EventOffset + 2:
                _enable = (ushort)((_enable & 0xff00 | value) & EnableBits);
                break;
            case EventOffset + 3:
                _enable = (ushort)((_enable & 0x00ff | value << 8) & EnableBits);
                break;
            case ControlOffset:
                _control = (ushort)(_control & 0xff00 | value & BusMasterReload | SciEnabled);
                break;
            case ControlOffset + 1: // SLP_EN reads as 0
                _control = (ushort)(_control & 0x00ff | (value & SleepTypeMask) << 8);
                break;
            case Gpe0Offset:
                _gpeStatus = (ushort)(_gpeStatus & ~value);
                break;
            case Gpe0Offset + 1:
                _gpeStatus = (ushort)(_gpeStatus & ~(value << 8));
                break;
            case Gpe0Offset + 2:
                _gpeEnable = (ushort)(_gpeEnable & 0xff00 | value);
                break;
            case Gpe0Offset + 3:
                _gpeEnable = (ushort)(_gpeEnable & 0x00ff | value << 8);
                break;
            default:
                break;
        }
    }

    private ulong Ticks()
    {
        // Whole seconds apart from the rest: the product of all of it would pass 64 bits after 85 minutes at 1 GHz.
        ulong elapsed = (ulong)Math.Max(0, _time.GetTimestamp() - _started);
        var (seconds, rest) = Math.DivRem(elapsed, _frequency);
        return unchecked(_base + seconds * TimerFrequency + rest * TimerFrequency / _frequency);
    }

    /// <summary>TMR_STS is set whenever the timer's top bit changes (4.8.3.1.1).</summary>
    private void WorkOutCarry(ulong ticks)
    {
        ulong halves = ticks >> 31;
        if (halves == _halvesSeen)
            return;
        _halvesSeen = halves;
        _status |= TimerBit;
    }

    private bool SciDue => (_status & _enable) != 0 || (_gpeStatus & _gpeEnable) != 0;

    private void UpdateSci()
    {
        _sci.Set(SciDue);
        if ((_enable & TimerBit & ~_status) == 0)
        {
            _carry.Disarm();
            return;
        }

        ulong left = (1UL << 31) - (Ticks() & ((1UL << 31) - 1));
        _carry.Arm(TimeSpan.FromTicks((long)(left * (ulong)TimeSpan.TicksPerSecond / TimerFrequency) + 1));
    }

    private void OnCarry()
    {
        lock (_lock)
        {
            WorkOutCarry(Ticks());
            UpdateSci();
        }
    }
}
