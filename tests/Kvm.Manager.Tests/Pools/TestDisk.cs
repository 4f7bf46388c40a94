using Kvm.Devices.Block;
using Kvm.Devices.Memory;
using Kvm.Vmm.Storage;

namespace Kvm.Manager.Tests.Pools;

/// <summary>A disk as a guest's device has it open, locks and all.</summary>
internal sealed class TestDisk(DiskConfig disk) : IDisposable
{
    private readonly OpenedDisk _opened = DiskOpener.Open(disk);

    public byte[] Read(ulong position, int count)
    {
        using var buffer = new AlignedBuffer(4096);
        var first = buffer.Buffer;
        _opened.Image.Read(position / 4096 * 4096, [first]).Should().Be(DiskResult.Done);
        return first.Span.Slice((int)(position % 4096), count).ToArray();
    }

    public void Write(ulong position, byte[] bytes)
    {
        using var buffer = new AlignedBuffer(bytes.Length);
        bytes.CopyTo(buffer.Buffer.Span);
        _opened.Image.Write(position, [buffer.Buffer]).Should().Be(DiskResult.Done);
        _opened.Image.Flush().Should().Be(DiskResult.Done);
    }

    public void Dispose() => _opened.Image.Dispose();
}
