using Kvm.Devices.Bus;
using Kvm.Devices.Snapshot;

namespace Kvm.Devices.Platform;

/// <summary>
/// A port by which a test guest ends its machine with a number: what it writes at offset 0, in any width.
/// Reading gives zeros. Safe from any thread.
/// </summary>
public sealed class DebugExitPort : IBusDevice, IStateful
{
    /// <summary>Ports it takes, so that a 32-bit write arrives whole.</summary>
    public const int Size = 4;

    private readonly Lock _lock = new();
    private readonly Action<ulong> _exit;
    private bool _written;
    private ulong _value;

    /// <summary>Makes a port nothing has been written to.</summary>
    /// <param name="name">The state's name, such as <c>debug-exit</c>.</param>
    /// <param name="exit">Called with the value, zero-extended, at every write; on a vCPU thread, with no lock held; must not throw.</param>
    public DebugExitPort(string name, Action<ulong> exit)
    {
        ArgumentException.ThrowIfNullOrEmpty(name);
        ArgumentNullException.ThrowIfNull(exit);
        StateName = name;
        _exit = exit;
    }

    /// <summary>The value last written, or null if none was.</summary>
    public ulong? LastValue
    {
        get
        {
            lock (_lock)
                return _written ? _value : null;
        }
    }

    /// <inheritdoc/>
    public string StateName { get; }

    /// <inheritdoc/>
    public ushort StateVersion => 1;

    /// <inheritdoc/>
    public void Read(ulong offset, Span<byte> data) => data.Clear();

    /// <inheritdoc/>
    public void Write(ulong offset, ReadOnlySpan<byte> data)
    {
        if (offset != 0 || data.IsEmpty)
            return;
        ulong value = 0;
        for (int i = Math.Min(data.Length, sizeof(ulong)) - 1; i >= 0; i--)
            value = value << 8 | data[i];
        lock (_lock)
            (_written, _value) = (true, value);
        _exit(value);
    }

    /// <inheritdoc/>
    public void Save(StateWriter writer)
    {
        ArgumentNullException.ThrowIfNull(writer);
        lock (_lock)
        {
            writer.Bool(_written);
            writer.U64(_value);
        }
    }

    /// <inheritdoc/>
    public bool TryRestore(ref StateReader reader, ushort version)
    {
        bool written = reader.Bool();
        ulong value = reader.U64();
        if (version != 1 || !reader.Complete || (!written && value != 0))
            return false;
        lock (_lock)
            (_written, _value) = (written, value);
        return true;
    }
}
