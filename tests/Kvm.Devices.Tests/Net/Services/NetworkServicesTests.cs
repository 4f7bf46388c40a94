using System.Buffers.Binary;
using Kvm.Devices.Net;
using Kvm.Devices.Net.Policy;
using Kvm.Devices.Net.Services;
using Kvm.Devices.Net.Switch;
using Kvm.Devices.Tests.Net.Policy;
using Kvm.Devices.Tests.Net.Switch;
using Kvm.Tests.Support;
using static Kvm.Devices.Tests.Net.Services.Plans;

namespace Kvm.Devices.Tests.Net.Services;

/// <summary>A whole network on a switch: who asks what gets which answer, at which port.</summary>
public sealed class NetworkServicesTests : IDisposable
{
    private const string ServerAddress = "10.20.0.2", ServiceAddress = "10.20.0.50", WebAddress = "10.20.0.11", DbAddress = "10.20.0.101";
    private static readonly MacAddress s_router = new(0x5255_0a14_0001);

    private readonly SwitchLab _lab = new();
    private readonly NetworkServices _services;
    private readonly Station _web, _db, _guest, _uplink;

    public NetworkServicesTests()
    {
        _lab.Time.Timestamp = 1;
        var virtualServices = new VirtualServices([new VirtualService("shop", Address(ServiceAddress), 6, 80, 8080, [new ServiceBackend("db", Db, Address(DbAddress))]),
            new VirtualService("time", Address(ServiceAddress), 17, 123, 123, [new ServiceBackend("web", Web, Address(WebAddress))]),
            new VirtualService("far", Address(ServiceAddress), 6, 81, 81, [new ServiceBackend("guest", Guest, Address("10.20.0.77"), Vlan: 5)])], _lab.Time);
        PolicyRule.Parse("allow from vm=web to vm=db tcp/8080", out var rule).Should().BeNull();
        var compiled = new CompiledPolicy([rule], false, [new("web", []), new("db", []), new("uplink", [], IsUplink: true)]);
        _web = _lab.Add(new PortOptions { Label = "web", Mac = Web });
        _services = new NetworkServices(_lab.Switch, Lab, new FlowPolicy(compiled, new FlowTable(_lab.Time), virtualServices), virtualServices, [5], _lab.Time);
        _db = _lab.Add(new PortOptions { Label = "db", Mac = Db });
        _guest = _lab.Add(new PortOptions { Label = "guest", Trunk = new VlanSet([5]) });
        _uplink = _lab.Add(new PortOptions { Role = PortRole.Uplink });
    }

    public void Dispose() => _services.Dispose();

    private static byte[] With(MacAddress from, MacAddress to, byte[] frame)
    {
        byte[] all = [.. new byte[NetHeader.Size], .. frame];
        to.Write(all.AsSpan(NetHeader.Size));
        from.Write(all.AsSpan(NetHeader.Size + 6));
        return all;
    }

    private static byte[] Arp(MacAddress from, string address, string about, ushort operation = 1, MacAddress? to = null)
    {
        byte[] arp = new byte[28];
        ServiceFrames.WriteArp(arp, operation, from, Address(address), default, Address(about));
        return With(from, to ?? MacAddress.Broadcast, Packets.Ethernet(0x0806, arp));
    }

    private static byte[] Udp(MacAddress from, string address, int port, string to, int toPort, byte[] payload, MacAddress? mac = null) =>
        With(from, mac ?? Server, Packets.UdpFrame(address, port, to, toPort, payload));

    private static byte[] Only(Station station) => station.Take().Should().ContainSingle().Which[NetHeader.Size..];

    /// <summary>What a machine says to the last of the services' questions that it was sent, which is the beginning of a connection.</summary>
    private byte[] Answered(byte flags, uint off = 0)
    {
        byte[] question = _db.Take().Last()[NetHeader.Size..];
        (question.Length, question[47], SourceOf(question), Packets.SumsAreRight(question)).Should().Be((54, Packets.Syn, ServerAddress, true));
        byte[] answer = With(Db, Server, Packets.TcpFrame(DbAddress, BinaryPrimitives.ReadUInt16BigEndian(question.AsSpan(36)), ServerAddress, BinaryPrimitives.ReadUInt16BigEndian(question.AsSpan(34)), flags));
        BinaryPrimitives.WriteUInt32BigEndian(answer.AsSpan(NetHeader.Size + 42), BinaryPrimitives.ReadUInt32BigEndian(question.AsSpan(38)) + 1 + off);
        return answer;
    }

    private static string SourceOf(byte[] frame) => Text(BinaryPrimitives.ReadUInt32BigEndian(frame.AsSpan(26)));

