using Kvm.Devices.Limits;
using Kvm.Devices.Tests.Support;
using Kvm.Devices.Tests.Virtio.Support;
using Kvm.Devices.Virtio.Block;
using Kvm.Tests.Support;

namespace Kvm.Devices.Tests.Virtio.Block;

/// <summary>A driver that keeps the ring full, a device with limits, and a clock that a test moves.</summary>
public sealed class BlockLimitTests : IDisposable
{
    private const int Depth = 8;

    private readonly ManualTime _time = new() { Frequency = 1_000_000_000 };
    private readonly NullImage _image = new(1 << 30);
    private readonly List<BlockGuest> _guests = [];

    public void Dispose() => _guests.ForEach(g =>
    {
        g.Device.Dispose();
        g.Dispose();
    });

    private BlockGuest Guest(IoLimits limits, bool packed = false, int queues = 1, bool mayChange = false)
    {
        var guest = new BlockGuest(_image, new BlockOptions { Limits = limits, LimitsMayChange = mayChange, Time = _time, Queues = queues }, packed: packed);
        _guests.Add(guest);
        return guest;
    }

    /// <summary>Keeps requests waiting for a time and counts those that are answered; the clock goes on in steps, timers fire in between.</summary>
    private long Answered(BlockGuest guest, TimeSpan time, uint bytes, TimeSpan step, int queue = 0)
    {
        var driver = guest.Drivers[queue];
        ulong header = guest.Arena.AllocateFilled(BlockGuest.Header(BlockGuest.In, 0)), data = guest.Arena.Allocate((int)bytes), status = guest.Arena.Allocate(1);
        void Fill()
        {
            while (driver.TryAdd([Element.Out(header, 16), Element.In(data, bytes), Element.In(status, 1)], out _))
            {
            }

            if (driver.MustNotify())
                guest.Transport.Notify(queue);
        }

        long answered = 0;
        Fill();
        for (var done = TimeSpan.Zero; done < time; done += step)
        {
            _time.Advance(step);
            // All that came back makes room for more, which finds the queue held back or not.
            for (int came = driver.TakeAllUsed().Count; came > 0; came = driver.TakeAllUsed().Count)
            {
                answered += came;
                Fill();
            }
        }

        return answered;
    }

    [Theory]
    [InlineData(1000, false)] // 10 in 10 ms
    [InlineData(1000, true)]
    [InlineData(100, false)]
    [InlineData(10_000, false)]
    public void Operations_of_every_second_are_within_five_percent_of_the_limit(int rate, bool packed)
    {
        var guest = Guest(new IoLimits(Operations: RateLimit.PerSecond(rate)), packed);
        for (int second = 0; second < 3; second++)
            ((double)Answered(guest, TimeSpan.FromSeconds(1), 512, TimeSpan.FromMilliseconds(1))).Should().BeApproximately(rate, rate * 0.05);
        guest.Device.Held.Should().BePositive();
    }

    [Fact]
    public void Bytes_of_every_second_are_within_five_percent_of_the_limit()
    {
        var guest = Guest(new IoLimits(Bandwidth: RateLimit.PerSecond(4 << 20)));
        for (int second = 0; second < 3; second++)
            ((double)Answered(guest, TimeSpan.FromSeconds(1), 16384, TimeSpan.FromMilliseconds(1)) * 16384).Should().BeApproximately(4 << 20, (4 << 20) * 0.05);
    }

    [Fact]
    public void Ten_go_in_each_ten_milliseconds()
    {
        var guest = Guest(new IoLimits(Operations: new RateLimit(10, 10_000_000)));
        Answered(guest, TimeSpan.FromMilliseconds(10), 512, TimeSpan.FromMilliseconds(1)).Should().BeInRange(19, 21, "the bucket was full");
        for (int i = 0; i < 50; i++)
            Answered(guest, TimeSpan.FromMilliseconds(10), 512, TimeSpan.FromMilliseconds(1)).Should().BeInRange(9, 11);
    }

