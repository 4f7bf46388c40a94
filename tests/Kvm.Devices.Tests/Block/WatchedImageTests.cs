using Kvm.Devices.Block;
using Kvm.Devices.Memory;

namespace Kvm.Devices.Tests.Block;

public sealed class WatchedImageTests
{
    private const int Sector = IDiskImage.SectorSize;

    private static MemoryFile NewFile(bool asynchronous = false) => new(64 * Sector) { Asynchronous = asynchronous };

    [Fact]
    public void Changes_are_told_before_they_are_made_and_reads_are_not()
    {
        var file = NewFile();
        using var image = new WatchedImage(new RawImage(file));
        var watcher = new Watcher(image);
        using var buffer = new AlignedBuffer(2 * Sector);
        buffer.Buffer.Span.Fill(7);
        var part = buffer.Buffer;
        image.Watcher = watcher;
        image.Write(4 * Sector, new ReadOnlySpan<HostBuffer>(in part)).Should().Be(DiskResult.Done);
        image.WriteZeroes(8 * Sector, 3 * Sector, mayUnmap: true);
        image.Discard(16 * Sector, 5 * Sector);
        image.Flush();
        watcher.Told.Should().Equal((4 * Sector, 2 * Sector, 0), (8 * Sector, 3 * Sector, 0), (16 * Sector, 5 * Sector, 0));
        image.Read(4 * Sector, new ReadOnlySpan<HostBuffer>(in part));
        image.Watcher = null;
        image.Write(4 * Sector, new ReadOnlySpan<HostBuffer>(in part));
        watcher.Told.Should().HaveCount(3);
    }

    [Fact]
    public void Another_image_takes_the_place_of_one_and_is_disposed_of_with_it()
    {
        using var first = new RawImage(NewFile());
        var file = NewFile();
        var image = new WatchedImage(first);
        image.Replace(new RawImage(file));
        image.Current.Should().NotBeSameAs(first);
        using var buffer = new AlignedBuffer(Sector);
        buffer.Buffer.Span.Fill(9);
        var part = buffer.Buffer;
        image.Write(0, new ReadOnlySpan<HostBuffer>(in part)).Should().Be(DiskResult.Done);
        part.Span.Clear();
        first.Read(0, new ReadOnlySpan<HostBuffer>(in part)).Should().Be(DiskResult.Done);
        part.Span[0].Should().Be(0);
        image.Read(0, new ReadOnlySpan<HostBuffer>(in part)).Should().Be(DiskResult.Done);
        part.Span[0].Should().Be(9);
        using var shorter = new RawImage(new MemoryFile(Sector));
        image.Invoking(i => i.Replace(shorter)).Should().Throw<ArgumentException>();
        image.Dispose();
        file.Disposed.Should().BeTrue();
    }

    [Fact]
    public void Changes_that_come_by_queues_are_told_too()
    {
        using var image = new WatchedImage(new RawImage(NewFile(asynchronous: true)));
        var watcher = new Watcher(image);
        image.Watcher = watcher;
        var queue = image.OpenQueues(1, 8).Should().ContainSingle().Subject;
        using var buffer = new AlignedBuffer(Sector);
        queue.Write(0, Sector, new[] { buffer.Buffer }, durable: false);
        queue.WriteZeroes(1, new DiskRange[] { new(2 * Sector, Sector, true), new(9 * Sector, 2 * Sector, true) }, durable: false);
        queue.Discard(2, new DiskRange[] { new(20 * Sector, 4 * Sector, true) }, durable: false);
        queue.Read(3, 0, new[] { buffer.Buffer });
        queue.Flush(4);
        watcher.Told.Select(t => (t.Position, t.Length)).Should().Equal((Sector, Sector), (2 * Sector, Sector), (9 * Sector, 2 * Sector), (20 * Sector, 4 * Sector));
        int ended = 0;
        while (queue.UnderWay > 0)
        {
            if (queue.TryTake(out var completion))
                ended += completion.Result == DiskResult.Done ? 1 : 0;
            else
                queue.Wait();
        }

        ended.Should().Be(5);
    }

    private sealed class Watcher(WatchedImage image) : IChangeWatcher
    {
        public List<(ulong Position, ulong Length, byte Content)> Told { get; } = [];

        public void Changing(ulong position, ulong length)
        {
            using var buffer = new AlignedBuffer(Sector);
            var part = buffer.Buffer;
            image.Read(position, new ReadOnlySpan<HostBuffer>(in part));
            Told.Add((position, length, part.Span[0]));
        }
    }
}
