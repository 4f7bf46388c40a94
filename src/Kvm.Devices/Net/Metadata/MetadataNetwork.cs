using System.Buffers.Binary;
using Kvm.Devices.Memory;
using Kvm.Devices.Net.Policy;
using Kvm.Devices.Net.Services;
using Kvm.Devices.Virtio.Rng;

namespace Kvm.Devices.Net.Metadata;

/// <summary>What went to and from a metadata service.</summary>
/// <param name="Connections">Connections that were begun.</param>
/// <param name="Evicted">Those that had to go for new ones.</param>
/// <param name="Dropped">Frames for the service's address that were none of its own: fragments, other protocols, headers that contradict themselves.</param>
public readonly record struct MetadataTraffic(long Connections, long Evicted, long Dropped);

/// <summary>
/// The network in which a <see cref="MetadataService"/> is the only member besides the guest: an address of IPv4 that answers ARP and, at port 80, TCP. It knows frames, and nobody's
/// cable. 32 connections; with one more the one that was used longest ago is forgotten. Safe from any thread; allocates nothing for a frame.
/// </summary>
public sealed class MetadataNetwork : IDisposable
{
    /// <summary>The address where nobody says another: 169.254.169.254.</summary>
    public const uint DefaultAddress = 0xa9fe_a9fe;

    /// <summary>The most connections.</summary>
    public const int MostConnections = 32;

    /// <summary>Room that the longest frame takes, its <see cref="NetHeader"/> included.</summary>
    public const int FrameBytes = NetHeader.Size + TcpSegment.HeadersSize + TcpSegment.MostPayload;

    internal const ushort Port = 80;

    private const int ArpSize = 28;
    private const int MostResets = 8;

    /// <summary>How often it is looked for what was lost.</summary>
    internal static readonly TimeSpan Tick = TimeSpan.FromMilliseconds(200);

    // That of Firecracker's, so that what knows one knows the other.
    private static readonly MacAddress s_mac = new(0x0601_2345_6701);

    private readonly uint _address;
    private readonly IEntropySource _entropy;
    private readonly Action _wake;
    private readonly ITimer _timer;
    private readonly Lock _gate = new(), _waking = new();
    private readonly byte[] _scratch = new byte[TcpSegment.MostHeaders + MetadataConnection.MostRequest];
    private readonly byte[] _arp = new byte[NetHeader.EthernetSize + ArpSize];
    private readonly MetadataConnection[] _connections = new MetadataConnection[MostConnections];
    private readonly (TcpPeer Peer, ushort Port, uint Sequence, uint Acknowledgement, byte Flags)[] _resets = new (TcpPeer, ushort, uint, uint, byte)[MostResets];
    private int _resetCount, _turn;
    private bool _hasArp, _ticking, _over;
    private volatile bool _hasFrames;
    private long _uses, _begun, _evicted, _dropped;

