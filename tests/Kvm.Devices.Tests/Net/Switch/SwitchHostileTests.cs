using Kvm.Devices.Memory;
using Kvm.Devices.Net;
using Kvm.Devices.Net.Switch;
using static Kvm.Devices.Tests.Net.Switch.SwitchLab;

namespace Kvm.Devices.Tests.Net.Switch;

/// <summary>Guests that mean harm, at a port of a switch.</summary>
public sealed class SwitchHostileTests
{
    [Theory]
    [InlineData(0)]
    [InlineData(13)]
    [InlineData(65_551)]
    public void Switch_counts_a_frame_of_a_length_that_cannot_be_and_passes_nothing_on(int length)
    {
        var lab = new SwitchLab();
        var (a, b) = (lab.Add(), lab.Add());
        byte[] frame = new byte[NetHeader.Size + length];
        frame.AsSpan(NetHeader.Size).Fill(2);
        a.Send(frame).Should().BeFalse();
        b.Take().Should().BeEmpty();
        a.Port.Dropped(SwitchDrop.Malformed).Should().Be(1);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(5)]
    [InlineData(11)]
    public void Frame_without_a_whole_header_is_counted(int length)
    {
        var lab = new SwitchLab();
        var (a, b) = (lab.Add(), lab.Add());
        a.Send(new byte[length]).Should().BeFalse();
        a.Port.Dropped(SwitchDrop.Malformed).Should().Be(1);
        b.Take().Should().BeEmpty();
    }

    [Theory]
    [InlineData(0UL)]
    [InlineData(0xffff_ffff_ffffUL)]
    [InlineData(0x0100_5e00_0001UL)]
    public void Source_that_nobody_can_have_is_counted_and_not_learned(ulong source)
    {
        var lab = new SwitchLab();
        var (a, b) = (lab.Add(), lab.Add());
        a.Send(Frame(MacAddress.Broadcast, new MacAddress(source)));
        (b.Take().Count, a.Port.Dropped(SwitchDrop.BadSource), lab.Switch.Counters.Addresses).Should().Be((0, 1, 0));
    }

    [Fact]
    public void Flood_of_made_up_addresses_fills_its_port_s_share_and_takes_nobody_else_s()
    {
        var lab = new SwitchLab(new SwitchOptions { MaxAddresses = 300, MaxAddressesPerPort = 100, FloodLimit = new(1_000_000, 1) });
        var (a, b, flooder) = (lab.Add(), lab.Add(), lab.Add());
        a.Send(Frame(MacAddress.Broadcast, Mac(1)));
        b.Send(Frame(MacAddress.Broadcast, Mac(2)));
        for (int i = 0; i < 50_000; i++)
        {
            flooder.Send(Frame(MacAddress.Broadcast, Mac(1000 + i)));
            lab.Forget();
        }

        lab.Switch.Counters.Addresses.Should().Be(102);
        lab.Switch.Counters.NotLearned.Should().Be(49_900);
        a.Send(Frame(Mac(2), Mac(1)));
        (b.Take().Count, flooder.Take().Count).Should().Be((1, 0), "the address is still known");
    }

    [Fact]
    public void Table_that_is_full_has_room_again_when_what_is_in_it_is_old()
    {
        var lab = new SwitchLab(new SwitchOptions { MaxAddresses = 4, MaxAddressesPerPort = 4 });
        var (a, b) = (lab.Add(), lab.Add());
        for (int i = 0; i < 6; i++)
            a.Send(Frame(MacAddress.Broadcast, Mac(10 + i)));
        lab.Switch.Counters.NotLearned.Should().Be(2);
        lab.Time.Advance(TimeSpan.FromSeconds(300));
        b.Send(Frame(MacAddress.Broadcast, Mac(2)));
        (lab.Switch.Counters.Addresses, lab.Switch.Counters.NotLearned).Should().Be((1, 2));
    }

    [Theory]
    [InlineData(0, 0x88b5)]
    [InlineData(1, 0x88b5)]
    [InlineData(2, 0x88b5)]
    [InlineData(4095, 0x88b5)]
    public void Tag_on_a_port_without_tags_is_a_priority_or_goes_nowhere(int vlan, int type)
    {
        var lab = new SwitchLab();
        var (a, b) = (lab.Add(), lab.Add());
        byte[] frame = Frame(MacAddress.Broadcast, Mac(1), "text", vlan);
        a.Send(frame).Should().Be(vlan == 0 && type == 0x88b5);
        b.Take().Count.Should().Be(vlan == 0 ? 1 : 0);
        a.Port.Dropped(SwitchDrop.Vlan).Should().Be(vlan == 0 ? 0 : 1);
    }

    /// <summary>The second tag would be the first one where the first is taken away.</summary>
    [Fact]
    public void Two_tags_are_no_way_into_another_network()
    {
        var lab = new SwitchLab();
        var (trunk, other, victim) = (lab.Add(new PortOptions { Trunk = new VlanSet([1]) }), lab.Add(new PortOptions { Trunk = VlanSet.All }), lab.Add(new PortOptions { Vlan = 20 }));
        foreach (int outer in (int[])[0, 1])
            trunk.Send(Frame(MacAddress.Broadcast, Mac(1), "text", outer, 20)).Should().BeFalse();
        byte[] service = Frame(MacAddress.Broadcast, Mac(1), "text", 1, 20);
        (service[NetHeader.Size + 16], service[NetHeader.Size + 17]) = (0x88, 0xa8);
        trunk.Send(service).Should().BeFalse();
        (other.Take().Count, victim.Take().Count, trunk.Port.Dropped(SwitchDrop.Vlan)).Should().Be((0, 0, 3));
    }

