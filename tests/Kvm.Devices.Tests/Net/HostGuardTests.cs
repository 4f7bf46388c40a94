using System.Buffers.Binary;
using System.Net;
using FsCheck;
using FsCheck.Fluent;
using Kvm.Devices.Net;
using Kvm.Devices.Tests.Support;

namespace Kvm.Devices.Tests.Net;

/// <summary>Nothing a guest sends reaches the host's loopback or a link-local address, but what policy allows.</summary>
public sealed class HostGuardTests
{
    private const byte Tcp = 6, Udp = 17, Icmp = 1, Icmp6 = 58, Syn = 2, Ack = 16;
    private const GuardVerdict Refused = GuardVerdict.Refused, Passed = GuardVerdict.Passed, Opening = GuardVerdict.Opening;

    private readonly ManualTime _time = new();
    private readonly HostGuard _guard;

    public HostGuardTests() => _guard = new HostGuard(new UserNetwork(), [(8000, false), (53, true)], [new(7, true, false), new(9, true, true), new(80, false, true)], _time);

    private static byte[] Packet(string to, byte protocol, int toPort, byte flags = Syn, int fromPort = 40_000, int fragment = 0, int options = 0, string from = "10.0.2.15")
    {
        var address = IPAddress.Parse(to);
        bool v6 = address.GetAddressBytes().Length == 16;
        byte[] frame = new byte[14 + (v6 ? 40 : 20 + options) + 20];
        BinaryPrimitives.WriteUInt16BigEndian(frame.AsSpan(12), v6 ? (ushort)0x86dd : (ushort)0x0800);
        var packet = frame.AsSpan(14);
        if (v6)
        {
            (packet[0], packet[6]) = (0x60, protocol);
            (from.Contains(':') ? IPAddress.Parse(from).GetAddressBytes() : new byte[16]).CopyTo(packet[8..]);
            address.GetAddressBytes().CopyTo(packet[24..]);
        }
        else
        {
            (packet[0], packet[9]) = ((byte)(0x40 | (20 + options) / 4), protocol);
            BinaryPrimitives.WriteUInt16BigEndian(packet[6..], (ushort)fragment);
            IPAddress.Parse(from).GetAddressBytes().CopyTo(packet[12..]);
            address.GetAddressBytes().CopyTo(packet[16..]);
        }

        var payload = packet[(v6 ? 40 : 20 + options)..];
        BinaryPrimitives.WriteUInt16BigEndian(payload, (ushort)fromPort);
        BinaryPrimitives.WriteUInt16BigEndian(payload[2..], (ushort)toPort);
        if (protocol == Tcp)
            payload[13] = flags;
        return frame;
    }

    [Theory]
    [InlineData("127.0.0.1")]
    [InlineData("127.255.0.9")]
    [InlineData("0.0.0.0")]
    [InlineData("0.1.2.3")]
    [InlineData("169.254.0.1")]
    [InlineData("169.254.169.254")]
    [InlineData("224.0.0.251")]
    [InlineData("239.1.1.1")]
    [InlineData("255.255.255.254")]
    [InlineData("255.255.255.255")]
    [InlineData("10.0.2.2")]
    [InlineData("10.0.2.77")]
    [InlineData("10.0.2.255")]
    [InlineData("::1")]
    [InlineData("::")]
    [InlineData("::ffff:127.0.0.1")]
    [InlineData("::127.0.0.1")]
    [InlineData("fe80::1")]
    [InlineData("fe80::2")]
    [InlineData("febf::2")]
    [InlineData("ff02::1")]
    [InlineData("ff02::fb")]
    [InlineData("fd00::2")]
    [InlineData("fd00::99")]
    public void Loopback_link_local_and_group_addresses_are_not_to_be_had(string to)
    {
        _guard.Judge(Packet(to, Tcp, 22)).Should().Be(Refused);
        _guard.Judge(Packet(to, Udp, 111)).Should().Be(Refused);
        if (!to.Contains(':'))
            _guard.Judge(Packet(to, Tcp, 22, options: 40)).Should().Be(Refused);
    }

    [Theory]
    [InlineData("192.168.1.1")]
    [InlineData("8.8.8.8")]
    [InlineData("10.0.3.1")]
    [InlineData("2001:db8::1")]
    [InlineData("fd00:0:0:1::2")]
    [InlineData("fec0::1")]
    public void What_is_behind_a_router_is(string to)
    {
        _guard.Judge(Packet(to, Tcp, 22)).Should().Be(Opening);
        _guard.Judge(Packet(to, Tcp, 22, flags: Ack)).Should().Be(Passed);
        _guard.Judge(Packet(to, Udp, 111)).Should().Be(Opening);
    }

