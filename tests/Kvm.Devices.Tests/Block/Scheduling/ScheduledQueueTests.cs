using FsCheck;
using FsCheck.Fluent;
using Kvm.Devices.Block;
using Kvm.Devices.Block.Scheduling;
using Kvm.Devices.Memory;
using Kvm.Devices.Tests.Support;
using Kvm.Tests.Support;

namespace Kvm.Devices.Tests.Block.Scheduling;

public sealed class ScheduledQueueTests : IDisposable
{
    private const int Depth = QueueRig.Depth;

    private readonly QueueRig _rig = new();
    private readonly ManualTime _time = new();
    private readonly HostDisk _disk = new();
    private readonly List<ScheduledQueue> _queues = [];

    public void Dispose()
    {
        _queues.ForEach(q => q.Dispose());
        _rig.Dispose();
    }

    private ScheduledQueue Fair(QueueRig rig, int weight) => Add(new ScheduledQueue(rig.Queue, Depth, _disk.Join(weight), _time));

    private ScheduledQueue Add(ScheduledQueue queue)
    {
        _queues.Add(queue);
        return queue;
    }

    private static List<DiskCompletion> Take(ScheduledQueue queue)
    {
        var all = new List<DiskCompletion>();
        while (queue.TryTake(out var done))
            all.Add(done);
        return all;
    }

    private void Write(ScheduledQueue queue, int tag, ulong position, byte value, int length = 512)
    {
        _rig.Bytes(tag, length).Fill(value);
        queue.Write(tag, position, _rig.Pieces(tag, length), durable: false);
    }

    private void Read(ScheduledQueue queue, int tag, ulong position) => queue.Read(tag, position, _rig.Pieces(tag, 512));

    /// <summary>A sorted queue over a disk that is busy with as many requests as it is given, the tags from 0 on.</summary>
    private ScheduledQueue Busy(HeldDisk disk)
    {
        var queue = Add(new ScheduledQueue(disk, Depth, null, _time));
        for (int tag = 0; tag < ScheduledQueue.MostSorted; tag++)
            Read(queue, tag, (ulong)tag * 4096);
        Take(queue).Should().BeEmpty();
        disk.Requests.Should().HaveCount(ScheduledQueue.MostSorted);
        return queue;
    }

    [Fact]
    public void Requests_that_wait_are_sorted_and_adjacent_ones_are_one_operation()
    {
        var disk = new HeldDisk();
        var queue = Busy(disk);
        ulong[] positions = [100, 92, 95, 93, 101, 94];
        for (int i = 0; i < positions.Length; i++)
            Write(queue, 4 + i, positions[i] * 512, 1);
        Take(queue).Should().BeEmpty();
        disk.Requests.Should().HaveCount(4);
        disk.End();
        disk.End();
        Take(queue).Select(d => d.Tag).Should().Equal(0, 1);
        disk.Requests.Skip(2).Should().Equal(new HeldDisk.Request(5, 'w', 92 * 512, 2048), new HeldDisk.Request(4, 'w', 100 * 512, 1024));
        queue.Joined.Should().Be(4);
        disk.End(2);
        Take(queue).Select(d => d.Tag).Should().Equal(5, 7, 9, 6);
        disk.End(2);
        Take(queue).Select(d => d.Tag).Should().Equal(4, 8);
        queue.UnderWay.Should().Be(2);
    }

    [Fact]
    public void Durable_and_other_writes_are_not_joined_and_neither_are_requests_of_more_than_the_limit()
    {
        var disk = new HeldDisk();
        var queue = Busy(disk);
        queue.Write(4, 1 << 20, _rig.Pieces(4, 512), durable: true);
        queue.Write(5, (1 << 20) + 512, _rig.Pieces(5, 512), durable: false);
        queue.Write(6, (1 << 20) + 1024, _rig.Pieces(6, [.. Enumerable.Repeat(512, ScheduledQueue.MostBuffers)]), durable: false);
        while (disk.Requests.Any(r => r.Kind == 'r'))
        {
            disk.End();
            Take(queue);
        }

        disk.Requests.Select(r => (r.Tag, r.Kind)).Should().Equal((4, 'W'), (5, 'w'), (6, 'w'));
        queue.Joined.Should().Be(0);
    }

