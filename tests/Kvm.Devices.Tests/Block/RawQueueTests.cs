using FsCheck;
using FsCheck.Fluent;
using Kvm.Devices.Block;
using Kvm.Tests.Support;

namespace Kvm.Devices.Tests.Block;

/// <summary>Requests that are under way: what becomes of each, whatever its file does.</summary>
public sealed class RawQueueTests
{
    private static DiskCompletion Done(int tag) => new(tag, DiskResult.Done);

    private static DiskRange[] Ranges(params ReadOnlySpan<(int Position, int Length)> ranges) =>
        [.. ranges.ToArray().Select(r => new DiskRange((ulong)r.Position, (ulong)r.Length, Unmap: false))];

    [Fact]
    public void Requests_end_in_the_order_the_host_ends_them()
    {
        using var rig = new QueueRig();
        rig.Write(0, 0, 1);
        rig.Write(1, 512, 2);
        rig.Queue.Read(2, 4096, rig.Pieces(2, 100, 0, 412));
        rig.Host.UnderWay.Should().BeEmpty("they are only prepared");
        rig.Take().Should().BeEmpty();
        rig.Host.UnderWay.Should().Equal(FileCall.Write, FileCall.Write, FileCall.Read);
        rig.Host.Submissions.Should().Be(1, "all at once");
        rig.Queue.UnderWay.Should().Be(3);
        rig.Release(2).Should().Equal(Done(2));
        rig.Release(1).Should().Equal(Done(1));
        rig.Release(0).Should().Equal(Done(0));
        rig.Queue.UnderWay.Should().Be(0);
        (rig.File.Bytes[0], rig.File.Bytes[512]).Should().Be(((byte)1, (byte)2));
    }

    [Fact]
    public void Requests_of_nothing_end_at_once()
    {
        using var rig = new QueueRig();
        rig.Queue.Read(0, 0, rig.Pieces(0));
        rig.Queue.Write(1, 512, rig.Pieces(1, 0, 0), durable: false);
        rig.Queue.Discard(2, Ranges((512, 0)), durable: false);
        rig.Queue.WriteZeroes(3, Ranges(), durable: false);
        rig.Take().Should().Equal(Done(0), Done(1), Done(2), Done(3));
        rig.File.Calls.Should().BeEmpty();
    }

    [Fact]
    public void Transfer_of_more_buffers_than_a_call_takes_goes_in_several()
    {
        using var rig = new QueueRig(holds: false, maxBuffers: 2);
        rig.Bytes(0, 5 * 512).Fill(3);
        rig.Queue.Write(0, 0, rig.Pieces(0, 512, 512, 512, 512, 512), durable: false);
        rig.Take().Should().Equal(Done(0));
        rig.File.Calls.Should().HaveCount(3);
        rig.File.Bytes[..(5 * 512)].IndexOfAnyExcept((byte)3).Should().Be(-1);
    }

    [Fact]
    public void Short_transfers_and_interruptions_at_any_call_lose_and_repeat_nothing() =>
        Prop.ForAll(
            Gen.Choose(1, 700).ArrayOf(12).ToArbitrary(),
            Gen.Frequency((3, Gen.Choose(1, 900)), (1, Gen.Constant(-1)), (3, Gen.Constant(int.MaxValue))).ArrayOf(40).ToArbitrary(),
            (lengths, script) =>
            {
                using var rig = new QueueRig(64 << 10, holds: false);
                int total = lengths.Sum();
                var random = new Random(total);
                random.NextBytes(rig.Bytes(0, total));
                byte[] pattern = rig.Bytes(0, total).ToArray();
                rig.File.Inject = (call, _, _) => script[call % script.Length] switch
                {
                    -1 => new HostFileResult(0, call % 2 == 0 ? HostFileError.Interrupted : HostFileError.Cancelled),
                    var bytes => new HostFileResult(bytes),
                };
                rig.Queue.Write(0, 512, rig.Pieces(0, lengths), durable: true);
                if (!rig.Take().SequenceEqual([Done(0)]))
                    return false;
                rig.Queue.Read(1, 512, rig.Pieces(1, lengths));
                return rig.Take().SequenceEqual([Done(1)]) && rig.Bytes(1, total).SequenceEqual(pattern)
                    && rig.File.Bytes.Slice(512, total).SequenceEqual(pattern) && rig.File.Stable.SequenceEqual(rig.File.Bytes)
                    && rig.File.Bytes[..512].IndexOfAnyExcept((byte)0) < 0 && rig.File.Bytes[(512 + total)..].IndexOfAnyExcept((byte)0) < 0;
            }).QuickCheckThrowOnFailure();