    [Fact]
    public void A_part_of_the_limits_holds_while_it_is_said_and_then_all_of_them_again()
    {
        var guest = Guest(new IoLimits(Operations: RateLimit.PerSecond(1000)));
        foreach (int perMille in (int[])[250, 1000, 100])
        {
            guest.Device.Restrict(1000, perMille);
            ((double)Answered(guest, TimeSpan.FromSeconds(1), 512, TimeSpan.FromMilliseconds(1))).Should().BeApproximately(perMille, perMille * 0.05 + 12, "the bucket is full at first");
        }
    }

    [Fact]
    public void A_request_that_was_to_wait_long_goes_at_once_when_the_limits_are_loosened()
    {
        var guest = Guest(new IoLimits(Operations: new RateLimit(1, 1_000_000)));
        guest.Device.Restrict(1000, 1);
        guest.Read(0, new byte[512]).Should().Be(BlockGuest.Ok);
        guest.Read(0, new byte[512]).Should().Be(BlockGuest.Untouched);

        guest.Device.Restrict(1000, 1000);

        guest.Drivers[0].TakeAllUsed().Should().HaveCount(1);
    }

    [Fact]
    public void A_disk_whose_limits_may_change_is_given_some_others_and_none()
    {
        var guest = Guest(IoLimits.None, mayChange: true);
        foreach (int rate in (int[])[1000, 200])
        {
            guest.Device.Limit(new IoLimits(Operations: RateLimit.PerSecond(rate)));
            ((double)Answered(guest, TimeSpan.FromSeconds(1), 512, TimeSpan.FromMilliseconds(1))).Should().BeApproximately(rate, rate * 0.05 + 12, "the bucket is full at first");
        }

        guest.Device.Limit(IoLimits.None);
        _ = guest.Drivers[0].TakeAllUsed();
        for (int i = 0; i < 100; i++)
            guest.Read(0, new byte[512]).Should().Be(BlockGuest.Ok, "nothing is held back");
    }

    [Fact]
    public void A_request_that_waits_goes_when_its_limit_is_taken_away()
    {
        var guest = Guest(new IoLimits(Operations: new RateLimit(1, long.MaxValue)), mayChange: true);
        guest.Read(0, new byte[512]).Should().Be(BlockGuest.Ok);
        guest.Read(0, new byte[512]).Should().Be(BlockGuest.Untouched);

        guest.Device.Limit(IoLimits.None);

        guest.Drivers[0].TakeAllUsed().Should().HaveCount(1);
    }

    [Fact]
    public void Limits_that_may_not_change_stay()
    {
        var guest = Guest(new IoLimits(Operations: new RateLimit(1, long.MaxValue)));
        guest.Device.Limit(IoLimits.None);
        guest.Read(0, new byte[512]).Should().Be(BlockGuest.Ok);
        guest.Read(0, new byte[512]).Should().Be(BlockGuest.Untouched);
    }

    [Fact]
    public void A_disk_without_limits_has_no_part_of_them()
    {
        var guest = Guest(IoLimits.None);
        guest.Device.Restrict(1, 1);

        for (int i = 0; i < 100; i++)
            guest.Read(0, new byte[512]).Should().Be(BlockGuest.Ok);
    }

    [Fact]
    public void Queues_of_a_disk_share_its_limit()
    {
        var guest = Guest(new IoLimits(Operations: new RateLimit(4, 4_000_000)), queues: 2);
        guest.Read(0, new byte[512], 0).Should().Be(BlockGuest.Ok);
        guest.Read(0, new byte[512], 1).Should().Be(BlockGuest.Ok);
        guest.Read(0, new byte[512], 1).Should().Be(BlockGuest.Ok);
        guest.Read(0, new byte[512], 0).Should().Be(BlockGuest.Ok);
        guest.Read(0, new byte[512], 1).Should().Be(BlockGuest.Untouched);
        guest.Read(0, new byte[512], 0).Should().Be(BlockGuest.Untouched);
        _time.Advance(TimeSpan.FromMilliseconds(2));
        guest.Drivers[0].TakeAllUsed().Should().HaveCount(1);
        guest.Drivers[1].TakeAllUsed().Should().HaveCount(1);
        guest.Device.Held.Should().Be(2);
    }

