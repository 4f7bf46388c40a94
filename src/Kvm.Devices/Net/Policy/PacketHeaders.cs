using System.Buffers.Binary;

namespace Kvm.Devices.Net.Policy;

/// <summary>What a frame is, as far as its headers say.</summary>
public enum PacketKind
{
    /// <summary>IP with a whole header above it: it belongs to a flow.</summary>
    Flow,

    /// <summary>An error about a packet of a flow, which is the key.</summary>
    Error,

    /// <summary>ARP over Ethernet and IPv4.</summary>
    Arp,

    /// <summary>IPv6's neighbours, routers and listeners of groups (RFC 4861, RFC 3810).</summary>
    Neighbour,

    /// <summary>A part of a packet: its ports are elsewhere.</summary>
    Fragment,

    /// <summary>Neither ARP nor IP.</summary>
    Other,

    /// <summary>It ends before its headers do.</summary>
    Truncated,

    /// <summary>Headers that contradict themselves.</summary>
    Malformed,

    /// <summary>More headers of IPv6, or tags, than anybody needs.</summary>
    TooManyHeaders,
}

/// <summary>
/// A frame's headers, read with bounds: Ethernet, up to two VLAN tags, ARP, IPv4, IPv6 with up to four extension headers, TCP, UDP, ICMP. A pure function of the frame;
/// allocates nothing. What is not certain is no <see cref="PacketKind.Flow"/>.
/// </summary>
public ref struct PacketHeaders
{
    /// <summary>The most VLAN tags, and the most extension headers of an IPv6 packet.</summary>
    public const int MostTags = 2, MostExtensions = 4;

    /// <summary>Numbers of protocols.</summary>
    public const byte Icmp = 1, Tcp = 6, Udp = 17, Icmp6 = 58;

    /// <summary>Flags of TCP (RFC 9293, 3.1).</summary>
    public const byte Fin = 1, Syn = 2, Reset = 4, Acknowledge = 16;

    internal const ushort EtherArp = 0x0806, EtherIpv4 = 0x0800, EtherIpv6 = 0x86dd, EtherVlan = 0x8100, EtherProvider = 0x88a8;
    private const byte HopByHop = 0, Routing = 43, FragmentHeader = 44, Authentication = 51, DestinationOptions = 60;
    private const int MostOptions = 40;

    private ReadOnlySpan<byte> _frame;
    private int _end;

    /// <summary>The flow of <see cref="PacketKind.Flow"/> and <see cref="PacketKind.Error"/>.</summary>
    public FlowKey Key { get; private set; }

    /// <summary>The flags, of TCP.</summary>
    public byte TcpFlags { get; private set; }

    /// <summary>Where ARP or IP begins, counted from the frame's beginning.</summary>
    public int NetworkOffset { get; private set; }

    /// <summary>Where the header above IP begins.</summary>
    public int TransportOffset { get; private set; }

    /// <summary>The VLAN's number, of the outer tag; 0 is none.</summary>
    public ushort Vlan { get; private set; }

    /// <summary>Reads a frame.</summary>
    /// <param name="frame">The Ethernet frame, or as much of its beginning as holds its headers.</param>
    /// <param name="headers">What was found.</param>
    public static PacketKind Parse(ReadOnlySpan<byte> frame, out PacketHeaders headers)
    {
        headers = default;
        headers._frame = frame;
        int at = NetHeader.EthernetSize - 2;
        for (int tags = 0; ; tags++)
        {
            if (at > frame.Length - 2)
                return PacketKind.Truncated;
            ushort type = headers.U16(at);
            at += 2;
            if (type is EtherVlan or EtherProvider)
            {
                if (tags == MostTags)
                    return PacketKind.TooManyHeaders;
                if (at > frame.Length - 2)
                    return PacketKind.Truncated;
                if (tags == 0)
                    headers.Vlan = (ushort)(headers.U16(at) & 0xfff);
                at += 2;
                continue;
            }

            headers.NetworkOffset = at;
            return type switch
            {
                EtherIpv4 => headers.ReadIpv4(at, embedded: false),
                EtherIpv6 => headers.ReadIpv6(at, embedded: false),
                EtherArp => headers.ReadArp(at),
                _ => PacketKind.Other,
            };
        }
    }

    private readonly ushort U16(int at) => BinaryPrimitives.ReadUInt16BigEndian(_frame[at..]);

    // RFC 826: Ethernet's and IPv4's addresses, a question or an answer.
    private readonly PacketKind ReadArp(int at)
    {
        if (_frame.Length - at < 28)
            return PacketKind.Truncated;
        return U16(at) == 1 && U16(at + 2) == EtherIpv4 && _frame[at + 4] == 6 && _frame[at + 5] == 4 && U16(at + 6) is 1 or 2 ? PacketKind.Arp : PacketKind.Malformed;
    }

    private PacketKind ReadIpv4(int at, bool embedded)
    {
        if (_frame.Length - at < 20)
            return PacketKind.Truncated;
        int header = (_frame[at] & 15) * 4, total = U16(at + 2);
        if (_frame[at] >> 4 != 4 || header < 20 || total < header)
            return PacketKind.Malformed;
        if (header > _frame.Length - at)
            return PacketKind.Truncated;
        // RFC 791: the lower 13 bits are the fragment's place, the bit above them says that more follow.
        if ((U16(at + 6) & 0x3fff) != 0)
            return PacketKind.Fragment;
        _end = at + total;
        uint from = BinaryPrimitives.ReadUInt32BigEndian(_frame[(at + 12)..]), to = BinaryPrimitives.ReadUInt32BigEndian(_frame[(at + 16)..]);
        return ReadTransport(at + header, new FlowKey(from, to, 0, 0, _frame[at + 9], 4), embedded);
    }

    private PacketKind ReadIpv6(int at, bool embedded)
    {
        if (_frame.Length - at < 40)
            return PacketKind.Truncated;
        if (_frame[at] >> 4 != 6)
            return PacketKind.Malformed;
        var from = BinaryPrimitives.ReadUInt128BigEndian(_frame[(at + 8)..]);
        var to = BinaryPrimitives.ReadUInt128BigEndian(_frame[(at + 24)..]);
        byte next = _frame[at + 6];
        bool nearby = _frame[at + 7] == byte.MaxValue;
        _end = at + 40 + U16(at + 4);
        at += 40;
        for (int extensions = 0; next is HopByHop or Routing or Authentication or DestinationOptions or FragmentHeader; extensions++)
        {
            if (next == FragmentHeader)
                return PacketKind.Fragment;
            if (extensions == MostExtensions)
                return PacketKind.TooManyHeaders;
            if (_end - at < 8)
                return PacketKind.Malformed;
            if (_frame.Length - at < 8)
                return PacketKind.Truncated;
            // RFC 5095: who lets the sender choose the route lets it choose the receiver.
            if (next == Routing && _frame[at + 2] == 0)
                return PacketKind.Malformed;
            int length = next == Authentication ? (_frame[at + 1] + 2) * 4 : (_frame[at + 1] + 1) * 8;
            if (length > _end - at)
                return PacketKind.Malformed;
            next = _frame[at];
            at += length;
        }

        var kind = ReadTransport(at, new FlowKey(from, to, 0, 0, next, 6), embedded);
        // RFC 4861, 6.1 and 7.1: what came through a router is nobody's neighbour; listeners (130 to 132, 143) say 1 instead.
        return kind == PacketKind.Neighbour && !nearby && _frame[TransportOffset] is >= 133 and <= 137 ? PacketKind.Malformed : kind;
    }

    private PacketKind ReadTransport(int at, FlowKey key, bool embedded)
    {
        Key = key;
        if (!embedded)
            TransportOffset = at;
        int least = key.Protocol switch
        {
            // Of a packet that an error is about there is little more than the ports (RFC 792).
            Tcp => embedded ? 8 : 20,
            Udp or Icmp or Icmp6 => 8,
            _ => 0,
        };
        if (_end - at < least)
            return PacketKind.Malformed;
        if (_frame.Length - at < least)
            return PacketKind.Truncated;
        switch (key.Protocol)
        {
            case Tcp or Udp:
                Key = key with { SourcePort = U16(at), DestinationPort = U16(at + 2) };
                return embedded ? PacketKind.Flow : key.Protocol == Tcp ? ReadTcp(at) : ReadUdp(at);
            case Icmp when key.Version == 4:
                return ReadIcmp(at, key, embedded);
            case Icmp6 when key.Version == 6:
                return ReadIcmp6(at, key, embedded);
            default:
                return PacketKind.Flow;
        }
    }

    private PacketKind ReadTcp(int at)
    {
        TcpFlags = _frame[at + 13];
        int header = (_frame[at + 12] >> 4) * 4;
        if (header < 20 || header > _end - at)
            return PacketKind.Malformed;
        if (header == 20)
            return PacketKind.Flow;
        if (header > _frame.Length - at)
            return PacketKind.Truncated;
        var options = _frame[(at + 20)..(at + header)];
        // What nearly every segment has: a time stamp behind two bytes of padding.
        return (options.Length == 12 && BinaryPrimitives.ReadUInt32BigEndian(options) == 0x0101_080a) || AreOptions(options) ? PacketKind.Flow : PacketKind.Malformed;
    }

    // RFC 9293, 3.2: 0 ends them, 1 has no length, a length counts its own two bytes.
    private static bool AreOptions(ReadOnlySpan<byte> options)
    {
        for (int at = 0; at < options.Length && at < MostOptions && options[at] != 0;)
        {
            if (options[at] == 1)
            {
                at++;
                continue;
            }

            if (options.Length - at < 2 || options[at + 1] < 2 || options[at + 1] > options.Length - at)
                return false;
            at += options[at + 1];
        }

        return true;
    }

    private readonly PacketKind ReadUdp(int at)
    {
        int length = U16(at + 4);
        return length >= 8 && length <= _end - at ? PacketKind.Flow : PacketKind.Malformed;
    }

    private PacketKind ReadIcmp(int at, FlowKey key, bool embedded)
    {
        switch (_frame[at])
        {
            case 8:
                Key = key with { SourcePort = U16(at + 4), DestinationPort = FlowKey.EchoPort };
                return PacketKind.Flow;
            case 0:
                Key = key with { SourcePort = FlowKey.EchoPort, DestinationPort = U16(at + 4) };
                return PacketKind.Flow;
            case 3 or 11 or 12 when !embedded:
                return Embedded(at + 8, key.Version);
            // A redirection chooses a route for somebody else: nobody needs it here.
            case 5:
                return PacketKind.Malformed;
            default:
                return embedded ? PacketKind.Malformed : PacketKind.Flow;
        }
    }

    private PacketKind ReadIcmp6(int at, FlowKey key, bool embedded)
    {
        switch (_frame[at])
        {
            case 128:
                Key = key with { SourcePort = U16(at + 4), DestinationPort = FlowKey.EchoPort };
                return PacketKind.Flow;
            case 129:
                Key = key with { SourcePort = FlowKey.EchoPort, DestinationPort = U16(at + 4) };
                return PacketKind.Flow;
            case >= 1 and <= 4 when !embedded:
                return Embedded(at + 8, key.Version);
            case >= 130 and <= 136 or 143 when !embedded:
                return PacketKind.Neighbour;
            case 137:
                return PacketKind.Malformed;
            default:
                return embedded ? PacketKind.Malformed : PacketKind.Flow;
        }
    }

    private PacketKind Embedded(int at, byte version)
    {
        // What pads a short frame is no part of the packet.
        _frame = _frame[..Math.Min(_frame.Length, _end)];
        var about = version == 4 ? ReadIpv4(at, embedded: true) : ReadIpv6(at, embedded: true);
        return about == PacketKind.Flow ? PacketKind.Error : about;
    }
}
