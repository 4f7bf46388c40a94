using System.Buffers.Binary;

namespace Kvm.Devices.Net.Switch;

/// <summary>
/// Does what a frame leaves undone, for a receiver that does not: sums, and cuts large segments. Everything is found in the frame itself and bounded by its length; what
/// its header says is only compared. One thread.
/// </summary>
internal ref struct FrameFinisher
{
    private const ushort Ipv4 = 0x0800, Ipv6 = 0x86dd, CustomerTag = 0x8100;
    private const byte Tcp = 6, Udp = 17;
    private const int TcpSum = 16, UdpSum = 6, Ipv4Least = 20, Ipv6Bytes = 40, TcpLeast = 20, UdpBytes = 8;
    private const byte Fin = 1, Push = 8, CongestionReduced = 0x80;

    // As Linux has it: no TCP of today has smaller segments (TCP_MIN_SND_MSS), no UDP more of them (UDP_MAX_SEGMENTS). A guest would have a few bytes become many frames.
    private const int LeastTcpSegment = 48, MostDatagrams = 128;

    // What stands before the payload: the longest headers there are.
    private const int MostHeaders = 256;

    private readonly NetHeader _header;
    private readonly Span<byte> _frame;
    private int _network;
    private int _payload;
    private bool _isIpv4;
    private bool _isTcp;
    private uint _sequence;
    private byte _flags;
    private int _next;
    private int _index;

    /// <summary>Takes a frame over.</summary>
    /// <param name="header">What is undone; it fits the frame.</param>
    /// <param name="frame">The Ethernet frame, which is changed.</param>
    public FrameFinisher(NetHeader header, Span<byte> frame)
    {
        _header = header;
        _frame = frame;
    }

    /// <summary>True if it is to be cut; false if a sum is all.</summary>
    public readonly bool Cuts => _header.GsoType != NetHeader.GsoNone;

    /// <summary>Finishes a frame that is not to be cut.</summary>
    public readonly void Sum()
    {
        if ((_header.Flags & NetHeader.NeedsChecksum) == 0)
            return;
        // virtio 1.2, 5.1.6.2: the field holds the sum of the pseudo-header.
        var summed = _frame[_header.ChecksumStart..];
        InternetChecksum.Write(InternetChecksum.Add(summed), summed[_header.ChecksumOffset..], _header.ChecksumOffset == UdpSum);
    }

    /// <summary>Looks at the headers of a frame that is to be cut; false if it is not what its header says.</summary>
    public bool TryBegin()
    {
        bool tagged = BinaryPrimitives.ReadUInt16BigEndian(_frame[12..]) == CustomerTag;
        _network = tagged ? NetHeader.EthernetSize + 4 : NetHeader.EthernetSize;
        int transport = _header.ChecksumStart;
        if (transport > MostHeaders || _frame.Length < _network + Ipv4Least || transport > _frame.Length - UdpBytes)
            return false;
        int gso = _header.GsoType & ~NetHeader.GsoEcn;
        _isTcp = gso is NetHeader.GsoTcp4 or NetHeader.GsoTcp6;
        ushort type = BinaryPrimitives.ReadUInt16BigEndian(_frame[(_network - 2)..]);
        _isIpv4 = type == Ipv4;
        // UDP does not say by which IP.
        if (gso is not (NetHeader.GsoTcp4 or NetHeader.GsoTcp6 or NetHeader.GsoUdpL4) || !(_isIpv4 ? IsIpv4(transport) : type == Ipv6 && IsIpv6(transport))
            || (_isTcp && _isIpv4 != (gso == NetHeader.GsoTcp4)) || _header.ChecksumOffset != (_isTcp ? TcpSum : UdpSum))
            return false;
        _payload = transport + (_isTcp ? TcpHeader(transport) : UdpBytes);
        if (_isTcp && _payload >= transport + TcpLeast)
            (_sequence, _flags) = (BinaryPrimitives.ReadUInt32BigEndian(_frame[(transport + 4)..]), _frame[transport + 13]);
        _next = _payload;
        int payload = _frame.Length - _payload;
        return payload > 0 && (_isTcp ? _payload >= transport + TcpLeast && _header.GsoSize >= LeastTcpSegment : (payload - 1) / _header.GsoSize < MostDatagrams);
    }

    /// <summary>Makes the next piece of a frame that is cut; false after the last.</summary>
    /// <param name="headers">Bytes of its headers, which are the frame's first ones until the next call.</param>
    /// <param name="payload">What follows them.</param>
    public bool TryNext(out int headers, out ReadOnlySpan<byte> payload)
    {
        int left = _frame.Length - _next;
        headers = _payload;
        payload = default;
        if (left <= 0)
            return false;
        int length = Math.Min(left, _header.GsoSize);
        payload = _frame.Slice(_next, length);
        FinishHeaders(payload, isLast: length == left);
        (_next, _index) = (_next + length, _index + 1);
        return true;
    }

    private readonly bool IsIpv4(int transport) =>
        _frame[_network] >> 4 == 4 && (_frame[_network] & 15) * 4 is >= Ipv4Least and var size && _network + size == transport && _frame[_network + 9] == (_isTcp ? Tcp : Udp)
        // A fragment has no transport header, or not all of what it counts.
        && (BinaryPrimitives.ReadUInt16BigEndian(_frame[(_network + 6)..]) & 0x3fff) == 0;

    private readonly bool IsIpv6(int transport) => _frame[_network] >> 4 == 6 && transport >= _network + Ipv6Bytes;

    private readonly int TcpHeader(int transport) => transport > _frame.Length - TcpLeast ? 0 : (_frame[transport + 12] >> 4) * 4;

    private readonly void FinishHeaders(ReadOnlySpan<byte> payload, bool isLast)
    {
        var network = _frame[_network..];
        var transport = _frame[_header.ChecksumStart.._payload];
        int transportLength = transport.Length + payload.Length;
        if (_isIpv4)
        {
            BinaryPrimitives.WriteUInt16BigEndian(network[2..], (ushort)(_header.ChecksumStart - _network + transportLength));
            if (_index > 0)
                BinaryPrimitives.WriteUInt16BigEndian(network[4..], unchecked((ushort)(BinaryPrimitives.ReadUInt16BigEndian(network[4..]) + 1)));
            network.Slice(10, 2).Clear();
            InternetChecksum.Write(InternetChecksum.Add(network[..(_header.ChecksumStart - _network)]), network[10..]);
        }
        else
        {
            BinaryPrimitives.WriteUInt16BigEndian(network[4..], (ushort)(_header.ChecksumStart - _network - Ipv6Bytes + transportLength));
        }

        if (_isTcp)
            FinishTcp(transport, isLast);
        else
            BinaryPrimitives.WriteUInt16BigEndian(transport[4..], (ushort)transportLength);
        // RFC 9293, 3.1; RFC 8200, 8.1: addresses, length, protocol.
        ulong sum = InternetChecksum.Add(_isIpv4 ? network.Slice(12, 8) : network.Slice(8, 32), (_isTcp ? Tcp : (uint)Udp) + (uint)transportLength);
        transport.Slice(_header.ChecksumOffset, 2).Clear();
        InternetChecksum.Write(InternetChecksum.Add(payload, InternetChecksum.Add(transport, sum)), transport[_header.ChecksumOffset..], neverZero: !_isTcp);
    }

    /// <summary>RFC 9293, 3.1: each piece has its own place; what ends or pushes the whole is in the last one, what answers congestion in the first (RFC 3168, 6.1.2).</summary>
    private readonly void FinishTcp(Span<byte> tcp, bool isLast)
    {
        BinaryPrimitives.WriteUInt32BigEndian(tcp[4..], unchecked(_sequence + (uint)(_next - _payload)));
        int flags = _flags;
        if (!isLast)
            flags &= ~(Fin | Push);
        if (_index > 0)
            flags &= ~CongestionReduced;
        tcp[13] = (byte)flags;
    }
}
