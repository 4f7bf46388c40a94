using Kvm.Devices.Memory;
using Kvm.Vmm.Snapshots.Store;

namespace Kvm.Vmm.Snapshots;

/// <summary>Guest memory copied into this process's: what is not zeros, in chunks.</summary>
internal sealed class MemoryCopy : IMemoryImage
{
    private readonly List<(ulong Address, byte[] Content)> _chunks = [];

    /// <summary>Copies memory that nobody changes meanwhile.</summary>
    public MemoryCopy(GuestMemory memory)
    {
        foreach (ref readonly var region in memory.Regions)
        {
            if (region.ReadOnly)
                continue;
            for (ulong offset = 0; offset < region.Size; offset += SnapshotFormat.ChunkSize)
            {
                int length = (int)Math.Min(SnapshotFormat.ChunkSize, region.Size - offset);
                if (memory.TryReadOnlySlice(region.Start + offset, length, out var bytes) && bytes.ContainsAnyExcept((byte)0))
                    _chunks.Add((region.Start + offset, bytes.ToArray()));
            }
        }
    }

    /// <inheritdoc/>
    public void Fill(GuestMemory memory)
    {
        ArgumentNullException.ThrowIfNull(memory);
        foreach (var (address, content) in _chunks)
        {
            if (!memory.TryWrite(address, content))
                throw new VmmException(RestoreErrors.Lacking, $"lacking: memory at {address:x}");
        }
    }
}
