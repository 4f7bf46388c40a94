using FsCheck;
using FsCheck.Fluent;
using Kvm.Devices.Net.Policy;
using Kvm.Tests.Support;

namespace Kvm.Devices.Tests.Net.Policy;

/// <summary>What is read out of frames, and that what is not certain is no flow.</summary>
public sealed class PacketHeadersTests
{
    private const string A = "10.0.0.1", B = "10.0.0.2", A6 = "fd00::1", B6 = "fd00::2";

    private static PacketKind KindOf(byte[] frame) => PacketHeaders.Parse(frame, out _);

    private static FlowKey KeyOf(byte[] frame)
    {
        var kind = PacketHeaders.Parse(frame, out var headers);
        kind.Should().BeOneOf(PacketKind.Flow, PacketKind.Error);
        return headers.Key;
    }

    [Fact]
    public void A_segment_and_a_datagram_have_their_ports_and_an_answer_has_the_key_reversed()
    {
        var key = KeyOf(Packets.TcpFrame(A, 40_000, B, 80));
        key.Should().Be(new FlowKey(0x0a00_0001, 0x0a00_0002, 40_000, 80, 6, 4));
        KeyOf(Packets.TcpFrame(B, 80, A, 40_000, Packets.Syn | Packets.Ack)).Should().Be(key.Reversed);
        KeyOf(Packets.UdpFrame(A6, 5353, B6, 53)).Should().Be(KeyOf(Packets.UdpFrame(B6, 53, A6, 5353)).Reversed);
        key.Hash(42).Should().Be(key.Reversed.Hash(42)).And.NotBe(key.Hash(43));
    }

    [Theory]
    [InlineData(A, B)]
    [InlineData(A6, B6)]
    public void An_echo_s_reply_is_the_request_s_key_reversed_and_a_request_of_the_other_s_is_not(string from, string to)
    {
        var key = KeyOf(Packets.Echo(from, to, 77));
        KeyOf(Packets.Echo(to, from, 77, reply: true)).Should().Be(key.Reversed);
        KeyOf(Packets.Echo(to, from, 77)).Should().NotBe(key.Reversed);
    }

    [Fact]
    public void An_error_has_the_key_of_what_it_is_about()
    {
        byte[] about = Packets.TcpFrame(A, 40_000, B, 80), about6 = Packets.UdpFrame(A6, 40_000, B6, 80);
        PacketHeaders.Parse(Packets.Error("10.0.0.9", A, about), out var headers).Should().Be(PacketKind.Error);
        headers.Key.Should().Be(KeyOf(about));
        PacketHeaders.Parse(Packets.Error("fd00::9", A6, about6, type: 1), out headers).Should().Be(PacketKind.Error);
        headers.Key.Should().Be(KeyOf(about6));
    }

    [Fact]
    public void Tags_are_read_up_to_two_and_the_outer_one_counts()
    {
        byte[] packet = Packets.TcpFrame(A, 1, B, 2)[14..];
        PacketHeaders.Parse(Packets.Ethernet(0x0800, packet, 0x2005), out var headers).Should().Be(PacketKind.Flow);
        headers.Vlan.Should().Be(5);
        PacketHeaders.Parse(Packets.Ethernet(0x0800, packet, 7, 9), out headers).Should().Be(PacketKind.Flow);
        headers.Vlan.Should().Be(7);
        headers.Key.Should().Be(KeyOf(Packets.TcpFrame(A, 1, B, 2)), "who has a tag and who has none may talk");
        KindOf(Packets.Ethernet(0x0800, packet, 7, 9, 11)).Should().Be(PacketKind.TooManyHeaders);
    }

