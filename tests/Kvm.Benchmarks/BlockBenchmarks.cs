using BenchmarkDotNet.Attributes;
using Kvm.Devices.Block;
using Kvm.Devices.Memory;
using Kvm.Vmm.Storage;

namespace Kvm.Benchmarks;

/// <summary>The way of a block request of 4 KiB through queue and device, on one core: to a disk that does nothing, and to a file in the page cache.</summary>
public class BlockBenchmarks
{
    private readonly DiskDriver _null = new(new NullDisk(), 4096);
    private readonly string _path = Path.GetTempFileName();
    private RawImage _image = null!;
    private DiskDriver _file = null!;

    /// <summary>Makes the file.</summary>
    [GlobalSetup]
    public void Open()
    {
        File.WriteAllBytes(_path, new byte[16 << 20]);
        _image = new RawImage(HostFile.Open(new DiskConfig { Path = _path }));
        _file = new DiskDriver(_image, 4096);
    }

    /// <summary>Reads from nothing.</summary>
    [Benchmark(OperationsPerInvoke = DiskDriver.Batch)]
    public void Null() => _null.Run(write: false);

    /// <summary>Reads from the file.</summary>
    [Benchmark(OperationsPerInvoke = DiskDriver.Batch)]
    public void Read() => _file.Run(write: false);

    /// <summary>Writes to the file.</summary>
    [Benchmark(OperationsPerInvoke = DiskDriver.Batch)]
    public void Write() => _file.Run(write: true);

    /// <summary>Lets go of memory and file.</summary>
    [GlobalCleanup]
    public void End()
    {
        _null.Dispose();
        _file.Dispose();
        _image.Dispose();
        File.Delete(_path);
    }
}

/// <summary>A disk that does nothing at once: what is left of a request is the queue's.</summary>
internal sealed class NullDisk : IDiskImage
{
    public ulong Length => 64 << 20;

    public bool IsReadOnly => false;

    public int BlockSize => 512;

    public int PhysicalBlockSize => 4096;

    public bool CanDiscard => false;

    public uint MaxZeroes => 0;

    public DiskResult Read(ulong position, ReadOnlySpan<HostBuffer> buffers) => DiskResult.Done;

    public DiskResult Write(ulong position, ReadOnlySpan<HostBuffer> buffers) => DiskResult.Done;

    public DiskResult Flush() => DiskResult.Done;

    public DiskResult Discard(ulong position, ulong length) => DiskResult.Done;

    public DiskResult WriteZeroes(ulong position, ulong length, bool mayUnmap) => DiskResult.Done;

    public void Dispose()
    {
    }
}
