using System.Diagnostics;
using Kvm.Devices.Block;
using Kvm.Devices.Memory;
using Kvm.Devices.Virtio.Block;
using Kvm.Vmm.Storage;

namespace Kvm.Vmm.Tests.Storage;

/// <summary>Block devices of the host as disks, by a loop device over a file.</summary>
public sealed class BlockDeviceFileTests : IDisposable
{
    private const int Size = 4 << 20;

    private readonly string _folder = Directory.CreateTempSubdirectory("kvmsharp-loop").FullName;
    private readonly string _backing;
    private string? _device;

    public BlockDeviceFileTests()
    {
        _backing = Path.Combine(_folder, "backing");
        byte[] bytes = new byte[Size];
        Array.Fill(bytes, (byte)7);
        File.WriteAllBytes(_backing, bytes);
    }

    public void Dispose()
    {
        if (_device is not null)
            Run("--detach", _device);
        Directory.Delete(_folder, recursive: true);
    }

    /// <summary>Runs losetup: its output, and what it complains of.</summary>
    private static (bool Worked, string Output) Run(params string[] arguments)
    {
        try
        {
            using var losetup = Process.Start(new ProcessStartInfo("losetup", arguments) { RedirectStandardOutput = true, RedirectStandardError = true })!;
            var complaint = losetup.StandardError.ReadToEndAsync();
            string output = losetup.StandardOutput.ReadToEnd().Trim();
            losetup.WaitForExit();
            return losetup.ExitCode == 0 ? (true, output) : (false, complaint.GetAwaiter().GetResult().Trim());
        }
        catch (System.ComponentModel.Win32Exception e)
        {
            return (false, e.Message);
        }
    }

    private DiskConfig Attach(int sectorSize = 512)
    {
        var (worked, output) = Run("--find", "--show", "--sector-size", $"{sectorSize}", _backing);
        Skip.IfNot(worked, $"no loop device to be had here: {output}");
        _device = output;
        return new DiskConfig { Path = output };
    }

    private static DiskResult Write(RawImage image, ulong position, int length, byte value, int shift = 0)
    {
        using var memory = new AlignedBuffer(length + shift);
        memory.Buffer.Span.Fill(value);
        return image.Write(position, [memory.Buffer.Slice(shift)]);
    }

    private static byte[] Read(RawImage image, ulong position, int length, int shift = 0)
    {
        using var memory = new AlignedBuffer(length + shift);
        image.Read(position, [memory.Buffer.Slice(shift)]).Should().Be(DiskResult.Done);
        return memory.Buffer.Slice(shift).Span.ToArray();
    }

    [SkippableTheory]
    [InlineData(512, DiskCache.WriteBack, 1)]
    [InlineData(512, DiskCache.None, 512)]
    [InlineData(4096, DiskCache.WriteBack, 1)]
    [InlineData(4096, DiskCache.None, 4096)]
    public void Block_device_has_its_length_and_alignment_and_what_is_written_is_on_it(int sectorSize, DiskCache cache, int alignment)
    {
        using (var file = HostFile.Open(Attach(sectorSize) with { Cache = cache }))
        {
            (file.Length, file.Alignment, file.IsReadOnly).Should().Be(((ulong)Size, alignment, false));
            using var image = new RawImage(file);
            image.BlockSize.Should().Be(Math.Max(512, alignment));
            Write(image, 8192, 8192, 1).Should().Be(DiskResult.Done);
            Write(image, 1536, 1024, 2, shift: 3).Should().Be(DiskResult.Done);
            image.Flush().Should().Be(DiskResult.Done);
            Read(image, 1024, 2048, shift: 5).Should().Equal([.. Enumerable.Repeat((byte)7, 512), .. Enumerable.Repeat((byte)2, 1024), .. Enumerable.Repeat((byte)7, 512)]);
            Read(image, 8192, 8192).AsSpan().IndexOfAnyExcept((byte)1).Should().Be(-1);
            Write(image, Size - 512, 512, 3).Should().Be(DiskResult.Done);
            Write(image, Size, 512, 4).Should().NotBe(DiskResult.Done, "that is behind its end");
        }

        byte[] backing = File.ReadAllBytes(_backing);
        backing.Length.Should().Be(Size);
        (backing[1535], backing[1536], backing[2559], backing[2560], backing[8191], backing[8192], backing[16_383], backing[16_384], backing[Size - 513], backing[^1])
            .Should().Be(((byte)7, (byte)2, (byte)2, (byte)7, (byte)7, (byte)1, (byte)1, (byte)7, (byte)7, (byte)3));
    }

