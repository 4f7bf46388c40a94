using Kvm.Devices.Bus;
using Kvm.Devices.Snapshot;

namespace Kvm.Devices.Platform;

/// <summary>
/// System control port B (0x61 on a PC): the speaker's gate and data, the timer channel behind it, the refresh signal that old delay
/// loops count. Kernels calibrate their clocks by it where nothing better is offered. Safe from any thread.
/// </summary>
public sealed class SystemControlB : IBusDevice, IStateful
{
    /// <summary>Ports it takes.</summary>
    public const int Size = 1;

    private const byte Gate = 1 << 0, Kept = 0x0f, Refresh = 1 << 4, TimerOutput = 1 << 5;

    private readonly Lock _lock = new();
    private readonly TimeProvider _time;
    private readonly ISpeakerChannel? _channel;
    private byte _value;

    /// <summary>Makes a port with the gate closed.</summary>
    /// <param name="name">The state's name, such as <c>port61</c>.</param>
    /// <param name="time">The host's clock, for the refresh signal.</param>
    /// <param name="channel">The timer's channel 2. Without one its output reads as 1: a count that is always over, for which nobody waits.</param>
    public SystemControlB(string name, TimeProvider time, ISpeakerChannel? channel = null)
    {
        ArgumentException.ThrowIfNullOrEmpty(name);
        ArgumentNullException.ThrowIfNull(time);
        StateName = name;
        _time = time;
        _channel = channel;
    }

    /// <inheritdoc/>
    public string StateName { get; }

    /// <inheritdoc/>
    public ushort StateVersion => 1;

    /// <inheritdoc/>
    public void Read(ulong offset, Span<byte> data)
    {
        data.Fill(0xff);
        if (offset != 0 || data.IsEmpty)
            return;
        // The refresh signal changes every 15 µs; 2^14 ns is near enough.
        long nanoseconds = (long)_time.GetElapsedTime(0).TotalNanoseconds;
        lock (_lock)
            data[0] = (byte)(_value | ((nanoseconds >> 14 & 1) != 0 ? Refresh : 0) | (_channel?.Output ?? true ? TimerOutput : 0));
    }

    /// <inheritdoc/>
    public void Write(ulong offset, ReadOnlySpan<byte> data)
    {
        if (offset != 0 || data.IsEmpty)
            return;
        lock (_lock)
        {
            _value = (byte)(data[0] & Kept);
            _channel?.SetGate((_value & Gate) != 0);
        }
    }

    /// <inheritdoc/>
    public void Save(StateWriter writer)
    {
        ArgumentNullException.ThrowIfNull(writer);
        lock (_lock)
            writer.U8(_value);
    }

    /// <inheritdoc/>
    /// <remarks>The gate is not driven: the timer restores its own.</remarks>
    public bool TryRestore(ref StateReader reader, ushort version)
    {
        byte value = reader.U8();
        if (version != 1 || !reader.Complete || (value & ~Kept) != 0)
            return false;
        lock (_lock)
            _value = value;
        return true;
    }
}