    [Theory]
    [InlineData(ServerAddress)]
    [InlineData(ServiceAddress)]
    public void Own_addresses_are_where_the_services_are_and_echo(string address)
    {
        _web.Send(Arp(Web, WebAddress, address));
        byte[] reply = Only(_web);
        MacAddress.Read(reply.AsSpan(22)).Should().Be(Server);
        (reply[21], Text(BinaryPrimitives.ReadUInt32BigEndian(reply.AsSpan(28)))).Should().Be((2, address));
        _web.Send(With(Web, Server, Packets.Echo(WebAddress, address, 77)));
        byte[] echo = Only(_web);
        (SourceOf(echo), echo[34], Packets.SumsAreRight(echo)).Should().Be((address, 0, true));
    }

    [Fact]
    public void Other_addresses_are_others_and_answers_have_the_tag_of_the_question()
    {
        _web.Send(Arp(Web, WebAddress, DbAddress));
        _web.Take().Should().BeEmpty();
        Only(_db)[21].Should().Be(1, "who may talk may ask");
        byte[] arp = Arp(Guest, "10.20.0.77", ServerAddress);
        _guest.Send([.. arp[..24], 0x81, 0, 0, 5, .. arp[24..]]);
        byte[] reply = Only(_guest);
        reply.AsSpan(12, 4).ToArray().Should().Equal(0x81, 0, 0, 5);
        reply[25].Should().Be(2);
    }

    [Fact]
    public void A_guest_gets_its_address_and_resolves_a_name()
    {
        _web.Send(With(Web, MacAddress.Broadcast, Packets.UdpFrame("0.0.0.0", 68, "255.255.255.255", 67, Dhcp(Web, DhcpMessage.Discover, broadcast: true))));
        byte[] offer = Only(_web);
        (SourceOf(offer), MacAddress.Read(offer), Packets.SumsAreRight(offer)).Should().Be((ServerAddress, Web, true), "nobody else need know");
        Text(BinaryPrimitives.ReadUInt32BigEndian(offer.AsSpan(42 + 16))).Should().Be(WebAddress);
        _web.Send(With(Web, MacAddress.Broadcast, Packets.UdpFrame("0.0.0.0", 68, "255.255.255.255", 67, Dhcp(Web, DhcpMessage.Request, Address(WebAddress), Address(ServerAddress)))));
        byte[] acknowledged = Only(_web);
        MacAddress.Read(acknowledged).Should().Be(Web);
        (acknowledged[42 + 242], Text(BinaryPrimitives.ReadUInt32BigEndian(acknowledged.AsSpan(30)))).Should().Be((5, "255.255.255.255"));
        _services.Responder.Dhcp.Acknowledged.Should().Be(1);
        _web.Send(Udp(Web, WebAddress, 5555, ServerAddress, 53, Dns("db.lab")));
        byte[] answer = Only(_web);
        (SourceOf(answer), BinaryPrimitives.ReadUInt16BigEndian(answer.AsSpan(36)), Packets.SumsAreRight(answer)).Should().Be((ServerAddress, (ushort)5555, true));
        answer[^4..].Should().Equal(10, 20, 0, 101);
        (_uplink.Take().Count, _db.Take().Count).Should().Be((0, 0), "that is between the guest and the services");
    }

    [Fact]
    public void A_question_about_other_networks_goes_to_the_nameserver_and_its_answer_back_and_nobody_else_s()
    {
        byte[] question = Dns("www.example.org", id: 0x4711);
        _web.Send(Udp(Web, WebAddress, 5555, ServerAddress, 53, question));
        byte[] arp = Only(_uplink);
        (arp[21], Text(BinaryPrimitives.ReadUInt32BigEndian(arp.AsSpan(38)))).Should().Be((1, "10.20.0.3"));
        _lab.Forget();
        _db.Send(Arp(Db, "10.20.0.3", ServerAddress, 2, Server));
        _web.Send(Udp(Web, WebAddress, 5555, ServerAddress, 53, question));
        Only(_uplink)[13].Should().Be(0x06, "a machine said that it is the nameserver, and is not believed");
        _uplink.Send(Arp(s_router, "10.20.0.3", ServerAddress, 2, Server));
        _web.Send(Udp(Web, WebAddress, 5555, ServerAddress, 53, question));
        byte[] asked = Only(_uplink);
        _lab.Forget();
        (MacAddress.Read(asked), SourceOf(asked), Packets.SumsAreRight(asked)).Should().Be((s_router, ServerAddress, true));
        int port = BinaryPrimitives.ReadUInt16BigEndian(asked.AsSpan(34));
        byte[] answer = asked[42..];
        answer[2] |= 0x80;
        _db.Send(Udp(Db, "10.20.0.3", 53, ServerAddress, port, answer));
        _uplink.Send(Udp(s_router, "10.20.0.3", 53, ServerAddress, port, [(byte)~answer[0], .. answer[1..]]));
        _uplink.Send(Udp(s_router, "10.20.0.3", 53, ServerAddress, port, answer[..11]));
        _web.Take().Should().BeEmpty();
        _uplink.Send(Udp(s_router, "10.20.0.3", 53, ServerAddress, port, answer));
        byte[] got = Only(_web);
        (SourceOf(got), BinaryPrimitives.ReadUInt16BigEndian(got.AsSpan(42)), BinaryPrimitives.ReadUInt16BigEndian(got.AsSpan(36))).Should().Be((ServerAddress, (ushort)0x4711, (ushort)5555));
        _uplink.Send(Udp(s_router, "10.20.0.3", 53, ServerAddress, port, answer));
        _web.Take().Should().BeEmpty("a question has one answer");
    }