    [Theory]
    [InlineData(HostFileError.Failed, DiskResult.Failed)]
    [InlineData(HostFileError.NoSpace, DiskResult.NoSpace)]
    [InlineData(HostFileError.Unsupported, DiskResult.Unsupported)]
    public void Error_at_the_first_or_a_later_call_is_the_request_s_alone(HostFileError error, DiskResult expected)
    {
        foreach (int failing in (int[])[0, 1, 5])
        {
            using var rig = new QueueRig(holds: false);
            rig.File.Inject = (call, _, _) => call == failing ? new HostFileResult(0, error) : new HostFileResult(512);
            rig.Write(0, 0, 1, 8192);
            rig.Take().Should().Equal(new DiskCompletion(0, expected));
            rig.File.Calls.Should().HaveCount(failing + 1);
            rig.Write(0, 0, 1);
            rig.Take().Should().Equal(Done(0));
        }

        using var flushing = new QueueRig(holds: false);
        flushing.File.Inject = (_, _, _) => new HostFileResult(0, error);
        flushing.Queue.Flush(3);
        flushing.Take().Should().Equal(new DiskCompletion(3, expected));
        using var durable = new QueueRig(holds: false);
        durable.File.Inject = (_, call, _) => call == FileCall.Flush ? new HostFileResult(0, error) : null;
        durable.Write(0, 0, 1, durable: true);
        durable.Take().Should().Equal(new DiskCompletion(0, expected));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Flush_fails_and_the_next_flush_and_durable_writes_fail_too(bool durable)
    {
        int flushes = 0;
        using var rig = new QueueRig(holds: false);
        rig.File.Inject = (_, call, _) => call == FileCall.Flush && flushes++ == 0 ? new HostFileResult(0, HostFileError.Failed) : null;
        rig.Write(0, 0, 1, durable: durable);
        rig.Queue.Flush(1);
        rig.Take().Should().Equal(new DiskCompletion(0, durable ? DiskResult.Failed : DiskResult.Done), new DiskCompletion(1, DiskResult.Failed));
        rig.File.Bytes[0].Should().Be(0, "that is what the host does");
        rig.Queue.Flush(2);
        rig.Write(3, 512, 1, durable: true);
        rig.Queue.WriteZeroes(4, Ranges((4096, 512)), durable: true);
        rig.Write(5, 1024, 1);
        rig.Take().Should().BeEquivalentTo([new DiskCompletion(2, DiskResult.Failed), new DiskCompletion(3, DiskResult.Failed),
            new DiskCompletion(4, DiskResult.Failed), Done(5)]);
        rig.Image.Flush().Should().Be(DiskResult.Failed, "the image is one");
        flushes.Should().Be(1, "the host would say that all is well");
    }

    [Fact]
    public void Flush_that_ends_well_behind_one_that_failed_is_no_promise()
    {
        using var rig = new QueueRig();
        rig.Write(0, 0, 1, durable: true);
        rig.Write(1, 512, 2, durable: true);
        rig.Take();
        rig.Release().Should().BeEmpty();
        rig.Release().Should().BeEmpty();
        rig.Host.UnderWay.Should().Equal([FileCall.Flush], "of two at once the host would say to one that all is well");
        int calls = rig.File.Calls.Count;
        rig.File.Inject = (call, _, _) => call == calls ? new HostFileResult(0, HostFileError.Failed) : null;
        rig.Release().Should().Equal(new DiskCompletion(0, DiskResult.Failed));
        rig.Release().Should().Equal(new DiskCompletion(1, DiskResult.Failed));
    }

    [Fact]
    public void One_flush_does_for_all_durable_writes_that_waited_for_the_one_before()
    {
        using var rig = new QueueRig();
        for (int tag = 0; tag < 8; tag++)
            rig.Write(tag, (ulong)tag * 512, (byte)(tag + 1), durable: true);
        rig.Take();
        for (int tag = 0; tag < 8; tag++)
            rig.Release().Should().BeEmpty();

        rig.Release().Should().Equal(Done(0));
        rig.Host.UnderWay.Should().Equal(FileCall.Flush);
        rig.Release().Should().Equal(Enumerable.Range(1, 7).Select(Done));

        rig.Host.UnderWay.Should().BeEmpty();
        for (int tag = 0; tag < 8; tag++)
            rig.File.Stable[tag * 512].Should().Be((byte)(tag + 1));
    }

    [Fact]
    public void Queues_of_one_image_flush_it_in_turn()
    {
        using var rig = new QueueRig(queues: 3);
        foreach (var queue in rig.Queues)
        {
            queue.Flush(0);
            queue.TryTake(out _).Should().BeFalse();
        }

        rig.File.Queues.Select(host => host.UnderWay.Length).Should().Equal(1, 0, 0);
        rig.File.Queues[0].Release();
        rig.Queues[0].TryTake(out _).Should().BeTrue();
        rig.File.Queues.Select(host => host.UnderWay.Length).Should().Equal(0, 1, 0);

        rig.Queues[1].Abandon();
        rig.File.Queues.Select(host => host.UnderWay.Length).Should().Equal([0, 0, 1], "nobody waits for one that gave up");
        rig.Queues[0].Flush(1);
        rig.Queues[2].Abandon();
        rig.File.Queues[0].UnderWay.Should().Equal(FileCall.Flush);
    }

    [Fact]
    public void A_queue_that_waits_for_its_turn_sees_to_the_one_before_it()
    {
        using var rig = new QueueRig(queues: 2);
        foreach (var queue in rig.Queues)
        {
            queue.Flush(0);
            queue.TryTake(out _).Should().BeFalse();
        }

        foreach (var host in rig.File.Queues)
            host.EndsWhenWaitedFor = true;
        DiskCompletion done;
        while (!rig.Queues[1].TryTake(out done))
            rig.Queues[1].Wait();

        done.Should().Be(Done(0));
        rig.Queues[0].TryTake(out done).Should().BeTrue();
        done.Should().Be(Done(0));
    }

    [Theory]
    [InlineData(true, DiskResult.Failed)]
    [InlineData(false, DiskResult.Done)]
    public void Flush_that_failed_when_nobody_wanted_its_answer_any_more_is_remembered_and_one_given_up_is_not(bool began, DiskResult next)
    {
        using var rig = new QueueRig();
        rig.Queue.Flush(0);
        rig.Take();
        if (began)
        {
            rig.File.Inject = (_, _, _) => new HostFileResult(0, HostFileError.Failed);
            rig.Host.Release();
        }

        rig.Queue.Abandon();
        rig.File.Inject = null;
        rig.Image.Flush().Should().Be(next);
    }

    [Theory]
    [InlineData(HostFileError.Interrupted)]
    [InlineData(HostFileError.Cancelled)]
    public void Host_that_interrupts_or_gives_up_for_ever_fails_the_request(HostFileError error)
    {
        using var rig = new QueueRig(holds: false);
        rig.File.Inject = (_, _, _) => new HostFileResult(0, error);
        rig.Queue.Read(0, 0, rig.Pieces(0, 512));
        rig.Queue.Flush(1);
        rig.Queue.WriteZeroes(2, Ranges((0, 512)), durable: false);
        rig.Take().Should().BeEquivalentTo([new DiskCompletion(0, DiskResult.Failed), new DiskCompletion(1, DiskResult.Failed), new DiskCompletion(2, DiskResult.Failed)]);
    }

    [Fact]
    public void File_that_ends_early_and_a_host_that_claims_too_much_fail_the_request()
    {
        using var rig = new QueueRig(holds: false);
        rig.File.Inject = (call, _, _) => new HostFileResult(call == 0 ? 1024 : 0);
        rig.Queue.Read(0, 0, rig.Pieces(0, 2048));
        rig.Take().Should().Equal(new DiskCompletion(0, DiskResult.Failed));
    }

    // ---- Order --------------------------------------------------------------------------------------------------------

    [Fact]
    public void Flush_is_submitted_when_all_changes_before_it_have_ended_and_changes_behind_it_when_it_has()
    {
        using var rig = new QueueRig();
        rig.Write(0, 0, 1);
        rig.Queue.WriteZeroes(1, Ranges((8192, 512)), durable: false);
        rig.Queue.Flush(2);
        rig.Write(3, 512, 2);
        rig.Queue.Discard(4, Ranges((4096, 512)), durable: false);
        rig.Queue.Read(5, 0, rig.Pieces(5, 512));
        rig.Take().Should().BeEmpty();
        rig.Host.UnderWay.Should().Equal([FileCall.Write, FileCall.WriteZeroes, FileCall.Read], "reads go past");
        rig.Release(0).Should().Equal(Done(0));
        rig.Host.UnderWay.Should().Equal([FileCall.WriteZeroes, FileCall.Read], "one is still under way");
        rig.Release(0).Should().Equal(Done(1));
        rig.Host.UnderWay.Should().Equal(FileCall.Read, FileCall.Flush);
        rig.File.Bytes[512].Should().Be(0);
        rig.Release(1).Should().Equal(Done(2));
        rig.Host.UnderWay.Should().Equal(FileCall.Read, FileCall.Write, FileCall.Discard);
    }

    [Fact]
    public void Flush_waits_for_the_rest_of_a_write_that_was_cut_short()
    {
        using var rig = new QueueRig();
        rig.File.Inject = (call, _, _) => call == 0 ? new HostFileResult(512) : null;
        rig.Write(0, 0, 1, 4096);
        rig.Queue.Flush(1);
        rig.Take();
        rig.Release().Should().BeEmpty();
        rig.Host.UnderWay.Should().Equal([FileCall.Write], "the rest of it");
        rig.Release().Should().Equal(Done(0));
        rig.Release().Should().Equal(Done(1));
        rig.File.Stable[..4096].IndexOfAnyExcept((byte)1).Should().Be(-1);
    }

    [Fact]
    public void Flushes_behind_one_another_are_done_one_after_another()
    {
        using var rig = new QueueRig();
        rig.Queue.Flush(0);
        rig.Queue.Flush(1);
        rig.Write(2, 0, 1);
        rig.Queue.Flush(3);
        rig.Take();
        foreach (int tag in (int[])[0, 1, 2, 3])
        {
            rig.Host.UnderWay.Should().HaveCount(1);
            rig.Release().Should().Equal(Done(tag));
        }

        rig.File.Calls.Should().Equal(FileCall.Flush, FileCall.Flush, FileCall.Write, FileCall.Flush);
    }

    [Fact]
    public void Failed_change_lets_the_flush_behind_it_go_on()
    {
        using var rig = new QueueRig();
        rig.File.Inject = (call, _, _) => call == 0 ? new HostFileResult(0, HostFileError.Failed) : null;
        rig.Write(0, 0, 1);
        rig.Queue.Flush(1);
        rig.Write(2, 512, 1);
        rig.Take();
        rig.Release().Should().Equal(new DiskCompletion(0, DiskResult.Failed));
        rig.Release().Should().Equal(Done(1));
        rig.Release().Should().Equal(Done(2));
    }

    [Fact]
    public void Durable_change_ends_when_it_has_been_flushed_and_keeps_no_other_back()
    {
        using var rig = new QueueRig();
        rig.Write(0, 0, 1, durable: true);
        rig.Write(1, 512, 2);
        rig.Queue.Discard(2, Ranges((4096, 4096), (12_288, 4096)), durable: true);
        rig.Take();
        rig.Release(0).Should().BeEmpty();
        rig.Host.UnderWay.Should().Equal(FileCall.Write, FileCall.Discard, FileCall.Flush);
        rig.Release(2).Should().Equal(Done(0));
        rig.File.Stable[0].Should().Be(1);
        rig.Release(1).Should().BeEmpty("there is a second range");
        rig.Release(1).Should().BeEmpty("it is not durable yet");
        rig.Release(1).Should().Equal(Done(2));
        rig.File.Holes.Should().Be(2);
    }

    private static readonly Gen<(int Kind, int Sector, int Fault)[]> Traffic =
        (from kind in Gen.Frequency((6, Gen.Constant(0)), (2, Gen.Constant(1)), (2, Gen.Constant(2)), (1, Gen.Constant(3)))
         from sector in Gen.Choose(0, 127)
         from fault in Gen.Frequency((8, Gen.Constant(0)), (1, Gen.Constant(1)), (1, Gen.Constant(2)), (1, Gen.Constant(3)))
         select (kind, sector, fault)).ArrayOf(60);

    /// <summary>
    /// Each write puts its number into a sector that no other write of the run uses. What a crash would leave is looked at after every operation:
    /// all writes that ended well before a flush that ended well was asked for, and none from behind a flush that has not ended.
    /// </summary>
    [Fact]
    public void Nothing_is_lost_or_reordered_across_a_flush_whatever_fails_and_in_whatever_order_operations_end() =>
        Prop.ForAll(Traffic.ToArbitrary(), Gen.Choose(0, int.MaxValue - 1).ToArbitrary(), (traffic, seed) =>
        {
            using var rig = new QueueRig(1 << 20);
            var random = new Random(seed);
            rig.File.Inject = (call, _, bytes) => traffic[call % traffic.Length].Fault switch
            {
                1 => new HostFileResult(0, HostFileError.Interrupted),
                2 when bytes > 1 => new HostFileResult(bytes / 2),
                3 => new HostFileResult(0, call % 2 == 0 ? HostFileError.NoSpace : HostFileError.Failed),
                _ => null,
            };
            var crash = new CrashModel(rig, random);
            foreach (var (kind, _, _) in traffic)
            {
                if (!crash.Step(kind))
                    return false;
            }

            return crash.Finish();
        }).QuickCheckThrowOnFailure();

    /// <summary>What was asked for in which order, and what of it must or must not be on the disk after a crash.</summary>
    private sealed class CrashModel(QueueRig rig, Random random)
    {
        private readonly List<(int Tag, bool Flush, DiskResult? Result)> _asked = [];
        private readonly int[] _byTag = Enumerable.Repeat(-1, QueueRig.Depth).ToArray();

        public bool Step(int kind)
        {
            int tag = Array.IndexOf(_byTag, -1);
            if (tag < 0 || kind == 3)
            {
                rig.Take().ForEach(Ended);
                if (rig.Host.UnderWay.Length is > 0 and var count)
                    rig.Release(random.Next(count)).ForEach(Ended);
                return Holds();
            }

            _byTag[tag] = _asked.Count;
            _asked.Add((tag, kind == 2, null));
            if (kind == 2)
                rig.Queue.Flush(tag);
            else
                rig.Write(tag, Position(_asked.Count - 1), 1, 1024, durable: kind == 1);
            rig.Take().ForEach(Ended);
            return Holds();
        }

        public bool Finish()
        {
            bool good = true;
            rig.Take().ForEach(Ended);
            while (rig.Host.UnderWay.Length is > 0 and var count)
            {
                rig.Release(random.Next(count)).ForEach(Ended);
                good &= Holds();
            }

            return good && rig.Queue.UnderWay == 0 && _asked.TrueForAll(a => a.Result is not null);
        }

        private static ulong Position(int number) => (ulong)number * 1024;

        private void Ended(DiskCompletion done)
        {
            int number = _byTag[done.Tag];
            _byTag[done.Tag] = -1;
            _asked[number] = _asked[number] with { Result = done.Result };
        }

        private bool Holds()
        {
            int wall = _asked.FindIndex(a => a.Flush && a.Result is null);
            for (int i = 0; i < _asked.Count; i++)
            {
                if (_asked[i].Flush)
                    continue;
                bool written = rig.File.Bytes[(int)Position(i)] != 0, stable = !rig.File.Stable.Slice((int)Position(i), 1024).Contains((byte)0);
                bool flushed = _asked.FindIndex(i, a => a.Flush && a.Result == DiskResult.Done) >= 0;
                if ((_asked[i].Result == DiskResult.Done && flushed && !stable) || (wall >= 0 && i > wall && written))
                    return false;
            }

            return true;
        }
    }

    // ---- What the file does not take as it lies -----------------------------------------------------------------------

    [Fact]
    public void Unaligned_write_waits_for_quiet_and_is_over_before_another_change_begins()
    {
        using var rig = new QueueRig(alignment: 4096);
        rig.File.Bytes.Fill(9);
        rig.Write(0, 4096, 1, 4096);
        rig.Write(1, 512, 2);
        rig.Write(2, 8192, 3, 4096);
        rig.Take().Should().BeEmpty();
        rig.Host.UnderWay.Should().Equal([FileCall.Write], "the one whole block");
        rig.Release().Should().Equal(Done(0), Done(1));
        rig.File.Bytes[..4096].ToArray().Should().Equal([.. Enumerable.Repeat((byte)9, 512), .. Enumerable.Repeat((byte)2, 512), .. Enumerable.Repeat((byte)9, 3072)]);
        rig.Host.UnderWay.Should().Equal(FileCall.Write);
        rig.Release().Should().Equal(Done(2));
        rig.Queue.Read(3, 512, rig.Pieces(3, 512));
        rig.Take().Should().Equal(Done(3));
        rig.Bytes(3, 512).IndexOfAnyExcept((byte)2).Should().Be(-1);
    }

    [Fact]
    public void Several_queues_and_blocks_larger_than_sectors_do_not_go_together()
    {
        using var large = new RawImage(new MemoryFile(1 << 20, 4096) { Asynchronous = true });
        large.OpenQueues(2, 4).Should().BeEmpty();
        large.OpenQueues(1, 4).Should().HaveCount(1);
        using var small = new RawImage(new MemoryFile(1 << 20, 512) { Asynchronous = true });
        small.OpenQueues(2, 4).Should().HaveCount(2);
        using var none = new RawImage(new MemoryFile(1 << 20));
        none.OpenQueues(1, 4).Should().BeEmpty();
    }

    [Fact]
    public void Discard_that_the_file_cannot_is_done_with_and_asked_for_no_more()
    {
        using var rig = new QueueRig(holds: false);
        rig.File.Inject = (_, call, _) => call == FileCall.Discard ? new HostFileResult(0, HostFileError.Unsupported) : null;
        rig.Queue.Discard(0, Ranges((0, 4096), (8192, 4096)), durable: false);
        rig.Take().Should().Equal(Done(0));
        rig.Queue.Discard(1, Ranges((0, 4096)), durable: false);
        rig.Take().Should().Equal(Done(1));
        rig.File.Calls.Should().Equal(FileCall.Discard);
        rig.Image.CanDiscard.Should().BeFalse();
    }

    [Fact]
    public void Zeros_the_file_cannot_write_quickly_are_written_by_hand_when_no_other_change_is_under_way()
    {
        using var rig = new QueueRig(alignment: 4096);
        rig.File.Bytes.Fill(9);
        rig.File.Inject = (_, call, _) => call is FileCall.Discard or FileCall.WriteZeroes ? new HostFileResult(0, HostFileError.Unsupported) : null;
        rig.Write(0, 8192, 1, 4096);
        rig.Queue.WriteZeroes(1, new[] { new DiskRange(512, 512, Unmap: true), new DiskRange(4096, 4096, Unmap: false) }, durable: false);
        rig.Write(2, 16_384, 2, 4096);
        rig.Queue.Flush(3);
        rig.Take();
        rig.Host.UnderWay.Should().Equal(FileCall.Write, FileCall.Discard, FileCall.Write);
        rig.Release(1).Should().BeEmpty();
        rig.Release(2).Should().BeEmpty("no holes, then no quick zeros: it waits for both writes");
        rig.File.Bytes[512].Should().Be(9);
        rig.Release(0).Should().Equal(Done(0));
        rig.Release(0).Should().Equal(Done(2), Done(1));
        rig.File.Bytes[..8192].ToArray().Should().Equal(
            [.. Enumerable.Repeat((byte)9, 512), .. new byte[512], .. Enumerable.Repeat((byte)9, 3072), .. new byte[4096]]);
        rig.Release().Should().Equal(Done(3));
    }

    [Fact]
    public void Error_in_the_middle_of_zeros_by_hand_is_the_request_s()
    {
        using var rig = new QueueRig(holds: false);
        rig.File.Inject = (_, call, _) => call switch
        {
            FileCall.WriteZeroes => new HostFileResult(0, HostFileError.Unsupported),
            FileCall.Write => new HostFileResult(0, HostFileError.NoSpace),
            _ => null,
        };
        rig.Queue.WriteZeroes(0, Ranges((0, 512), (1024, 512)), durable: true);
        rig.Take().Should().Equal(new DiskCompletion(0, DiskResult.NoSpace));
        rig.File.Calls.Should().Equal(FileCall.WriteZeroes, FileCall.Write);
        rig.Queue.UnderWay.Should().Be(0);
    }

    // ---- Giving up ----------------------------------------------------------------------------------------------------

    [Fact]
    public async Task Abandoning_waits_for_what_the_host_will_not_give_up_and_the_rest_never_begins()
    {
        using var rig = new QueueRig();
        rig.Host.CannotCancel = true;
        rig.Write(0, 0, 1);
        rig.Queue.Flush(1);
        rig.Write(2, 512, 2);
        rig.Queue.Read(3, 0, rig.Pieces(3, 512));
        rig.Take();
        var abandoned = Task.Run(rig.Queue.Abandon);
        rig.Host.Release(1);
        abandoned.IsCompleted.Should().BeFalse("a write is with the host");
        rig.Host.Release(0);
        await abandoned.WaitAsync(TimeSpan.FromSeconds(60));
        rig.Host.Cancellations.Should().Be(1);
        rig.Queue.UnderWay.Should().Be(0);
        rig.Take().Should().BeEmpty();
        rig.File.Calls.Should().Equal(FileCall.Read, FileCall.Write);
        rig.Write(2, 512, 3);
        rig.Queue.Flush(1);
        rig.Take();
        rig.Release().Should().Equal([Done(2)], "nothing is left of what was before");
        rig.Release().Should().Equal(Done(1));
    }

    [Fact]
    public void Abandoning_gives_up_what_the_host_lets_go_of()
    {
        using var rig = new QueueRig();
        for (int tag = 0; tag < QueueRig.Depth; tag++)
            rig.Write(tag, (ulong)tag * 512, 1, durable: true);
        rig.Queue.Abandon();
        rig.File.Calls.Should().BeEmpty();
        rig.Queue.Abandon();
        rig.Host.Cancellations.Should().Be(1, "the second time there is nothing");
    }

    [Fact]
    public void Thousands_of_requests_allocate_nothing()
    {
        using var image = new RawImage(new NullFile(1 << 20));
        var queue = image.OpenQueues(1, 4)[0];
        using var rig = new QueueRig();
        var (pieces, ranges) = (rig.Pieces(0, 512, 512), Ranges((0, 512), (4096, 512)));
        int ended = 0;
        Allocation.Of(_ =>
        {
            queue.Write(0, 0, pieces, durable: true);
            queue.WriteZeroes(1, ranges, durable: false);
            queue.Flush(2);
            queue.Read(3, 512, pieces);
            while (queue.TryTake(out var _))
                ended++;
        }).Should().Be(0);
        ended.Should().BeGreaterThan(40_000);
    }
}
