using System.Buffers.Binary;

namespace Kvm.Devices.Net;

/// <summary>What is to become of a frame that a guest sends to a user-mode network.</summary>
public enum GuardVerdict
{
    /// <summary>It goes nowhere.</summary>
    Refused,

    /// <summary>It may go on.</summary>
    Passed,

    /// <summary>It may go on, and may take a socket of the host's: the first of a connection, or a datagram.</summary>
    Opening,
}

/// <summary>A port of the guest's that the host listens for.</summary>
/// <param name="Port">The guest's port.</param>
/// <param name="Udp">UDP instead of TCP.</param>
/// <param name="Ipv6">By IPv6 instead of IPv4.</param>
public readonly record struct GuardedPort(ushort Port, bool Udp, bool Ipv6);

/// <summary>The plan of a user-mode network: who has which address.</summary>
public sealed record UserNetwork
{
    /// <summary>The network's first address and the bits all of it share.</summary>
    public uint Network { get; init; } = 0x0a00_0200;

    /// <summary>Bits of <see cref="Network"/>.</summary>
    public int PrefixLength { get; init; } = 24;

    /// <summary>The gateway; its TCP and UDP ports are those of the host's loopback.</summary>
    public uint Host { get; init; } = 0x0a00_0202;

    /// <summary>Passes questions on to the host's nameserver.</summary>
    public uint Nameserver { get; init; } = 0x0a00_0203;

    /// <summary>The address the guest is given.</summary>
    public uint Guest { get; init; } = 0x0a00_020f;

    /// <summary>The upper half of the IPv6 addresses: fd00::/64.</summary>
    public ulong Prefix6 { get; init; } = 0xfd00_0000_0000_0000;

    /// <summary>Lower half of the gateway's IPv6 address.</summary>
    public ulong Host6 { get; init; } = 2;

    /// <summary>Lower half of the nameserver's.</summary>
    public ulong Nameserver6 { get; init; } = 3;

    /// <summary>The mask of <see cref="PrefixLength"/>.</summary>
    public uint Mask => uint.MaxValue << 32 - PrefixLength;

    /// <summary>An IPv6 address as its 16 bytes.</summary>
    public byte[] Address6(ulong low)
    {
        byte[] bytes = new byte[16];
        BinaryPrimitives.WriteUInt64BigEndian(bytes, Prefix6);
        BinaryPrimitives.WriteUInt64BigEndian(bytes.AsSpan(8), low);
        return bytes;
    }

    /// <summary>The lower half of the IPv6 address a guest makes of its card's (RFC 4291, appendix A).</summary>
    public static ulong InterfaceId(MacAddress card) => (card.Value >> 24 << 40 | 0xff_fe00_0000 | card.Value & 0xff_ffff) ^ 0x0200_0000_0000_0000;
}

/// <summary>
/// Keeps a guest away from the host's loopback and from link-local addresses, by whatever address it tries to reach them: a stack in the host's user space
/// connects to where a packet says, as the host would. Decides by a frame's first bytes, which are a copy the guest cannot change. Who asked the guest by way of a
/// published UDP port is answered for a while. Any thread; allocates nothing.
/// </summary>
/// <param name="network">The plan of the network.</param>
/// <param name="allowed">Ports of the host's loopback that may be reached at the gateway's address; UDP or TCP.</param>
/// <param name="published">The guest's ports that the host listens for, by IPv4 or IPv6.</param>
/// <param name="time">The clock.</param>
public sealed class HostGuard(UserNetwork network, IEnumerable<(ushort Port, bool Udp)> allowed, IReadOnlyList<GuardedPort> published, TimeProvider time)
{
    /// <summary>How long an answer to a published UDP port may take: as long as the stack keeps the way back.</summary>
    public static readonly TimeSpan AnswerTime = TimeSpan.FromMinutes(4);

    private const ushort Arp = 0x0806, Ipv4 = 0x0800, Ipv6 = 0x86dd;
    private const byte Icmp = 1, Tcp = 6, Udp = 17, Icmp6 = 58, HopByHop = 0;
    private const ushort DhcpServer = 67, Dhcp6Server = 547, Dns = 53;