    [Fact]
    public void A_service_is_reached_through_the_switch_as_the_rules_about_its_machines_say()
    {
        byte[] syn = With(Web, Server, Packets.TcpFrame(WebAddress, 40_000, ServiceAddress, 80));
        _web.Send(syn);
        _db.Take().Should().BeEmpty("nobody heard of it yet");
        _services.Ask();
        _web.Take();
        _db.Send(Answered(Packets.Syn | Packets.Ack));
        byte[] reset = Only(_db);
        (SourceOf(reset), reset[47], Packets.SumsAreRight(reset)).Should().Be((ServerAddress, Packets.Reset, true), "nobody there hears of a connection that was not meant");
        _web.Send(syn);
        byte[] arrived = Only(_db);
        (Text(BinaryPrimitives.ReadUInt32BigEndian(arrived.AsSpan(30))), SourceOf(arrived), Packets.SumsAreRight(arrived)).Should().Be((DbAddress, WebAddress, true));
        _db.Send(With(Db, Web, Packets.TcpFrame(DbAddress, 8080, WebAddress, 40_000, Packets.Syn | Packets.Ack)));
        byte[] answer = Only(_web);
        (SourceOf(answer), Packets.SumsAreRight(answer)).Should().Be((ServiceAddress, true));
        // A stranger's question is sent on, and refused: no rule is about it.
        _guest.Send(With(Guest, Server, Packets.TcpFrame("10.20.0.77", 40_000, ServiceAddress, 80)));
        _db.Take().Should().BeEmpty();
        _guest.Port.Dropped(SwitchDrop.Policy).Should().Be(1);
    }

    [Fact]
    public void A_machine_that_is_silent_or_gone_serves_no_more()
    {
        void Hear()
        {
            _web.Send(Arp(Web, WebAddress, ServerAddress, 2, Server));
            _services.Services.IsHealthy("web").Should().BeTrue();
        }

        _guest.Send(Arp(Guest, WebAddress, ServerAddress, 2, Server));
        _services.Services.IsHealthy("web").Should().BeFalse("another said so");
        Hear();
        _lab.Time.Advance(TimeSpan.FromSeconds(6));
        _services.Ask();
        _services.Services.IsHealthy("web").Should().BeTrue();
        _lab.Time.Advance(TimeSpan.FromSeconds(4));
        _services.Ask();
        _services.Services.IsHealthy("web").Should().BeFalse();
        Hear();
        _web.Port.Dispose();
        _services.Services.IsHealthy("web").Should().BeFalse();
    }

    [Fact]
    public void A_machine_serves_by_TCP_as_long_as_it_takes_connections()
    {
        void Hear(byte flags, bool serves, string because = "", uint off = 0)
        {
            _services.Ask();
            _db.Send(Answered(flags, off));
            _services.Services.IsHealthy("db").Should().Be(serves, because);
        }

        _db.Send(Arp(Db, DbAddress, ServerAddress, 2, Server));
        _services.Services.IsHealthy("db").Should().BeFalse("a machine that is there need not serve");
        Hear(Packets.Syn | Packets.Ack, false, "that is no answer to what was asked", off: 1);
        Hear(Packets.Syn, false, "that is a question");
        Hear(Packets.Ack, false, "that is no connection's beginning");
        Hear(Packets.Syn | Packets.Ack, true);
        Hear(Packets.Reset, true, "anybody may send that");
        Hear(Packets.Reset | Packets.Ack, false, "it was refused");
        Hear(Packets.Syn | Packets.Ack, true);
        _lab.Time.Advance(TimeSpan.FromSeconds(6));
        _services.Ask();
        _services.Services.IsHealthy("db").Should().BeTrue();
        _lab.Time.Advance(TimeSpan.FromSeconds(4));
        _db.Send(Arp(Db, DbAddress, ServerAddress, 2, Server));
        _services.Ask();
        _services.Services.IsHealthy("db").Should().BeFalse("it is there and takes no connections");
        Hear(Packets.Syn | Packets.Ack, true);
        _services.Ask();
        byte[] foreign = Answered(Packets.Reset | Packets.Ack);
        Web.Write(foreign.AsSpan(NetHeader.Size + 6));
        _web.Send(foreign);
        _services.Services.IsHealthy("db").Should().BeTrue("another said so");
        _db.Port.Dispose();
        _services.Services.IsHealthy("db").Should().BeFalse();
    }

