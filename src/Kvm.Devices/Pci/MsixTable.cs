using System.Buffers.Binary;
using Kvm.Devices.Bus;
using Kvm.Devices.Interrupts;
using Kvm.Devices.Snapshot;

namespace Kvm.Devices.Pci;

/// <summary>
/// A function's MSI-X table and pending bits (PCI Local Bus 3.0, 6.8.2), as a bus device for a base address register of
/// <see cref="BarSize"/> bytes: the table first, the pending bits at <see cref="PendingOffset"/>.
/// </summary>
/// <remarks>Safe from any thread. A message that is masked becomes pending and is sent when it is unmasked. Nothing is allocated per access.</remarks>
public sealed class MsixTable : IBusDevice
{
    /// <summary>The most vectors a table has here.</summary>
    public const int MaxVectors = 128;

    /// <summary>Bytes of the base address register.</summary>
    public const int BarSize = 0x1000;

    /// <summary>Where the pending bits are.</summary>
    public const int PendingOffset = 0x800;

    /// <summary>So often a vector's message may change before it goes without a route for good: setting one costs more than sending a message.</summary>
    private const int MostChanges = 1000;

    private const int EntrySize = 16, ControlOffset = 12;
    private const byte Masked = 1;

    private readonly Lock _lock = new();
    private readonly IMsiSink _sink;
    private readonly byte[] _table;
    private readonly byte[] _pending;
    private readonly VectorRoute[] _routes;
    private bool _enabled;
    private bool _functionMasked;

    /// <summary>A vector's route, and the message it was set to.</summary>
    private struct VectorRoute
    {
        public IMsiRoute? Route;
        public ulong Address;
        public uint Data;
        public int Changes;
    }

    /// <summary>Makes a table whose vectors are all masked, in a function that has MSI-X switched off.</summary>
    /// <param name="vectors">1 to <see cref="MaxVectors"/>.</param>
    /// <param name="sink">Where messages go.</param>
    public MsixTable(int vectors, IMsiSink sink)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(vectors, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(vectors, MaxVectors);
        ArgumentNullException.ThrowIfNull(sink);
        _sink = sink;
        _table = new byte[vectors * EntrySize];
        _pending = new byte[(vectors + 63) / 64 * 8];
        _routes = new VectorRoute[vectors];
        for (int i = 0; i < vectors; i++)
            _table[i * EntrySize + ControlOffset] = Masked;
    }

    /// <summary>Number of vectors.</summary>
    public int Vectors => _table.Length / EntrySize;

    /// <summary>True if the function sends messages instead of driving its wire.</summary>
    public bool Enabled
    {
        get
        {
            lock (_lock)
                return _enabled;
        }
    }

    /// <summary>Sets what the capability's message control says; messages that become unmasked are sent.</summary>
    internal void SetControl(bool enabled, bool functionMasked)
    {
        lock (_lock)
            (_enabled, _functionMasked) = (enabled, functionMasked);
        SendPending(0, Vectors);
    }

    /// <summary>Sends a vector's message, or marks it pending; nothing if MSI-X is off or there is no such vector.</summary>
    public void Signal(int vector)
    {
        ulong address;
        uint data;
        IMsiRoute? route;
        lock (_lock)
        {
            if (!_enabled || (uint)vector >= (uint)Vectors)
                return;
            if (IsMasked(vector))
            {
                _pending[vector >> 3] |= (byte)(1 << (vector & 7));
                return;
            }

            (address, data) = Message(vector);
            route = RouteOf(vector, address, data);
        }

        // Not under the lock: behind the sink may be a system call, or an interrupt chip's lock.
        if (route is not null)
            route.Signal();
        else
            _sink.Send(address, data);
    }

    /// <inheritdoc/>
    public void Read(ulong offset, Span<byte> data)
    {
        data.Clear();
        lock (_lock)
        {
            if (offset < PendingOffset)
                Copy(_table, (int)offset, data);
            else if (offset < BarSize)
                Copy(_pending, (int)offset - PendingOffset, data);
        }
    }

