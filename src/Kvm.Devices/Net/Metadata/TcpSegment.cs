using System.Buffers.Binary;
using Kvm.Devices.Net.Policy;
using Kvm.Devices.Net.Services;

namespace Kvm.Devices.Net.Metadata;

/// <summary>Who is at the other end of a connection with this service.</summary>
/// <param name="Mac">The card's address.</param>
/// <param name="Address">IPv4.</param>
/// <param name="Port">TCP's.</param>
internal readonly record struct TcpPeer(MacAddress Mac, uint Address, ushort Port);

/// <summary>A TCP segment over IPv4 over Ethernet (RFC 9293, RFC 791), read from a frame or to be written into one.</summary>
internal ref struct TcpSegment
{
    /// <summary>Bytes of a frame's headers without options.</summary>
    public const int HeadersSize = NetHeader.EthernetSize + IpSize + TcpSize;

    /// <summary>Bytes of the longest headers that a frame can have.</summary>
    public const int MostHeaders = NetHeader.EthernetSize + 60 + 60;

    /// <summary>The payload of a segment whose sender says nothing of what it takes (RFC 9293, 3.7.1), and the most that is sent in one here.</summary>
    public const int DefaultPayload = 536, MostPayload = 1460;

    private const int IpSize = 20, TcpSize = 20, SizeOption = 4;
    private const byte Push = 8;

    public TcpPeer Peer;
    public ushort Port;
    public uint Sequence, Acknowledgement;
    public byte Flags;
    public ushort Window;

    /// <summary>What a SYN says of the largest payload.</summary>
    public int MostTaken;

    /// <summary>What is there of the payload.</summary>
    public ReadOnlySpan<byte> Payload;

    /// <summary>Bytes of the payload, of which those behind <see cref="Payload"/> were left away.</summary>
    public int PayloadLength;

    public readonly bool Has(byte flags) => (Flags & flags) == flags;

    /// <summary>Reads a frame's segment.</summary>
    /// <param name="frame">The Ethernet frame's first bytes: all headers, if they fit the frame.</param>
    /// <param name="length">Bytes of the frame.</param>
    /// <param name="segment">What it says.</param>
    /// <returns>False if it carries none, or a part of one.</returns>
    public static bool TryParse(ReadOnlySpan<byte> frame, int length, out TcpSegment segment)
    {
        segment = default;
        if (frame.Length < HeadersSize || frame[NetHeader.EthernetSize] >> 4 != 4)
            return false;
        var packet = frame[NetHeader.EthernetSize..];
        int header = (packet[0] & 15) * 4, total = BinaryPrimitives.ReadUInt16BigEndian(packet[2..]);
        bool isPart = (BinaryPrimitives.ReadUInt16BigEndian(packet[6..]) & 0x3fff) != 0;
        if (isPart || header < IpSize || packet[9] != PacketHeaders.Tcp || total > length - NetHeader.EthernetSize || total - header < TcpSize || packet.Length - header < TcpSize)
            return false;
        var tcp = packet[header..];
        int offset = (tcp[12] >> 4) * 4;
        if (offset < TcpSize || offset > total - header || offset > tcp.Length)
            return false;
        segment.Peer = new TcpPeer(MacAddress.Read(frame[MacAddress.Size..]), BinaryPrimitives.ReadUInt32BigEndian(packet[12..]), BinaryPrimitives.ReadUInt16BigEndian(tcp));
        segment.Port = BinaryPrimitives.ReadUInt16BigEndian(tcp[2..]);
        segment.Sequence = BinaryPrimitives.ReadUInt32BigEndian(tcp[4..]);
        segment.Acknowledgement = BinaryPrimitives.ReadUInt32BigEndian(tcp[8..]);
        segment.Flags = tcp[13];
        segment.Window = BinaryPrimitives.ReadUInt16BigEndian(tcp[14..]);
        segment.MostTaken = SizeIn(tcp[TcpSize..offset]);
        segment.PayloadLength = total - header - offset;
        segment.Payload = tcp.Slice(offset, Math.Min(segment.PayloadLength, tcp.Length - offset));
        return true;
    }

    /// <summary>Writes an Ethernet frame.</summary>
    /// <param name="frame">Room for <see cref="HeadersSize"/>, an option of 4 bytes and the payload.</param>
    /// <param name="mac">This end's address.</param>
    /// <param name="address">And its IPv4 address.</param>
    /// <param name="payloadLength">Bytes of payload that are already in their place, <see cref="HeadersSize"/> bytes from the beginning.</param>
    /// <returns>Bytes of the frame.</returns>
    public readonly int Write(Span<byte> frame, MacAddress mac, uint address, int payloadLength)
    {
        // What is taken is said with a SYN, which has no payload here.
        int options = Has(PacketHeaders.Syn) ? SizeOption : 0, length = HeadersSize + options + payloadLength;
        var packet = ServiceFrames.WriteEthernet(frame[..length], PacketHeaders.EtherIpv4, mac, Peer.Mac);
        ServiceFrames.WriteIpv4(packet, address, Peer.Address, PacketHeaders.Tcp, packet.Length - IpSize);
        var tcp = packet[IpSize..];
        tcp[..TcpSize].Clear();
        BinaryPrimitives.WriteUInt16BigEndian(tcp, Port);
        BinaryPrimitives.WriteUInt16BigEndian(tcp[2..], Peer.Port);
        BinaryPrimitives.WriteUInt32BigEndian(tcp[4..], Sequence);
        BinaryPrimitives.WriteUInt32BigEndian(tcp[8..], Acknowledgement);
        tcp[12] = (byte)((TcpSize + options) / 4 << 4);
        tcp[13] = (byte)(Flags | (payloadLength > 0 ? Push : 0));
        BinaryPrimitives.WriteUInt16BigEndian(tcp[14..], Window);
        if (options != 0)
            BinaryPrimitives.WriteUInt32BigEndian(tcp[TcpSize..], 0x0204_0000 | MostPayload);
        InternetChecksum.Write(InternetChecksum.Add(tcp, InternetChecksum.PseudoHeader(address, Peer.Address, PacketHeaders.Tcp, tcp.Length)), tcp[16..18]);
        return length;
    }

    /// <summary>The largest payload by a SYN's options (RFC 9293, 3.1): ends at what is no option.</summary>
    private static int SizeIn(ReadOnlySpan<byte> options)
    {
        while (options.Length >= 2 && options[0] != 0)
        {
            if (options[0] == 1)
            {
                options = options[1..];
                continue;
            }

            // A length counts itself and the kind.
            if (options[1] < 2 || options[1] > options.Length)
                break;
            if (options[0] == 2 && options[1] == SizeOption)
                return Math.Clamp((int)BinaryPrimitives.ReadUInt16BigEndian(options[2..]), 1, MostPayload);
            options = options[options[1]..];
        }

        return DefaultPayload;
    }
}
