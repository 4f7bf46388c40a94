using Kvm.Devices.Bus;
using Kvm.Devices.Interrupts;
using Kvm.Devices.Snapshot;

namespace Kvm.Devices.Platform;

/// <summary>
/// Ports by which a test guest drives the wires to its interrupt controllers: the port at offset n is wire n, asserted by a
/// byte that is not zero. Reading gives the level. Safe from any thread.
/// </summary>
public sealed class TestInterruptPorts : IBusDevice, IStateful
{
    private readonly Lock _lock = new();
    private readonly IInterruptLine[] _lines;
    private uint _levels;

    /// <summary>Makes ports whose wires are all low.</summary>
    /// <param name="name">The state's name, such as <c>test-interrupts</c>.</param>
    /// <param name="lines">The wires, 1 to 32.</param>
    public TestInterruptPorts(string name, IReadOnlyList<IInterruptLine> lines)
    {
        ArgumentException.ThrowIfNullOrEmpty(name);
        ArgumentNullException.ThrowIfNull(lines);
        ArgumentOutOfRangeException.ThrowIfLessThan(lines.Count, 1, nameof(lines));
        ArgumentOutOfRangeException.ThrowIfGreaterThan(lines.Count, 32, nameof(lines));
        StateName = name;
        _lines = [.. lines];
    }

    /// <summary>Ports it takes: one a wire.</summary>
    public int Size => _lines.Length;

    /// <inheritdoc/>
    public string StateName { get; }

    /// <inheritdoc/>
    public ushort StateVersion => 1;

    /// <inheritdoc/>
    public void Read(ulong offset, Span<byte> data)
    {
        data.Clear();
        lock (_lock)
        {
            if (offset < (ulong)_lines.Length && !data.IsEmpty)
                data[0] = (byte)(_levels >> (int)offset & 1);
        }
    }

    /// <inheritdoc/>
    public void Write(ulong offset, ReadOnlySpan<byte> data)
    {
        if (offset >= (ulong)_lines.Length || data.IsEmpty)
            return;
        // The wire is driven under the lock: two processors that write to one port leave it at what the port says.
        lock (_lock)
        {
            bool asserted = data[0] != 0;
            uint wire = 1u << (int)offset;
            _levels = asserted ? _levels | wire : _levels & ~wire;
            _lines[(int)offset].Set(asserted);
        }
    }

    /// <inheritdoc/>
    public void Save(StateWriter writer)
    {
        ArgumentNullException.ThrowIfNull(writer);
        lock (_lock)
            writer.U32(_levels);
    }

    /// <inheritdoc/>
    public bool TryRestore(ref StateReader reader, ushort version)
    {
        uint levels = reader.U32();
        if (version != 1 || !reader.Complete || (ulong)levels >> _lines.Length != 0)
            return false;
        lock (_lock)
        {
            _levels = levels;
            for (int i = 0; i < _lines.Length; i++)
                _lines[i].Set((levels >> i & 1) != 0);
        }

        return true;
    }
}