    [Fact]
    public void Joined_reads_that_fail_are_tried_one_by_one_and_joined_writes_fail_together()
    {
        var disk = new HeldDisk();
        var queue = Busy(disk);
        for (int tag = 4; tag < 8; tag++)
            Read(queue, tag, 65536 + (ulong)(tag - 4) * 512);
        disk.End();
        Take(queue);
        disk.Requests[^1].Should().Be(new HeldDisk.Request(4, 'r', 65536, 2048));
        disk.End(3, DiskResult.Failed);
        Take(queue).Should().BeEmpty();
        disk.Requests[^1].Should().Be(new HeldDisk.Request(4, 'r', 65536, 512));
        while (disk.Requests.Count > 0)
        {
            bool bad = disk.Requests[0].Position == 66048;
            disk.End(0, bad ? DiskResult.Failed : DiskResult.Done);
            foreach (var done in Take(queue))
                done.Result.Should().Be(done.Tag == 5 ? DiskResult.Failed : DiskResult.Done);
        }

        queue.UnderWay.Should().Be(0);
        for (int tag = 0; tag < ScheduledQueue.MostSorted; tag++)
            Read(queue, tag, (ulong)tag * 4096);
        Take(queue);
        Write(queue, 4, 1 << 20, 1);
        Write(queue, 5, (1 << 20) + 512, 1);
        disk.End();
        Take(queue);
        disk.Requests[^1].Should().Be(new HeldDisk.Request(4, 'w', 1 << 20, 1024));
        disk.End(disk.Requests.Count - 1, DiskResult.NoSpace);
        Take(queue).Should().Equal(new DiskCompletion(4, DiskResult.NoSpace), new DiskCompletion(5, DiskResult.NoSpace));
    }

    /// <summary>Whatever the host's order of ending: a flush goes to the host after every change asked for before it has ended, and before one asked for after it begins.</summary>
    [Fact]
    public void Order_across_flushes_is_kept_in_any_traffic() =>
        Prop.ForAll(Gen.Choose(0, 2).ArrayOf(60).ToArbitrary(), Gen.Choose(0, int.MaxValue - 1).ToArbitrary(), (kinds, seed) =>
        {
            var random = new Random(seed);
            using var rig = new QueueRig();
            using var queue = new ScheduledQueue(rig.Queue, Depth, random.Next(2) == 0 ? null : new HostDisk().Join(1), _time);
            var free = new Stack<int>(Enumerable.Range(0, Depth));
            // What was asked for, by order; and how each stands: which tag, ended or not.
            var asked = new List<(bool Flush, bool Change, int Tag, bool Ended)>();
            bool OneEnds()
            {
                var before = rig.Host.UnderWay;
                if (before.Length > 0)
                    rig.Host.Release(random.Next(before.Length));
                foreach (var done in Take(queue))
                {
                    int at = asked.FindIndex(a => a.Tag == done.Tag && !a.Ended);
                    // A flush that has ended has everything before it behind it.
                    if (asked[at].Flush && asked.Take(at).Any(a => a.Change && !a.Ended))
                        return false;
                    // A change that has ended has every flush before it behind it.
                    if (asked[at].Change && asked.Take(at).Any(a => a.Flush && !a.Ended))
                        return false;
                    asked[at] = asked[at] with { Ended = true };
                    free.Push(done.Tag);
                }

                return true;
            }

            foreach (int kind in kinds)
            {
                while (free.Count == 0)
                {
                    if (!OneEnds())
                        return false;
                }

                int tag = free.Pop();
                asked.Add((kind == 2, kind == 1, tag, false));
                ulong position = (ulong)random.Next(64) * 512;
                if (kind == 0)
                    queue.Read(tag, position, rig.Pieces(tag, 512));
                else if (kind == 1)
                    queue.Write(tag, position, rig.Pieces(tag, 512), durable: false);
                else
                    queue.Flush(tag);
                if (random.Next(3) == 0 && !OneEnds())
                    return false;
            }

            for (int i = 0; queue.UnderWay > 0 && i < 1000; i++)
            {
                if (!OneEnds())
                    return false;
            }

            return queue.UnderWay == 0;
        }).QuickCheckThrowOnFailure();

