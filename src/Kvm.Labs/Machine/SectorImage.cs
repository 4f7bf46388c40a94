using Kvm.Devices.Block;
using Kvm.Devices.Memory;

namespace Kvm.Labs.Machine;

/// <summary>A disk of a few sectors in memory, which is only read.</summary>
internal sealed class SectorImage(byte[] content) : IDiskImage
{
    /// <inheritdoc/>
    public ulong Length => (ulong)content.Length;

    /// <inheritdoc/>
    public bool IsReadOnly => true;

    /// <inheritdoc/>
    public int BlockSize => IDiskImage.SectorSize;

    /// <inheritdoc/>
    public int PhysicalBlockSize => IDiskImage.SectorSize;

    /// <inheritdoc/>
    public bool CanDiscard => false;

    /// <inheritdoc/>
    public uint MaxZeroes => 0;

    /// <inheritdoc/>
    public DiskResult Read(ulong position, ReadOnlySpan<HostBuffer> buffers)
    {
        foreach (ref readonly var buffer in buffers)
        {
            if (position > Length || (ulong)buffer.Length > Length - position)
                return DiskResult.Failed;
            content.AsSpan((int)position, buffer.Length).CopyTo(buffer.Span);
            position += (ulong)buffer.Length;
        }

        return DiskResult.Done;
    }

    /// <inheritdoc/>
    public DiskResult Write(ulong position, ReadOnlySpan<HostBuffer> buffers) => DiskResult.Failed;

    /// <inheritdoc/>
    public DiskResult Flush() => DiskResult.Done;

    /// <inheritdoc/>
    public DiskResult Discard(ulong position, ulong length) => DiskResult.Failed;

    /// <inheritdoc/>
    public DiskResult WriteZeroes(ulong position, ulong length, bool mayUnmap) => DiskResult.Failed;

    /// <inheritdoc/>
    public void Dispose()
    {
    }
}
