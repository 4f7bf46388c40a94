using Kvm.Devices.Bus;
using Kvm.Devices.Interrupts;
using Kvm.Devices.Snapshot;

namespace Kvm.Devices.Platform;

/// <summary>
/// A PC's real-time clock with 114 bytes of battery-backed memory: an MC146818A (Motorola, 1984; "the data sheet" below) behind an
/// index port (offset 0) and a data port (offset 1). Shows the host's UTC until the guest sets it; keeps the difference from then on.
/// </summary>
/// <remarks>
/// The clock's flags are worked out when somebody looks; a host timer runs only while an interrupt is enabled and not yet pending, so
/// no guest can make the host busy by it: periodic interrupts faster than the host's timers (1 ms) are delivered at that pace.
/// Safe from any thread. Nothing is allocated per access.
/// </remarks>
public sealed partial class Rtc : IBusDevice, IStateful, IDisposable
{
    /// <summary>Ports it takes.</summary>
    public const int Size = 2;

    /// <summary>The register that holds the century; ACPI's FADT names it to the guest.</summary>
    public const int CenturyRegister = 0x32;

    /// <summary>The first byte of memory that has no function in the clock.</summary>
    public const int FirstMemoryRegister = 0x0e;

    private const int Registers = 128;
    private const int Seconds = 0, SecondsAlarm = 1, Minutes = 2, MinutesAlarm = 3, Hours = 4, HoursAlarm = 5;
    private const int WeekDay = 6, MonthDay = 7, Month = 8, Year = 9, A = 10, B = 11, C = 12, D = 13;
    private const byte UpdateInProgress = 0x80, DividerMask = 0x70, DividerRunning = 0x20, RateMask = 0x0f;
    private const byte Set = 0x80, Sources = 0x70, PeriodicSource = 0x40, AlarmSource = 0x20, UpdateSource = 0x10, Binary = 4, Hours24 = 2;
    private const byte InterruptRequested = 0x80, TimeValid = 0x80;

    private readonly Lock _lock = new();
    private readonly TimeProvider _time;
    private readonly bool _wired;
    private readonly DeadlineTimer _timer;
    private readonly byte[] _cmos = new byte[Registers];

    private LineDriver _interrupt;
    private byte _index, _flags;
    private long _offset; // guest's clock less the host's, in ticks of 100 ns
    private long _checked; // the guest's clock when the flags were last worked out

    /// <summary>Makes a clock that shows the host's UTC in BCD and 24 hours.</summary>
    /// <param name="name">The state's name, such as <c>rtc</c>.</param>
    /// <param name="time">The host's clock.</param>
    /// <param name="interrupt">The clock's interrupt wire (IRQ 8), if it is wired.</param>
    public Rtc(string name, TimeProvider time, IInterruptLine? interrupt = null)
    {
        ArgumentException.ThrowIfNullOrEmpty(name);
        ArgumentNullException.ThrowIfNull(time);
        StateName = name;
        _time = time;
        _wired = interrupt is not null;
        _interrupt = new LineDriver(interrupt);
        _timer = new DeadlineTimer(time, OnTimer);
        _cmos[A] = DividerRunning | 6; // 32.768 kHz, 1,024 Hz: what firmware sets
        _cmos[B] = Hours24;
        _checked = Now();
    }

    /// <inheritdoc/>
    public string StateName { get; }

    /// <inheritdoc/>
    public ushort StateVersion => 1;

    /// <summary>Sets a byte of memory, as firmware would leave it.</summary>
    /// <param name="register"><see cref="FirstMemoryRegister"/> to 0x7f, but not <see cref="CenturyRegister"/>.</param>
    /// <param name="value">The byte.</param>
    public void SetMemory(int register, byte value)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(register, FirstMemoryRegister);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(register, Registers);
        ArgumentOutOfRangeException.ThrowIfEqual(register, CenturyRegister);
        lock (_lock)
            _cmos[register] = value;
    }

    /// <inheritdoc/>
    public void Read(ulong offset, Span<byte> data)
    {
        data.Fill(0xff); // the index port cannot be read back on a PC
        if (offset > 1 || (int)offset + data.Length < 2)
            return;
        lock (_lock)
            data[1 - (int)offset] = ReadRegister(_index & 0x7f);
    }

    /// <inheritdoc/>
    public void Write(ulong offset, ReadOnlySpan<byte> data)
    {
        if (offset > 1 || data.IsEmpty)
            return;
        lock (_lock)
        {
            if (offset == 0)
                _index = data[0];
            if ((int)offset + data.Length >= 2)
                WriteRegister(_index & 0x7f, data[1 - (int)offset]);
        }
    }

    /// <summary>Stops the timer, if one runs. The registers stay usable.</summary>
    public void Dispose()
    {
        lock (_lock)
            _timer.Dispose();
    }

    private byte ReadRegister(int register)
    {
        switch (register)
        {
            case A:
                return (byte)(_cmos[A] | (!Halted && UpdateIsNear(Now()) ? UpdateInProgress : 0));
            case C:
                WorkOutFlags();
                byte flags = (byte)(_flags | (Requested ? InterruptRequested : 0));
                _flags = 0;
                UpdateInterrupt();
                return flags;
            case D:
                return TimeValid;
            case Seconds or Minutes or Hours or (>= WeekDay and <= Year) or CenturyRegister when !Halted:
                return EncodeField(register, new DateTime(Now()));
            default:
                return _cmos[register];
        }
    }

    private void WriteRegister(int register, byte value)
    {
        switch (register)
        {
            case A:
                WriteControl((byte)(value & ~UpdateInProgress), _cmos[B]);
                break;
            case B:
                // SET ends the update interrupt (data sheet, register B).
                WriteControl(_cmos[A], (value & Set) != 0 ? (byte)(value & ~UpdateSource) : value);
                break;
            case C or D:
                break;
            case Seconds or Minutes or Hours or (>= WeekDay and <= Year) or CenturyRegister when !Halted:
                long now = Now();
                Latch(now);
                _cmos[register] = value;
                Release(now % TimeSpan.TicksPerSecond);
                UpdateInterrupt();
                break;
            case SecondsAlarm or MinutesAlarm or HoursAlarm:
                WorkOutFlags();
                _cmos[register] = value;
                UpdateInterrupt();
                break;
            default:
                _cmos[register] = value;
                break;
        }
    }

    private void WriteControl(byte a, byte b)
    {
        WorkOutFlags();
        bool halted = Halted;
        bool dividerWasReset = (_cmos[A] & DividerMask) != DividerRunning;
        if (!halted)
            Latch(Now());
        (_cmos[A], _cmos[B]) = (a, b);
        // Half a second passes between the divider's start and the first update (data sheet, register A); Linux counts on it.
        if (halted && !Halted)
            Release(dividerWasReset ? TimeSpan.TicksPerSecond / 2 : Now() % TimeSpan.TicksPerSecond);
        UpdateInterrupt();
    }

    private bool Halted => (_cmos[B] & Set) != 0 || (_cmos[A] & DividerMask) != DividerRunning;

    private bool Requested => (_flags & _cmos[B] & Sources) != 0;

    /// <summary>Drives the wire and sees to it that somebody wakes when it will have to change.</summary>
    private void UpdateInterrupt()
    {
        _interrupt.Set(Requested);
        if (!_wired)
            return;
        if (!Requested && NextEvent() is { } next)
            _timer.Arm(TimeSpan.FromTicks(Math.Max(0, next - _checked)));
        else
            _timer.Disarm();
    }

    private void OnTimer()
    {
        lock (_lock)
        {
            WorkOutFlags();
            UpdateInterrupt();
        }
    }
}