    [Theory]
    [InlineData("10.0.2.2")]
    [InlineData("fd00::2")]
    public void Allowed_ports_of_the_host_are_reached_by_their_protocol_alone(string host)
    {
        _guard.Judge(Packet(host, Tcp, 8000)).Should().Be(Opening);
        _guard.Judge(Packet(host, Udp, 8000)).Should().Be(Refused);
        _guard.Judge(Packet(host, Udp, 53)).Should().Be(Opening);
        _guard.Judge(Packet(host, Tcp, 53)).Should().Be(Refused);
        _guard.Judge(Packet(host, Tcp, 8001)).Should().Be(Refused);
        _guard.Judge(Packet(host, host.Contains(':') ? Icmp6 : Icmp, 0)).Should().NotBe(Refused, "the gateway answers echoes itself");
        _guard.Judge(Packet(host, 132, 8000)).Should().Be(Refused, "SCTP");
    }

    [Fact]
    public void Fragments_and_options_hide_no_port()
    {
        _guard.Judge(Packet("10.0.2.2", Tcp, 8000, fragment: 0x2000)).Should().Be(Refused);
        _guard.Judge(Packet("10.0.2.2", Tcp, 8000, fragment: 1)).Should().Be(Refused);
        _guard.Judge(Packet("10.0.2.2", Tcp, 8000, fragment: 0x4000)).Should().Be(Opening, "that is the bit against fragments");
        _guard.Judge(Packet("10.0.2.2", Tcp, 8000, options: 40)).Should().Be(Opening);
        _guard.Judge(Packet("10.0.2.2", Tcp, 22, options: 40)).Should().Be(Refused);
        byte[] behindHopByHop = Packet("fd00::2", 0, 8000);
        _guard.Judge(behindHopByHop).Should().Be(Refused);
        _guard.Judge(Packet("fd00::2", 44, 8000)).Should().Be(Refused, "a fragment header");
    }

    [Fact]
    public void Connections_the_host_began_are_answered_and_none_is_begun_by_other_flags()
    {
        foreach (byte flags in (byte[])[Ack, Syn | Ack, 4, 1 | Ack, 8 | Ack])
            _guard.Judge(Packet("10.0.2.2", Tcp, 51_000, flags, fromPort: 80)).Should().Be(Passed);
        foreach (byte flags in (byte[])[Syn, Syn | 1, Syn | 4, Syn | 8, Syn | 32, Syn | 64 | 128])
            _guard.Judge(Packet("10.0.2.2", Tcp, 51_000, flags, fromPort: 80)).Should().Be(Refused);
    }

    [Fact]
    public void Datagrams_go_back_from_a_published_port_to_who_asked_it_for_a_while()
    {
        byte[] answer = Packet("10.0.2.2", Udp, 51_000, fromPort: 7);
        _guard.Judge(answer).Should().Be(Refused, "nobody asked");
        _guard.Note(Packet("10.0.2.15", Udp, 9, fromPort: 51_000, from: "10.0.2.2"));
        _guard.Judge(answer).Should().Be(Refused, "another port was asked");
        _guard.Note(Packet("10.0.2.15", Udp, 7, fromPort: 51_000, from: "10.0.2.9"));
        _guard.Judge(answer).Should().Be(Refused, "somebody else asked");
        _guard.Note(Packet("10.0.2.15", Udp, 7, fromPort: 51_000, from: "10.0.2.2"));
        _guard.Judge(answer).Should().Be(Opening);
        _guard.Judge(Packet("10.0.2.2", Udp, 51_001, fromPort: 7)).Should().Be(Refused);
        _guard.Judge(Packet("10.0.2.2", Udp, 51_000, fromPort: 8)).Should().Be(Refused);
        _time.Advance(HostGuard.AnswerTime);
        _guard.Judge(answer).Should().Be(Refused, "it is too late");
    }

    /// <summary>passt puts an address of the link in the place of the host's loopback.</summary>
    [Theory]
    [InlineData("fd00::2")]
    [InlineData("fe80::42")]
    public void Who_asked_a_port_published_by_IPv6_is_answered(string host)
    {
        byte[] answer = Packet(host, Udp, 51_000, fromPort: 9);
        _guard.Judge(answer).Should().Be(Refused, "nobody asked");
        _guard.Note(Packet("fd00::f", Udp, 7, fromPort: 51_000, from: host));
        _guard.Judge(Packet(host, Udp, 51_000, fromPort: 7)).Should().Be(Refused, "that port is published by IPv4 alone");
        _guard.Note(Packet("fd00::f", Udp, 9, fromPort: 51_000, from: "fd00::7"));
        _guard.Judge(answer).Should().Be(Refused, "somebody else asked");
        _guard.Note(Packet("fd00::f", Udp, 9, fromPort: 51_000, from: host));
        _guard.Judge(answer).Should().Be(Opening);
        _guard.Judge(Packet("10.0.2.2", Udp, 51_000, fromPort: 9)).Should().Be(Refused, "IPv4 was not asked");
        _guard.Judge(Packet(host, Udp, 51_001, fromPort: 9)).Should().Be(Refused);
        for (int length = 0; length < 62; length++)
            _guard.Note(Packet("fd00::f", Udp, 9, fromPort: 51_001, from: host).AsSpan(0, length));
        _guard.Judge(Packet(host, Udp, 51_001, fromPort: 9)).Should().Be(Refused, "half a question is none");
        _guard.Judge(Packet(host, Tcp, 51_000, Syn | Ack, fromPort: 80)).Should().Be(Passed);
        _guard.Judge(Packet(host, Tcp, 51_000, Syn, fromPort: 80)).Should().Be(Refused);
        _time.Advance(HostGuard.AnswerTime);
        _guard.Judge(answer).Should().Be(Refused, "it is too late");
    }

