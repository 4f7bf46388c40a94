using Kvm.Devices.Limits;
using Kvm.Devices.Memory;
using Kvm.Devices.Net;
using Kvm.Devices.Tests.Support;
using Kvm.Devices.Tests.Virtio.Support;
using Kvm.Devices.Virtio.Net;
using Kvm.Tests.Support;

namespace Kvm.Devices.Tests.Virtio.Net;

/// <summary>A driver that sends and takes as much as it can, a card with limits, and a clock that a test moves.</summary>
public sealed class NetLimitTests : IDisposable
{
    private static readonly IoLimits s_onePerMillisecond = new(Operations: new RateLimit(1, 1_000_000));

    private readonly ManualTime _time = new() { Frequency = 1_000_000_000 };
    private readonly List<NetGuest> _guests = [];

    public void Dispose() => _guests.ForEach(g => g.Dispose());

    private NetGuest Guest(IoLimits? receive = null, IoLimits? send = null, INetworkBackend? cable = null, bool packed = false, int pairs = 1)
    {
        var guest = new NetGuest(cable, new NetOptions { Mac = NetGuest.Own, ReceiveLimits = receive ?? IoLimits.None, SendLimits = send ?? IoLimits.None, Time = _time, Pairs = pairs },
            packed: packed)
        { Control = 2 * pairs };
        _guests.Add(guest);
        return guest;
    }

    /// <summary>Sends for a time, the ring always full; gives the number of frames that went.</summary>
    private int Sent(NetGuest guest, TimeSpan time, int bytes)
    {
        ulong at = guest.Arena.AllocateFilled([.. NetGuest.Header(), .. NetGuest.Frame(bytes)]);
        void Fill()
        {
            while (guest.Sender.TryAdd([Element.Out(at, (uint)(NetHeader.Size + bytes))], out _))
            {
            }

            if (guest.Sender.MustNotify())
                guest.Transport.Notify(1);
        }

        int before = guest.Cable.Sent.Count;
        Fill();
        for (var done = TimeSpan.Zero; done < time; done += TimeSpan.FromMilliseconds(1))
        {
            _time.Advance(TimeSpan.FromMilliseconds(1));
            while (guest.Sender.TakeAllUsed().Count > 0)
                Fill();
        }

        return guest.Cable.Sent.Count - before;
    }

    /// <summary>Takes for a time, with frames always waiting; gives the number of frames that came.</summary>
    private int Received(NetGuest guest, TimeSpan time, int bytes)
    {
        ulong at = guest.Arena.Allocate(2048);
        void Fill()
        {
            while (guest.Receiver.TryAdd([Element.In(at, 2048)], out _))
            {
            }

            while (guest.Cable.Waiting < 64)
                guest.Cable.Give(NetGuest.Frame(bytes));
            if (guest.Receiver.MustNotify())
                guest.Transport.Notify(0);
        }

        int came = 0;
        Fill();
        for (var done = TimeSpan.Zero; done < time; done += TimeSpan.FromMilliseconds(1))
        {
            _time.Advance(TimeSpan.FromMilliseconds(1));
            for (int more = guest.Receiver.TakeAllUsed().Count; more > 0; more = guest.Receiver.TakeAllUsed().Count)
            {
                came += more;
                Fill();
            }
        }

        return came;
    }

    [Theory]
    [InlineData(1000, false)]
    [InlineData(1000, true)]
    [InlineData(100, false)]
    [InlineData(10_000, false)]
    public void Packets_of_every_second_are_within_five_percent_of_the_limit_both_ways(int rate, bool packed)
    {
        var limits = new IoLimits(Operations: RateLimit.PerSecond(rate));
        var guest = Guest(limits, limits, packed: packed);
        for (int second = 0; second < 3; second++)
            ((double)Sent(guest, TimeSpan.FromSeconds(1), 60)).Should().BeApproximately(rate, rate * 0.05);
        for (int second = 0; second < 3; second++)
            ((double)Received(guest, TimeSpan.FromSeconds(1), 60)).Should().BeApproximately(rate, rate * 0.05);
        guest.Device.Counters.SendHeld.Should().BePositive();
        guest.Device.Counters.ReceiveHeld.Should().BePositive();
    }

    [Fact]
    public void Bytes_of_every_second_are_within_five_percent_of_the_limit_both_ways()
    {
        const int rate = 1 << 20, bytes = 1500;
        var limits = new IoLimits(Bandwidth: RateLimit.PerSecond(rate));
        var guest = Guest(limits, limits);
        for (int second = 0; second < 3; second++)
            ((double)Sent(guest, TimeSpan.FromSeconds(1), bytes) * bytes).Should().BeApproximately(rate, rate * 0.05);
        for (int second = 0; second < 3; second++)
            ((double)Received(guest, TimeSpan.FromSeconds(1), bytes) * bytes).Should().BeApproximately(rate, rate * 0.05);
    }

    [Fact]
    public void Limit_of_one_direction_does_not_hold_the_other()
    {
        var guest = Guest(send: s_onePerMillisecond);
        guest.Send(NetGuest.Header(), NetGuest.Frame(60)).Should().BeTrue();
        guest.Send(NetGuest.Header(), NetGuest.Frame(60)).Should().BeFalse();
        for (int i = 0; i < 10; i++)
        {
            guest.Offer(2048);
            guest.Cable.Give(NetGuest.Frame(60));
            guest.Receiver.TakeUsed().Should().NotBeNull();
        }
    }

