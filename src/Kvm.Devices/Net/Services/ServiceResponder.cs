using System.Buffers.Binary;
using Kvm.Devices.Net.Policy;
using Kvm.Devices.Net.Switch;

namespace Kvm.Devices.Net.Services;

/// <summary>
/// What a network's own services say to a frame: ARP for their addresses, echoes, DHCP, DNS, whether machines take connections; questions about other networks go on to a nameserver, and its answers back. To a frame
/// there is one answer at most. One thread at a time; allocates nothing for a frame.
/// </summary>
public sealed class ServiceResponder
{
    /// <summary>The longest frame that is looked at, and the longest answer, header included.</summary>
    public const int MostBytes = NetHeader.Size + 1518;

    // The ports that whoever connects to somebody has (RFC 6335, 6).
    private const ushort FirstProbePort = 49_152, ProbePorts = 16_384;

    private const ushort DhcpServerPort = 67, DhcpClientPort = 68, DnsPort = 53;

    private readonly NetworkPlan _plan;
    private readonly HashSet<uint> _own;
    private readonly DhcpServer _dhcp;
    private readonly DnsResponder _dns;
    private readonly DnsForwarder _forwarder;
    private readonly BackendHealth _health;
    private MacAddress _nextHop;

    /// <summary>Makes the services of a network.</summary>
    /// <param name="plan">The network.</param>
    /// <param name="health">Told of machines that are heard of.</param>
    /// <param name="time">The clock.</param>
    internal ServiceResponder(NetworkPlan plan, BackendHealth health, TimeProvider time)
    {
        (_plan, _own, _health) = (plan, [plan.Server, .. plan.ServiceAddresses], health);
        (_dhcp, _dns, _forwarder) = (new DhcpServer(plan, time), new DnsResponder(plan), new DnsForwarder(time));
    }

    /// <summary>Gives addresses out.</summary>
    public DhcpServer Dhcp => _dhcp;

    /// <summary>Knows names.</summary>
    public DnsResponder Dns => _dns;

    /// <summary>Frames nobody here has a use for.</summary>
    public long Ignored { get; private set; }

    /// <summary>Questions passed on.</summary>
    public long Forwarded { get; private set; }

    /// <summary>The port of the way out: only there the nameserver is believed; negative if there is none.</summary>
    public int UplinkPort { get; set; } = -1;

    private uint NextHop => _plan.Contains(_plan.Nameserver) ? _plan.Nameserver : _plan.Gateway;

    /// <summary>Answers a frame.</summary>
    /// <param name="frame">The Ethernet frame.</param>
    /// <param name="port">The switch's port it came from.</param>
    /// <param name="answer">At least <see cref="MostBytes"/>; header first.</param>
    /// <returns>The answer's length with its header; 0 if there is none.</returns>
    public int Answer(ReadOnlySpan<byte> frame, int port, Span<byte> answer)
    {
        int length = 0;
        if (frame.Length <= MostBytes - NetHeader.Size)
        {
            length = PacketHeaders.Parse(frame, out var packet) switch
            {
                PacketKind.Arp => AnswerArp(frame, packet.NetworkOffset, port, answer),
                PacketKind.Flow when packet.Key.Version == 4 => AnswerIpv4(frame, in packet, port, answer),
                _ => 0,
            };
        }

        if (length == 0)
            Ignored++;
        return length;
    }

    /// <summary>Asks whether an address is there, or where it is.</summary>
    /// <param name="address">The address.</param>
    /// <param name="to">Whose it should be, or everybody.</param>
    /// <param name="vlan">The VLAN to ask in, by its tag; 0 is without.</param>
    /// <param name="frame">At least <see cref="MostBytes"/>; header first.</param>
    /// <returns>The frame's length.</returns>
    public int Ask(uint address, MacAddress to, int vlan, Span<byte> frame)
    {
        var arp = ServiceFrames.Begin(PacketHeaders.EtherArp, _plan.ServerMac, to, frame);
        ServiceFrames.WriteArp(arp, ServiceFrames.ArpQuestion, _plan.ServerMac, _plan.Server, default, address);
        int length = NetHeader.Size + NetHeader.EthernetSize + ServiceFrames.ArpBytes;
        return vlan == 0 ? length : ServiceFrames.Tag(frame, length, vlan);
    }

    /// <summary>Begins a connection to a machine, as somebody who wants to know whether it would be taken, and no more.</summary>
    /// <param name="backend">The machine.</param>
    /// <param name="port">Its port.</param>
    /// <param name="round">How often it was asked.</param>
    /// <param name="frame">At least <see cref="MostBytes"/>; header first.</param>
    /// <returns>The frame's length.</returns>
    public int Probe(ServiceBackend backend, ushort port, uint round, Span<byte> frame)
    {
        var packet = ServiceFrames.Begin(PacketHeaders.EtherIpv4, _plan.ServerMac, backend.Mac, frame);
        ushort from = (ushort)(FirstProbePort + round % ProbePorts);
        int length = NetHeader.Size + NetHeader.EthernetSize + ServiceFrames.WriteTcp(packet, (_plan.Server, from), (backend.Address, port), SequenceOf(from), PacketHeaders.Syn);
        return backend.Vlan == PortOptions.DefaultVlan ? length : ServiceFrames.Tag(frame, length, backend.Vlan);
    }

