using System.Buffers.Binary;
using Kvm.Devices.Bus;

namespace Kvm.X86.Interrupts;

/// <summary>
/// The I/O APIC (82093AA datasheet; version 0x20 with an EOI register): pins, redirection table, messages to local APICs.
/// </summary>
/// <remarks>
/// <para>A pin's level is logical: asserted is asserted whatever polarity the guest programs, as boards describe their
/// wires to the guest (ACPI, MP table) and no chip here inverts one.</para>
/// <para>Registers are written on processors' threads and pins driven on devices': one small lock. Messages are sent with
/// it held; local APICs take none of their own for them.</para>
/// </remarks>
public sealed partial class IoApic : IBusDevice, IEndOfInterruptSink
{
    /// <summary>Where the registers usually are in guest-physical memory.</summary>
    public const ulong DefaultBase = 0xfec0_0000;

    /// <summary>Bytes of the window of registers.</summary>
    public const ulong WindowSize = 0x1000;

    /// <summary>Pins of the usual chip.</summary>
    public const int DefaultPins = 24;

    private const uint SelectRegister = 0x00;
    private const uint WindowRegister = 0x10;
    private const uint EoiRegister = 0x40;
    private const uint VersionValue = 0x20;
    private const ulong RemoteIrr = 1 << 14;
    private const ulong LevelTriggered = 1 << 15;
    private const ulong Masked = 1 << 16;

    // Vector, delivery mode, destination mode, polarity, trigger, mask; destination. Status and remote IRR are read-only.
    private const ulong Writable = 0xff00_0000_0001_afff;

    private readonly Lock _lock = new();
    private readonly IApicFabric _fabric;
    private readonly ulong[] _entries;
    private readonly bool[] _lines;
    private uint _select;
    private uint _id;

    /// <summary>Makes an I/O APIC with every pin masked.</summary>
    /// <param name="fabric">Takes its messages.</param>
    /// <param name="pins">Number of pins, 1 to 120 (the select register has 8 bits, and table registers begin at 0x10).</param>
    /// <exception cref="ArgumentOutOfRangeException">The number of pins is outside its range.</exception>
    public IoApic(IApicFabric fabric, int pins = DefaultPins)
    {
        ArgumentNullException.ThrowIfNull(fabric);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(pins);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(pins, 120);
        _fabric = fabric;
        _entries = new ulong[pins];
        _lines = new bool[pins];
        Array.Fill(_entries, Masked);
    }

    /// <summary>RESET: every pin masked, id 0 (82093AA, 3.2). Wires stay as they are.</summary>
    public void Reset()
    {
        lock (_lock)
        {
            Array.Fill(_entries, Masked);
            _select = _id = 0;
        }

        RoutesChanged?.Invoke();
    }

    /// <summary>Number of pins.</summary>
    public int Pins => _entries.Length;

    /// <summary>Called, without the chip's lock, when a redirection entry was written: split-irqchip VMMs tell KVM the new routes.</summary>
    public Action? RoutesChanged { get; set; }

    /// <summary>Drives a pin. Edge-triggered pins act on the rise; a masked edge is lost (82093AA, 3.2.4, bit 16). Any thread.</summary>
    public void SetPin(int pin, bool asserted)
    {
        if ((uint)pin >= (uint)_lines.Length)
            return;
        lock (_lock)
        {
            bool rose = asserted && !_lines[pin];
            _lines[pin] = asserted;
            if ((_entries[pin] & LevelTriggered) != 0 ? asserted : rose)
                Service(pin);
        }
    }

    /// <summary>
    /// The end of a level-triggered interrupt: every pin with this vector may interrupt again, and does at once if its
    /// wire is still asserted (82093AA, 3.2.4, bit 14).
    /// </summary>
    public void EndOfInterrupt(byte vector)
    {
        lock (_lock)
        {
            for (int pin = 0; pin < _entries.Length; pin++)
            {
                ulong entry = _entries[pin];
                if ((byte)entry != vector || (entry & LevelTriggered) == 0 || (entry & RemoteIrr) == 0)
                    continue;
                _entries[pin] = entry & ~RemoteIrr;
                if (_lines[pin])
                    Service(pin);
            }
        }
    }

