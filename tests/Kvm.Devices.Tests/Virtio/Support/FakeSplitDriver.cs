using Kvm.Devices.Virtio.Queue;

namespace Kvm.Devices.Tests.Virtio.Support;

/// <summary>The driver's side of a split ring.</summary>
internal sealed class FakeSplitDriver : FakeDriver
{
    private readonly Stack<ushort> _free;
    // Descriptors of the chain that begins at each.
    private readonly List<ushort>[] _chains;
    private ushort _kicked;
    private ushort _usedSeen;

    public FakeSplitDriver(GuestArena arena, int size, bool eventIndex = false, bool indirect = true, ushort start = 0, bool legacy = false)
        : base(arena, size, eventIndex, indirect)
    {
        // 2.7.2: legacy drivers place all of it by one page number.
        Table = arena.Allocate(16 * size, legacy ? 4096 : 16);
        Available = arena.Allocate(6 + 2 * size, 2);
        Used = arena.Allocate(6 + 8 * size, legacy ? 4096 : 4);
        _chains = Enumerable.Range(0, size).Select(_ => new List<ushort>(size)).ToArray();
        _free = new Stack<ushort>(Enumerable.Range(0, size).Reverse().Select(i => (ushort)i));
        AvailableIndex = _kicked = _usedSeen = start;
        arena.Set16(Available + 2, start);
        arena.Set16(Used + 2, start);
    }

    public ulong Table { get; }

    public ulong Available { get; }

    public ulong Used { get; }

    public ushort AvailableIndex { get; private set; }

    public ushort UsedIndex => Arena.U16(Used + 2);

    public override bool HasRoom => _free.Count > 0;

    public override QueueSetup Setup => new()
    {
        Size = (ushort)Size,
        DescriptorArea = Table,
        DriverArea = Available,
        DeviceArea = Used,
        EventIndex = EventIndex,
        Indirect = Indirect,
    };

    /// <summary>Writes a descriptor as it is told to.</summary>
    public void WriteDescriptor(int index, ulong address, uint length, int flags, int next) => WriteDescriptor(Table, index, address, length, flags, next);

    public void WriteDescriptor(ulong table, int index, ulong address, uint length, int flags, int next)
    {
        ulong at = table + (ulong)index * 16;
        Arena.Set64(at, address);
        Arena.Set32(at + 8, length);
        Arena.Set16(at + 12, flags);
        Arena.Set16(at + 14, next);
    }

    /// <summary>Puts a head into the available ring, whatever it is.</summary>
    public void Offer(int head)
    {
        Arena.Set16(Available + 4 + (ulong)(AvailableIndex % Size) * 2, head);
        Arena.Set16(Available + 2, ++AvailableIndex);
    }

    /// <summary>Sets the available index, whatever it was.</summary>
    public void JumpTo(int index) => Arena.Set16(Available + 2, AvailableIndex = (ushort)index);

    /// <summary>Clears the rings, as a driver does that sets its device up again.</summary>
    public void StartOver()
    {
        Arena.Bytes(Available, 6 + 2 * Size).Clear();
        Arena.Bytes(Used, 6 + 8 * Size).Clear();
        AvailableIndex = _kicked = _usedSeen = 0;
    }

    public override bool TryAdd(ReadOnlySpan<Element> elements, out ushort id)
    {
        id = 0;
        if (elements.IsEmpty || _free.Count < elements.Length)
            return false;
        var taken = Take(elements.Length);
        for (int i = 0; i < elements.Length; i++)
        {
            bool last = i == elements.Length - 1;
            WriteDescriptor(taken[i], elements[i].Address, elements[i].Length,
                (elements[i].Writable ? WriteFlag : 0) | (last ? 0 : NextFlag), last ? 0 : taken[i + 1]);
        }

        id = taken[0];
        Offer(id);
        return true;
    }

    private List<ushort> Take(int count)
    {
        var taken = _chains[_free.Peek()];
        for (int i = 0; i < count; i++)
            taken.Add(_free.Pop());
        return taken;
    }

    /// <summary>Direct descriptors, then one that refers to a table with the rest (2.7.5.3.2).</summary>
    public ushort AddMixed(int direct, params ReadOnlySpan<Element> elements)
    {
        ulong table = WriteTable(elements[direct..]);
        var taken = Take(direct + 1);
        for (int i = 0; i < direct; i++)
            WriteDescriptor(taken[i], elements[i].Address, elements[i].Length, NextFlag | (elements[i].Writable ? WriteFlag : 0), taken[i + 1]);
        WriteDescriptor(taken[direct], table, (uint)(elements.Length - direct) * 16, IndirectFlag, 0);
        Offer(taken[0]);
        return taken[0];
    }

    public override ushort AddIndirect(params ReadOnlySpan<Element> elements) => AddMixed(0, elements);

    /// <summary>Writes a table of descriptors, linked in an order other than their own.</summary>
    public ulong WriteTable(ReadOnlySpan<Element> elements)
    {
        ulong table = Arena.Allocate(elements.Length * 16, 1);
        // Element 0 must be entry 0; the others go backwards from the end.
        int count = elements.Length;
        int Place(int i) => i == 0 ? 0 : count - i;
        for (int i = 0; i < elements.Length; i++)
        {
            bool last = i == elements.Length - 1;
            WriteDescriptor(table, Place(i), elements[i].Address, elements[i].Length,
                (elements[i].Writable ? WriteFlag : 0) | (last ? 0 : NextFlag), last ? 0 : Place(i + 1));
        }

        return table;
    }

    public override bool MustNotify()
    {
        Interlocked.MemoryBarrier(); // 2.7.13.4.1
        ushort old = _kicked;
        _kicked = AvailableIndex;
        if (old == AvailableIndex)
            return false;
        return EventIndex ? Passed(Arena.U16(Used + 4 + 8 * (ulong)Size), AvailableIndex, old) : (Arena.U16(Used) & 1) == 0;
    }

    public override UsedBuffer? TakeUsed()
    {
        if (UsedIndex == _usedSeen)
            return null;
        ulong entry = Used + 4 + (ulong)(_usedSeen++ % Size) * 8;
        var used = new UsedBuffer((ushort)Arena.U32(entry), Arena.U32(entry + 4));
        if (used.Id < Size)
        {
            foreach (ushort descriptor in _chains[used.Id])
                _free.Push(descriptor);
            _chains[used.Id].Clear();
        }

        return used;
    }

    public override void DisableInterrupts()
    {
        if (!EventIndex)
            Arena.Set16(Available, 1);
    }

    public override bool EnableInterrupts(int later = 0)
    {
        if (EventIndex)
            Arena.Set16(Available + 4 + 2 * (ulong)Size, _usedSeen + later);
        else
            Arena.Set16(Available, 0);
        Interlocked.MemoryBarrier();
        return (ushort)(UsedIndex - _usedSeen) > later;
    }
}
