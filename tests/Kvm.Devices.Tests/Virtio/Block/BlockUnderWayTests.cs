using FsCheck;
using FsCheck.Fluent;
using Kvm.Devices.Block;
using Kvm.Devices.Tests.Block;
using Kvm.Devices.Tests.Support;
using Kvm.Devices.Tests.Virtio.Support;
using Kvm.Devices.Virtio;
using Kvm.Devices.Virtio.Block;
using Kvm.Tests.Support;

namespace Kvm.Devices.Tests.Virtio.Block;

/// <summary>Requests that are under way while their queue goes on: how they are answered, and what ends them.</summary>
public sealed class BlockUnderWayTests
{
    private const int Sectors = 2048;

    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);

    public static TheoryData<bool, bool> PciAndPacked => new() { { false, false }, { false, true }, { true, false }, { true, true } };

    /// <summary>A request of a driver's that waits for its answer.</summary>
    private readonly record struct Asked(ushort Id, ulong Data, int Length, ulong Status);

    /// <summary>A guest whose disk's operations end when a test lets them; whoever is woken by that runs the queue.</summary>
    private sealed class Rig : IDisposable
    {
        public Rig(bool pci = false, bool packed = false, int queues = 1, int size = 16, DiskCache cache = DiskCache.WriteBack, bool holds = true)
        {
            File = new MemoryFile(Sectors * 512) { Asynchronous = true };
            Image = new RawImage(File);
            Guest = new BlockGuest(Image, new BlockOptions { Queues = queues, QueueSize = size, Cache = cache }, pci, packed);
            for (int i = 0; i < queues; i++)
            {
                int queue = i;
                File.Queues[i].Holds = holds;
                File.Queues[i].Bell = () => Guest.Device.ProcessQueue(queue);
            }
        }

        public MemoryFile File { get; }

        public RawImage Image { get; }

        public BlockGuest Guest { get; }

        public MemoryFileQueue Host => File.Queues[0];

        public FakeDriver Driver => Guest.Drivers[0];

        public Asked Ask(uint type, ulong sector, int length = 512, byte fill = 0, int queue = 0, bool notify = true)
        {
            ulong header = Guest.Arena.AllocateFilled(BlockGuest.Header(type, sector)), status = Guest.Arena.AllocateFilled([BlockGuest.Untouched]);
            ulong data = Guest.Arena.Allocate(length);
            Guest.Arena.Bytes(data, length).Fill(fill);
            var driver = Guest.Drivers[queue];
            ushort id = type == BlockGuest.Flush
                ? driver.Add(Element.Out(header, 16), Element.In(status, 1))
                : driver.Add(Element.Out(header, 16), new Element(data, (uint)length, type == BlockGuest.In), Element.In(status, 1));
            if (notify)
                Guest.Transport.Notify(queue);
            return new Asked(id, data, length, status);
        }

        /// <summary>Waits until a queue's requests are being given up.</summary>
        public void AwaitCancellation(int queue) => SpinWait.SpinUntil(() => File.Queues[queue].Cancellations == 1, Patience).Should().BeTrue();

        /// <summary>Starts the device again after a reset, with an empty ring.</summary>
        public void StartOver(ulong? features = null)
        {
            Guest.Drivers[0] = new FakeSplitDriver(Guest.Arena, Driver.Size, false, true);
            Guest.Transport.Start(features ?? Guest.Device.OfferedFeatures & 0xff_ffff, Driver);
        }

        public byte StatusOf(Asked asked) => Guest.Arena.Bytes(asked.Status, 1)[0];

        /// <summary>Guest memory as it is now.</summary>
        public byte[] Memory => Guest.Arena.Bytes(GuestArena.Base, Guest.Arena.Size).ToArray();

        public void Dispose()
        {
            foreach (var queue in File.Queues)
                queue.CannotCancel = false;
            Image.Dispose();
            Guest.Dispose();
        }
    }

    [Theory]
    [MemberData(nameof(PciAndPacked))]
    public void Requests_are_answered_by_their_own_status_in_the_order_they_end(bool pci, bool packed)
    {
        using var rig = new Rig(pci, packed);
        rig.File.Bytes[1024..1536].Fill(6);
        var write = rig.Ask(BlockGuest.Out, 0, fill: 5);
        var read = rig.Ask(BlockGuest.In, 2);
        var failing = rig.Ask(BlockGuest.Out, 4, fill: 7);
        rig.Driver.TakeUsed().Should().BeNull();
        rig.StatusOf(read).Should().Be(BlockGuest.Untouched);
        rig.Host.UnderWay.Should().Equal(FileCall.Write, FileCall.Read, FileCall.Write);

        rig.File.Inject = (_, _, _) => new HostFileResult(0, HostFileError.NoSpace);
        rig.Host.Release(2);
        rig.File.Inject = null;
        rig.Driver.TakeAllUsed().Should().Equal(new UsedBuffer(failing.Id, 1));
        rig.StatusOf(failing).Should().Be(BlockGuest.IoError);

        rig.Host.Release(1);
        rig.Driver.TakeAllUsed().Should().Equal(new UsedBuffer(read.Id, 513));
        rig.StatusOf(read).Should().Be(BlockGuest.Ok);
        rig.Guest.Arena.Bytes(read.Data, 512).IndexOfAnyExcept((byte)6).Should().Be(-1);

        rig.Host.Release();
        rig.Driver.TakeAllUsed().Should().Equal(new UsedBuffer(write.Id, 1));
        rig.StatusOf(write).Should().Be(BlockGuest.Ok);
        rig.Guest.Device.Counters.Should().Be(new BlockCounters(1, 1, 0, 1, 512, 512));
        rig.Guest.Device.MostUnderWay.Should().Be(3);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void All_of_a_turn_are_handed_to_the_host_at_once_and_published_at_once(bool packed)
    {
        using var rig = new Rig(packed: packed, size: 128, holds: false);
        for (ulong i = 0; i < 32; i++)
            rig.Ask(BlockGuest.Out, i, notify: false);
        long interrupts = rig.Guest.Device.InterruptsSent;
        rig.Guest.Transport.Notify(0);
        rig.Host.Submissions.Should().Be(1);
        rig.Driver.TakeAllUsed().Should().HaveCount(32);
        (rig.Guest.Device.InterruptsSent - interrupts).Should().Be(1);
    }

    [Fact]
    public void What_needs_no_disk_and_what_is_wrong_is_answered_at_once_past_what_is_under_way()
    {
        using var rig = new Rig();
        var flush = rig.Ask(BlockGuest.Flush, 0);
        var id = rig.Ask(BlockGuest.GetId, 0, 20);
        var wrong = rig.Ask(BlockGuest.Out, Sectors);
        rig.Driver.TakeAllUsed().Select(u => u.Id).Should().Equal(id.Id, wrong.Id);
        (rig.StatusOf(id), rig.StatusOf(wrong), rig.StatusOf(flush)).Should().Be((BlockGuest.Ok, BlockGuest.IoError, BlockGuest.Untouched));
        rig.Host.Release();
        rig.Driver.TakeAllUsed().Select(u => u.Id).Should().Equal(flush.Id);
    }

    [Fact]
    public void Flush_of_one_queue_covers_what_another_has_acknowledged()
    {
        using var rig = new Rig(queues: 2);
        rig.Ask(BlockGuest.Out, 0, fill: 1, queue: 1);
        rig.Ask(BlockGuest.Out, 1, fill: 2, queue: 1);
        rig.File.Queues[1].Release();
        rig.Guest.Drivers[1].TakeAllUsed().Should().HaveCount(1);
        var flush = rig.Ask(BlockGuest.Flush, 0);
        rig.Host.Release();
        rig.StatusOf(flush).Should().Be(BlockGuest.Ok, "it does not wait for what was not acknowledged");
        (rig.File.Stable[0], rig.File.Stable[512]).Should().Be(((byte)1, (byte)0));
    }

    [Fact]
    public void Write_that_is_to_be_durable_is_answered_when_it_is()
    {
        using var rig = new Rig(cache: DiskCache.WriteThrough);
        var write = rig.Ask(BlockGuest.Out, 0, fill: 1);
        rig.Host.Release();
        rig.Driver.TakeUsed().Should().BeNull();
        rig.Host.UnderWay.Should().Equal(FileCall.Flush);
        rig.Host.Release();
        rig.Driver.TakeUsed()!.Value.Id.Should().Be(write.Id);
        rig.File.Stable[0].Should().Be(1);
    }

    [Fact]
    public void Whoever_polls_takes_what_has_ended_without_being_woken()
    {
        using var rig = new Rig();
        int rings = 0;
        rig.Host.Bell = () => rings++;
        var write = rig.Ask(BlockGuest.Out, 0, notify: false);
        rig.Guest.Device.AwaitsHost.Should().BeFalse();
        rig.Guest.Device.PollQueue(0).Should().BeTrue("a chain was there");
        rig.Guest.Device.AwaitsHost.Should().BeTrue();
        rig.Guest.Device.PollQueue(0).Should().BeFalse();
        rig.Host.Release();
        rings.Should().Be(0, "somebody is looking");
        rig.Guest.Device.PollQueue(0).Should().BeTrue();
        rig.Guest.Device.AwaitsHost.Should().BeFalse();
        rig.Driver.TakeUsed()!.Value.Id.Should().Be(write.Id);
        rig.Ask(BlockGuest.Out, 0, notify: false);
        rig.Guest.Device.PollQueue(0).Should().BeTrue();
        rig.Guest.Device.ProcessQueue(0).Should().BeFalse("it goes to sleep");
        rig.Host.Release();
        rings.Should().Be(1);
        rig.Guest.Device.ProcessQueue(0);
        rig.Driver.TakeUsed().Should().NotBeNull();
    }

    [Fact]
    public void What_ends_between_the_last_look_and_going_to_sleep_keeps_the_queue_awake()
    {
        using var rig = new Rig();
        rig.Ask(BlockGuest.Out, 0);
        rig.Host.Bell = null; // rung before anybody listens
        rig.Host.Release();
        rig.Host.Mute();
        rig.Ask(BlockGuest.Out, 1, notify: false);
        rig.Guest.Device.ProcessQueue(0).Should().BeFalse("all that has ended was taken");
        rig.Driver.TakeAllUsed().Should().HaveCount(1);
        // Here the second operation ends in the middle: after it was looked for and before the queue is left.
        rig.File.Inject = (_, _, _) => null;
        rig.Host.BeforeUnmute = () => rig.Host.Release();
        rig.Guest.Device.ProcessQueue(0).Should().BeTrue("call again");
        rig.Guest.Device.ProcessQueue(0).Should().BeFalse();
        rig.Driver.TakeAllUsed().Should().HaveCount(1);
    }

    // ---- Reset, pause -------------------------------------------------------------------------------------------------

    [Theory]
    [MemberData(nameof(PciAndPacked))]
    public async Task Reset_waits_for_what_is_with_the_host_and_nothing_touches_memory_or_file_afterwards(bool pci, bool packed)
    {
        using var rig = new Rig(pci, packed);
        rig.Host.CannotCancel = true;
        rig.Host.Bell = null; // who runs the queue waits for the reset
        rig.File.Bytes.Fill(3);
        var read = rig.Ask(BlockGuest.In, 0);
        rig.Ask(BlockGuest.Out, 8, fill: 1);
        rig.Ask(BlockGuest.Flush, 0);
        rig.Ask(BlockGuest.Out, 16, fill: 2);
        var reset = Task.Run(() => rig.Guest.Transport.Status = 0);
        rig.AwaitCancellation(0);
        rig.Host.Release(1);
        reset.IsCompleted.Should().BeFalse("a read is with the host");
        rig.Host.Release();
        await reset.WaitAsync(Patience);

        byte[] memory = rig.Memory;
        rig.Host.UnderWay.Should().BeEmpty();
        rig.Guest.Device.ProcessQueue(0).Should().BeFalse();
        rig.File.Calls.Should().Equal([FileCall.Write, FileCall.Read], "what was behind the flush, and the flush, never begin");
        rig.Memory.AsSpan().SequenceEqual(memory).Should().BeTrue();
        rig.StatusOf(read).Should().Be(BlockGuest.Untouched, "nobody answers it any more");
        rig.Driver.TakeUsed().Should().BeNull();
        rig.File.Bytes[16 * 512].Should().Be(3);
    }

    [Fact]
    public void Reset_gives_up_what_the_host_lets_go_of_and_the_device_works_again()
    {
        using var rig = new Rig();
        for (ulong i = 0; i < 5; i++)
            rig.Ask(BlockGuest.Out, i, fill: 1);
        rig.Guest.Transport.Status = 0;
        rig.Host.Cancellations.Should().Be(1);
        rig.File.Calls.Should().BeEmpty();
        rig.StartOver(0);
        var write = rig.Ask(BlockGuest.Out, 1, fill: 2);
        rig.Host.Release();
        rig.Host.Release(); // without VIRTIO_BLK_F_FLUSH it is made durable
        rig.StatusOf(write).Should().Be(BlockGuest.Ok);
        (rig.File.Stable[0], rig.File.Stable[512]).Should().Be(((byte)0, (byte)2));
    }

    [Fact]
    public async Task Reset_of_one_queue_waits_for_its_own_requests_and_leaves_the_other_alone()
    {
        using var rig = new Rig(queues: 2);
        rig.Host.CannotCancel = rig.File.Queues[1].CannotCancel = true;
        rig.Host.Bell = null;
        rig.Ask(BlockGuest.Out, 0, fill: 1);
        var other = rig.Ask(BlockGuest.Out, 1, fill: 2, queue: 1);
        var reset = Task.Run(() => rig.Guest.Transport.ResetQueue(0));
        rig.AwaitCancellation(0);
        rig.File.Queues[1].UnderWay.Should().HaveCount(1);
        rig.Host.Release();
        await reset.WaitAsync(Patience);
        rig.Driver.TakeUsed().Should().BeNull();
        rig.File.Queues[1].Release();
        rig.StatusOf(other).Should().Be(BlockGuest.Ok);
    }

    [Theory]
    [MemberData(nameof(PciAndPacked))]
    public async Task Pause_lets_all_that_was_taken_end_and_answers_it(bool pci, bool packed)
    {
        using var rig = new Rig(pci, packed);
        var write = rig.Ask(BlockGuest.Out, 0, fill: 1);
        var flush = rig.Ask(BlockGuest.Flush, 0);
        var behind = rig.Ask(BlockGuest.Out, 1, fill: 2);
        rig.Host.Bell = null;
        var pause = Task.Run(rig.Guest.Device.Pause);
        for (int i = 0; i < 3; i++)
        {
            // Each begins when the one before has ended, on the thread that pauses.
            SpinWait.SpinUntil(() => rig.Host.UnderWay.Length == 1, Patience).Should().BeTrue();
            rig.Host.Release();
        }

        await pause.WaitAsync(Patience);
        rig.Host.Cancellations.Should().Be(0);
        rig.Driver.TakeAllUsed().Select(u => u.Id).Should().Equal(write.Id, flush.Id, behind.Id);
        foreach (var part in rig.Guest.Transport.Parts)
            part.SaveState().Should().NotBeEmpty("nothing is in flight");
        rig.Ask(BlockGuest.Out, 2);
        rig.Host.UnderWay.Should().BeEmpty("it is paused");
        rig.Guest.Device.Resume();
        rig.Host.UnderWay.Should().HaveCount(1);
    }

    [Fact]
    public async Task Resets_and_pauses_at_any_moment_of_heavy_traffic_end_and_leave_a_working_device()
    {
        using var rig = new Rig(size: 64);
        using var stop = new CancellationTokenSource();
        using var bell = new SemaphoreSlim(0);
        rig.Host.Bell = () => bell.Release();
        // The host, in whatever order, and the device's thread.
        var thread = Task.Run(async () =>
        {
            while (!stop.IsCancellationRequested)
            {
                await bell.WaitAsync();
                rig.Guest.Device.ProcessQueue(0);
            }
        });
        var host = Task.Run(() =>
        {
            var random = new Random(1);
            while (!stop.IsCancellationRequested)
                rig.Host.TryRelease(random);
        });
        ulong header = rig.Guest.Arena.AllocateFilled(BlockGuest.Header(BlockGuest.Out, 3)), data = rig.Guest.Arena.Allocate(512), status = rig.Guest.Arena.Allocate(1);
        ulong flush = rig.Guest.Arena.AllocateFilled(BlockGuest.Header(BlockGuest.Flush, 0));
        try
        {
            for (int round = 0; round < 300; round++)
            {
                for (int i = 0; i < 12; i++)
                {
                    if (i % 4 == 3)
                        rig.Driver.TryAdd([Element.Out(flush, 16), Element.In(status, 1)], out _);
                    else
                        rig.Driver.TryAdd([Element.Out(header, 16), Element.Out(data, 512), Element.In(status, 1)], out _);
                }

                rig.Guest.Device.ProcessQueue(0);
                if (round % 3 == 0)
                {
                    rig.Guest.Device.Pause();
                    rig.Guest.Transport.Parts[0].SaveState();
                    rig.Guest.Device.Resume();
                    continue;
                }

                rig.Guest.Transport.Status = 0;
                rig.Host.UnderWay.Should().BeEmpty();
                rig.StartOver();
            }
        }
        finally
        {
            await stop.CancelAsync();
            bell.Release();
        }

        await Task.WhenAll(host, thread).WaitAsync(Patience);
        rig.Guest.Device.NeedsReset.Should().BeFalse();
    }

    // ---- Hostile drivers and models -----------------------------------------------------------------------------------

    [Fact]
    public void Chain_that_is_offered_again_while_it_is_under_way_breaks_the_device_and_a_reset_mends_it()
    {
        using var rig = new Rig();
        var write = rig.Ask(BlockGuest.Out, 0);
        ((FakeSplitDriver)rig.Driver).Offer(write.Id);
        rig.Guest.Transport.Notify(0);
        rig.Guest.Device.NeedsReset.Should().BeTrue();
        rig.Host.Release();
        rig.StatusOf(write).Should().Be(BlockGuest.Untouched, "a broken device answers nothing");
        rig.Guest.Transport.Status = 0;
        rig.Guest.Device.NeedsReset.Should().BeFalse();
        rig.Host.HasEnded.Should().BeFalse();
    }

    [Fact]
    public void Descriptors_and_headers_that_change_while_a_request_is_under_way_change_nothing_of_it()
    {
        using var rig = new Rig();
        var write = rig.Ask(BlockGuest.Out, 4, fill: 8);
        var driver = (FakeSplitDriver)rig.Driver;
        for (int d = 0; d < 3; d++)
            driver.WriteDescriptor(d, 0xfee0_0000, uint.MaxValue, 7, 2);
        rig.Host.Release();
        rig.StatusOf(write).Should().Be(BlockGuest.Ok);
        rig.File.Bytes.Slice(2048, 512).IndexOfAnyExcept((byte)8).Should().Be(-1);
        rig.File.Bytes[..2048].IndexOfAnyExcept((byte)0).Should().Be(-1);
    }

    [Fact]
    public void Observer_of_writes_hears_of_data_when_a_read_has_ended_or_was_given_up()
    {
        using var rig = new Rig();
        var told = new List<(ulong, ulong)>();
        var read = rig.Ask(BlockGuest.In, 0, 1024);
        rig.Ask(BlockGuest.Out, 0);
        rig.Guest.Arena.Memory.WriteObserver = (address, length) => told.Add((address, length));
        rig.Host.Release();
        told.Should().Contain((read.Data, 1024UL)).And.Contain((read.Status, 1UL));
        told.Clear();
        var given = rig.Ask(BlockGuest.In, 8);
        told.Clear();
        rig.Guest.Transport.Status = 0;
        told.Should().Contain((given.Data, 512UL));
    }

    private static readonly Gen<(int Kind, int Slot, int Count)[]> Operations =
        (from kind in Gen.Frequency((4, Gen.Constant(0)), (3, Gen.Constant(1)), (1, Gen.Constant(2)), (1, Gen.Constant(3)), (1, Gen.Constant(4)))
         from slot in Gen.Choose(0, 7)
         from count in Gen.Choose(1, 8)
         select (kind, slot, count)).ArrayOf(50);

    /// <summary>Eight parts of the disk, each with one request at a time; they end in any order.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Any_requests_that_end_in_any_order_do_to_the_disk_what_a_model_does(bool packed) =>
        Prop.ForAll(Operations.ToArbitrary(), Gen.Choose(0, int.MaxValue - 1).ToArbitrary(), (operations, seed) =>
        {
            using var rig = new Rig(packed: packed, size: 64);
            var random = new Random(seed);
            byte[] model = new byte[Sectors * 512];
            var underWay = new Dictionary<int, (Asked Request, uint Type, int At)>();
            byte next = 0;
            bool good = true;
            foreach (var (kind, slot, count) in operations)
            {
                while (underWay.ContainsKey(slot) || rig.Host.UnderWay.Length > random.Next(8))
                    good &= rig.Host.TryRelease(random) && Answered();
                int at = (slot * 16 + random.Next(8)) * 512;
                uint type = kind switch { 0 => BlockGuest.Out, 1 => BlockGuest.In, 2 => BlockGuest.Flush, 3 => BlockGuest.GetId, _ => BlockGuest.Out };
                underWay[slot] = (rig.Ask(type, (ulong)at / 512, type == BlockGuest.GetId ? 20 : count * 512, ++next), type, at);
                if (type == BlockGuest.Out)
                    model.AsSpan(at, count * 512).Fill(next);
                good &= Answered();
            }

            while (rig.Host.TryRelease(random))
                good &= Answered();
            return good && underWay.Count == 0 && rig.File.Bytes.SequenceEqual(model) && !rig.Guest.Device.NeedsReset;

            bool Answered()
            {
                bool right = true;
                foreach (var used in rig.Driver.TakeAllUsed())
                {
                    var (slot, (request, type, at)) = underWay.Single(u => u.Value.Request.Id == used.Id);
                    underWay.Remove(slot);
                    right &= rig.StatusOf(request) == BlockGuest.Ok;
                    if (type == BlockGuest.In)
                        right &= rig.Guest.Arena.Bytes(request.Data, request.Length).SequenceEqual(model.AsSpan(at, request.Length));
                }

                return right;
            }
        }).QuickCheckThrowOnFailure();

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Ten_thousand_requests_allocate_nothing(bool packed)
    {
        using var image = new RawImage(new NullFile(1 << 30));
        using var guest = new BlockGuest(image, packed: packed);
        guest.Device.IsAsynchronous.Should().BeTrue();
        var driver = guest.Drivers[0];
        ulong read = guest.Arena.AllocateFilled(BlockGuest.Header(BlockGuest.In, 8)), write = guest.Arena.AllocateFilled(BlockGuest.Header(BlockGuest.Out, 8));
        ulong zero = guest.Arena.AllocateFilled([.. BlockGuest.Header(BlockGuest.WriteZeroes, 0), .. BlockGuest.Range(1, 1)]);
        ulong flush = guest.Arena.AllocateFilled(BlockGuest.Header(BlockGuest.Flush, 0));
        ulong data = guest.Arena.Allocate(4096), status = guest.Arena.Allocate(1);
        Element[][] requests =
        [
            [Element.Out(read, 16), Element.In(data, 4096), Element.In(status, 1)],
            [Element.Out(write, 16), Element.Out(data, 2048), Element.Out(data, 2048), Element.In(status, 1)],
            [Element.Out(zero, 32), Element.In(status, 1)],
            [Element.Out(flush, 16), Element.In(status, 1)],
        ];
        Allocation.Of(i =>
        {
            driver.TryAdd(requests[i & 3], out _);
            driver.TryAdd(requests[i + 1 & 3], out _);
            guest.Device.ProcessQueue(0);
            while (driver.TakeUsed() is not null)
            {
            }
        }).Should().Be(0);
        guest.Device.Counters.Reads.Should().BeGreaterThan(5_000);
        guest.Device.Counters.Errors.Should().Be(0);
    }
}
