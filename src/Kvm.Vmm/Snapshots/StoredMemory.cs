using Kvm.Devices.Memory;
using Kvm.Vmm.Snapshots.Store;

namespace Kvm.Vmm.Snapshots;

/// <summary>Memory from a stored snapshot: each chunk verified, then copied in; zeros are not touched.</summary>
/// <param name="reader">The snapshot; stays the caller's.</param>
/// <param name="threads">Threads that unpack, at least 1.</param>
internal sealed class StoredMemory(SnapshotReader reader, int threads) : IMemoryImage
{
    /// <summary>Whether a snapshot's region is memory, rather than what is on a disk.</summary>
    public static bool IsMemory(SnapshotRegion region) => region.Name == "ram";

    /// <inheritdoc/>
    public void Fill(GuestMemory memory)
    {
        Check(memory);
        reader.ReadAll(IsMemory, (region, chunk, content) =>
        {
            if (content.ContainsAnyExcept((byte)0))
                memory.TryWrite(reader.Regions[region].Start + ((ulong)chunk * SnapshotFormat.ChunkSize), content);
        }, threads);
    }

    /// <summary>Checks that a machine has memory for all of it.</summary>
    /// <exception cref="VmmException">It has not.</exception>
    public void Check(GuestMemory memory)
    {
        ArgumentNullException.ThrowIfNull(memory);
        for (int region = 0; region < reader.Regions.Count; region++)
        {
            var range = reader.Regions[region];
            if (IsMemory(range) && !memory.Contains(range.Start, range.Length))
                throw new VmmException(RestoreErrors.Lacking, $"lacking: memory from {range.Start:x} to {range.Start + range.Length:x}");
        }
    }
}