    // Nothing is kept of a question: its answer says by the port which it was.
    private static uint SequenceOf(ushort port) => unchecked(port * 0x9e37_79b1);

    private int AnswerArp(ReadOnlySpan<byte> frame, int network, int port, Span<byte> answer)
    {
        var arp = frame[network..];
        uint asker = BinaryPrimitives.ReadUInt32BigEndian(arp[14..]), about = BinaryPrimitives.ReadUInt32BigEndian(arp[24..]);
        var mac = MacAddress.Read(arp[8..]);
        if (asker == NextHop && asker != 0 && port == UplinkPort && arp[7] == ServiceFrames.ArpReply)
            _nextHop = mac;
        if (mac == MacAddress.Read(frame[MacAddress.Size..]))
            _health.Heard(asker, mac);
        if (arp[7] != ServiceFrames.ArpQuestion || !_own.Contains(about) || _own.Contains(asker))
            return 0;
        var reply = ServiceFrames.Begin(frame, network, _plan.ServerMac, MacAddress.Read(frame[MacAddress.Size..]), answer);
        ServiceFrames.WriteArp(reply, ServiceFrames.ArpReply, _plan.ServerMac, about, mac, asker);
        return NetHeader.Size + network + ServiceFrames.ArpBytes;
    }

    private int AnswerIpv4(ReadOnlySpan<byte> frame, in PacketHeaders packet, int port, Span<byte> answer)
    {
        var key = packet.Key;
        uint to = (uint)key.Destination;
        bool own = MacAddress.Read(frame) == _plan.ServerMac;
        if (key.Protocol == PacketHeaders.Icmp)
            return own && _own.Contains(to) && key.DestinationPort == FlowKey.EchoPort ? AnswerEcho(frame, in packet, answer) : 0;
        if (key.Protocol == PacketHeaders.Tcp)
            return own && to == _plan.Server ? AnswerTcp(frame, in packet, answer) : 0;
        if (key.Protocol != PacketHeaders.Udp)
            return 0;
        int length = BinaryPrimitives.ReadUInt16BigEndian(frame[(packet.TransportOffset + 4)..]) - ServiceFrames.UdpBytes;
        int data = packet.TransportOffset + ServiceFrames.UdpBytes;
        if (length > frame.Length - data)
            return 0;
        var payload = frame.Slice(data, length);
        if (key is { SourcePort: DhcpClientPort, DestinationPort: DhcpServerPort } && (to == uint.MaxValue || to == _plan.Server))
            return AnswerDhcp(frame, in packet, payload, port, answer);
        if (!own || to != _plan.Server)
            return 0;
        if (key.DestinationPort == DnsPort)
            return AnswerDns(frame, in packet, payload, answer);
        return port == UplinkPort && (uint)key.Source == _plan.Nameserver && key.SourcePort == DnsPort ? PassBack(payload, key.DestinationPort, answer) : 0;
    }

    /// <summary>A connection that was taken is dropped before anybody there hears of it (RFC 9293, 3.10.7.4); one that was refused is not there.</summary>
    private int AnswerTcp(ReadOnlySpan<byte> frame, in PacketHeaders packet, Span<byte> answer)
    {
        var key = packet.Key;
        uint acknowledged = BinaryPrimitives.ReadUInt32BigEndian(frame[(packet.TransportOffset + 8)..]);
        bool taken = (packet.TcpFlags & (PacketHeaders.Syn | PacketHeaders.Reset)) == PacketHeaders.Syn, refused = (packet.TcpFlags & PacketHeaders.Reset) != 0;
        if (key.DestinationPort < FirstProbePort || (packet.TcpFlags & PacketHeaders.Acknowledge) == 0 || acknowledged != unchecked(SequenceOf(key.DestinationPort) + 1) || !(taken || refused))
            return 0;
        var sender = MacAddress.Read(frame[MacAddress.Size..]);
        _health.Heard((uint)key.Source, sender, key.SourcePort, taken);
        if (refused)
            return 0;
        var reply = ServiceFrames.Begin(frame, packet.NetworkOffset, _plan.ServerMac, sender, answer);
        return NetHeader.Size + packet.NetworkOffset
            + ServiceFrames.WriteTcp(reply, (_plan.Server, key.DestinationPort), ((uint)key.Source, key.SourcePort), acknowledged, PacketHeaders.Reset);
    }

