using Kvm.Devices.Memory;
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

/// <summary>What a restore may leave aside.</summary>
public sealed record RestoreOptions
{
    /// <summary>Restores also where processor, registers or clock are not what the guest has seen so far: for guests that are known not to care.</summary>
    public bool AllowDifferences { get; init; }
}
