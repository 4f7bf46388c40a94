using Kvm.Devices.Memory;

namespace Kvm.Devices.Virtio.Queue;

/// <summary>What the two forms of a ring do differently. Used by one thread at a time, on behalf of a <see cref="VirtQueue"/>.</summary>
internal abstract class VirtRing
{
    /// <summary>Takes the driver's set-up and goes to a position; false, changing nothing that matters, if either cannot be.</summary>
    public abstract bool TryStart(GuestMemory memory, in QueueSetup setup, QueuePosition position);

    /// <summary>How far the ring has come.</summary>
    public abstract QueuePosition Position { get; }

    /// <summary>True if the driver has made another chain available.</summary>
    public abstract bool HasAvailable(out QueueFault fault);

    /// <summary>Reads the chain that is available next, without moving on; after <see cref="HasAvailable"/>.</summary>
    /// <param name="chain">Takes the elements.</param>
    /// <param name="head">The chain's head or the buffer's identifier, below the ring's size unless a fault is returned.</param>
    public abstract QueueFault Read(ChainBuilder chain, out ushort head);

    /// <summary>Moves past the chain just read.</summary>
    public abstract void Advance(ushort head);

    /// <summary>Moves back before the chain that was advanced past last.</summary>
    public abstract void Retreat(ushort head);

    /// <summary>Writes a used entry, which the driver sees only after <see cref="Publish"/>.</summary>
    public abstract void Use(ushort head, uint written);

    /// <summary>Shows the driver all used entries, then says whether it wants to be told.</summary>
    public abstract bool Publish();

    /// <summary>Asks the driver not to notify.</summary>
    public abstract void DisableNotifications();

    /// <summary>Asks the driver to notify of the next chain. The caller looks for chains once more afterwards.</summary>
    public abstract void EnableNotifications();

    /// <summary>True if moving from <paramref name="old"/> to <paramref name="now"/> went past the entry the peer waits for (2.7.7.2).</summary>
    protected static bool Passed(ushort awaited, ushort now, ushort old) =>
        unchecked((ushort)(now - awaited - 1) < (ushort)(now - old));
}