    [Fact]
    public void Arp_neighbours_and_strange_types_are_no_flows()
    {
        byte[] arp = [0, 1, 8, 0, 6, 4, 0, 1, .. Packets.FromMac, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 10, 0, 0, 2];
        KindOf(Packets.Ethernet(0x0806, arp)).Should().Be(PacketKind.Arp);
        KindOf(Packets.Ethernet(0x0806, arp[..^1])).Should().Be(PacketKind.Truncated);
        foreach (int at in (int[])[0, 2, 4, 5, 7])
        {
            byte[] bad = [.. arp];
            bad[at] = 9;
            KindOf(Packets.Ethernet(0x0806, bad)).Should().Be(PacketKind.Malformed);
        }

        KindOf(Packets.Ethernet(0x88cc, new byte[50])).Should().Be(PacketKind.Other);
        byte[] solicitation = Packets.Frame(A6, B6, Packets.Icmp6, [135, 0, 0, 0, .. new byte[20]]);
        KindOf(solicitation).Should().Be(PacketKind.Malformed, "its hop limit says that it came through a router");
        solicitation[14 + 7] = 255;
        KindOf(solicitation).Should().Be(PacketKind.Neighbour);
        KindOf(Packets.Frame(A, B, Packets.Icmp, [5, 0, 0, 0, .. new byte[28]])).Should().Be(PacketKind.Malformed, "nobody is redirected");
    }

    [Theory]
    [InlineData(new byte[] { 8, 0 }, false)]
    [InlineData(new byte[] { 8, 1 }, false)]
    [InlineData(new byte[] { 8, 5, 0, 0 }, false)]
    [InlineData(new byte[] { 1, 1, 1, 8 }, false)]
    [InlineData(new byte[] { 8, 4, 0, 0 }, true)]
    [InlineData(new byte[] { 1, 1, 1, 0 }, true)]
    [InlineData(new byte[] { 0, 1, 8, 0 }, true)]
    [InlineData(new byte[] { 1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8 }, true)]
    [InlineData(new byte[] { 2, 4, 5, 0xb4, 4, 2, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 3, 3, 7 }, true)]
    public void Options_of_a_segment_have_lengths_that_can_be(byte[] options, bool good) =>
        KindOf(Packets.TcpFrame(A, 1, B, 2, options: options)).Should().Be(good ? PacketKind.Flow : PacketKind.Malformed);

    [Fact]
    public void A_fragment_is_no_flow_whichever_it_is()
    {
        foreach (int place in (int[])[0x2000, 1, 0x1fff, 0x2001])
        {
            byte[] frame = Packets.UdpFrame(A, 1, B, 2);
            (frame[20], frame[21]) = ((byte)(place >> 8), (byte)place);
            KindOf(frame).Should().Be(PacketKind.Fragment);
        }

        KindOf(Packets.Ethernet(0x86dd, [0x60, 0, 0, 0, 0, 16, 44, 64, .. new byte[32], 17, 0, 0, 0, 0, 0, 0, 0, .. new byte[8]])).Should().Be(PacketKind.Fragment);
        byte[] whole = Packets.UdpFrame(A, 1, B, 2);
        whole[20] = 0x40;
        KindOf(whole).Should().Be(PacketKind.Flow, "it says that it must not be cut");
    }

    private static byte[] WithExtensions(int count, byte type = 60, byte[]? extension = null)
    {
        byte[] last = Packets.UdpFrame(A6, 1, B6, 53)[54..];
        var bytes = new List<byte>();
        for (int i = 0; i < count; i++)
            bytes.AddRange([i == count - 1 ? Packets.Udp : type, .. extension ?? [0, 1, 4, 0, 0, 0, 0]]);
        return Packets.Ethernet(0x86dd, [0x60, 0, 0, 0, .. Packets.Word(bytes.Count + last.Length), type, 64, .. new byte[32], .. bytes, .. last]);
    }