    [SkippableTheory]
    [InlineData(DiskCache.WriteBack)]
    [InlineData(DiskCache.None)]
    public void Discarded_and_zeroed_ranges_of_a_block_device_read_as_zeros(DiskCache cache)
    {
        using var image = new RawImage(HostFile.Open(Attach() with { Cache = cache }));
        image.Discard(65_536, 131_072).Should().Be(DiskResult.Done);
        image.WriteZeroes(8192, 4096, mayUnmap: true).Should().Be(DiskResult.Done);
        image.WriteZeroes(512, 1024, mayUnmap: false).Should().Be(DiskResult.Done);
        if (image.CanDiscard)
            Read(image, 65_536, 131_072).AsSpan().IndexOfAnyExcept((byte)0).Should().Be(-1);
        Read(image, 8192, 4096).AsSpan().IndexOfAnyExcept((byte)0).Should().Be(-1);
        Read(image, 512, 1024).AsSpan().IndexOfAnyExcept((byte)0).Should().Be(-1);
        foreach (ulong neighbour in (ulong[])[0, 1536, 7680, 12_288, 65_024, 196_608])
            Read(image, neighbour, 512).AsSpan().IndexOfAnyExcept((byte)7).Should().Be(-1, $"{neighbour} is a neighbour's");
    }

    [SkippableTheory]
    [InlineData(512, DiskCache.WriteBack)]
    [InlineData(512, DiskCache.None)]
    [InlineData(4096, DiskCache.WriteBack)]
    [InlineData(4096, DiskCache.None)]
    public void Requests_under_way_on_a_block_device_come_to_what_they_are_for(int sectorSize, DiskCache cache)
    {
        const int size = 64 << 10;
        using (var file = HostFile.Open(Attach(sectorSize) with { Cache = cache, Aio = DiskAio.Uring }))
        {
            using var image = new RawImage(file);
            var queues = image.OpenQueues(1, 16);
            Skip.If(queues.Count == 0, $"io_uring: {file.QueueProblem}");
            using var memory = new AlignedBuffer(8 * size);
            memory.Buffer.Span.Fill(1);
            var pieces = GC.AllocateArray<HostBuffer>(8, pinned: true);
            for (int tag = 0; tag < 8; tag++)
            {
                pieces[tag] = memory.Buffer.Slice(tag * size, size);
                queues[0].Write(tag, (ulong)tag * size, pieces.AsMemory(tag, 1), durable: tag % 2 == 0);
            }

            var ranges = GC.AllocateArray<DiskRange>(1, pinned: true);
            ranges[0] = new DiskRange(1 << 20, size, Unmap: true);
            queues[0].WriteZeroes(8, ranges, durable: true);
            queues[0].Flush(9);
            Drain(queues[0], 10).Should().OnlyContain(done => done.Result == DiskResult.Done).And.HaveCount(10);

            // Behind the end of the device, and one that an O_DIRECT device does not take as it lies.
            var odd = GC.AllocateArray<HostBuffer>(2, pinned: true);
            odd[0] = memory.Buffer.Slice(0, 512);
            odd[1] = memory.Buffer.Slice(3, 512);
            queues[0].Write(0, Size, odd.AsMemory(0, 1), durable: false);
            queues[0].Write(1, 8 * size + 512, odd.AsMemory(1, 1), durable: true);
            Drain(queues[0], 2).Should().BeEquivalentTo([new DiskCompletion(0, DiskResult.Failed), new DiskCompletion(1, DiskResult.Done)],
                options => options.Using<DiskResult>(result => (result.Subject == DiskResult.Done).Should().Be(result.Expectation == DiskResult.Done)).WhenTypeIs<DiskResult>());
        }

        byte[] backing = File.ReadAllBytes(_backing);
        backing.AsSpan(0, 8 * size).IndexOfAnyExcept((byte)1).Should().Be(-1);
        (backing[8 * size], backing[8 * size + 512], backing[8 * size + 1024], backing[1 << 20], backing[(1 << 20) + size]).Should().Be(((byte)7, (byte)1, (byte)7, (byte)0, (byte)7));
    }

    private static List<DiskCompletion> Drain(IDiskQueue queue, int count)
    {
        var all = new List<DiskCompletion>();
        while (all.Count < count)
        {
            if (queue.TryTake(out var done))
                all.Add(done);
            else
                queue.Wait();
        }

        return all;
    }

    [SkippableFact]
    public void Second_writer_of_a_block_device_is_refused_and_readers_share()
    {
        var writer = Attach();
        var reader = writer with { ReadOnly = true };
        var second = (DiskConfig disk) => () => HostFile.Open(disk).Dispose();
        using (HostFile.Open(writer))
        {
            second(writer).Should().Throw<VmmException>().Which.Error.Should().Be(DiskErrors.InUse);
            second(reader).Should().Throw<VmmException>().Which.Error.Should().Be(DiskErrors.InUse);
        }

        using var first = HostFile.Open(reader);
        second(reader).Should().NotThrow();
        second(writer).Should().Throw<VmmException>().Which.Error.Should().Be(DiskErrors.InUse);
    }
}