    private volatile HashSet<(ushort, bool)> _allowed = [.. allowed];
    private readonly HashSet<GuardedPort> _published = [.. published];
    private readonly bool _isPublished6 = published.Any(p => p.Ipv6);

    // When, plus one, a port of the host last asked a published one; of use only where there are any.
    private readonly long[] _asked4 = AskedOf(published, ipv6: false), _asked6 = AskedOf(published, ipv6: true);

    /// <summary>From now on these ports of the host's loopback may be reached, and no others. Connections that there are stay.</summary>
    public void Allow(IEnumerable<(ushort Port, bool Udp)> ports) => _allowed = [.. ports];

    /// <summary>A frame is on its way to the guest: it may be a question that can be answered.</summary>
    /// <param name="frame">The Ethernet frame.</param>
    public void Note(ReadOnlySpan<byte> frame)
    {
        if (_asked4.Length + _asked6.Length == 0 || frame.Length < 42)
            return;
        ushort type = BinaryPrimitives.ReadUInt16BigEndian(frame[12..]);
        if (type == Ipv4 && frame[14] == 0x45 && frame[23] == Udp && BinaryPrimitives.ReadUInt32BigEndian(frame[26..]) == network.Host)
            NoteQuestion(frame[34..], _asked4, ipv6: false);
        else if (type == Ipv6 && frame.Length >= 62 && frame[20] == Udp && IsHost6(BinaryPrimitives.ReadUInt64BigEndian(frame[22..]), BinaryPrimitives.ReadUInt64BigEndian(frame[30..])))
            NoteQuestion(frame[54..], _asked6, ipv6: true);
    }

    private void NoteQuestion(ReadOnlySpan<byte> udp, long[] asked, bool ipv6)
    {
        if (asked.Length != 0 && _published.Contains(new GuardedPort(BinaryPrimitives.ReadUInt16BigEndian(udp[2..]), true, ipv6)))
            Volatile.Write(ref asked[BinaryPrimitives.ReadUInt16BigEndian(udp)], time.GetTimestamp() + 1);
    }

    // passt gives the loopback's questions an address of the link.
    private bool IsHost6(ulong high, ulong low) => (high == network.Prefix6 && low == network.Host6) || IsLinkLocal(high);

    private static bool IsLinkLocal(ulong high) => high >> 54 == 0xfe80 >> 6;

    private static long[] AskedOf(IReadOnlyList<GuardedPort> published, bool ipv6) => published.Any(p => p.Udp && p.Ipv6 == ipv6) ? new long[ushort.MaxValue + 1] : [];

    /// <summary>Decides.</summary>
    /// <param name="head">The Ethernet frame, or its first <see cref="INetworkBackend.HeadBytes"/>.</param>
    public GuardVerdict Judge(ReadOnlySpan<byte> head)
    {
        if (head.Length < NetHeader.EthernetSize)
            return GuardVerdict.Refused;
        var packet = head[NetHeader.EthernetSize..];
        return BinaryPrimitives.ReadUInt16BigEndian(head[12..]) switch
        {
            Arp => GuardVerdict.Passed,
            Ipv4 => JudgeIpv4(packet),
            Ipv6 => JudgeIpv6(packet),
            _ => GuardVerdict.Refused,
        };
    }

    private GuardVerdict JudgeIpv4(ReadOnlySpan<byte> packet)
    {
        if (packet.Length < 20 || packet[0] >> 4 != 4)
            return GuardVerdict.Refused;
        int header = (packet[0] & 15) * 4;
        if (header < 20 || header > packet.Length)
            return GuardVerdict.Refused;
        uint to = BinaryPrimitives.ReadUInt32BigEndian(packet[16..]);
        // RFC 791: the lower 13 bits are the fragment's place, the bit above them says that more follow.
        bool fragment = (BinaryPrimitives.ReadUInt16BigEndian(packet[6..]) & 0x3fff) != 0;
        byte protocol = packet[9];
        var payload = packet[header..];
        if (to == network.Host || to == network.Nameserver || to == uint.MaxValue)
            return fragment ? GuardVerdict.Refused : ToService(protocol, payload, to == network.Host, to == network.Nameserver, (DhcpServer, Icmp, _asked4));
        return (to & network.Mask) == network.Network || IsLocal(to) ? GuardVerdict.Refused : Verdict(protocol, payload);
    }