    [Fact]
    public void A_machine_of_a_vlan_is_asked_with_its_tag()
    {
        _services.Ask();
        var asked = _guest.Take().Select(f => f[NetHeader.Size..]).ToList();
        asked.Should().HaveCount(2).And.OnlyContain(f => f[12] == 0x81 && f[15] == 5, "by ARP and by TCP");
        byte[] question = asked[1];
        byte[] answer = With(Guest, Server, Packets.TcpFrame("10.20.0.77", 81, ServerAddress, BinaryPrimitives.ReadUInt16BigEndian(question.AsSpan(38)), Packets.Syn | Packets.Ack));
        BinaryPrimitives.WriteUInt32BigEndian(answer.AsSpan(NetHeader.Size + 42), BinaryPrimitives.ReadUInt32BigEndian(question.AsSpan(42)) + 1);
        _guest.Send([.. answer[..24], 0x81, 0, 0, 5, .. answer[24..]]);
        _services.Services.IsHealthy("guest").Should().BeTrue();
        byte[] reset = Only(_guest);
        (reset[15], reset[51]).Should().Be(((byte)5, Packets.Reset));
    }

    [Fact]
    public void What_nobody_asked_for_is_not_answered()
    {
        byte[] dns = Dns("web");
        byte[][] frames =
        [
            With(Web, MacAddress.Broadcast, Packets.UdpFrame(WebAddress, 5555, ServerAddress, 53, dns)),
            Udp(Web, WebAddress, 5555, ServerAddress, 54, dns),
            Udp(Web, WebAddress, 5555, ServiceAddress, 53, dns),
            Udp(Web, "10.20.0.3", 53, ServerAddress, 5, dns),
            With(Web, Server, Packets.Echo(WebAddress, DbAddress, 1)),
            With(Web, Server, Packets.Echo(WebAddress, ServerAddress, 1, reply: true)),
            With(Web, Server, Packets.Echo("192.0.2.1", ServerAddress, 1)),
            With(Web, Server, Packets.TcpFrame(WebAddress, 1, ServerAddress, 53)),
            With(Web, Server, Packets.Ethernet(0x0800, [])),
            With(Web, Server, Packets.Ethernet(0x0806, new byte[27])),
            Arp(Web, ServerAddress, ServiceAddress),
            With(Web, Server, Packets.UdpFrame("0.0.0.0", 68, "10.20.0.9", 67, Dhcp(Web, 1))),
            With(Web, Server, Packets.UdpFrame(WebAddress, 5555, ServerAddress, 53, new byte[1600])),
        ];
        foreach (byte[] frame in frames)
            _web.Send(frame);
        _web.Take().Should().BeEmpty();
        _services.Responder.Ignored.Should().BeGreaterThanOrEqualTo(frames.Length);
    }

    [Fact]
    public void Nothing_is_allocated_for_a_frame()
    {
        byte[][] frames = [Arp(Web, WebAddress, ServerAddress), Udp(Web, WebAddress, 5555, ServerAddress, 53, Dns("db.lab")), Udp(Web, WebAddress, 5555, ServerAddress, 53, Dns("x.example")),
            With(Web, Server, Packets.Echo(WebAddress, ServerAddress, 1)), With(Web, Server, Packets.TcpFrame(WebAddress, 8080, ServerAddress, 50_000, Packets.Syn | Packets.Ack))];
        byte[] frame = new byte[400];
        Allocation.Of(i =>
        {
            int length = frames[i % frames.Length].Length;
            frames[i % frames.Length].CopyTo(frame, 0);
            _web.Port.Send(frame.AsSpan(0, length));
            while (!_web.Port.Peek().IsEmpty)
                _web.Port.Take();
            while (!_uplink.Port.Peek().IsEmpty)
                _uplink.Port.Take();
        }).Should().Be(0);
    }
}