    [Fact]
    public void Held_request_needs_no_notification_and_reads_what_the_guest_changed_meanwhile()
    {
        var guest = Guest(new IoLimits(Operations: new RateLimit(1, 1_000_000)));
        guest.Read(0, new byte[512]).Should().Be(BlockGuest.Ok);
        ulong header = guest.Arena.AllocateFilled(BlockGuest.Header(BlockGuest.In, 0)), data = guest.Arena.Allocate(512), status = guest.Arena.AllocateFilled([9]);
        guest.Run(0, status, Element.Out(header, 16), Element.In(data, 512), Element.In(status, 1)).Should().Be(9);
        guest.Drivers[0].MustNotify().Should().BeFalse("the device looks by itself");
        BlockGuest.Header(BlockGuest.In, ulong.MaxValue).CopyTo(guest.Arena.Bytes(header, 16));
        _time.Advance(TimeSpan.FromMilliseconds(1));
        guest.Arena.Bytes(status, 1)[0].Should().Be(BlockGuest.IoError);
        guest.Read(0, new byte[512]).Should().Be(BlockGuest.Ok, "a request that is answered with an error costs nothing, and notifications are on again");
    }

    [Fact]
    public void Reset_and_pause_while_a_request_is_held_lose_nothing_and_answer_nothing_twice()
    {
        var guest = Guest(new IoLimits(Operations: new RateLimit(1, 1_000_000)));
        guest.Read(0, new byte[512]).Should().Be(BlockGuest.Ok);
        guest.Read(0, new byte[512]).Should().Be(BlockGuest.Untouched);
        guest.Device.Pause();
        _time.Advance(TimeSpan.FromMilliseconds(5));
        guest.Drivers[0].TakeUsed().Should().BeNull("a paused device does nothing");
        guest.Device.Resume();
        guest.Drivers[0].TakeAllUsed().Should().HaveCount(1);
        for (int i = 0; i < 4; i++)
            guest.Read(0, new byte[512]).Should().Be(BlockGuest.Ok, "it is 4 ms since the last one might have gone");
        guest.Read(0, new byte[512]).Should().Be(BlockGuest.Untouched);
        guest.Transport.Status = 0;
        _time.Advance(TimeSpan.FromMilliseconds(5));
        guest.Drivers[0].TakeUsed().Should().BeNull("the driver has given its rings up");
    }

    [Fact]
    public void Disposed_device_is_not_woken()
    {
        var guest = Guest(new IoLimits(Operations: new RateLimit(1, 1_000_000)));
        guest.Read(0, new byte[512]).Should().Be(BlockGuest.Ok);
        guest.Read(0, new byte[512]).Should().Be(BlockGuest.Untouched);
        guest.Device.Dispose();
        _time.Armed.Should().Be(0);
        _time.Advance(TimeSpan.FromMilliseconds(5));
        guest.Drivers[0].TakeUsed().Should().BeNull();
    }

    [Fact]
    public void Passing_and_holding_allocate_nothing()
    {
        var limiter = new RateLimiter(new IoLimits(RateLimit.PerSecond(1 << 30), RateLimit.PerSecond(1000)), TimeProvider.System);
        using var queue = new HeldQueue(limiter, TimeProvider.System, () => { });
        int held = 0;
        Allocation.Of(_ => held += queue.TryPass(4096) ? 0 : 1).Should().Be(0);
        held.Should().BePositive();
    }

    [Fact]
    public void Disk_without_limits_has_no_timers()
    {
        Guest(IoLimits.None).Device.IsLimited.Should().BeFalse();
        _time.Made.Should().Be(0);
    }
}
