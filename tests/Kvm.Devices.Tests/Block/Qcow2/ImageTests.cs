using Kvm.Devices.Block;
using Kvm.Devices.Block.Qcow2;
using Kvm.Devices.Memory;

namespace Kvm.Devices.Tests.Block.Qcow2;

/// <summary>What an image promises whoever uses it: no allocation in steady state, threads, few transfers, what it says of itself.</summary>
public sealed class ImageTests : IDisposable
{
    private readonly Rig _rig = new();

    public void Dispose() => _rig.Dispose();

    [Fact]
    public void Requests_of_allocated_clusters_allocate_no_memory()
    {
        using var image = Rig.Create(new GrowingFile(), 8 << 20, 65536);
        using var memory = new AlignedBuffer(128 << 10);
        var (small, large) = (memory.Buffer.Slice(0, 4096), memory.Buffer);
        for (ulong at = 0; at < 4 << 20; at += (ulong)large.Length)
            image.Write(at, new ReadOnlySpan<HostBuffer>(in large)).Should().Be(DiskResult.Done);
        image.Flush();
        Allocation.Of(i =>
        {
            ulong at = (ulong)(i * 7 % 800) * 4096;
            image.Read(at, new ReadOnlySpan<HostBuffer>(in small));
            image.Write(at, new ReadOnlySpan<HostBuffer>(in small));
            image.Read(at, new ReadOnlySpan<HostBuffer>(in large));
            image.Read((4 << 20) + at, new ReadOnlySpan<HostBuffer>(in small));
            image.Flush();
        }, 1000).Should().Be(0);
    }

    [Fact]
    public void Write_of_many_new_clusters_is_one_transfer_and_tables_wait_for_the_flush()
    {
        var kinds = new List<FileCall>();
        var file = new GrowingFile();
        using var image = Rig.Create(file, 64 << 20, 65536);
        file.Inject = (_, kind, _) => { kinds.Add(kind); return null; };
        for (int i = 0; i < 16; i++)
            _rig.Write(image, (ulong)i << 20, Rig.Pattern(1 << 20, i)).Should().Be(DiskResult.Done);
        kinds.Count(k => k == FileCall.Write).Should().BeLessThanOrEqualTo(17);
        kinds.Should().NotContain(FileCall.Flush);
        kinds.Clear();
        image.Flush().Should().Be(DiskResult.Done);
        kinds.Count(k => k == FileCall.Write).Should().BeLessThanOrEqualTo(3, "counts, an L2 table, the L1 table");
        kinds.Count(k => k == FileCall.Flush).Should().Be(2);
        kinds.Clear();
        image.Flush().Should().Be(DiskResult.Done);
        kinds.Should().Equal(FileCall.Flush);
    }

    [Theory]
    [InlineData(512)]
    [InlineData(65536)]
    public void Threads_that_use_parts_of_their_own_see_only_what_they_did(int clusterSize)
    {
        const int Threads = 4, Part = (256 << 10) + 512;
        var file = new GrowingFile();
        using (var image = Rig.Create(file, Threads * Part, clusterSize))
        {
            var failures = new System.Collections.Concurrent.ConcurrentQueue<Exception>();
            var threads = Enumerable.Range(0, Threads).Select(n => new Thread(() =>
            {
                try
                {
                    UsePart(image, n * Part, Part, n);
                }
                catch (Exception e)
                {
                    failures.Enqueue(e);
                }
            })).ToList();
            threads.ForEach(t => t.Start());
            threads.ForEach(t => t.Join());
            failures.Should().BeEmpty();
        }

        Qcow2Check.Run(new GrowingFile(file.ToArray())).IsClean.Should().BeTrue();
    }

    [Fact]
    public void Map_tells_data_zeros_and_what_shows_from_below()
    {
        using var below = new RawImage(new GrowingFile(new byte[512 << 10]));
        using var image = Rig.Create(new GrowingFile(), 1 << 20, 65536, backing: below);
        _rig.Write(image, 0x10000, new byte[0x20000]).Should().Be(DiskResult.Done);
        image.WriteZeroes(0x40000, 0x10000, mayUnmap: true).Should().Be(DiskResult.Done);
        Map(image, 0).Should().Be((0x10000UL, ExtentKind.Data, 1));
        Map(image, 0x10000).Should().Be((0x20000UL, ExtentKind.Data, 0));
        Map(image, 0x30000).Should().Be((0x10000UL, ExtentKind.Data, 1));
        Map(image, 0x40000).Should().Be((0x10000UL, ExtentKind.Zero, 0));
        Map(image, 0x50000).Should().Be((0x30000UL, ExtentKind.Data, 1));
        Map(image, 0x80000).Should().Be((0x80000UL, ExtentKind.Zero, 0));
        image.TryMapOwn(0x40000, 1 << 20, out bool isOwn, out ulong length).Should().Be(DiskResult.Done);
        (isOwn, length).Should().Be((true, 0x10000UL));
    }

