using Kvm.Devices.Bus;
using Kvm.Devices.Interrupts;
using Kvm.Devices.Platform;

namespace Kvm.X86.Interrupts;

/// <summary>
/// The PC's 8254, ports 0x40–0x43: counter 0 interrupts, counter 1 once refreshed memory, counter 2 is the speaker's, with
/// its gate and output at system control port B (which is another device). Safe from any thread.
/// </summary>
public sealed partial class Pit8254 : IBusDevice, ISpeakerChannel, ITimerClient
{
    /// <summary>Input frequency of the counters in Hz.</summary>
    public const uint Frequency = 1_193_182;

    /// <summary>First port of the counters, four ports.</summary>
    public const ushort CounterPort = 0x40;

    // At most an interrupt every 24 ticks (20 us), for the reason given at the local APIC's timer.
    private const ulong ClosestRises = 24;

    private readonly Lock _lock = new();
    private readonly PitChannel[] _channels = NewChannels();
    private readonly TimerQueue _timers;
    private readonly int _timer;
    private readonly IInterruptLine _output;
    private ulong _deadline = TimerQueue.Never;

    /// <summary>Makes the chip, its counters not loaded.</summary>
    /// <param name="timers">The machine's timers.</param>
    /// <param name="output">Counter 0's output, IRQ 0; driven with the chip's lock held.</param>
    public Pit8254(TimerQueue timers, IInterruptLine output)
    {
        ArgumentNullException.ThrowIfNull(timers);
        ArgumentNullException.ThrowIfNull(output);
        _timers = timers;
        _timer = timers.Add(this);
        _output = output;
    }

    /// <summary>Power-up state: no counter counts.</summary>
    public void Reset()
    {
        lock (_lock)
        {
            NewChannels().CopyTo(_channels, 0);
            _output.Set(false);
            Arm(_timers.Clock.Now);
        }
    }

    /// <summary>Adds the chip's four ports to the port bus.</summary>
    public void Register(IoBus ports)
    {
        ArgumentNullException.ThrowIfNull(ports);
        ports.Add(CounterPort, 4, this);
    }

    /// <inheritdoc/>
    bool ISpeakerChannel.Output
    {
        get
        {
            lock (_lock)
                return _channels[2].Output(_timers.Clock.Now);
        }
    }

    /// <inheritdoc/>
    void ISpeakerChannel.SetGate(bool open)
    {
        lock (_lock)
            _channels[2].SetGate(open, _timers.Clock.Now);
    }

    /// <inheritdoc/>
    public void Read(ulong offset, Span<byte> data)
    {
        data.Fill(0xff);
        lock (_lock)
        {
            ulong now = _timers.Clock.Now;
            // The control word cannot be read.
            for (int i = 0; i < data.Length && offset + (uint)i < 3; i++)
                data[i] = _channels[(int)offset + i].Read(now);
        }
    }

    /// <inheritdoc/>
    public void Write(ulong offset, ReadOnlySpan<byte> data)
    {
        lock (_lock)
        {
            ulong now = _timers.Clock.Now;
            for (int i = 0; i < data.Length && offset + (uint)i < 4; i++)
            {
                int port = (int)offset + i;
                if (port == 3)
                    Control(data[i], now);
                else
                    WriteCount(port, data[i], now);
            }
        }
    }

    /// <inheritdoc/>
    void ITimerClient.TimerExpired(ulong now)
    {
        lock (_lock)
        {
            if (_deadline > now || _deadline == TimerQueue.Never)
                return;
            // A rise needs a fall before it; the output stays high until the next one, as good as the real pulse to an edge.
            _output.Set(false);
            _output.Set(true);
            Arm(now);
        }
    }

    /// <summary>Ticks in so many nanoseconds, rounded down.</summary>
    internal static ulong ToTicks(ulong nanoseconds) =>
        (ulong)((UInt128)nanoseconds * Frequency / GuestClock.NanosecondsPerSecond);

    /// <summary>The time in ns at which so many ticks are over, rounded up.</summary>
    internal static ulong ToNanoseconds(ulong ticks)
    {
        UInt128 nanoseconds = (((UInt128)ticks * GuestClock.NanosecondsPerSecond) + (Frequency - 1)) / Frequency;
        return nanoseconds > TimerQueue.Never ? TimerQueue.Never : (ulong)nanoseconds;
    }

    private static PitChannel[] NewChannels() => [new(gate: true), new(gate: true), new(gate: false)];

    private void Control(byte word, ulong now)
    {
        int select = word >> 6;
        if (select == 3)
        {
            for (int i = 0; i < 3; i++)
            {
                if ((word & (2 << i)) != 0)
                    _channels[i].ReadBack(count: (word & 0x20) == 0, status: (word & 0x10) == 0, now);
            }

            return;
        }

        _channels[select].Control(word, now);
        if (select == 0 && (word & 0x30) != 0)
        {
            _output.Set(false);
            Arm(now);
        }
    }

    private void WriteCount(int channel, byte value, ulong now)
    {
        bool complete = _channels[channel].Write(value, now);
        if (channel != 0)
            return;
        if (complete && _channels[0].Mode == 0)
            _output.Set(false);
        Arm(now);
    }

    private void Arm(ulong now)
    {
        _deadline = _channels[0].NextRise(now, ClosestRises);
        _timers.Arm(_timer, _deadline);
    }
}