    [Fact]
    public void Frame_that_ends_in_its_tag_goes_nowhere_it_should_not()
    {
        var lab = new SwitchLab();
        var (a, b) = (lab.Add(), lab.Add());
        byte[] frame = Frame(MacAddress.Broadcast, Mac(1));
        (frame[^2], frame[^1]) = (0x81, 0x00);
        for (int more = 0; more < 4; more++)
            a.Send([.. frame, .. new byte[more]]);
        // Too short for a tag, and so for anybody who looks for one.
        b.Take().Count.Should().Be(4);
    }

    [Theory]
    [InlineData(0x0180_c200_0000UL, true)]
    [InlineData(0x0180_c200_000fUL, true)]
    [InlineData(0x0180_c200_0010UL, false)]
    public void Frame_for_the_next_bridge_alone_is_not_passed_on(ulong to, bool reserved)
    {
        var lab = new SwitchLab();
        var (a, b) = (lab.Add(), lab.Add());
        a.Send(Frame(new MacAddress(to), Mac(1)));
        (b.Take().Count, a.Port.Dropped(SwitchDrop.Reserved)).Should().Be(reserved ? (0, 1) : (1, 0));
    }

    [Fact]
    public void Frames_to_everybody_and_to_nobody_known_are_limited_for_each_port_and_frames_to_somebody_are_not()
    {
        var lab = new SwitchLab(new SwitchOptions { FloodLimit = new(10, 1_000_000_000) });
        var (a, b) = (lab.Add(), lab.Add());
        b.Send(Frame(MacAddress.Broadcast, Mac(2)));
        for (int i = 0; i < 20; i++)
            a.Send(Frame(i % 2 == 0 ? MacAddress.Broadcast : Mac(99), Mac(1)));
        (b.Take().Count, a.Port.Dropped(SwitchDrop.Flood)).Should().Be((10, 10));
        a.Send(Frame(Mac(2), Mac(1)));
        b.Take().Should().ContainSingle();
        b.Send(Frame(MacAddress.Broadcast, Mac(2))).Should().BeTrue("it has a limit of its own");
        lab.Time.Advance(TimeSpan.FromMilliseconds(500));
        for (int i = 0; i < 20; i++)
            a.Send(Frame(MacAddress.Broadcast, Mac(1)));
        b.Take().Should().HaveCount(5);
    }

    [Fact]
    public void Receiver_that_takes_nothing_loses_its_own_frames_and_holds_nobody_up()
    {
        var lab = new SwitchLab();
        var (a, deaf, c) = (lab.Add(), lab.Add(new PortOptions { QueueBytes = PortOptions.LeastQueue }), lab.Add());
        deaf.Send(Frame(MacAddress.Broadcast, Mac(2)));
        c.Send(Frame(MacAddress.Broadcast, Mac(3)));
        lab.Forget();
        string text = new('x', 1400);
        int taken = 0;
        for (int i = 0; i < 1000; i++)
        {
            taken += a.Send(Frame(Mac(2), Mac(1), text)) ? 1 : 0;
            a.Send(Frame(Mac(3), Mac(1), text)).Should().BeTrue();
            c.Take().Should().ContainSingle();
        }

        deaf.Port.Dropped(SwitchDrop.QueueFull).Should().Be(1000 - taken).And.BePositive();
        deaf.Take().Should().HaveCount(taken);
    }

    [Fact]
    public void Header_that_would_sum_in_the_addresses_is_counted()
    {
        var lab = new SwitchLab();
        var (a, b) = (lab.Add(), lab.Add(takes: NetOffloads.None));
        byte[] frame = Frame(MacAddress.Broadcast, Mac(1), "text");
        new NetHeader(NetHeader.NeedsChecksum, 0, 0, 0, 13, 0, 0).Write(frame);
        a.Send(frame).Should().BeFalse();
        (b.Take().Count, a.Port.Dropped(SwitchDrop.Malformed)).Should().Be((0, 1));
    }

    /// <summary>A guest does not vouch for its frames.</summary>
    [Fact]
    public void That_a_sum_is_right_is_believed_of_the_uplink_alone()
    {
        var lab = new SwitchLab();
        var (a, b, up) = (lab.Add(), lab.Add(), lab.Add(new PortOptions { Role = PortRole.Uplink }));
        byte[] frame = Frame(MacAddress.Broadcast, Mac(1), "text");
        frame[0] = NetHeader.DataValid;
        a.Send(frame);
        b.Take()[0][0].Should().Be(0);
        up.Send(frame);
        b.Take()[0][0].Should().Be(NetHeader.DataValid);
    }

    /// <summary>A frame in as many pieces as it has bytes behind its head is the same frame.</summary>
    [Fact]
    public void Frame_in_pieces_of_a_byte_is_the_same_frame()
    {
        var lab = new SwitchLab();
        var (a, b, whole) = (lab.Add(), lab.Add(), lab.Add(new PortOptions { Vlan = 0, Trunk = VlanSet.All }));
        byte[] frame = Frame(MacAddress.Broadcast, Mac(1), new string('y', 300));
        using var memory = new AlignedBuffer(frame.Length);
        frame.CopyTo(memory.Buffer.Span);
        int head = NetHeader.Size + 18;
        HostBuffer[] pieces = [memory.Buffer.Slice(0, head), .. Enumerable.Range(head, frame.Length - head).Select(i => memory.Buffer.Slice(i, 1))];
        a.Port.Send(pieces, frame.Length).Should().BeTrue();
        b.Take().Should().ContainSingle().Which.Should().Equal(frame);
        whole.Take().Should().ContainSingle().Which.Should().Equal(Frame(MacAddress.Broadcast, Mac(1), new string('y', 300), 1));
    }
}
