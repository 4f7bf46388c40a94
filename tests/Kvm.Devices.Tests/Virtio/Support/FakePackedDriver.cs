using Kvm.Devices.Virtio.Queue;

namespace Kvm.Devices.Tests.Virtio.Support;

/// <summary>The driver's side of a packed ring (virtio 1.2, 2.8.21.3 and 2.8.22).</summary>
internal sealed class FakePackedDriver : FakeDriver
{
    private const int AvailableFlag = 1 << 7, UsedFlag = 1 << 15;

    private readonly Stack<ushort> _ids;
    private readonly int[] _lengths;
    private int _next;
    private bool _wrap = true;
    private int _used;
    private bool _usedWrap = true;
    private int _free;
    private int _added;

    public FakePackedDriver(GuestArena arena, int size, bool eventIndex = false, bool indirect = true)
        : base(arena, size, eventIndex, indirect)
    {
        Ring = arena.Allocate(16 * size, 16);
        DriverEvents = arena.Allocate(4, 4);
        DeviceEvents = arena.Allocate(4, 4);
        // Identifiers in an order that has nothing to do with the ring's.
        _ids = new Stack<ushort>(Enumerable.Range(0, size).Select(i => (ushort)i));
        _lengths = new int[size];
        _free = size;
    }

    public ulong Ring { get; }

    public ulong DriverEvents { get; }

    public ulong DeviceEvents { get; }

    public int Next => _next;

    public bool Wrap => _wrap;

    public override bool HasRoom => _free > 0;

    public override QueueSetup Setup => new()
    {
        Size = (ushort)Size,
        DescriptorArea = Ring,
        DriverArea = DriverEvents,
        DeviceArea = DeviceEvents,
        EventIndex = EventIndex,
        Indirect = Indirect,
        Packed = true,
    };

    /// <summary>Flags that make a descriptor available at the ring's current turn.</summary>
    public int AvailableFlags => AvailableFlagsAt(_wrap);

    private static int AvailableFlagsAt(bool wrap) => wrap ? AvailableFlag : UsedFlag;

    /// <summary>Writes a descriptor as it is told to, its flags last.</summary>
    public void WriteDescriptor(int index, ulong address, uint length, int id, int flags)
    {
        ulong at = Ring + (ulong)index * 16;
        Arena.Set64(at, address);
        Arena.Set32(at + 8, length);
        Arena.Set16(at + 12, id);
        Arena.Set16(at + 14, flags);
    }

    public override bool TryAdd(ReadOnlySpan<Element> elements, out ushort id)
    {
        id = 0;
        if (_free < elements.Length)
            return false;
        id = _ids.Pop();
        int first = _next, firstFlags = 0;
        for (int i = 0; i < elements.Length; i++)
        {
            bool last = i == elements.Length - 1;
            int flags = AvailableFlags | (elements[i].Writable ? WriteFlag : 0) | (last ? 0 : NextFlag);
            if (i == 0)
                firstFlags = flags;
            // 2.8.6: the identifier is in the last; the first becomes available after the rest.
            WriteDescriptor(_next, elements[i].Address, elements[i].Length, last ? id : 0xffff,
                i == 0 ? Arena.U16(Ring + (ulong)_next * 16 + 14) : flags);
            Step();
        }

        Commit(first, firstFlags, id, elements.Length);
        return true;
    }

    public override ushort AddIndirect(params ReadOnlySpan<Element> elements)
    {
        ulong table = Arena.Allocate(elements.Length * 16, 1);
        for (int i = 0; i < elements.Length; i++)
        {
            ulong at = table + (ulong)i * 16;
            Arena.Set64(at, elements[i].Address);
            Arena.Set32(at + 8, elements[i].Length);
            Arena.Set16(at + 12, 0x5a5a); // reserved
            Arena.Set16(at + 14, elements[i].Writable ? WriteFlag : 0);
        }

        ushort id = _ids.Pop();
        int first = _next, flags = AvailableFlags | IndirectFlag;
        WriteDescriptor(first, table, (uint)elements.Length * 16, id, Arena.U16(Ring + (ulong)first * 16 + 14));
        Step();
        Commit(first, flags, id, 1);
        return id;
    }

    public override bool MustNotify()
    {
        Interlocked.MemoryBarrier(); // 2.8.21.3.1
        uint events = Arena.U32(DeviceEvents);
        int added = _added;
        _added = 0;
        if (added == 0)
            return false;
        int entry = (int)(events & 0x7fff);
        if ((events & 0x8000) != 0 != _wrap)
            entry -= Size;
        return (events >> 16 & 3) switch
        {
            1 => false,
            2 when EventIndex => Passed((ushort)entry, (ushort)_next, (ushort)(_next - added)),
            _ => true,
        };
    }

    public override UsedBuffer? TakeUsed()
    {
        ulong at = Ring + (ulong)_used * 16;
        if (!IsUsed())
            return null;
        var buffer = new UsedBuffer(Arena.U16(at + 12), 0);
        // 2.8.4: the length means something only with WRITE.
        if ((Arena.U16(at + 14) & WriteFlag) != 0)
            buffer = buffer with { Written = Arena.U32(at + 8) };
        int length = _lengths[buffer.Id];
        _lengths[buffer.Id] = 0;
        _used += length;
        if (_used >= Size)
            (_used, _usedWrap) = (_used - Size, !_usedWrap);
        _free += length;
        _ids.Push(buffer.Id);
        return buffer;
    }

    public override void DisableInterrupts() => Arena.Set32(DriverEvents, 1u << 16);

    public override bool EnableInterrupts(int later = 0)
    {
        int entry = _used + later;
        bool wrap = _usedWrap;
        if (entry >= Size)
            (entry, wrap) = (entry - Size, !wrap);
        Arena.Set32(DriverEvents, EventIndex ? 2u << 16 | (uint)entry | (wrap ? 0x8000u : 0) : 0);
        Interlocked.MemoryBarrier();
        return IsUsed();
    }

    private bool IsUsed()
    {
        int flags = Arena.U16(Ring + (ulong)_used * 16 + 14);
        return (flags & AvailableFlag) != 0 == _usedWrap && (flags & UsedFlag) != 0 == _usedWrap;
    }

    private void Commit(int first, int flags, ushort id, int length)
    {
        _lengths[id] = length;
        _free -= length;
        _added += length;
        Arena.Set16(Ring + (ulong)first * 16 + 14, flags);
    }

    private void Step()
    {
        if (++_next == Size)
            (_next, _wrap) = (0, !_wrap);
    }
}