    /// <inheritdoc/>
    /// <remarks>Reserved bits of the vector control are not kept, and pending bits are read-only (6.8.2.9, 6.8.2.10).</remarks>
    public void Write(ulong offset, ReadOnlySpan<byte> data)
    {
        if (offset >= (ulong)_table.Length)
            return;
        int start = (int)offset, end = (int)Math.Min(offset + (ulong)data.Length, (ulong)_table.Length);
        lock (_lock)
        {
            for (int i = start; i < end; i++)
            {
                int mask = (i % EntrySize) switch
                {
                    < ControlOffset => 0xff,
                    ControlOffset => Masked,
                    _ => 0,
                };
                _table[i] = (byte)(data[i - start] & mask);
            }
        }

        SendPending(start / EntrySize, (end + EntrySize - 1) / EntrySize);
    }

    internal void Save(StateWriter writer)
    {
        lock (_lock)
        {
            writer.Bytes(_table);
            writer.Bytes(_pending);
        }
    }

    /// <summary>Reads what <see cref="Save"/> wrote and says whether it can be; applied by <see cref="Apply"/>.</summary>
    internal bool TryRead(ref StateReader reader, out ReadOnlySpan<byte> table, out ReadOnlySpan<byte> pending)
    {
        table = reader.Bytes(_table.Length);
        pending = reader.Bytes(_pending.Length);
        if (reader.Failed || table.Length != _table.Length || pending.Length != _pending.Length)
            return false;
        for (int i = 0; i < table.Length; i++)
        {
            if (i % EntrySize >= ControlOffset && (table[i] & ~(i % EntrySize == ControlOffset ? Masked : 0)) != 0)
                return false;
        }

        for (int i = Vectors; i < pending.Length * 8; i++)
        {
            if ((pending[i >> 3] & 1 << (i & 7)) != 0)
                return false;
        }

        return true;
    }

    internal void Apply(ReadOnlySpan<byte> table, ReadOnlySpan<byte> pending)
    {
        lock (_lock)
        {
            table.CopyTo(_table);
            pending.CopyTo(_pending);
        }
    }

    /// <summary>
    /// The vector's route for its message, set when that is first sent rather than when it is written: a driver writes an entry in three pieces.
    /// Null if the message goes without.
    /// </summary>
    private IMsiRoute? RouteOf(int vector, ulong address, uint data)
    {
        ref var own = ref _routes[vector];
        if (own.Changes > MostChanges)
            return null;
        if (own.Route is not null && own.Address == address && own.Data == data)
            return own.Route;
        own.Changes++;
        own.Route ??= _sink.TryRoute();
        if (own.Route is null || !own.Route.TrySet(address, data))
        {
            own.Changes = int.MaxValue;
            return null;
        }

        (own.Address, own.Data) = (address, data);
        return own.Route;
    }

    private static void Copy(byte[] from, int start, Span<byte> to)
    {
        if (start < from.Length)
            from.AsSpan(start, Math.Min(to.Length, from.Length - start)).CopyTo(to);
    }

    private bool IsMasked(int vector) => _functionMasked || (_table[vector * EntrySize + ControlOffset] & Masked) != 0;

    private (ulong Address, uint Data) Message(int vector)
    {
        var entry = _table.AsSpan(vector * EntrySize, EntrySize);
        return (BinaryPrimitives.ReadUInt64LittleEndian(entry), BinaryPrimitives.ReadUInt32LittleEndian(entry[8..]));
    }

    private void SendPending(int from, int to)
    {
        for (int vector = from; vector < to; vector++)
        {
            lock (_lock)
            {
                byte bit = (byte)(1 << (vector & 7));
                if (!_enabled || (_pending[vector >> 3] & bit) == 0 || IsMasked(vector))
                    continue;
                _pending[vector >> 3] &= (byte)~bit;
            }

            Signal(vector);
        }
    }
}
