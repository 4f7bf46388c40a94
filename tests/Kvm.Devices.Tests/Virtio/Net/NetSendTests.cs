using Kvm.Devices.Net;
using Kvm.Devices.Tests.Virtio.Support;
using Kvm.Devices.Virtio.Net;

namespace Kvm.Devices.Tests.Virtio.Net;

/// <summary>Frames of the guest (virtio 1.2, 5.1.6.2).</summary>
public sealed class NetSendTests
{
    private const byte Summed = NetHeader.NeedsChecksum;

    [Theory]
    [InlineData(false, false)]
    [InlineData(false, true)]
    [InlineData(true, false)]
    [InlineData(true, true)]
    public void Frame_comes_out_as_it_was_sent(bool pci, bool packed)
    {
        using var guest = new NetGuest(pci: pci, packed: packed);
        byte[] header = NetGuest.Header(Summed, NetHeader.GsoTcp4, 54, 1448, 34, 16), frame = NetGuest.Frame(4000);
        guest.Send(header, frame).Should().BeTrue();
        var (pair, sent) = guest.Cable.Sent.Should().ContainSingle().Subject;
        pair.Should().Be(0);
        sent.Should().Equal([.. header, .. frame]);
        guest.Device.Counters.Should().Be(new NetCounters { FramesSent = 1, BytesSent = 4000 });
    }

    [Fact]
    public void Frame_in_one_element_with_its_header_and_in_elements_of_one_byte_is_the_same_frame()
    {
        using var guest = new NetGuest(size: 64);
        byte[] all = [.. NetGuest.Header(), .. NetGuest.Frame(50)];
        guest.Send(guest.Out(all)).Should().BeTrue();
        guest.Send([.. all.Select(b => guest.Out([b]))]).Should().BeTrue();
        guest.Cable.Sent.Should().HaveCount(2).And.OnlyContain(s => s.Frame.SequenceEqual(all));
    }

    [Theory]
    [InlineData(14)]
    [InlineData(INetworkBackend.HeadBytes)]
    [InlineData(INetworkBackend.HeadBytes + 1)]
    [InlineData(NetHeader.MaxFrame)]
    public void What_is_decided_by_is_the_device_s_own_copy(int length)
    {
        using var guest = new NetGuest();
        guest.Send(NetGuest.Header(), NetGuest.Frame(length));
        guest.Cable.Head.Should().Be(NetHeader.Size + Math.Min(length, INetworkBackend.HeadBytes));
        guest.Cable.Sent[0].Frame.Should().HaveCount(NetHeader.Size + length);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(13)]
    [InlineData(65_551)]
    [InlineData(200_000)]
    public void Frame_of_a_length_that_cannot_be_is_counted_and_goes_nowhere(int length)
    {
        using var guest = new NetGuest();
        guest.Send(NetGuest.Header(), NetGuest.Frame(length)).Should().BeTrue("the buffer comes back");
        guest.Cable.Sent.Should().BeEmpty();
        guest.Device.Counters.Should().Be(new NetCounters { Malformed = 1 });
        guest.Send(NetGuest.Header(), NetGuest.Frame(60));
        guest.Cable.Sent.Should().ContainSingle("the next one goes");
        guest.Device.NeedsReset.Should().BeFalse();
    }

    public static TheoryData<string, byte[]> BadHeaders => new()
    {
        { "a checksum that begins behind the end", NetGuest.Header(Summed, start: 1001) },
        { "a checksum that goes behind the end", NetGuest.Header(Summed, start: 34, offset: 965) },
        { "a checksum whose offsets wrap in 16 bits", NetGuest.Header(Summed, start: 34, offset: 65_535) },
        { "a checksum whose start wraps in 16 bits", NetGuest.Header(Summed, start: 65_535, offset: 16) },
        { "headers longer than the frame", NetGuest.Header(Summed, NetHeader.GsoTcp4, 1001, 100, 34, 16) },
        { "headers of 65,535 bytes", NetGuest.Header(Summed, NetHeader.GsoTcp4, 65_535, 100, 34, 16) },
        { "pieces of nothing", NetGuest.Header(Summed, NetHeader.GsoTcp4, 54, 0, 34, 16) },
        { "cutting without a checksum", NetGuest.Header(0, NetHeader.GsoTcp4, 54, 100, 34, 16) },
        { "a kind of cutting that is none", NetGuest.Header(Summed, 2, 54, 100, 34, 16) },
        { "congestion bits of nothing", NetGuest.Header(Summed, NetHeader.GsoEcn, 54, 100, 34, 16) },
        { "a kind of cutting that was not offered", NetGuest.Header(Summed, NetHeader.GsoUdp, 42, 100, 34, 6) },
    };

    [Theory]
    [MemberData(nameof(BadHeaders))]
    public void Header_that_does_not_fit_its_frame_is_counted_and_the_frame_goes_nowhere(string what, byte[] header)
    {
        using var guest = new NetGuest();
        guest.Send(header, NetGuest.Frame(1000)).Should().BeTrue();
        guest.Cable.Sent.Should().BeEmpty(what);
        guest.Device.Counters.Malformed.Should().Be(1);
        guest.Device.NeedsReset.Should().BeFalse();
    }