    [Fact]
    public void Extension_headers_are_walked_as_far_as_four_and_must_fit()
    {
        KeyOf(WithExtensions(1)).DestinationPort.Should().Be(53);
        KeyOf(WithExtensions(4, 0)).DestinationPort.Should().Be(53);
        KindOf(WithExtensions(5)).Should().Be(PacketKind.TooManyHeaders);
        KindOf(WithExtensions(1, extension: [200, 1, 4, 0, 0, 0, 0])).Should().Be(PacketKind.Malformed);
        KindOf(WithExtensions(1, 43, [0, 0, 1, 0, 0, 0, 0])).Should().Be(PacketKind.Malformed, "the sender would choose the route");
    }

    [Fact]
    public void Lengths_that_contradict_each_other_are_malformed()
    {
        void Bad(byte[] frame, int at, byte value)
        {
            frame[at] = value;
            KindOf(frame).Should().Be(PacketKind.Malformed, $"{value} at {at}");
        }

        Bad(Packets.TcpFrame(A, 1, B, 2), 14, 0x44); // a header of 16 bytes
        Bad(Packets.TcpFrame(A, 1, B, 2), 14, 0x65); // version 6 in IPv4
        Bad(Packets.TcpFrame(A, 1, B, 2), 17, 19); // all of it shorter than its header
        Bad(Packets.TcpFrame(A, 1, B, 2), 17, 39); // no room for a segment's header
        Bad(Packets.TcpFrame(A, 1, B, 2), 46, 0x40); // a segment's header of 16 bytes
        Bad(Packets.TcpFrame(A, 1, B, 2), 46, 0xf0); // one of 60
        Bad(Packets.UdpFrame(A, 1, B, 2), 39, 7); // a datagram shorter than its header
        Bad(Packets.UdpFrame(A, 1, B, 2), 39, 200); // one longer than its packet
        Bad(Packets.UdpFrame(A6, 1, B6, 2), 19, 7); // IPv6 without room for a datagram's header
        Bad(Packets.UdpFrame(A6, 1, B6, 2), 14, 0x45);
    }

    [Fact]
    public void A_frame_cut_anywhere_before_its_last_header_ends_is_no_flow()
    {
        foreach (byte[] frame in (byte[][])[Packets.TcpFrame(A, 1, B, 2, options: [8, 4, 0, 0]), Packets.UdpFrame(A, 1, B, 2, []), Packets.UdpFrame(A6, 1, B6, 2, []), WithExtensions(2)[..^3]])
        {
            KindOf(frame).Should().Be(PacketKind.Flow);
            for (int length = 0; length < frame.Length; length++)
                KindOf(frame[..length]).Should().Be(PacketKind.Truncated, $"of {frame.Length} there are {length}");
        }
    }

    [Fact]
    public void An_error_is_about_what_is_in_its_packet_and_not_about_what_pads_the_frame()
    {
        byte[] error = Packets.Error("10.0.0.9", A, Packets.TcpFrame(A, 40_000, B, 80));
        error[17] -= 8; // the packet ends before the ports
        KindOf(error).Should().Be(PacketKind.Truncated);
    }

    [Fact]
    public void Any_bytes_are_something() => Check.One(Config.QuickThrowOnFailure.WithMaxTest(2000), Prop.ForAll(
        (from type in Gen.Elements<ushort>(0x0800, 0x86dd, 0x0806, 0x8100)
         from bytes in Gen.Choose(0, 255).Select(b => (byte)b).ArrayOf(90)
         from first in Gen.Elements<byte>(0x45, 0x4f, 0x60)
         from protocol in Gen.Elements<byte>(1, 6, 17, 58, 0, 43, 51)
         select Packets.Ethernet(type, [first, bytes[1], 0, bytes[3], .. bytes[4..6], protocol, .. bytes[7..9], protocol, .. bytes[10..]])).ToArbitrary(),
        frame => Enum.IsDefined(PacketHeaders.Parse(frame, out _))));

    [Fact]
    public void Nothing_is_allocated()
    {
        byte[] frame = Packets.TcpFrame(A, 1, B, 2);
        Allocation.Of(_ => PacketHeaders.Parse(frame, out var _)).Should().Be(0);
    }
}