    [Fact]
    public void Frame_that_paid_and_found_the_backend_full_pays_once()
    {
        var guest = Guest(send: s_onePerMillisecond);
        guest.Cable.Answer = SendOutcome.Full;
        guest.Send(NetGuest.Header(), NetGuest.Frame(60)).Should().BeFalse();
        guest.Device.RoomAgain(0);
        guest.Cable.Answer = SendOutcome.Sent;
        guest.Device.RoomAgain(0);
        guest.Cable.Sent.Should().ContainSingle("it has been paid for");
        guest.Device.Counters.SendHeld.Should().Be(0);
    }

    [Fact]
    public void Frame_made_longer_after_it_paid_pays_anew()
    {
        int woken = 0;
        using var toll = Toll.Of(new RateLimiter(new IoLimits(Bandwidth: new RateLimit(1000, 1_000_000)), _time), _time, () => woken++)!;
        toll.TryPass(60).Should().BeTrue();
        toll.TryPass(60).Should().BeTrue("it is the same one");
        toll.TryPass(1000).Should().BeFalse("60 of the 1,000 bytes are spent");
        _time.Advance(TimeSpan.FromMilliseconds(1));
        woken.Should().Be(1);
        toll.TryPass(1000).Should().BeTrue();
        toll.Passed();
        toll.TryPass(1000).Should().BeFalse("that was another request");
        toll.Held.Should().Be(2);
    }

    [Fact]
    public void Frame_that_waits_for_buffers_pays_once()
    {
        var guest = Guest(receive: s_onePerMillisecond);
        guest.Cable.Give(NetGuest.Frame(1000));
        guest.Offer(500).Should().NotBe(0UL);
        guest.Receiver.TakeUsed().Should().BeNull();
        guest.Offer(1500);
        guest.Receiver.TakeAllUsed().Should().HaveCount(2);
        guest.Device.Counters.ReceiveHeld.Should().Be(0);
    }

    [Fact]
    public void Frame_nobody_wants_costs_nothing()
    {
        var guest = Guest(receive: s_onePerMillisecond);
        guest.Command(0, 0, 0).Should().Be(0, "not promiscuous");
        guest.Offer(2048);
        for (int i = 0; i < 10; i++)
            guest.Cable.Give(NetGuest.Frame(60, to: NetGuest.Peer));
        guest.Cable.Give(NetGuest.Frame(60));
        guest.Receiver.TakeUsed().Should().NotBeNull();
        guest.Device.Counters.Filtered.Should().Be(10);
    }

    [Fact]
    public void Pairs_of_a_card_share_its_limits()
    {
        var guest = Guest(receive: new IoLimits(Operations: new RateLimit(2, 2_000_000)), cable: new TestCable(2), pairs: 2);
        guest.Command(4, 0, 2, 0).Should().Be(0);
        for (int pair = 0; pair < 2; pair++)
        {
            for (int i = 0; i < 2; i++)
                guest.Offer(2048, queue: 2 * pair);
        }

        for (int i = 0; i < 4; i++)
            guest.Cable.Give(NetGuest.Frame(60), pair: i % 2);
        (guest.Drivers[0].TakeAllUsed().Count + guest.Drivers[2].TakeAllUsed().Count).Should().Be(2);
        _time.Advance(TimeSpan.FromMilliseconds(2));
        (guest.Drivers[0].TakeAllUsed().Count + guest.Drivers[2].TakeAllUsed().Count).Should().Be(2);
    }

    [Fact]
    public void A_part_of_the_limits_holds_while_it_is_said()
    {
        var guest = Guest(send: new IoLimits(Bandwidth: RateLimit.PerSecond(1 << 20)));
        foreach (int perMille in (int[])[250, 1000])
        {
            guest.Device.Restrict(perMille);
            double promised = (1 << 20) * perMille / 1000.0;
            ((double)Sent(guest, TimeSpan.FromSeconds(1), 1500) * 1500).Should().BeApproximately(promised, promised * 0.05 + 12_000, "the bucket is full at first");
        }
    }

    [Fact]
    public void Reset_pause_and_end_while_frames_are_held_lose_nothing_and_wake_nobody()
    {
        var guest = Guest(s_onePerMillisecond, s_onePerMillisecond);
        guest.Send(NetGuest.Header(), NetGuest.Frame(60)).Should().BeTrue();
        guest.Send(NetGuest.Header(), NetGuest.Frame(61)).Should().BeFalse();
        guest.Device.Pause();
        _time.Advance(TimeSpan.FromMilliseconds(5));
        guest.Cable.Sent.Should().ContainSingle("a paused device does nothing");
        guest.Device.Resume();
        guest.Cable.Sent.Should().HaveCount(2);
        guest.Sender.TakeAllUsed().Should().HaveCount(1);
        // What flowed in while it was paused goes first.
        while (guest.Send(NetGuest.Header(), NetGuest.Frame(62)))
        {
        }

        int sent = guest.Cable.Sent.Count;
        guest.Transport.Status = 0;
        _time.Advance(TimeSpan.FromMilliseconds(5));
        guest.Cable.Sent.Should().HaveCount(sent, "the driver has given its rings up");
        guest.Device.EndLimits();
        _time.Armed.Should().Be(0);
    }

    [Fact]
    public void Card_without_limits_has_no_timers()
    {
        Guest();
        _time.Made.Should().Be(0);
    }

    [Fact]
    public void Passing_and_holding_allocate_nothing()
    {
        using var toll = Toll.Of(new RateLimiter(new IoLimits(RateLimit.PerSecond(1 << 30), RateLimit.PerSecond(1000)), TimeProvider.System), TimeProvider.System, () => { })!;
        int held = 0;
        Allocation.Of(_ =>
        {
            if (toll.TryPass(1500))
                toll.Passed();
            else
                held++;
        }).Should().Be(0);
        held.Should().BePositive();
    }
}
