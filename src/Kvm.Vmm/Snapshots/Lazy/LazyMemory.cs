using Kvm.Devices.Memory;
using Kvm.Vmm.Snapshots.Store;

namespace Kvm.Vmm.Snapshots.Lazy;

/// <summary>Memory from a stored snapshot, each chunk of which comes when it is touched first; at once where the host does not allow that, which is said.</summary>
/// <param name="reader">The snapshot; stays the caller's.</param>
/// <param name="eager">The same, all at once.</param>
/// <param name="program">The program whose verb <c>pager</c> brings it.</param>
internal sealed class LazyMemory(SnapshotReader reader, StoredMemory eager, string program) : IMemorySource
{
    /// <inheritdoc/>
    public PagedMemory? Begin(RamMapping ram, VmConfig config, Action<string>? notice)
    {
        eager.Check(ram.Memory);
        string? why = "other processes share it";
        if (!config.SharedMemory && PagedMemory.TryBegin(program, reader, ram, out why) is { } paged)
            return paged;
        notice?.Invoke($"all memory is read before the guest goes on: {why}");
        Fill(ram.Memory);
        return null;
    }

    /// <inheritdoc/>
    public void Fill(GuestMemory memory) => eager.Fill(memory);
}
