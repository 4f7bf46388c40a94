using System.Numerics;
using Kvm.Devices.Memory;

namespace Kvm.Devices.Virtio.Queue;

/// <summary>A split ring (virtio 1.2, 2.7): a descriptor table, an available ring and a used ring.</summary>
internal sealed class SplitRing : VirtRing
{
    public const int MaxSize = 32_768;

    private const int Flags = 0, Index = 2, Entries = 4;
    private const ushort NoInterrupt = 1, NoNotify = 1;

    private RingPart _table, _available, _used;
    private int _size;
    private bool _eventIndex;
    private ushort _next;
    private ushort _seen;
    private ushort _usedNext;
    private ushort _published;

    public override QueuePosition Position => new(_next, _usedNext);

    public override bool TryStart(GuestMemory memory, in QueueSetup setup, QueuePosition position)
    {
        int size = setup.Size;
        if (size is 0 or > MaxSize || !BitOperations.IsPow2(size) || position.Available != position.Used)
            return false;
        // The event fields at the rings' ends are part of them whether they are used or not (2.7).
        if (!RingPart.TryMap(memory, setup.DescriptorArea, size * Descriptor.Size, 16, false, out var table)
            || !RingPart.TryMap(memory, setup.DriverArea, 6 + 2 * size, 2, false, out var available)
            || !RingPart.TryMap(memory, setup.DeviceArea, 6 + 8 * size, 4, true, out var used))
            return false;
        (_table, _available, _used, _size, _eventIndex) = (table, available, used, size, setup.EventIndex);
        _next = _seen = position.Available;
        _usedNext = _published = position.Used;
        return true;
    }

    public override bool HasAvailable(out QueueFault fault)
    {
        fault = QueueFault.None;
        if (_seen != _next)
            return true;
        // The index is loaded once for all chains it promises, and before their entries (acquire).
        ushort index = _available.Load16(Index);
        if (unchecked((ushort)(index - _next)) > _size)
            fault = QueueFault.AvailableIndexJumped;
        else
            _seen = index;
        return index != _next;
    }

    public override QueueFault Read(ChainBuilder chain, out ushort head)
    {
        head = _available.Load16(Entries + 2 * (_next & _size - 1));
        return head >= _size ? QueueFault.HeadOutOfRange : Walk(chain, head);
    }

    /// <summary>Follows a chain, bounded by the builder: zero or more descriptors, of which the last may be an indirect table (2.7.5.3.2).</summary>
    private QueueFault Walk(ChainBuilder chain, int index)
    {
        var table = _table;
        int entries = _size;
        bool nested = false;
        while (true)
        {
            var descriptor = table.LoadDescriptor(index);
            ushort flags = descriptor.Low;
            QueueFault fault;
            if ((flags & Descriptor.Indirect) != 0)
            {
                if (nested)
                    return QueueFault.IndirectNested;
                fault = chain.FindTable(in descriptor, flags, out table, out entries);
                if (fault != QueueFault.None)
                    return fault;
                (nested, index) = (true, 0);
                continue;
            }

            fault = chain.Add(in descriptor, flags);
            if (fault != QueueFault.None || (flags & Descriptor.Next) == 0)
                return fault;
            index = descriptor.High;
            if (index >= entries)
                return QueueFault.NextOutOfRange;
        }
    }

    public override void Advance(ushort head) => _next++;

    public override void Retreat(ushort head) => _next--;

    public override void Use(ushort head, uint written)
    {
        // 2.7.8: the entry is the head in 32 bits, then the bytes written.
        _used.Store32(Entries + 8 * (_usedNext & _size - 1), head);
        _used.Store32(Entries + 8 * (_usedNext & _size - 1) + 4, written);
        _usedNext++;
    }

    public override bool Publish()
    {
        ushort old = _published;
        if (old == _usedNext)
            return false;
        _published = _usedNext;
        _used.Store16(Index, _usedNext);
        // The driver writes its event index or flag, fences, then reads our index: without a fence here both could miss the other's store.
        RingPart.Fence();
        return _eventIndex
            ? Passed(_available.Load16(Entries + 2 * _size), _usedNext, old)
            : (_available.Load16(Flags) & NoInterrupt) == 0;
    }

    public override void DisableNotifications()
    {
        // With an event index the flag must be 0 (2.7.10.2), and an index left behind is one the driver does not pass again.
        if (!_eventIndex)
            _used.Store16(Flags, NoNotify);
    }

    public override void EnableNotifications()
    {
        if (_eventIndex)
            _used.Store16(Entries + 8 * _size, _next);
        else
            _used.Store16(Flags, 0);
        RingPart.Fence();
    }
}