    /// <summary>The redirection entry of a pin (82093AA, 3.2.4), for who translates them to other routes; masked for a pin that does not exist.</summary>
    public ulong Entry(int pin)
    {
        lock (_lock)
            return (uint)pin < (uint)_entries.Length ? _entries[pin] : Masked;
    }

    /// <summary>The message a redirection entry stands for.</summary>
    public static ApicMessage MessageOf(ulong entry) => new(
        ApicMessage.WidenDestination((byte)(entry >> 56)),
        (entry & (1 << 11)) != 0,
        (ApicDelivery)((entry >> 8) & 7),
        (byte)entry,
        (entry & LevelTriggered) != 0);

    /// <inheritdoc/>
    public void Read(ulong offset, Span<byte> data)
    {
        data.Clear();
        // The chip decodes 32-bit accesses at multiples of 16; narrower reads of a register give its low bytes.
        uint value;
        lock (_lock)
        {
            value = offset switch
            {
                SelectRegister => _select,
                WindowRegister => ReadWindow(),
                _ => 0,
            };
        }

        Span<byte> register = stackalloc byte[4];
        BinaryPrimitives.WriteUInt32LittleEndian(register, value);
        register[..Math.Min(4, data.Length)].CopyTo(data);
    }

    /// <inheritdoc/>
    public void Write(ulong offset, ReadOnlySpan<byte> data)
    {
        uint value = 0;
        for (int i = 0; i < Math.Min(4, data.Length); i++)
            value |= (uint)data[i] << (8 * i);

        bool routed = false;
        switch (offset)
        {
            case SelectRegister:
                lock (_lock)
                    _select = value & 0xff;
                break;
            // A part of a register cannot be written.
            case WindowRegister when data.Length >= 4:
                routed = WriteWindow(value);
                break;
            case EoiRegister:
                EndOfInterrupt((byte)value);
                break;
        }

        if (routed)
            RoutesChanged?.Invoke();
    }

    private uint ReadWindow()
    {
        switch (_select)
        {
            case 0 or 2:
                // The arbitration id follows the id at every write of it.
                return _id << 24;
            case 1:
                return VersionValue | ((uint)(_entries.Length - 1) << 16);
            default:
                int pin = (int)(_select - 0x10) >> 1;
                if (_select < 0x10 || pin >= _entries.Length)
                    return 0;
                return (uint)((_select & 1) == 0 ? _entries[pin] : _entries[pin] >> 32);
        }
    }

    private bool WriteWindow(uint value)
    {
        lock (_lock)
        {
            int pin = (int)(_select - 0x10) >> 1;
            if (_select == 0)
                _id = (value >> 24) & 0xf;
            if (_select < 0x10 || pin >= _entries.Length)
                return false;

            ulong before = _entries[pin];
            ulong entry = (_select & 1) == 0
                ? (before & ~(ulong)uint.MaxValue) | value
                : (before & uint.MaxValue) | ((ulong)value << 32);
            entry = (entry & Writable) | (before & RemoteIrr);
            // Software without the EOI register makes a pin edge-triggered and back to clear its remote IRR.
            if ((entry & LevelTriggered) == 0)
                entry &= ~RemoteIrr;
            _entries[pin] = entry;
            if ((entry & LevelTriggered) != 0 && _lines[pin])
                Service(pin);
            return entry != before;
        }
    }

    /// <summary>Sends the pin's message unless it is masked or, for a level, still being served. Lock held.</summary>
    private void Service(int pin)
    {
        ulong entry = _entries[pin];
        if ((entry & (Masked | RemoteIrr)) != 0)
            return;
        if (_fabric.Deliver(MessageOf(entry)) && (entry & LevelTriggered) != 0)
            _entries[pin] = entry | RemoteIrr;
    }
}