    [Fact]
    public void Cache_that_holds_a_few_pages_serves_a_disk_of_many_tables()
    {
        var file = new GrowingFile();
        using (var image = Rig.Create(file, 16 << 20, 512))
        {
            for (int i = 0; i < 2000; i++)
                _rig.Write(image, (ulong)(i * 7919 % 32768) * 512, Rig.Pattern(512, i)).Should().Be(DiskResult.Done);
            for (int i = 0; i < 2000; i += 37)
                _rig.Read(image, (ulong)(i * 7919 % 32768) * 512, 512).Should().Equal(Rig.Pattern(512, i));
        }

        Qcow2Check.Run(new GrowingFile(file.ToArray())).IsClean.Should().BeTrue();
    }

    [Fact]
    public void Refcount_table_grows_as_often_as_it_has_to()
    {
        var file = new GrowingFile();
        byte[] content = Rig.Pattern(2 << 20, 4);
        // 64 counts a block, 64 blocks a table of one cluster: enough for 2 MiB of file.
        using (var image = Rig.Create(file, 12 << 20, 512, 64))
        {
            for (int i = 0; i < 6; i++)
                _rig.Write(image, (ulong)i << 21, content).Should().Be(DiskResult.Done);
            image.Flush().Should().Be(DiskResult.Done);
        }

        var result = Qcow2Check.Run(new GrowingFile(file.ToArray()));
        result.IsClean.Should().BeTrue(string.Join("; ", result.Messages.Take(3)));
        using var again = Qcow2Image.Open(new GrowingFile(file.ToArray()), Rig.Open);
        _rig.Read(again, 5UL << 21, 2 << 20).Should().Equal(content);
    }

    [Theory]
    [InlineData(3000, 16, 3)]
    [InlineData(256, 16, 3)]
    [InlineData(4 << 20, 16, 3)]
    [InlineData(65536, 24, 3)]
    [InlineData(65536, 8, 2)]
    [InlineData(65536, 16, 4)]
    public void Image_that_cannot_be_is_not_made(int clusterSize, int refcountBits, int version)
    {
        var file = new GrowingFile();
        var make = () => Rig.Create(file, 1 << 20, clusterSize, refcountBits, version);
        make.Should().Throw<Qcow2Exception>().Which.Problem.Should().Be(Qcow2Problem.Unsupported);
        file.Disposed.Should().BeTrue();
        file.Length.Should().Be(0);
    }

    [Fact]
    public void Storage_of_what_is_discarded_is_used_again()
    {
        var file = new GrowingFile();
        using var image = Rig.Create(file, 4 << 20, 4096);
        for (int i = 0; i < 40; i++)
        {
            _rig.Write(image, 0, Rig.Pattern(1 << 20, i)).Should().Be(DiskResult.Done);
            image.Discard(0, 1 << 20).Should().Be(DiskResult.Done);
            image.Flush().Should().Be(DiskResult.Done);
        }

        file.Length.Should().BeLessThan(2 << 20);
    }

    private static (ulong Length, ExtentKind Kind, int Depth) Map(Qcow2Image image, ulong position)
    {
        image.TryMap(position, 1 << 20, out var extent).Should().Be(DiskResult.Done);
        extent.Position.Should().Be(position);
        return (extent.Length, extent.Kind, extent.Depth);
    }

    private static void UsePart(Qcow2Image image, int start, int length, int seed)
    {
        using var rig = new Rig();
        byte[] model = new byte[length];
        var random = new Random(seed);
        for (int i = 0; i < 150; i++)
        {
            int at = random.Next(length / 512) * 512, count = Math.Min(length - at, random.Next(1, 100) * 512);
            ulong position = (ulong)(start + at);
            switch (random.Next(5))
            {
                case 0:
                    image.WriteZeroes(position, (ulong)count, random.Next(2) == 0).Should().Be(DiskResult.Done);
                    model.AsSpan(at, count).Clear();
                    break;
                case 1:
                    image.Flush().Should().Be(DiskResult.Done);
                    break;
                case 2:
                    rig.Read(image, position, count).AsSpan().SequenceEqual(model.AsSpan(at, count)).Should().BeTrue();
                    break;
                default:
                    byte[] data = Rig.Pattern(count, random.Next());
                    rig.Write(image, position, data).Should().Be(DiskResult.Done);
                    data.CopyTo(model, at);
                    break;
            }
        }

        rig.Read(image, (ulong)start, length).AsSpan().SequenceEqual(model).Should().BeTrue();
    }
}