    private int AnswerEcho(ReadOnlySpan<byte> frame, in PacketHeaders packet, Span<byte> answer)
    {
        int length = BinaryPrimitives.ReadUInt16BigEndian(frame[(packet.NetworkOffset + 2)..]) - (packet.TransportOffset - packet.NetworkOffset);
        if (length > frame.Length - packet.TransportOffset || !_plan.Contains((uint)packet.Key.Source))
            return 0;
        var reply = ServiceFrames.Begin(frame, packet.NetworkOffset, _plan.ServerMac, MacAddress.Read(frame[MacAddress.Size..]), answer);
        var echo = reply.Slice(ServiceFrames.Ipv4Bytes, length);
        frame.Slice(packet.TransportOffset, length).CopyTo(echo);
        echo[..4].Clear();
        BinaryPrimitives.WriteUInt16BigEndian(echo[2..], InternetChecksum.Of(echo));
        return NetHeader.Size + packet.NetworkOffset + ServiceFrames.WriteIpv4(reply, (uint)packet.Key.Destination, (uint)packet.Key.Source, PacketHeaders.Icmp, length);
    }

    private int AnswerDhcp(ReadOnlySpan<byte> frame, in PacketHeaders packet, ReadOnlySpan<byte> payload, int port, Span<byte> answer)
    {
        var sender = MacAddress.Read(frame[MacAddress.Size..]);
        int headers = packet.NetworkOffset + ServiceFrames.Ipv4Bytes + ServiceFrames.UdpBytes;
        int length = _dhcp.Answer(payload, sender, port, answer[(NetHeader.Size + headers)..]);
        if (length == 0)
            return 0;
        // RFC 2131, 4.1: to all, but to nobody else's card: who has no address yet takes what is for all, and others need not know.
        uint current = BinaryPrimitives.ReadUInt32BigEndian(answer[(NetHeader.Size + headers + 12)..]);
        var reply = ServiceFrames.Begin(frame, packet.NetworkOffset, _plan.ServerMac, sender, answer);
        uint to = current != 0 && _plan.Contains(current) ? current : uint.MaxValue;
        return NetHeader.Size + packet.NetworkOffset + ServiceFrames.WriteUdp(reply, _plan.Server, DhcpServerPort, to, DhcpClientPort, length);
    }

    private int AnswerDns(ReadOnlySpan<byte> frame, in PacketHeaders packet, ReadOnlySpan<byte> payload, Span<byte> answer)
    {
        int headers = packet.NetworkOffset + ServiceFrames.Ipv4Bytes + ServiceFrames.UdpBytes;
        var to = answer[(NetHeader.Size + headers)..];
        switch (_dns.Answer(payload, to, out int length))
        {
            case DnsOutcome.Dropped:
                return 0;
            case DnsOutcome.NotOurs when NextHop != 0 && _plan.Nameserver != 0:
                return PassOn(frame, in packet, payload, answer);
            case DnsOutcome.NotOurs:
                length = DnsResponder.Refuse(payload, to);
                break;
            default:
                break;
        }

        var sender = MacAddress.Read(frame[MacAddress.Size..]);
        var reply = ServiceFrames.Begin(frame, packet.NetworkOffset, _plan.ServerMac, sender, answer);
        return NetHeader.Size + packet.NetworkOffset + ServiceFrames.WriteUdp(reply, _plan.Server, DnsPort, (uint)packet.Key.Source, packet.Key.SourcePort, length);
    }

    /// <summary>Sends a question to the nameserver; as long as nobody knows where that is, asks for it instead, and the client asks again.</summary>
    private int PassOn(ReadOnlySpan<byte> frame, in PacketHeaders packet, ReadOnlySpan<byte> payload, Span<byte> answer)
    {
        if (_nextHop.Value == 0)
            return Ask(NextHop, MacAddress.Broadcast, 0, answer);
        var question = answer[(NetHeader.Size + NetHeader.EthernetSize + ServiceFrames.Ipv4Bytes + ServiceFrames.UdpBytes)..][..payload.Length];
        payload.CopyTo(question);
        var client = new DnsForwarder.Client(MacAddress.Read(frame[MacAddress.Size..]), (uint)packet.Key.Source, packet.Key.SourcePort, packet.NetworkOffset == NetHeader.EthernetSize ? (ushort)0 : packet.Vlan);
        ushort from = _forwarder.Add(in client, question);
        Forwarded++;
        var to = ServiceFrames.Begin(PacketHeaders.EtherIpv4, _plan.ServerMac, _nextHop, answer);
        return NetHeader.Size + NetHeader.EthernetSize + ServiceFrames.WriteUdp(to, _plan.Server, from, _plan.Nameserver, DnsPort, payload.Length);
    }

    private int PassBack(ReadOnlySpan<byte> payload, ushort port, Span<byte> answer)
    {
        if (payload.Length > DnsResponder.MostBytes)
            return 0;
        var copy = answer[(NetHeader.Size + NetHeader.EthernetSize + ServiceFrames.Ipv4Bytes + ServiceFrames.UdpBytes)..][..payload.Length];
        payload.CopyTo(copy);
        if (!_forwarder.TryTake(port, copy, out var client))
            return 0;
        var to = ServiceFrames.Begin(PacketHeaders.EtherIpv4, _plan.ServerMac, client.Mac, answer);
        int length = NetHeader.Size + NetHeader.EthernetSize + ServiceFrames.WriteUdp(to, _plan.Server, DnsPort, client.Address, client.Port, payload.Length);
        return client.Vlan == 0 ? length : ServiceFrames.Tag(answer, length, client.Vlan);
    }
}
