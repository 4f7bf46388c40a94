using System.Buffers.Binary;
using System.Runtime.InteropServices;
using BenchmarkDotNet.Attributes;
using Kvm.Devices.Block;
using Kvm.Devices.Memory;
using Kvm.Devices.Virtio;
using Kvm.Devices.Virtio.Block;
using Kvm.Devices.Virtio.Transport;
using Kvm.Vmm.Storage;

namespace Kvm.Benchmarks;

/// <summary>A block device's queue with 4 KiB requests: taken, checked, carried out, published; split ring, one interrupt for a batch.</summary>
public class BlockBenchmarks
{
    private const int Entries = 256, Batch = 64, Size = 4096;
    private const ulong Table = 0x1000, Available = 0x3000, Used = 0x4000, Headers = 0x6000, Data = 0x10000;

    private readonly string _path = Path.GetTempFileName();
    private nint _host;
    private GuestMemory _memory = null!;
    private BlockDevice _null = null!;
    private BlockDevice _file = null!;
    private RawImage _image = null!;
    private ushort _index;

    /// <summary>A ring whose every fourth descriptor is the head of a read of its own: header, data, status.</summary>
    [GlobalSetup]
    public void Fill()
    {
        const int memory = 1 << 20;
        _host = Marshal.AllocHGlobal(memory + 4096);
        _memory = new GuestMemory([new GuestRegion(0, memory, (_host + 4095) & ~4095)]);
        _memory.TrySlice(0, memory, out var all);
        all.Clear();
        for (int i = 0; i < Batch; i++)
        {
            ulong header = Headers + (ulong)(i * 32), at = Table + (ulong)(i * 4 * 16);
            _memory.TryWrite(header + 8, (ulong)(i * 8));
            Put(at, header, 16, 1, i * 4 + 1);
            Put(at + 16, Data + (ulong)(i * Size), Size, 3, i * 4 + 2);
            Put(at + 32, header + 16, 1, 2, 0);
        }

        for (int i = 0; i < Entries; i++)
            _memory.TryWrite(Available + 4 + (ulong)(i * 2), (ushort)(i % Batch * 4));
        File.WriteAllBytes(_path, new byte[Batch * Size]);
        _image = new RawImage(HostFile.Open(new DiskConfig { Path = _path }));
        _null = new BlockDevice("disk0", _memory, new NullImage(), new BlockOptions { QueueSize = Entries });
        _file = new BlockDevice("disk1", _memory, _image, new BlockOptions { QueueSize = Entries });
        Start(_null);
    }

    /// <summary>Ends the file.</summary>
    [GlobalCleanup]
    public void Clean()
    {
        _image.Dispose();
        File.Delete(_path);
        Marshal.FreeHGlobal(_host);
    }

    /// <summary>Both devices use the one ring: the second is started where it is measured.</summary>
    [GlobalSetup(Target = nameof(FileReads))]
    public void FillForFile()
    {
        Fill();
        Start(_file);
    }

    /// <summary>Against a disk that does nothing: what the queue path itself costs.</summary>
    [Benchmark(OperationsPerInvoke = Batch)]
    public void NullReads() => Run(_null);

    /// <summary>Against a raw file in the page cache.</summary>
    [Benchmark(OperationsPerInvoke = Batch)]
    public void FileReads() => Run(_file);

    private void Run(BlockDevice device)
    {
        _memory.TryWrite(Available + 2, _index += Batch);
        device.ProcessQueue(0);
    }

    private void Put(ulong at, ulong address, uint length, ushort flags, int next)
    {
        _memory.TryWrite(at, address);
        _memory.TryWrite(at + 8, length);
        _memory.TryWrite(at + 12, flags);
        _memory.TryWrite(at + 14, (ushort)next);
    }

    /// <summary>A driver's set-up through the registers (virtio 1.2, 3.1.1).</summary>
    private void Start(BlockDevice device)
    {
        _memory.TryWrite<ushort>(Available + 2, 0);
        _memory.TryWrite<ushort>(Used + 2, 0);
        _index = 0;
        var registers = new VirtioMmio(device, null);
        ReadOnlySpan<(ulong Register, uint Value)> steps =
        [
            (0x70, 3), (0x24, 1), (0x20, 1), (0x70, 11), (0x30, 0), (0x38, Entries),
            (0x80, (uint)Table), (0x90, (uint)Available), (0xa0, (uint)Used), (0x44, 1), (0x70, 15),
        ];
        Span<byte> value = stackalloc byte[4];
        foreach (var (register, number) in steps)
        {
            BinaryPrimitives.WriteUInt32LittleEndian(value, number);
            registers.Write(register, value);
        }
    }

    private sealed class NullImage : IDiskImage
    {
        public ulong Length => 1 << 30;

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
}