    [Fact]
    public void Nothing_goes_to_the_link_where_nothing_is_published_by_IPv6()
    {
        var guard = new HostGuard(new UserNetwork(), [], [new(7, true, false)], _time);
        guard.Judge(Packet("fe80::42", Tcp, 51_000, Syn | Ack, fromPort: 80)).Should().Be(Refused);
        guard.Note(Packet("fd00::f", Udp, 7, fromPort: 51_000, from: "fe80::42"));
        guard.Judge(Packet("fe80::42", Udp, 51_000, fromPort: 7)).Should().Be(Refused);
    }

    [Fact]
    public void Network_s_own_services_are_there()
    {
        _guard.Judge(Packet("255.255.255.255", Udp, 67)).Should().Be(Opening, "DHCP");
        _guard.Judge(Packet("10.0.2.2", Udp, 67)).Should().Be(Opening);
        _guard.Judge(Packet("10.0.2.2", Udp, 69)).Should().Be(Refused, "TFTP");
        _guard.Judge(Packet("10.0.2.3", Udp, 53)).Should().Be(Opening);
        _guard.Judge(Packet("10.0.2.3", Tcp, 53)).Should().Be(Opening);
        _guard.Judge(Packet("10.0.2.3", Tcp, 54)).Should().Be(Refused);
        _guard.Judge(Packet("10.0.2.3", Udp, 67)).Should().Be(Refused);
        _guard.Judge(Packet("fd00::3", Udp, 53)).Should().Be(Opening);
        _guard.Judge(Packet("ff02::1:2", Udp, 547)).Should().Be(Passed, "DHCPv6");
        _guard.Judge(Packet("ff02::2", Icmp6, 0)).Should().Be(Passed, "routers");
        _guard.Judge(Packet("fe80::2", Icmp6, 0)).Should().Be(Passed, "neighbours");
        byte[] arp = new byte[42];
        (arp[12], arp[13]) = (0x08, 0x06);
        _guard.Judge(arp).Should().Be(Passed);
    }

    [Fact]
    public void Frames_that_are_cut_off_or_of_another_kind_are_refused()
    {
        byte[] whole = Packet("8.8.8.8", Tcp, 80);
        for (int length = 0; length < 34; length++)
            _guard.Judge(whole.AsSpan(0, length)).Should().Be(Refused);
        byte[] six = Packet("2001:db8::1", Tcp, 80);
        for (int length = 0; length < 54; length++)
            _guard.Judge(six.AsSpan(0, length)).Should().Be(Refused);
        whole[14] = 0x44;
        _guard.Judge(whole).Should().Be(Refused, "a header of 16 bytes");
        whole[14] = 0x65;
        _guard.Judge(whole).Should().Be(Refused, "version 6 behind the type of version 4");
        foreach (int type in (int[])[0x8100, 0x88a8, 0x8864, 0x0600, 0])
        {
            byte[] other = Packet("8.8.8.8", Tcp, 80);
            BinaryPrimitives.WriteUInt16BigEndian(other.AsSpan(12), (ushort)type);
            _guard.Judge(other).Should().Be(Refused);
        }

        _guard.Judge(Packet("10.0.2.2", Tcp, 8000).AsSpan(0, 37)).Should().Be(Refused, "half a port");
    }

    /// <summary>Any bytes, with an address among those that are the host's: never more than answers, services and what is allowed.</summary>
    [Fact]
    public void Any_packet_to_the_loopback_is_refused() =>
        Prop.ForAll(Gen.Choose(0, 255).Select(b => (byte)b).ArrayOf(60).ToArbitrary(), Gen.Choose(0, 0xff_ffff).ToArbitrary(), (bytes, low) =>
        {
            byte[] frame = [.. new byte[12], 8, 0, .. bytes];
            BinaryPrimitives.WriteUInt32BigEndian(frame.AsSpan(30), 0x7f00_0000u | (uint)low);
            return _guard.Judge(frame) == Refused;
        }).QuickCheckThrowOnFailure();

    [Fact]
    public void Ten_thousand_frames_allocate_nothing()
    {
        byte[] frame = Packet("10.0.2.2", Tcp, 8000), datagram = Packet("10.0.2.15", Udp, 7, fromPort: 51_000, from: "10.0.2.2");
        byte[] datagram6 = Packet("fd00::f", Udp, 9, fromPort: 51_000, from: "fd00::2"), answer6 = Packet("fd00::2", Udp, 51_000, fromPort: 9);
        Allocation.Of(_ =>
        {
            _guard.Judge(frame);
            _guard.Note(datagram);
            _guard.Note(datagram6);
            _guard.Judge(answer6);
        }).Should().Be(0);
    }
}
