using Kvm.Devices.Virtio.Queue;

namespace Kvm.Devices.Tests.Virtio.Support;

/// <summary>An element of a chain, as a driver describes it.</summary>
internal readonly record struct Element(ulong Address, uint Length, bool Writable)
{
    public static Element In(ulong address, uint length) => new(address, length, true);

    public static Element Out(ulong address, uint length) => new(address, length, false);
}

/// <summary>A buffer the device gave back.</summary>
internal readonly record struct UsedBuffer(ushort Id, uint Written);

/// <summary>
/// The guest's side of a ring, written from the virtio specification's driver sections (1.2: 2.7.13, 2.7.14, 2.8.21, 2.8.22) and
/// sharing nothing with the device's side but the memory.
/// </summary>
internal abstract class FakeDriver(GuestArena arena, int size, bool eventIndex, bool indirect)
{
    protected const ushort NextFlag = 1, WriteFlag = 2, IndirectFlag = 4;

    public GuestArena Arena => arena;

    public int Size => size;

    public bool EventIndex => eventIndex;

    public abstract QueueSetup Setup { get; }

    /// <summary>True if there is a free descriptor.</summary>
    public abstract bool HasRoom { get; }

    protected bool Indirect => indirect;

    /// <summary>Offers a chain; false if the ring has no room for it.</summary>
    public abstract bool TryAdd(ReadOnlySpan<Element> elements, out ushort id);

    public ushort Add(params ReadOnlySpan<Element> elements) =>
        TryAdd(elements, out ushort id) ? id : throw new InvalidOperationException("the ring is full");

    /// <summary>Offers a chain by one descriptor that refers to a table.</summary>
    public abstract ushort AddIndirect(params ReadOnlySpan<Element> elements);

    /// <summary>Whether the device must be notified of what was offered since the last time this was asked.</summary>
    public abstract bool MustNotify();

    /// <summary>Takes a used buffer, if there is one.</summary>
    public abstract UsedBuffer? TakeUsed();

    /// <summary>Asks the device not to interrupt.</summary>
    public abstract void DisableInterrupts();

    /// <summary>Asks for an interrupt at the next used buffer, or the one <paramref name="later"/> entries after; true if there is one already.</summary>
    public abstract bool EnableInterrupts(int later = 0);

    public List<UsedBuffer> TakeAllUsed()
    {
        var all = new List<UsedBuffer>();
        while (TakeUsed() is { } used)
            all.Add(used);
        return all;
    }

    public static FakeDriver Make(bool packed, GuestArena arena, int size, bool eventIndex = false, bool indirect = true) =>
        packed ? new FakePackedDriver(arena, size, eventIndex, indirect) : new FakeSplitDriver(arena, size, eventIndex, indirect);

    protected static bool Passed(ushort awaited, ushort now, ushort old) => (ushort)(now - awaited - 1) < (ushort)(now - old);
}
