using Kvm.Devices.Memory;

namespace Kvm.Devices.Virtio.Queue;

/// <summary>
/// Collects the elements of one chain: checks order and number, and looks each element up in guest memory. One of a queue's, reused
/// for each chain.
/// </summary>
internal sealed class ChainBuilder(GuestMemory memory, int capacity)
{
    private readonly HostBuffer[] _buffers = new HostBuffer[capacity];
    // Where each element is in guest memory, for who wants to know what devices write.
    private readonly (ulong Address, uint Length)[] _places = new (ulong, uint)[capacity];
    private int _limit;
    private bool _indirect;
    private int _count;
    private int _readable;
    private bool _bad;

    /// <summary>Elements outside memory are counted here: their request fails, the queue goes on.</summary>
    public bool HasBadBuffer => _bad;

    public Span<HostBuffer> Readable => _buffers.AsSpan(0, _readable);

    public Span<HostBuffer> Writable => _buffers.AsSpan(_readable, _count - _readable);

    /// <summary>Sets what a queue of this size and these features allows.</summary>
    public void Configure(int limit, bool indirect) => (_limit, _indirect) = (limit, indirect);

    public void Clear() => (_count, _readable, _bad) = (0, 0, false);

    /// <summary>Adds an element.</summary>
    public QueueFault Add(in Descriptor descriptor, ushort flags)
    {
        bool writable = (flags & Descriptor.Write) != 0;
        if (_count == _limit)
            return QueueFault.ChainTooLong;
        if (!writable && _readable != _count)
            return QueueFault.ReadableAfterWritable;
        if (!memory.TryBuffer(descriptor.Address, descriptor.Length, writable, out _buffers[_count]))
            _bad = true;
        _places[_count] = (descriptor.Address, (uint)_buffers[_count].Length);
        _count++;
        if (!writable)
            _readable++;
        return QueueFault.None;
    }

    /// <summary>Says that the chain's writable elements may have changed since they were looked up.</summary>
    public void NotifyWritten()
    {
        if (memory.WriteObserver is null)
            return;
        for (int i = _readable; i < _count; i++)
            memory.NotifyWritten(_places[i].Address, _places[i].Length);
    }

    /// <summary>Finds the table an indirect descriptor refers to (2.7.5.3, 2.8.7).</summary>
    public QueueFault FindTable(in Descriptor descriptor, ushort flags, out RingPart table, out int entries)
    {
        (table, entries) = (default, (int)(descriptor.Length / Descriptor.Size));
        if (!_indirect)
            return QueueFault.IndirectNotNegotiated;
        // More entries than a 16-bit `next` can name are no table; the chain's own limit is checked as it is read.
        if ((flags & Descriptor.Next) != 0 || entries is 0 or > ushort.MaxValue + 1 || descriptor.Length % Descriptor.Size != 0)
            return QueueFault.IndirectShape;
        return RingPart.TryMap(memory, descriptor.Address, entries * Descriptor.Size, 1, false, out table)
            ? QueueFault.None : QueueFault.IndirectOutsideMemory;
    }
}