    /// <summary>Makes one.</summary>
    /// <param name="service">Who answers.</param>
    /// <param name="address">The address, as a number.</param>
    /// <param name="entropy">Where connections' first numbers come from.</param>
    /// <param name="time">The clock.</param>
    /// <param name="wake">Told, on any thread and with no lock held, when there may be frames for the guest.</param>
    public MetadataNetwork(MetadataService service, uint address, IEntropySource entropy, TimeProvider time, Action wake)
    {
        ArgumentNullException.ThrowIfNull(time);
        (_address, _entropy, _wake) = (address, entropy, wake);
        for (int i = 0; i < _connections.Length; i++)
            _connections[i] = new MetadataConnection(service);
        _timer = time.CreateTimer(static network => ((MetadataNetwork)network!).OnTick(), this, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
    }

    /// <summary>What went through.</summary>
    public MetadataTraffic Traffic => new(Volatile.Read(ref _begun), Volatile.Read(ref _evicted), Volatile.Read(ref _dropped));

    /// <summary>True if <see cref="Next"/> may have a frame.</summary>
    public bool HasFrames => _hasFrames;

    /// <summary>True for a frame of the guest's that is for the service, and nobody else's business.</summary>
    /// <param name="head">The Ethernet frame, or its first <see cref="INetworkBackend.HeadBytes"/>.</param>
    public bool IsMine(ReadOnlySpan<byte> head)
    {
        if (head.Length < NetHeader.EthernetSize + 20)
            return false;
        return BinaryPrimitives.ReadUInt16BigEndian(head[12..]) switch
        {
            PacketHeaders.EtherIpv4 => BinaryPrimitives.ReadUInt32BigEndian(head[30..]) == _address,
            // A question (RFC 826) for IPv4 over Ethernet.
            PacketHeaders.EtherArp => head.Length >= NetHeader.EthernetSize + ArpSize && head[14..22].SequenceEqual("\0\x01\x08\0\x06\x04\0\x01"u8)
                && BinaryPrimitives.ReadUInt32BigEndian(head[38..]) == _address,
            _ => false,
        };
    }

    /// <summary>Takes a frame that <see cref="IsMine"/>.</summary>
    /// <param name="pieces">The Ethernet frame behind its <see cref="NetHeader"/>, in pieces that may change while they are read.</param>
    /// <param name="length">Bytes of all of it.</param>
    public void Receive(ReadOnlySpan<HostBuffer> pieces, int length)
    {
        lock (_gate)
        {
            int copied = Copy(pieces, _scratch);
            var frame = _scratch.AsSpan(0, copied);
            if (!IsMine(frame))
                return;
            if (BinaryPrimitives.ReadUInt16BigEndian(frame[12..]) == PacketHeaders.EtherArp)
                AnswerArp(frame);
            else if (TcpSegment.TryParse(frame, length - NetHeader.Size, out var segment))
                Receive(in segment);
            else
                _dropped++;
            _hasFrames = true;
            Rearm();
        }

        _wake();
    }

    /// <summary>Writes the next frame for the guest, a <see cref="NetHeader"/> before it.</summary>
    /// <param name="frame">Room for <see cref="FrameBytes"/>.</param>
    /// <returns>Bytes of it; 0 if there is none.</returns>
    public int Next(Span<byte> frame)
    {
        lock (_gate)
        {
            int length = NextBare(frame[NetHeader.Size..]);
            if (length == 0)
            {
                _hasFrames = false;
                return 0;
            }

            default(NetHeader).Write(frame);
            Rearm();
            return NetHeader.Size + length;
        }
    }

    /// <summary>Ends its timer: afterwards nobody is told of frames but by <see cref="Receive(ReadOnlySpan{HostBuffer}, int)"/>, and nobody is still being told.</summary>
    public void Dispose()
    {
        _timer.Dispose();
        lock (_waking)
            _over = true;
    }

    private static int Copy(ReadOnlySpan<HostBuffer> pieces, Span<byte> to)
    {
        int copied = 0, skip = NetHeader.Size;
        foreach (ref readonly var piece in pieces)
        {
            var bytes = piece.Span[Math.Min(skip, piece.Length)..];
            skip -= piece.Length - bytes.Length;
            int count = Math.Min(bytes.Length, to.Length - copied);
            bytes[..count].CopyTo(to[copied..]);
            copied += count;
        }

        return copied;
    }

    private void AnswerArp(ReadOnlySpan<byte> question)
    {
        var asker = MacAddress.Read(question[22..]);
        var answer = ServiceFrames.WriteEthernet(_arp, PacketHeaders.EtherArp, s_mac, asker);
        ServiceFrames.WriteArp(answer, ServiceFrames.ArpReply, s_mac, _address, asker, BinaryPrimitives.ReadUInt32BigEndian(question[28..]));
        _hasArp = true;
    }

    private void Receive(in TcpSegment segment)
    {
        foreach (var connection in _connections)
        {
            if (segment.Port != Port || !connection.Is(in segment.Peer))
                continue;
            connection.Used = ++_uses;
            if (!connection.Receive(in segment))
                Refuse(in segment);
            return;
        }

        if (segment.Port != Port || !segment.Has(PacketHeaders.Syn) || (segment.Flags & (PacketHeaders.Acknowledge | PacketHeaders.Reset)) != 0)
        {
            Refuse(in segment);
            return;
        }

        var free = OldestConnection();
        if (free.IsOpen)
            _evicted++;
        Span<byte> start = stackalloc byte[4];
        _entropy.Fill(start);
        free.Open(in segment, BinaryPrimitives.ReadUInt32LittleEndian(start));
        free.Used = ++_uses;
        _begun++;
    }

    private MetadataConnection OldestConnection()
    {
        var oldest = _connections[0];
        foreach (var connection in _connections)
        {
            if (!connection.IsOpen)
                return connection;
            if (connection.Used < oldest.Used)
                oldest = connection;
        }

        return oldest;
    }

    /// <summary>RFC 9293, 3.10.7.1: what belongs to no connection is answered by a reset; more than a few at once are not.</summary>
    private void Refuse(in TcpSegment segment)
    {
        if (segment.Has(PacketHeaders.Reset) || _resetCount == MostResets)
            return;
        uint length = (uint)segment.PayloadLength + (segment.Has(PacketHeaders.Syn) ? 1u : 0) + (segment.Has(PacketHeaders.Fin) ? 1u : 0);
        _resets[_resetCount++] = segment.Has(PacketHeaders.Acknowledge)
            ? (segment.Peer, segment.Port, segment.Acknowledgement, 0, PacketHeaders.Reset)
            : (segment.Peer, segment.Port, 0, segment.Sequence + length, (byte)(PacketHeaders.Reset | PacketHeaders.Acknowledge));
    }

    private int NextBare(Span<byte> frame)
    {
        if (_hasArp)
        {
            _hasArp = false;
            _arp.CopyTo(frame);
            return _arp.Length;
        }

        if (_resetCount > 0)
        {
            var (peer, port, sequence, acknowledgement, flags) = _resets[--_resetCount];
            return new TcpSegment { Peer = peer, Port = port, Sequence = sequence, Acknowledgement = acknowledgement, Flags = flags }.Write(frame, s_mac, _address, 0);
        }

        for (int i = 0; i < MostConnections; i++)
        {
            // In turn, so that none has to wait for another's end.
            _turn = (_turn + 1) % MostConnections;
            if (_connections[_turn].Next(frame, s_mac, _address) is > 0 and var length)
                return length;
        }

        return 0;
    }

    /// <summary>The timer runs while somebody owes an acknowledgement.</summary>
    private void Rearm()
    {
        if (_ticking)
            return;
        foreach (var connection in _connections)
        {
            if (!connection.Awaits)
                continue;
            _ticking = true;
            _timer.Change(Tick, Timeout.InfiniteTimeSpan);
            return;
        }
    }

    private void OnTick()
    {
        lock (_gate)
        {
            _ticking = false;
            foreach (var connection in _connections)
            {
                if (!connection.Tick())
                    connection.Close();
            }

            _hasFrames = true;
            Rearm();
        }

        lock (_waking)
        {
            if (!_over)
                _wake();
        }
    }
}