    [Theory]
    [InlineData(NetHeader.NeedsChecksum, NetHeader.GsoNone, NetOffloads.None, false)]
    [InlineData(NetHeader.NeedsChecksum, NetHeader.GsoNone, NetOffloads.Checksum, true)]
    [InlineData(NetHeader.NeedsChecksum, NetHeader.GsoTcp6, NetOffloads.Checksum | NetOffloads.Tso4, false)]
    [InlineData(NetHeader.NeedsChecksum, NetHeader.GsoTcp6, NetOffloads.Checksum | NetOffloads.Tso6, true)]
    [InlineData(NetHeader.NeedsChecksum, NetHeader.GsoTcp4 | NetHeader.GsoEcn, NetOffloads.Checksum | NetOffloads.Tso4, false)]
    [InlineData(NetHeader.NeedsChecksum, NetHeader.GsoTcp4 | NetHeader.GsoEcn, NetOffloads.Checksum | NetOffloads.Tso4 | NetOffloads.Ecn, true)]
    [InlineData(NetHeader.NeedsChecksum, NetHeader.GsoUdpL4, NetOffloads.Checksum | NetOffloads.Tso4, false)]
    [InlineData(NetHeader.NeedsChecksum, NetHeader.GsoUdpL4, NetOffloads.Checksum | NetOffloads.Uso4 | NetOffloads.Uso6, true)]
    [InlineData(0, NetHeader.GsoUdp, NetOffloads.Checksum | NetOffloads.Ufo, true)]
    public void Only_what_the_backend_can_do_may_be_left_undone(byte flags, byte gso, NetOffloads can, bool goes)
    {
        using var guest = new NetGuest(new TestCable { SendOffloads = can }, features: NetGuest.All);
        guest.Send(NetGuest.Header(flags, gso, 54, 100, 34, 16), NetGuest.Frame(1000));
        guest.Cable.Sent.Should().HaveCount(goes ? 1 : 0);
    }

    [Fact]
    public void Header_shorter_than_a_header_and_buffers_outside_memory_are_counted()
    {
        using var guest = new NetGuest();
        guest.Send(guest.Out(new byte[11])).Should().BeTrue();
        guest.Send(guest.Out(NetGuest.Header()), Element.Out(guest.Arena.End - 20, 60)).Should().BeTrue();
        guest.Send(Element.In(guest.Arena.Allocate(100), 100)).Should().BeTrue("there is nothing to be read");
        guest.Send(guest.Out(NetGuest.Header()), Element.Out(0xfee0_0000, 0xffff_ffff)).Should().BeTrue();
        guest.Cable.Sent.Should().BeEmpty();
        guest.Device.Counters.Malformed.Should().Be(4);
        guest.Device.NeedsReset.Should().BeFalse();
    }

    [Fact]
    public void Number_of_buffers_the_guest_says_goes_no_further()
    {
        using var guest = new NetGuest();
        byte[] header = NetGuest.Header();
        header[NetHeader.BuffersOffset] = 77;
        guest.Send(header, NetGuest.Frame(60));
        guest.Cable.Sent[0].Frame[NetHeader.BuffersOffset].Should().Be(0);
    }

    [Fact]
    public void Spoofed_source_is_dropped_and_counted_where_the_address_is_fixed()
    {
        using var guest = new NetGuest(options: new NetOptions { Mac = NetGuest.Own, FixedMac = true });
        guest.Send(NetGuest.Header(), NetGuest.Frame(60, NetGuest.Peer, from: NetGuest.Peer));
        guest.Cable.Sent.Should().BeEmpty();
        guest.Send(NetGuest.Header(), NetGuest.Frame(60, NetGuest.Peer, from: NetGuest.Own));
        guest.Cable.Sent.Should().ContainSingle();
        guest.Device.Counters.Spoofed.Should().Be(1);
        (guest.Transport.Offered & 1UL << 23).Should().Be(0, "the address cannot be changed");
        guest.Command(1, 1, [0x52, 0x54, 0, 1, 2, 3]).Should().Be(1);
        guest.Device.Mac.Should().Be(NetGuest.Own);
    }

    [Fact]
    public void Full_backend_keeps_the_frame_in_the_ring_until_there_is_room()
    {
        using var guest = new NetGuest();
        guest.Cable.Answer = SendOutcome.Full;
        guest.Send(NetGuest.Header(), NetGuest.Frame(60)).Should().BeFalse();
        guest.Send(NetGuest.Header(), NetGuest.Frame(61)).Should().BeFalse();
        guest.Device.Counters.FramesSent.Should().Be(0);
        guest.Cable.Answer = SendOutcome.Sent;
        guest.Device.RoomAgain(0);
        guest.Cable.Sent.Select(s => s.Frame.Length - NetHeader.Size).Should().Equal(60, 61);
        guest.Sender.TakeAllUsed().Should().HaveCount(2);
    }

    [Fact]
    public void Frame_the_backend_drops_is_counted_and_its_buffer_comes_back()
    {
        using var guest = new NetGuest();
        guest.Cable.Answer = SendOutcome.Dropped;
        guest.Send(NetGuest.Header(), NetGuest.Frame(60)).Should().BeTrue();
        guest.Device.Counters.Should().Be(new NetCounters { SendDropped = 1 });
    }

    [Fact]
    public void Legacy_driver_s_header_has_ten_bytes_unless_it_merges_buffers()
    {
        foreach (bool merges in (bool[])[false, true])
        {
            using var arena = new GuestArena();
            using var cable = new TestCable();
            using var device = new NetDevice("net0", arena.Memory, cable, new NetOptions { Mac = NetGuest.Own, QueueSize = 16 });
            var driver = new LegacyDriver(device);
            driver.Begin(merges ? (uint)NetGuest.Mergeable : 0);
            var ring = driver.Queue(arena, 1);
            driver.DriverOk();
            byte[] header = new byte[merges ? 12 : 10], frame = NetGuest.Frame(60);
            ring.Add(Element.Out(arena.AllocateFilled([.. header, .. frame]), (uint)(header.Length + frame.Length)));
            driver.Notify(1);
            cable.Sent.Should().ContainSingle().Which.Frame.Should().Equal([.. new byte[12], .. frame]);
        }
    }
}
