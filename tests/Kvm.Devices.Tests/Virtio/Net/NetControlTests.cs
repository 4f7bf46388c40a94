using System.Buffers.Binary;
using Kvm.Devices.Net;
using Kvm.Devices.Tests.Support;
using Kvm.Devices.Tests.Virtio.Support;
using Kvm.Devices.Virtio.Net;

namespace Kvm.Devices.Tests.Virtio.Net;

/// <summary>The control queue (virtio 1.2, 5.1.6.5), the configuration space (5.1.4), and what is kept of both.</summary>
public sealed class NetControlTests
{
    private const byte Receive = 0, Mac = 1, Vlan = 2, Announce = 3, Pairs = 4, Offloads = 5, Ok = 0, Refused = 1;

    private static readonly MacAddress s_group = new(0x0100_5e00_0001), s_other = new(0x0200_0000_0001);

    private static byte[] Table(params MacAddress[] addresses)
    {
        byte[] table = new byte[4 + 6 * addresses.Length];
        BinaryPrimitives.WriteInt32LittleEndian(table, addresses.Length);
        for (int i = 0; i < addresses.Length; i++)
            addresses[i].Write(table.AsSpan(4 + 6 * i));
        return table;
    }

    /// <summary>True if a frame arrives.</summary>
    private static bool Arrives(NetGuest guest, byte[] frame)
    {
        long before = guest.Device.Counters.FramesReceived;
        guest.Offer(2000);
        guest.Cable.Give(frame);
        bool arrived = guest.Device.Counters.FramesReceived > before;
        if (!arrived)
            guest.Cable.Give(NetGuest.Frame(60)); // takes the buffer
        guest.Receiver.TakeAllUsed();
        return arrived;
    }

    private static bool Arrives(NetGuest guest, MacAddress to) => Arrives(guest, NetGuest.Frame(60, to));

