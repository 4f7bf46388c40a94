using Kvm.Devices.Block;
using Kvm.Devices.Memory;

namespace Kvm.Devices.Tests.Virtio.Block;

/// <summary>A disk that does nothing at once: what is left of a request is the queue's.</summary>
internal sealed class NullImage(ulong length) : IDiskImage
{
    public ulong Length => length;

    public bool IsReadOnly => false;

    public int BlockSize => 512;

    public int PhysicalBlockSize => 4096;

    public bool CanDiscard => true;

    public uint MaxZeroes => 1 << 20;

    public DiskResult Read(ulong position, ReadOnlySpan<HostBuffer> buffers) => DiskResult.Done;

    public DiskResult Write(ulong position, ReadOnlySpan<HostBuffer> buffers) => DiskResult.Done;

    public DiskResult Flush() => DiskResult.Done;

    public DiskResult Discard(ulong position, ulong length) => DiskResult.Done;

    public DiskResult WriteZeroes(ulong position, ulong length, bool mayUnmap) => DiskResult.Done;

    public void Dispose()
    {
    }
}
