using Kvm.Devices.Memory;
using Kvm.Interop;
using Kvm.Vmm.Snapshots.Lazy;
using Kvm.Vmm.Snapshots.Store;

namespace Kvm.Vmm.Snapshots;

/// <summary>A machine's state at one moment: what it goes on from, under either engine. Immutable; any number of machines may be restored from it, at once.</summary>
/// <param name="Engine">The engine it was saved under: told to people, it binds nobody.</param>
/// <param name="Records">The state of its parts but memory.</param>
/// <param name="Memory">Guest memory.</param>
public sealed record MachineSnapshot(string Engine, IReadOnlyList<SnapshotRecord> Records, IMemoryImage Memory);

/// <summary>The content of a guest's memory. Any thread.</summary>
public interface IMemoryImage
{
    /// <summary>Puts the content into a machine's memory, all of which is zeros. No vCPU runs.</summary>
    /// <param name="memory">Memory of the same ranges.</param>
    /// <exception cref="VmmException">The content cannot be had, or is damaged.</exception>
    void Fill(GuestMemory memory);
}

/// <summary>A content that comes otherwise than by being copied in.</summary>
internal interface IMemorySource : IMemoryImage
{
    /// <summary>Host memory that has the content already; null for memory of zeros.</summary>
    /// <param name="range">A range of RAM.</param>
    HostMapping? Map(AddressRange range) => null;

    /// <summary>Puts it there, or has it brought.</summary>
    /// <param name="ram">The machine's memory, untouched.</param>
    /// <param name="config">The machine's configuration.</param>
    /// <param name="notice">Takes messages for people.</param>
    /// <returns>What brings it; null where it is there.</returns>
    PagedMemory? Begin(RamMapping ram, VmConfig config, Action<string>? notice);
}

/// <summary>How a machine is restored, and what may be left aside.</summary>
public sealed record RestoreOptions
{
    /// <summary>
    /// The program, <c>kvmsharp</c>, whose verb <c>pager</c> brings memory from the store when it is touched first, in a process of its own, and all else in the background; null:
    /// all memory is read before the guest goes on, as where the host does not permit userfaultfd. For stored snapshots.
    /// </summary>
    public string? Pager { get; init; }

    /// <summary>
    /// The machine is another one than the one that was saved, and goes on beside it: its cards have the addresses of the configuration, and whether the disks are as they were
    /// was found out by whoever made overlays of them.
    /// </summary>
    public bool IsClone { get; init; }

    /// <summary>Restores also where processor, registers or clock are not what the guest has seen so far: for guests that are known not to care.</summary>
    public bool AllowDifferences { get; init; }

    /// <summary>
    /// Puts disks that have moved on back to what they were, where that is kept (docs/snapshots.md, "Disks"); what they are until then stays in a file beside each.
    /// Without it such a snapshot is refused.
    /// </summary>
    public bool PutDisksBack { get; init; }
}
