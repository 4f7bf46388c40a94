using FsCheck;
using FsCheck.Fluent;
using Kvm.Devices.Block;
using Kvm.Devices.Memory;
using Kvm.Devices.Virtio.Block;
using Kvm.Interop;
using Kvm.Tests.Support;
using Kvm.Vmm.Storage;

namespace Kvm.Vmm.Tests.Storage;

/// <summary>Disk requests by a real io_uring on a file of this machine.</summary>
public sealed class HostFileQueueTests : IDisposable
{
    private const int Depth = 16, Region = 64 << 10, Length = Depth * Region;

    private readonly string _folder = Directory.CreateTempSubdirectory("kvmsharp-uring").FullName;
    private readonly AlignedBuffer _memory = new(Length);

    public void Dispose()
    {
        _memory.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    private string NewFile()
    {
        string path = Path.Combine(_folder, $"{Guid.NewGuid():n}.img");
        File.WriteAllBytes(path, new byte[Length]);
        return path;
    }

    private static HostFile Open(string path, DiskCache cache = DiskCache.WriteBack, bool readOnly = false)
    {
        try
        {
            return HostFile.Open(new DiskConfig { Path = path, Cache = cache, Aio = DiskAio.Uring, ReadOnly = readOnly });
        }
        catch (VmmException e) when (e.Error == DiskErrors.NoDirect)
        {
            throw new SkipException("the temporary folder's file system has no O_DIRECT");
        }
    }

    private static IDiskQueue QueueOf(RawImage image, HostFile file)
    {
        var queues = image.OpenQueues(1, Depth);
        Skip.If(queues.Count == 0, $"io_uring: {file.QueueProblem}");
        return queues[0];
    }

    /// <summary>A tag's part of the memory, in pieces that are no multiples of anything unless <paramref name="whole"/>.</summary>
    private ReadOnlyMemory<HostBuffer> Pieces(int tag, int length, bool whole = false)
    {
        var all = _memory.Buffer.Slice(tag * Region, length);
        var pieces = GC.AllocateArray<HostBuffer>(whole ? 1 : 4, pinned: true);
        pieces[0] = whole ? all : all.Slice(0, 1);
        if (!whole)
            (pieces[1], pieces[2], pieces[3]) = (all.Slice(1, 0), all.Slice(1, length / 2), all.Slice(1 + length / 2));
        return pieces;
    }

    private Span<byte> Bytes(int tag, int length) => _memory.Buffer.Slice(tag * Region, length).Span;

    private static DiskCompletion Next(IDiskQueue queue)
    {
        DiskCompletion done;
        while (!queue.TryTake(out done))
        {
            queue.UnderWay.Should().BePositive("else there is nothing to wait for");
            queue.Wait();
        }

        return done;
    }

    private static readonly Gen<(int Tag, int Kind, int Sector, int Count)[]> Operations =
        (from tag in Gen.Choose(0, Depth - 1)
         from kind in Gen.Choose(0, 6)
         from sector in Gen.Choose(0, Region / 512 - 1)
         from count in Gen.Choose(1, Region / 512)
         select (tag, kind, sector, Math.Min(count, Region / 512 - sector))).ArrayOf(60);

    /// <summary>Each tag changes and reads a part of the disk of its own; what the others do meanwhile is none of its business.</summary>
    [SkippableTheory]
    [InlineData(DiskCache.WriteBack)]
    [InlineData(DiskCache.None)]
    public void Any_requests_of_many_at_once_do_what_a_model_does(DiskCache cache) =>
        Check.One(Config.QuickThrowOnFailure.WithMaxTest(40), Prop.ForAll(Operations.ToArbitrary(), operations =>
        {
            string path = NewFile();
            var file = Open(path, cache);
            byte[] model = new byte[Length];
            using (var image = new RawImage(file))
            {
                var run = new ModelRun(this, QueueOf(image, file), model);
                foreach (var (tag, kind, sector, count) in operations)
                    run.Begin(tag, kind, sector * 512, count * 512);
                run.Finish();
            }

            return File.ReadAllBytes(path).AsSpan().SequenceEqual(model);
        }));

    [SkippableFact]
    public void Bell_rings_when_a_request_has_ended_unless_it_is_muted()
    {
        using var bell = new EventFd();
        var file = Open(NewFile());
        using var image = new RawImage(file);
        var queue = QueueOf(image, file);
        file.SignalBy(_ => bell);
        queue.Flush(0);
        Next(queue).Should().Be(new DiskCompletion(0, DiskResult.Done));
        bell.Drain().Should().BePositive();
        queue.Mute();
        queue.Flush(1);
        Next(queue).Tag.Should().Be(1);
        bell.Drain().Should().Be(0);
        queue.Unmute().Should().BeFalse();
    }

    [SkippableFact]
    public void Requests_that_are_given_up_are_gone_and_the_queue_goes_on()
    {
        var file = Open(NewFile());
        using var image = new RawImage(file);
        var queue = QueueOf(image, file);
        for (int round = 0; round < 20; round++)
        {
            for (int tag = 0; tag < Depth; tag++)
            {
                if (tag % 5 == 4)
                    queue.Flush(tag);
                else
                    queue.Write(tag, (ulong)(tag * Region), Pieces(tag, Region), durable: tag % 2 == 0);
            }

            // All are prepared, and on every other round the host has begun some.
            if (round % 2 == 0)
                queue.TryTake(out _);
            queue.Abandon();
            queue.UnderWay.Should().Be(0);
            queue.TryTake(out _).Should().BeFalse("nobody hears of them any more");
        }

        Bytes(3, 512).Fill(7);
        queue.Write(3, 0, Pieces(3, 512), durable: true);
        Next(queue).Should().Be(new DiskCompletion(3, DiskResult.Done));
        Bytes(4, 512).Clear();
        queue.Read(4, 0, Pieces(4, 512));
        Next(queue).Should().Be(new DiskCompletion(4, DiskResult.Done));
        Bytes(4, 512).IndexOfAnyExcept((byte)7).Should().Be(-1);
    }

    [SkippableFact]
    public void File_that_was_cut_and_a_file_for_reading_fail_their_requests()
    {
        string path = NewFile();
        var file = Open(path);
        using (var image = new RawImage(file))
        {
            var queue = QueueOf(image, file);
            using (var cut = new FileStream(path, FileMode.Open, FileAccess.Write, FileShare.ReadWrite))
                cut.SetLength(1024);
            queue.Read(0, 512, Pieces(0, 1024));
            Next(queue).Result.Should().Be(DiskResult.Failed, "the second half is not there");
            queue.Read(0, 0, Pieces(0, 1024));
            Next(queue).Result.Should().Be(DiskResult.Done);
        }

        var other = Open(path, readOnly: true);
        using var readOnly = new RawImage(other);
        var second = QueueOf(readOnly, other);
        second.Write(1, 0, Pieces(1, 512), durable: false);
        Next(second).Result.Should().Be(DiskResult.Failed);
    }

    [SkippableFact]
    public void Disk_is_unlocked_as_soon_as_it_is_closed()
    {
        string path = NewFile();
        for (int i = 0; i < 20; i++)
        {
            var file = Open(path);
            using var image = new RawImage(file);
            QueueOf(image, file).Write(0, 0, Pieces(0, 4096), durable: false);
        }
    }

    [SkippableFact]
    public void Thousands_of_requests_allocate_nothing()
    {
        var file = Open(NewFile());
        using var image = new RawImage(file);
        var queue = QueueOf(image, file);
        var (one, many) = (Pieces(0, 4096, whole: true), Pieces(1, 4096));
        int failed = 0;
        Allocation.Of(i =>
        {
            queue.Read(0, 0, one);
            queue.Write(1, 8192, many, durable: i % 64 == 0);
            while (queue.UnderWay > 0)
            {
                if (!queue.TryTake(out var done))
                    queue.Wait();
                else if (done.Result != DiskResult.Done)
                    failed++;
            }
        }, 2_000).Should().Be(0);
        failed.Should().Be(0);
    }

    [SkippableTheory]
    [InlineData(Errno.EPERM, "EPERM")]
    [InlineData(Errno.ENOSYS, "ENOSYS")]
    public void Host_that_has_no_io_uring_gives_no_queues_and_says_why(int errno, string name) => RefusingThread.Run(RefusingThread.IoUringSetup, errno, () =>
    {
        var file = Open(NewFile());
        using var image = new RawImage(file);
        image.OpenQueues(2, Depth).Should().BeEmpty();
        file.QueueProblem.Should().StartWith(name + ": ");
        image.Write(0, Pieces(0, 512).Span).Should().Be(DiskResult.Done, "it is a disk all the same");
    });

    [SkippableTheory]
    [InlineData(Errno.EAGAIN)]
    [InlineData(Errno.EBUSY)]
    [InlineData(Errno.EBADF)]
    public void Host_that_takes_no_operations_fails_the_requests_and_the_disk_goes_on_when_it_does_again(int errno)
    {
        var file = Open(NewFile());
        using var image = new RawImage(file);
        var queue = QueueOf(image, file);
        RefusingThread.Run(RefusingThread.IoUringEnter, errno, () =>
        {
            for (int tag = 0; tag < Depth; tag++)
                queue.Write(tag, (ulong)tag * 512, Pieces(tag, 512), durable: true);
            for (int i = 0; i < Depth; i++)
            {
                queue.TryTake(out var done).Should().BeTrue("nobody waits for what cannot be");
                done.Result.Should().Be(DiskResult.Failed);
            }

            queue.UnderWay.Should().Be(0);
            queue.Write(1, 0, Pieces(1, 512), durable: false);
            queue.Abandon();
        });
        queue.Write(1, 0, Pieces(1, 512), durable: true);
        Next(queue).Should().Be(new DiskCompletion(1, DiskResult.Done));
    }

    [Fact]
    public void Disk_that_does_not_ask_for_it_has_no_queues()
    {
        using var file = HostFile.Open(new DiskConfig { Path = NewFile() });
        file.OpenQueues(1, 8).Should().BeEmpty();
        file.QueueProblem.Should().BeNull();
    }

    /// <summary>Keeps one request under way for each tag, and a model of what they do.</summary>
    private sealed class ModelRun(HostFileQueueTests test, IDiskQueue queue, byte[] model)
    {
        private readonly (int Kind, int At, int Count)?[] _underWay = new (int, int, int)?[Depth];
        private int _seed;

        public void Begin(int tag, int kind, int offset, int count)
        {
            while (_underWay[tag] is not null)
                Take();
            int at = tag * Region + offset;
            _underWay[tag] = (kind, at, count);
            DiskRange[] ranges = GC.AllocateArray<DiskRange>(2, pinned: true);
            (ranges[0], ranges[1]) = (new DiskRange((ulong)at, 512, kind == 4), new DiskRange((ulong)at + 512, (ulong)count - 512, kind == 4));
            switch (kind)
            {
                case 0 or 1:
                    var bytes = test.Bytes(tag, count);
                    new Random(++_seed).NextBytes(bytes);
                    bytes.CopyTo(model.AsSpan(at));
                    queue.Write(tag, (ulong)at, test.Pieces(tag, count, whole: kind == 0), durable: _seed % 8 == 0);
                    break;
                case 2 or 3:
                    test.Bytes(tag, count).Fill(0xee);
                    queue.Read(tag, (ulong)at, test.Pieces(tag, count, whole: kind == 2));
                    break;
                case 4 or 5:
                    model.AsSpan(at, count).Clear();
                    queue.WriteZeroes(tag, ranges, durable: false);
                    break;
                default:
                    queue.Flush(tag);
                    break;
            }
        }

        public void Finish()
        {
            while (queue.UnderWay > 0)
                Take();
        }

        private void Take()
        {
            var (tag, result) = Next(queue);
            result.Should().Be(DiskResult.Done);
            var (kind, at, count) = _underWay[tag]!.Value;
            if (kind is 2 or 3)
                test.Bytes(tag, count).SequenceEqual(model.AsSpan(at, count)).Should().BeTrue($"bytes {at} to {at + count} are nobody else's");
            _underWay[tag] = null;
        }
    }
}
