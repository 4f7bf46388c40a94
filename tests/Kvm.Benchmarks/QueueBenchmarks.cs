using BenchmarkDotNet.Attributes;
using Kvm.Devices.Block;
using Kvm.Devices.Memory;

namespace Kvm.Benchmarks;

/// <summary>The way of a block request through queue and device, on one core.</summary>
public class QueueBenchmarks
{
    private readonly DiskDriver _driver = new(new NullDisk(), 4096);

    /// <summary>Reads of 4 KiB from a disk that does nothing.</summary>
    [Benchmark(OperationsPerInvoke = DiskDriver.Batch)]
    public void Read() => _driver.Run(write: false);

    /// <summary>Writes of 4 KiB to it.</summary>
    [Benchmark(OperationsPerInvoke = DiskDriver.Batch)]
    public void Write() => _driver.Run(write: true);

    /// <summary>Lets go of the guest's memory.</summary>
    [GlobalCleanup]
    public void End() => _driver.Dispose();
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