    [Fact]
    public void Queues_on_one_disk_take_turns_by_weight_and_are_woken_when_it_is_theirs()
    {
        using var other = new QueueRig();
        var (light, heavy) = (Fair(_rig, 100), Fair(other, 300));
        var woken = new Queue<ScheduledQueue>();
        light.WakeBy(() => woken.Enqueue(light));
        heavy.WakeBy(() => woken.Enqueue(heavy));
        var served = new Dictionary<ScheduledQueue, int> { [light] = 0, [heavy] = 0 };
        void Ask(ScheduledQueue queue, QueueRig rig, int tag) => queue.Read(tag, 0, rig.Pieces(tag, 4096));
        void Look(ScheduledQueue queue, QueueRig rig)
        {
            foreach (var done in Take(queue))
            {
                served[queue]++;
                Ask(queue, rig, done.Tag);
            }

            Take(queue);
        }

        for (int tag = 0; tag < Depth; tag++)
        {
            Ask(light, _rig, tag);
            Ask(heavy, other, tag);
        }

        Look(light, _rig);
        Look(heavy, other);
        (_rig.Host.UnderWay.Length + other.Host.UnderWay.Length).Should().Be(HostDisk.Places);
        for (int i = 0; i < 800; i++)
        {
            var (queue, rig) = _rig.Host.UnderWay.Length > 0 && (i % 2 == 0 || other.Host.UnderWay.Length == 0) ? (light, _rig) : (heavy, other);
            rig.Host.Release(0);
            Look(queue, rig);
            while (woken.TryDequeue(out var next))
                Look(next, next == light ? _rig : other);
            (_rig.Host.UnderWay.Length + other.Host.UnderWay.Length).Should().Be(HostDisk.Places);
        }

        ((double)served[heavy] / served[light]).Should().BeApproximately(3, 0.2);
        light.Waited.Should().BePositive();
        heavy.Dispose();
        for (int i = 0; i < 3 * HostDisk.Places; i++)
        {
            while (woken.TryDequeue(out _))
            {
            }

            _rig.Host.Release(0);
            Look(light, _rig);
        }

        _rig.Host.UnderWay.Should().HaveCount(HostDisk.Places, "the other one has gone and left its places");
    }

    [Fact]
    public void Queue_that_is_emptied_does_not_wait_for_others_and_one_that_is_abandoned_gives_its_places_back()
    {
        using var other = new QueueRig();
        var (mine, full) = (Fair(_rig, 1), Fair(other, 1));
        for (int tag = 0; tag < Depth; tag++)
            full.Read(tag, 0, other.Pieces(tag, 512));
        Take(full);
        other.Host.UnderWay.Should().HaveCount(HostDisk.Places);
        Read(mine, 0, 0);
        Take(mine).Should().BeEmpty();
        _rig.Host.Holds = false;
        mine.Wait();
        Take(mine).Should().Equal(new DiskCompletion(0, DiskResult.Done));
        Read(mine, 1, 0);
        Take(mine).Should().BeEmpty();
        bool woken = false;
        mine.WakeBy(() => woken = true);
        full.Abandon();
        woken.Should().BeTrue();
        mine.HasEnded.Should().BeTrue();
        Take(mine).Should().Equal(new DiskCompletion(1, DiskResult.Done));
        full.UnderWay.Should().Be(0);
    }

    [Fact]
    public void Nothing_is_allocated()
    {
        var pieces = _rig.Pieces(0, 512);
        using var image = new NullQueue();
        using var queue = new ScheduledQueue(image, Depth, null, TimeProvider.System);
        Allocation.Of(i =>
        {
            for (int tag = 0; tag < 8; tag++)
                queue.Write(tag, (ulong)tag * 512, pieces, durable: false);
            queue.Flush(8);
            while (queue.TryTake(out _))
            {
            }
        }).Should().Be(0);
        queue.Joined.Should().BePositive();
    }

    /// <summary>A queue whose requests have ended as soon as they are asked for.</summary>
    private sealed class NullQueue : IDiskQueue
    {
        private readonly int[] _ended = new int[Depth];

        public int UnderWay { get; private set; }

        public bool HasEnded => UnderWay > 0;

        public void Read(int tag, ulong position, ReadOnlyMemory<HostBuffer> buffers) => Flush(tag);

        public void Write(int tag, ulong position, ReadOnlyMemory<HostBuffer> buffers, bool durable) => Flush(tag);

        public void Flush(int tag) => _ended[UnderWay++] = tag;

        public void Discard(int tag, ReadOnlyMemory<DiskRange> ranges, bool durable) => Flush(tag);

        public void WriteZeroes(int tag, ReadOnlyMemory<DiskRange> ranges, bool durable) => Flush(tag);

        public bool TryTake(out DiskCompletion completion)
        {
            bool any = UnderWay > 0;
            completion = any ? new DiskCompletion(_ended[--UnderWay], DiskResult.Done) : default;
            return any;
        }

        public void Wait()
        {
        }

        public void Abandon() => UnderWay = 0;

        public void Mute()
        {
        }

        public bool Unmute() => false;

        public void Dispose()
        {
        }
    }
}