    [Fact]
    public void Driver_that_says_nothing_gets_everything()
    {
        using var guest = new NetGuest(features: NetGuest.Mergeable);
        foreach (var to in (MacAddress[])[NetGuest.Own, s_other, s_group, MacAddress.Broadcast])
            Arrives(guest, to).Should().BeTrue();
        Arrives(guest, NetGuest.Tagged(5, NetGuest.Own)).Should().BeTrue();
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Modes_decide_what_arrives(bool packed)
    {
        using var guest = new NetGuest(packed: packed);
        guest.Command(Receive, 0, 0).Should().Be(Ok);
        (Arrives(guest, NetGuest.Own), Arrives(guest, s_other), Arrives(guest, s_group), Arrives(guest, MacAddress.Broadcast)).Should().Be((true, false, false, true));
        guest.Command(Receive, 1, 1).Should().Be(Ok);
        (Arrives(guest, s_other), Arrives(guest, s_group)).Should().Be((false, true), "all groups");
        guest.Command(Receive, 2, 1).Should().Be(Ok);
        Arrives(guest, s_other).Should().BeTrue("all single addresses");
        guest.Command(Receive, 3, 1).Should().Be(Ok);
        guest.Command(Receive, 5, 1).Should().Be(Ok);
        (Arrives(guest, s_group), Arrives(guest, MacAddress.Broadcast)).Should().Be((false, false));
        guest.Command(Receive, 0, 1).Should().Be(Ok);
        Arrives(guest, s_group).Should().BeFalse("what is not wanted is not wanted in promiscuous mode either");
        guest.Command(Receive, 3, 0);
        Arrives(guest, s_group).Should().BeTrue();
        guest.Device.Counters.Filtered.Should().Be(6);
    }

    [Fact]
    public void Tables_of_addresses_let_their_frames_in_and_one_that_is_too_long_lets_all_in()
    {
        using var guest = new NetGuest();
        guest.Command(Receive, 0, 0);
        guest.Command(Mac, 0, [.. Table(s_other), .. Table(s_group)]).Should().Be(Ok);
        (Arrives(guest, s_other), Arrives(guest, s_group), Arrives(guest, NetGuest.Own)).Should().Be((true, true, true));
        (Arrives(guest, new MacAddress(2)), Arrives(guest, new MacAddress(0x0100_0000_0009))).Should().Be((false, false));
        var many = Enumerable.Range(1, 300).Select(i => new MacAddress(0x0100_0000_0000 + (ulong)i)).ToArray();
        guest.Command(Mac, 0, [.. Table(s_other), .. Table(many)]).Should().Be(Ok);
        (Arrives(guest, new MacAddress(2)), Arrives(guest, new MacAddress(0x0100_0000_9999))).Should().Be((false, true));
        guest.Command(Mac, 0, [.. Table(many), .. Table(s_group)]).Should().Be(Ok);
        (Arrives(guest, new MacAddress(2)), Arrives(guest, s_group)).Should().Be((true, true));
    }

    public static TheoryData<byte, byte, byte[]> Nonsense => new()
    {
        { Receive, 0, [] },
        { Receive, 0, [1, 1] },
        { Receive, 6, [1] },
        { Mac, 0, [] },
        { Mac, 0, [1, 0, 0, 0] },
        { Mac, 0, [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0] },
        { Mac, 0, [0, 0, 0, 0] },
        { Mac, 0, [0, 0, 0, 0, 0, 0, 0, 0, 9] },
        { Mac, 0, [0, 0, 0, 0, 1, 0, 0, 0, 1, 2, 3, 4, 5] },
        { Mac, 0, [0, 0, 0, 0, 0xff, 0xff, 0xff, 0x2a, 0] },
        { Mac, 1, [0x52, 0x54, 0, 1, 2] },
        { Mac, 1, [0, 0, 0, 0, 0, 0] },
        { Mac, 1, [0xff, 0xff, 0xff, 0xff, 0xff, 0xff] },
        { Mac, 2, [1] },
        { Vlan, 0, [1] },
        { Vlan, 0, [0, 0x10] },
        { Vlan, 1, [0xff, 0xff] },
        { Vlan, 2, [1, 0] },
        { Announce, 1, [] },
        { Pairs, 0, [1, 0] },
        { Offloads, 0, [1, 0] },
        { Offloads, 0, [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff] },
        { 200, 9, [1, 2, 3] },
    };

    [Theory]
    [MemberData(nameof(Nonsense))]
    public void Command_that_cannot_be_is_refused_and_counted_and_changes_nothing(byte kind, byte command, byte[] data)
    {
        using var guest = new NetGuest();
        guest.Command(kind, command, data).Should().Be(Refused);
        guest.Device.Counters.ControlRefused.Should().Be(1);
        guest.Device.Mac.Should().Be(NetGuest.Own);
        Arrives(guest, s_group).Should().BeTrue();
        guest.Device.NeedsReset.Should().BeFalse();
    }

    [Fact]
    public void Commands_without_a_place_for_the_answer_or_of_nothing_come_back()
    {
        using var guest = new NetGuest();
        var driver = guest.Drivers[2];
        driver.Add(guest.Out([0, 0, 0]));
        driver.Add(Element.In(guest.Arena.Allocate(4), 4));
        driver.Add(guest.Out([0]), Element.In(guest.Arena.Allocate(1), 1));
        driver.Add(guest.Out([0, 0, 0]), Element.In(guest.Arena.End - 2, 8));
        guest.Transport.Notify(2);
        driver.TakeAllUsed().Should().HaveCount(4);
        guest.Device.Counters.ControlRefused.Should().Be(4);
        guest.Device.NeedsReset.Should().BeFalse();
    }

    [Fact]
    public void Command_of_a_megabyte_is_looked_at_as_far_as_it_can_mean_something()
    {
        using var guest = new NetGuest();
        byte[] data = new byte[1 << 20];
        BinaryPrimitives.WriteInt32LittleEndian(data, ((1 << 20) - 8) / 6);
        guest.Command(Mac, 0, data).Should().Be(Ok, "one list that is too long, and room for another");
        guest.Command(Mac, 0, data.AsSpan(0, 1 << 19)).Should().Be(Refused);
    }

    [Fact]
    public void Vlans_that_were_not_chosen_do_not_arrive()
    {
        using var guest = new NetGuest();
        Arrives(guest, NetGuest.Tagged(5, NetGuest.Own)).Should().BeFalse();
        guest.Command(Vlan, 0, 5, 0).Should().Be(Ok);
        guest.Command(Vlan, 0, 0xff, 0x0f).Should().Be(Ok);
        (Arrives(guest, NetGuest.Tagged(5, NetGuest.Own)), Arrives(guest, NetGuest.Tagged(6, NetGuest.Own)), Arrives(guest, NetGuest.Tagged(4095, NetGuest.Own)))
            .Should().Be((true, false, true));
        guest.Command(Vlan, 1, 5, 0).Should().Be(Ok);
        Arrives(guest, NetGuest.Tagged(5, NetGuest.Own)).Should().BeFalse();
        Arrives(guest, NetGuest.Own).Should().BeTrue("it has no tag");
        byte[] cut = NetGuest.Tagged(7, NetGuest.Own)[..15];
        Arrives(guest, cut).Should().BeTrue("there is no whole tag in it");
    }

    [Fact]
    public void Address_the_driver_sets_is_the_card_s_and_a_reset_takes_it_back()
    {
        using var guest = new NetGuest();
        guest.Command(Receive, 0, 0);
        byte[] mac = new byte[6];
        s_other.Write(mac);
        guest.Command(Mac, 1, mac).Should().Be(Ok);
        (Arrives(guest, s_other), Arrives(guest, NetGuest.Own)).Should().Be((true, false));
        byte[] config = new byte[6];
        guest.Transport.ReadConfig(0, config);
        config.Should().Equal(mac);
        guest.Transport.Status = 0;
        guest.Device.Mac.Should().Be(NetGuest.Own);
    }

    [Fact]
    public void Configuration_says_address_link_pairs_and_mtu()
    {
        using var guest = new NetGuest(new TestCable(4), new NetOptions { Mac = NetGuest.Own, Pairs = 4, Mtu = 9000 });
        byte[] config = new byte[12];
        guest.Transport.ReadConfig(0, config);
        config.Should().Equal(0x52, 0x54, 0, 0x12, 0x34, 0x56, 1, 0, 4, 0, 0x28, 0x23);
        (guest.Transport.Offered & 1 << 3).Should().NotBe(0);
        guest.Device.QueueCount.Should().Be(9);
    }

    [Fact]
    public void Pulled_cable_is_told_and_so_is_a_plugged_one()
    {
        using var guest = new NetGuest();
        guest.LinkStatus().Should().Be(1);
        guest.Device.LinkChanged(false);
        guest.LinkStatus().Should().Be(0);
        guest.Transport.TakeInterrupt().Should().Be(2);
        guest.Device.LinkChanged(false);
        guest.Transport.TakeInterrupt().Should().Be(0, "nothing changed");
        guest.Device.LinkChanged(true);
        (guest.LinkStatus(), guest.Transport.TakeInterrupt()).Should().Be(((ushort)1, (byte)2));
    }

    [Fact]
    public void Announcement_is_asked_for_until_the_driver_has_made_it()
    {
        using var guest = new NetGuest();
        guest.Device.AnnounceLink();
        (guest.LinkStatus(), guest.Transport.TakeInterrupt()).Should().Be(((ushort)3, (byte)2));
        guest.Command(Announce, 0).Should().Be(Ok);
        guest.LinkStatus().Should().Be(1);
        using var deaf = new NetGuest(features: NetGuest.All & ~(1UL << 21));
        deaf.Device.AnnounceLink();
        deaf.LinkStatus().Should().Be(1, "it was not negotiated");
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Moved_device_keeps_what_the_driver_said_and_announces_itself(bool pci)
    {
        using var guest = new NetGuest(new TestCable(2), new NetOptions { Mac = NetGuest.Own, Pairs = 2 }, pci) { Control = 4 };
        byte[] mac = new byte[6];
        s_other.Write(mac);
        guest.Command(Receive, 0, 0);
        guest.Command(Mac, 0, [.. Table(), .. Table(s_group)]);
        guest.Command(Mac, 1, mac);
        guest.Command(Vlan, 0, 9, 0);
        guest.Command(Pairs, 0, 2, 0).Should().Be(Ok);
        guest.Command(Offloads, 0, 2, 0, 0, 0, 0, 0, 0, 0).Should().Be(Ok);
        guest.Transport.TakeInterrupt();
        guest.Move();
        (guest.Device.Mac, guest.Device.ActivePairs, guest.Cable.Pairs, guest.Cable.Receive).Should().Be((s_other, 2, 2, NetOffloads.Checksum));
        (Arrives(guest, s_other), Arrives(guest, NetGuest.Own), Arrives(guest, s_group)).Should().Be((true, false, true));
        (Arrives(guest, NetGuest.Tagged(9, s_other)), Arrives(guest, NetGuest.Tagged(8, s_other))).Should().Be((true, false));
        guest.LinkStatus().Should().Be(3);
        if (!pci)
            (guest.Transport.TakeInterrupt() & 2).Should().Be(2);
        guest.Command(Announce, 0).Should().Be(Ok);
        guest.LinkStatus().Should().Be(1);
    }

    [Fact]
    public void Record_that_no_driver_can_have_made_is_refused()
    {
        using var guest = new NetGuest();
        guest.Command(Mac, 0, [.. Table(s_other), .. Table(s_group)]);
        guest.Device.Pause();
        byte[] good = guest.Device.SaveState();
        using var next = new NetDevice("net0", guest.Arena.Memory, guest.Backend, guest.Options);
        next.RestoreState(good).Should().BeTrue();
        // mac, offloads, pairs, modes, the count of each list, an address and whether VLANs were chosen, counted from the end.
        int end = good.Length, vlans = end - 64 * 8 - 1, groups = vlans - 10, singles = groups - 10, modes = singles - 1, pairs = modes - 2, offloads = pairs - 8, mac = offloads - 8;
        foreach (var (at, value) in ((int, byte)[])[(mac + 5, 0xff), (mac + 7, 1), (offloads, 1), (pairs, 0), (pairs, 2), (modes, 0x40), (singles, 200), (singles + 9, 1), (groups, 2)])
        {
            byte[] bad = [.. good];
            bad[at] = value;
            next.RestoreState(bad).Should().BeFalse($"byte {at - mac} of the card's part is {value}");
        }

        next.RestoreState(good.AsSpan(0, end - 1)).Should().BeFalse();
        next.RestoreState([.. good, 0]).Should().BeFalse();
    }

    [Fact]
    public void Pairs_are_used_as_far_as_the_driver_says()
    {
        using var guest = new NetGuest(new TestCable(2), new NetOptions { Mac = NetGuest.Own, Pairs = 2 }) { Control = 4 };
        byte[] frame = [.. NetGuest.Header(), .. NetGuest.Frame(60)];
        guest.Drivers[3].Add(guest.Out(frame));
        guest.Transport.Notify(3);
        guest.Cable.Sent.Should().BeEmpty("one pair is in use");
        guest.Command(Pairs, 0, 0, 0).Should().Be(Refused);
        guest.Command(Pairs, 0, 3, 0).Should().Be(Refused);
        guest.Command(Pairs, 0, 2, 0).Should().Be(Ok);
        guest.Cable.Sent.Should().ContainSingle().Which.Pair.Should().Be(1, "it waited");
        guest.Cable.Pairs.Should().Be(2);
        guest.Offer(200, queue: 2);
        guest.Cable.Give(NetGuest.Frame(60), pair: 1);
        guest.Drivers[2].TakeUsed().Should().NotBeNull();
        guest.Command(Pairs, 0, 1, 0).Should().Be(Ok);
        guest.Offer(200, queue: 2);
        guest.Cable.Give(NetGuest.Frame(60), pair: 1);
        guest.Drivers[2].TakeUsed().Should().BeNull();
    }

    [Fact]
    public void Without_multi_queue_the_control_queue_is_the_third_whatever_the_device_has()
    {
        using var guest = new NetGuest(new TestCable(2), new NetOptions { Mac = NetGuest.Own, Pairs = 2 }, features: NetGuest.All & ~NetGuest.MultiQueue);
        guest.Command(Receive, 0, 0).Should().Be(Ok);
        Arrives(guest, s_other).Should().BeFalse();
    }

    [Fact]
    public void Backend_is_told_what_the_driver_takes()
    {
        using var guest = new NetGuest();
        guest.Cable.Receive.Should().Be(NetOffloads.Modern);
        guest.Command(Offloads, 0, 0x82, 0, 0, 0, 0, 0, 0, 0).Should().Be(Ok);
        guest.Cable.Receive.Should().Be(NetOffloads.Checksum | NetOffloads.Tso4);
        guest.Transport.Status = 0;
        guest.Cable.Receive.Should().Be(NetOffloads.None);
    }

    [Theory]
    [InlineData(7, "segments without checksums")]
    [InlineData(11, "cutting without checksums")]
    [InlineData(18, "modes without a control queue")]
    [InlineData(21, "announcements without a control queue")]
    [InlineData(56, "cutting of datagrams without checksums")]
    public void Features_that_need_others_are_refused_without_them(int bit, string what)
    {
        using var cable = new TestCable();
        using var arena = new GuestArena();
        using var device = new NetDevice("net0", arena.Memory, cable, new NetOptions { Mac = NetGuest.Own });
        GuestTransport.Make(false, device).Negotiate(1UL << 32 | 1UL << bit).Should().BeFalse(what);
    }

    [Fact]
    public void Options_out_of_range_are_refused()
    {
        using var arena = new GuestArena();
        using var cable = new TestCable();
        foreach (var options in (NetOptions[])
            [
                new() { Mac = MacAddress.Broadcast }, new() { Mac = default }, new() { Mac = NetGuest.Own, Mtu = 67 }, new() { Mac = NetGuest.Own, Mtu = 65_536 },
                new() { Mac = NetGuest.Own, Pairs = 2 }, new() { Mac = NetGuest.Own, Pairs = 0 }, new() { Mac = NetGuest.Own, QueueSize = 2 },
            ])
        {
            FluentActions.Invoking(() => new NetDevice("net0", arena.Memory, cable, options)).Should().Throw<ArgumentException>();
        }
    }
}