    // This host, loopback, link-local (RFC 6890), groups and what is reserved: nothing that is behind a router.
    private static bool IsLocal(uint to) => to >> 24 is 0 or 127 or >= 224 || to >> 16 == 0xa9fe;

    private GuardVerdict JudgeIpv6(ReadOnlySpan<byte> packet)
    {
        if (packet.Length < 40 || packet[0] >> 4 != 6)
            return GuardVerdict.Refused;
        byte protocol = packet[6];
        var payload = packet[40..];
        ulong high = BinaryPrimitives.ReadUInt64BigEndian(packet[24..]), low = BinaryPrimitives.ReadUInt64BigEndian(packet[32..]);
        byte first = packet[24];
        // Groups: neighbours, routers, listeners, DHCP.
        if (first == 0xff)
            return protocol is Icmp6 or HopByHop || (protocol == Udp && PortOf(payload) == Dhcp6Server) ? GuardVerdict.Passed : GuardVerdict.Refused;
        if (high == network.Prefix6 && (low == network.Host6 || low == network.Nameserver6))
            return ToService(protocol, payload, low == network.Host6, low == network.Nameserver6, (Dhcp6Server, Icmp6, _asked6));
        if (high == network.Prefix6 || IsLinkLocal(high))
            return protocol == Icmp6 ? GuardVerdict.Passed : _isPublished6 && IsLinkLocal(high) && IsAnswer(protocol, payload, _asked6) ? Verdict(protocol, payload) : GuardVerdict.Refused;
        // ::/8 holds the loopback, the unspecified address and IPv4's addresses in other forms.
        return first == 0 ? GuardVerdict.Refused : Verdict(protocol, payload);
    }

    /// <summary>One of the network's own addresses, or all of its members: what is not asked for by its protocol and port is not to be had.</summary>
    private GuardVerdict ToService(byte protocol, ReadOnlySpan<byte> payload, bool host, bool nameserver, (ushort Dhcp, byte Icmp, long[] Asked) family)
    {
        int port = PortOf(payload);
        var verdict = Verdict(protocol, payload);
        if (protocol == family.Icmp)
            return host || nameserver ? verdict : GuardVerdict.Refused;
        if (protocol is not (Tcp or Udp) || port < 0)
            return GuardVerdict.Refused;
        bool passes = (nameserver && port == Dns) || (!nameserver && protocol == Udp && port == family.Dhcp)
            || (host && (_allowed.Contains(((ushort)port, protocol == Udp)) || IsAnswer(protocol, payload, family.Asked)));
        return passes ? verdict : GuardVerdict.Refused;
    }

    /// <summary>A segment that begins no connection belongs to one that the host began, or to none; a datagram comes from a published port and goes to who asked.</summary>
    private bool IsAnswer(byte protocol, ReadOnlySpan<byte> payload, long[] asked)
    {
        if (protocol == Tcp)
            return Verdict(protocol, payload) == GuardVerdict.Passed && payload.Length >= 14;
        return protocol == Udp && asked.Length != 0 && payload.Length >= 4 && _published.Contains(new GuardedPort(BinaryPrimitives.ReadUInt16BigEndian(payload), true, ReferenceEquals(asked, _asked6)))
            && Volatile.Read(ref asked[BinaryPrimitives.ReadUInt16BigEndian(payload[2..])]) is not 0 and var when && time.GetElapsedTime(when - 1) < AnswerTime;
    }

    private static GuardVerdict Verdict(byte protocol, ReadOnlySpan<byte> payload) => protocol switch
    {
        // RFC 9293, 3.1: of the flags SYN is 2, ACK 16.
        Tcp => payload.Length >= 14 && (payload[13] & 0x12) == 0x02 ? GuardVerdict.Opening : GuardVerdict.Passed,
        Udp or Icmp => GuardVerdict.Opening,
        _ => GuardVerdict.Passed,
    };

    private static int PortOf(ReadOnlySpan<byte> payload) => payload.Length >= 4 ? BinaryPrimitives.ReadUInt16BigEndian(payload[2..]) : -1;
}
