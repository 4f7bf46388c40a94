using Kvm.Devices.Bus;
using Kvm.Devices.Snapshot;

namespace Kvm.Devices.Platform;

/// <summary>
/// Registers that keep what was written to them and do nothing else, so that a test guest sees what its accesses become:
/// every byte of an access counts, and bytes beyond the end read as ones. Safe from any thread.
/// </summary>
public sealed class TestMemory : IBusDevice, IStateful
{
    private readonly Lock _lock = new();
    private readonly byte[] _bytes;

    /// <summary>Makes registers that are all zero.</summary>
    /// <param name="name">The state's name, such as <c>test-ports</c>.</param>
    /// <param name="size">Number of bytes, 1 to 65536.</param>
    public TestMemory(string name, int size)
    {
        ArgumentException.ThrowIfNullOrEmpty(name);
        ArgumentOutOfRangeException.ThrowIfLessThan(size, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(size, 65536);
        StateName = name;
        _bytes = new byte[size];
    }

    /// <inheritdoc/>
    public string StateName { get; }

    /// <inheritdoc/>
    public ushort StateVersion => 1;

    /// <inheritdoc/>
    public void Read(ulong offset, Span<byte> data)
    {
        data.Fill(0xff);
        lock (_lock)
            Inside(offset, data.Length).CopyTo(data);
    }

    /// <inheritdoc/>
    public void Write(ulong offset, ReadOnlySpan<byte> data)
    {
        lock (_lock)
        {
            var inside = Inside(offset, data.Length);
            data[..inside.Length].CopyTo(inside);
        }
    }

    /// <inheritdoc/>
    public void Save(StateWriter writer)
    {
        ArgumentNullException.ThrowIfNull(writer);
        lock (_lock)
            writer.Bytes(_bytes);
    }

    /// <inheritdoc/>
    public bool TryRestore(ref StateReader reader, ushort version)
    {
        var bytes = reader.Bytes(_bytes.Length);
        if (version != 1 || !reader.Complete || bytes.Length != _bytes.Length)
            return false;
        lock (_lock)
            bytes.CopyTo(_bytes);
        return true;
    }

    private Span<byte> Inside(ulong offset, int length) =>
        offset >= (ulong)_bytes.Length ? default : _bytes.AsSpan((int)offset, Math.Min(length, _bytes.Length - (int)offset));
}
