using Kvm.Devices.Memory;

namespace Kvm.Devices.Virtio.Queue;

/// <summary>A packed ring (virtio 1.2, 2.8): one ring of descriptors that each side overwrites, and two event suppression structures.</summary>
/// <param name="maxSize">The most entries it will have.</param>
internal sealed class PackedRing(int maxSize) : VirtRing
{
    public const int MaxSize = 32_768;

    private const ushort WrapBit = 1 << 15, BothBits = Descriptor.Available | Descriptor.Used;
    private const uint EventsEnabled = 0, EventsDisabled = 1, EventsForEntry = 2, EventFlagBits = 3;

    // Descriptors a buffer takes in the ring, by its identifier: so far the ring moves when it is used (2.8.6).
    private readonly ushort[] _lengths = new ushort[maxSize];

    private RingPart _ring, _driver, _device;
    private int _size;
    private bool _eventIndex;
    private int _next;
    private bool _wrap;
    private int _usedNext;
    private bool _usedWrap;
    private int _length;
    private int _taken;
    private int _first;
    private ushort _firstFlags;
    private int _unpublished;

    public override QueuePosition Position => new(Encode(_next, _wrap), Encode(_usedNext, _usedWrap));

    public override bool TryStart(GuestMemory memory, in QueueSetup setup, QueuePosition position)
    {
        int size = setup.Size, next = position.Available & ~WrapBit;
        if (size == 0 || size > Math.Min(maxSize, MaxSize) || position.Available != position.Used || next >= size)
            return false;
        if (!RingPart.TryMap(memory, setup.DescriptorArea, size * Descriptor.Size, 16, true, out var ring)
            || !RingPart.TryMap(memory, setup.DriverArea, 4, 4, false, out var driver)
            || !RingPart.TryMap(memory, setup.DeviceArea, 4, 4, true, out var device))
            return false;
        (_ring, _driver, _device, _size, _eventIndex) = (ring, driver, device, size, setup.EventIndex);
        _next = _usedNext = next;
        _wrap = _usedWrap = (position.Available & WrapBit) != 0;
        _unpublished = _taken = 0;
        return true;
    }

    public override bool HasAvailable(out QueueFault fault)
    {
        fault = QueueFault.None;
        return IsAvailable(_ring.Load16(FlagsOf(_next)));
    }

    public override QueueFault Read(ChainBuilder chain, out ushort head)
    {
        // The first descriptor's flags were loaded, and acquired, before the rest is: the driver wrote them last (2.8.6).
        int index = _next;
        _length = 0;
        while (true)
        {
            var descriptor = _ring.LoadDescriptor(index);
            ushort flags = descriptor.High;
            _length++;
            var fault = (flags & Descriptor.Indirect) == 0 ? chain.Add(in descriptor, flags)
                : _length > 1 ? QueueFault.IndirectShape // 2.8.19: not in a list linked by NEXT
                : ReadTable(chain, in descriptor, flags);
            head = descriptor.Low;
            if (fault != QueueFault.None)
                return fault;
            if ((flags & Descriptor.Next) == 0)
                break;
            index = index + 1 == _size ? 0 : index + 1;
        }

        if (head >= _size)
            return QueueFault.HeadOutOfRange;
        // Descriptors that were taken and not yet used are the device's: a driver that offers them again has lapped the ring.
        return _length > _size - _taken ? QueueFault.AvailableIndexJumped : QueueFault.None;
    }

    /// <summary>2.8.7: the table's entries follow each other, and of their flags only WRITE means something.</summary>
    private static QueueFault ReadTable(ChainBuilder chain, in Descriptor descriptor, ushort flags)
    {
        var fault = chain.FindTable(in descriptor, flags, out var table, out int entries);
        for (int i = 0; i < entries && fault == QueueFault.None; i++)
        {
            var element = table.LoadDescriptor(i);
            fault = chain.Add(in element, element.High);
        }

        return fault;
    }

    public override void Advance(ushort head)
    {
        _lengths[head] = (ushort)_length;
        _taken += _length;
        (_next, _wrap) = Move(_next, _wrap, _length);
    }

    public override void Retreat(ushort head)
    {
        _next -= _lengths[head];
        _taken -= _lengths[head];
        if (_next < 0)
            (_next, _wrap) = (_next + _size, !_wrap);
    }

    public override void Use(ushort head, uint written)
    {
        ushort flags = (ushort)((_usedWrap ? BothBits : 0) | (written != 0 ? Descriptor.Write : 0));
        // Address and length of the driver's descriptor give way to the length and the identifier (2.8.13).
        _ring.Store32(_usedNext * Descriptor.Size + 8, written);
        _ring.Store16(_usedNext * Descriptor.Size + 12, head);
        if (_unpublished == 0)
            (_first, _firstFlags) = (_usedNext, flags);
        else
            _ring.Store16(FlagsOf(_usedNext), flags);
        int length = _lengths[head];
        _unpublished += length;
        _taken -= length;
        (_usedNext, _usedWrap) = Move(_usedNext, _usedWrap, length);
    }

    public override bool Publish()
    {
        if (_unpublished == 0)
            return false;
        // The driver reads the ring in order: the first of the batch, written last, shows it all of them.
        _ring.Store16(FlagsOf(_first), _firstFlags);
        RingPart.Fence();
        int moved = _unpublished;
        _unpublished = 0;
        uint suppression = _driver.Load32(0);
        switch (suppression >> 16 & EventFlagBits)
        {
            case EventsDisabled:
                return false;
            case EventsForEntry when _eventIndex:
                int entry = (int)(suppression & 0x7fff);
                if ((suppression & WrapBit) != 0 != _usedWrap)
                    entry -= _size;
                return Passed(unchecked((ushort)entry), (ushort)_usedNext, unchecked((ushort)(_usedNext - moved)));
            default:
                return true;
        }
    }

    public override void DisableNotifications() => _device.Store32(0, EventsDisabled << 16);

    public override void EnableNotifications()
    {
        _device.Store32(0, _eventIndex ? EventsForEntry << 16 | Encode(_next, _wrap) : EventsEnabled << 16);
        RingPart.Fence();
    }

    private bool IsAvailable(ushort flags) => (flags & Descriptor.Available) != 0 == _wrap && (flags & Descriptor.Used) != 0 != _wrap;

    private static int FlagsOf(int index) => index * Descriptor.Size + 14;

    private (int Index, bool Wrap) Move(int index, bool wrap, int by) =>
        index + by >= _size ? (index + by - _size, !wrap) : (index + by, wrap);

    private static ushort Encode(int index, bool wrap) => (ushort)(index | (wrap ? WrapBit : 0));
}
