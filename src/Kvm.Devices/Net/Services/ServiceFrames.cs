using System.Buffers.Binary;
using Kvm.Devices.Net.Policy;

namespace Kvm.Devices.Net.Services;

/// <summary>Frames that services send: header, Ethernet with the tags of who is answered, ARP or IPv4 with UDP or TCP. Pure functions; allocate nothing.</summary>
internal static class ServiceFrames
{
    public const int ArpBytes = 28, Ipv4Bytes = 20, UdpBytes = 8, TcpBytes = 20;

    /// <summary>ARP's operations (RFC 826).</summary>
    public const ushort ArpQuestion = 1, ArpReply = 2;

    /// <summary>Begins an answer to a frame, by the VLAN it came by.</summary>
    /// <param name="question">The frame, without header.</param>
    /// <param name="network">Where its ARP or IP begins.</param>
    /// <param name="from">Who answers.</param>
    /// <param name="to">Who is answered.</param>
    /// <param name="frame">The answer, header first.</param>
    /// <returns>What follows Ethernet's header.</returns>
    public static Span<byte> Begin(ReadOnlySpan<byte> question, int network, MacAddress from, MacAddress to, Span<byte> frame)
    {
        frame[..NetHeader.Size].Clear();
        var ethernet = frame[NetHeader.Size..];
        to.Write(ethernet);
        from.Write(ethernet[MacAddress.Size..]);
        question[(2 * MacAddress.Size)..network].CopyTo(ethernet[(2 * MacAddress.Size)..]);
        return ethernet[network..];
    }

    /// <summary>Begins a frame of VLAN 0: without a tag.</summary>
    public static Span<byte> Begin(ushort type, MacAddress from, MacAddress to, Span<byte> frame)
    {
        frame[..NetHeader.Size].Clear();
        return WriteEthernet(frame[NetHeader.Size..], type, from, to);
    }

    /// <summary>Writes Ethernet's header; returns what follows it.</summary>
    public static Span<byte> WriteEthernet(Span<byte> ethernet, ushort type, MacAddress from, MacAddress to)
    {
        to.Write(ethernet);
        from.Write(ethernet[MacAddress.Size..]);
        BinaryPrimitives.WriteUInt16BigEndian(ethernet[(2 * MacAddress.Size)..], type);
        return ethernet[NetHeader.EthernetSize..];
    }

    /// <summary>Puts VLAN <paramref name="vlan"/>'s tag into a frame of none.</summary>
    /// <param name="frame">The frame, header first, with room for four bytes more.</param>
    /// <param name="length">Its length.</param>
    /// <param name="vlan">The VLAN.</param>
    /// <returns>Its length now.</returns>
    public static int Tag(Span<byte> frame, int length, int vlan)
    {
        const int at = NetHeader.Size + 2 * MacAddress.Size;
        frame[at..length].CopyTo(frame[(at + 4)..]);
        BinaryPrimitives.WriteUInt16BigEndian(frame[at..], PacketHeaders.EtherVlan);
        BinaryPrimitives.WriteUInt16BigEndian(frame[(at + 2)..], (ushort)vlan);
        return length + 4;
    }

    /// <summary>Writes ARP of Ethernet and IPv4 (RFC 826).</summary>
    public static void WriteArp(Span<byte> arp, ushort operation, MacAddress fromMac, uint from, MacAddress toMac, uint to)
    {
        BinaryPrimitives.WriteUInt64BigEndian(arp, 0x0001_0800_0604_0000UL | operation);
        fromMac.Write(arp[8..]);
        BinaryPrimitives.WriteUInt32BigEndian(arp[14..], from);
        toMac.Write(arp[18..]);
        BinaryPrimitives.WriteUInt32BigEndian(arp[24..], to);
    }

    /// <summary>Writes IPv4's and UDP's headers before a payload that is there already; returns the packet's length.</summary>
    public static int WriteUdp(Span<byte> packet, uint from, ushort fromPort, uint to, ushort toPort, int payload)
    {
        int total = WriteIpv4(packet, from, to, PacketHeaders.Udp, UdpBytes + payload);
        var udp = packet[Ipv4Bytes..total];
        BinaryPrimitives.WriteUInt16BigEndian(udp, fromPort);
        BinaryPrimitives.WriteUInt16BigEndian(udp[2..], toPort);
        BinaryPrimitives.WriteUInt16BigEndian(udp[4..], (ushort)udp.Length);
        BinaryPrimitives.WriteUInt16BigEndian(udp[6..], 0);
        InternetChecksum.Write(InternetChecksum.Add(udp, InternetChecksum.PseudoHeader(from, to, PacketHeaders.Udp, udp.Length)), udp[6..], neverZero: true);
        return total;
    }

    /// <summary>Writes IPv4's header and a segment of TCP without data, which acknowledges nothing (RFC 9293, 3.1); returns the packet's length.</summary>
    public static int WriteTcp(Span<byte> packet, (uint Address, ushort Port) from, (uint Address, ushort Port) to, uint sequence, byte flags)
    {
        int total = WriteIpv4(packet, from.Address, to.Address, PacketHeaders.Tcp, TcpBytes);
        var tcp = packet[Ipv4Bytes..total];
        tcp.Clear();
        BinaryPrimitives.WriteUInt16BigEndian(tcp, from.Port);
        BinaryPrimitives.WriteUInt16BigEndian(tcp[2..], to.Port);
        BinaryPrimitives.WriteUInt32BigEndian(tcp[4..], sequence);
        (tcp[12], tcp[13]) = (TcpBytes / 4 << 4, flags);
        BinaryPrimitives.WriteUInt16BigEndian(tcp[14..], (flags & PacketHeaders.Syn) != 0 ? ushort.MaxValue : (ushort)0);
        InternetChecksum.Write(InternetChecksum.Add(tcp, InternetChecksum.PseudoHeader(from.Address, to.Address, PacketHeaders.Tcp, tcp.Length)), tcp[16..], neverZero: false);
        return total;
    }

    /// <summary>Writes IPv4's header (RFC 791).</summary>
    public static int WriteIpv4(Span<byte> packet, uint from, uint to, byte protocol, int payload)
    {
        int total = Ipv4Bytes + payload;
        BinaryPrimitives.WriteUInt32BigEndian(packet, 0x4500_0000 | (uint)total);
        BinaryPrimitives.WriteUInt32BigEndian(packet[4..], 0x0000_4000); // not to be cut, so it needs no number (RFC 6864)
        BinaryPrimitives.WriteUInt32BigEndian(packet[8..], 64u << 24 | (uint)protocol << 16);
        BinaryPrimitives.WriteUInt32BigEndian(packet[12..], from);
        BinaryPrimitives.WriteUInt32BigEndian(packet[16..], to);
        BinaryPrimitives.WriteUInt16BigEndian(packet[10..], InternetChecksum.Of(packet[..Ipv4Bytes]));
        return total;
    }
}
