using Kvm.Devices.Net.Policy;

namespace Kvm.Devices.Net.Metadata;

/// <summary>
/// One TCP connection of a guest's with the service (RFC 9293, as far as a link that is a few metres of memory needs it): what comes out of order is not kept,
/// what is lost is sent again from there on, and there is no congestion. Requests are answered one after the other. Not thread-safe; allocates nothing
/// after construction.
/// </summary>
internal sealed class MetadataConnection(MetadataService service)
{
    /// <summary>The most bytes of a request.</summary>
    public const int MostRequest = 4096;

    /// <summary>How often something is sent again before the guest counts as gone; each time after twice as many ticks.</summary>
    private const int MostRepeats = 6;

    private readonly byte[] _request = new byte[MostRequest];
    private readonly byte[] _head = new byte[MetadataService.HeadBytes];
    private TcpPeer _peer;
    private int _requestLength;
    private MetadataReply _reply;

    // RFC 9293, 3.3.1: SND.UNA, SND.NXT, the furthest that SND.NXT was, RCV.NXT; and where the reply begins.
    private uint _acknowledged, _next, _furthest, _received, _replyStart;
    private int _window, _mostPayload, _repeats, _ticks;
    private bool _established, _peerEnded, _ends, _mustAcknowledge, _probes;

    /// <summary>False where nobody is connected.</summary>
    public bool IsOpen { get; private set; }

    /// <summary>When it was last used, in a count of its owner's.</summary>
    public long Used { get; set; }

    /// <summary>True while the guest owes an acknowledgement, of what was sent or cannot be.</summary>
    public bool Awaits => IsOpen && (!_established || _acknowledged != End);

    // Behind the reply and the FIN.
    private uint End => _replyStart + (uint)_reply.Length + (_ends ? 1u : 0);

    // Nothing is to come, and all that was said has arrived: nobody has to wait for stray segments here.
    private bool IsOver => _ends && _peerEnded && _acknowledged == End;

    // What comes when the end is said already is not looked at.
    private int Room => _ends ? ushort.MaxValue : MostRequest - _requestLength;

    /// <summary>True if this is the guest's end of it.</summary>
    public bool Is(in TcpPeer peer) => IsOpen && peer.Address == _peer.Address && peer.Port == _peer.Port;

    /// <summary>Begins anew, with a SYN.</summary>
    /// <param name="syn">The segment.</param>
    /// <param name="start">The first number of this end.</param>
    public void Open(in TcpSegment syn, uint start)
    {
        (IsOpen, _established, _peerEnded, _ends, _mustAcknowledge, _probes) = (true, false, false, false, false, false);
        (_peer, _received, _window, _mostPayload) = (syn.Peer, syn.Sequence + 1, syn.Window, syn.MostTaken);
        (_acknowledged, _next, _furthest, _replyStart) = (start, start, start, start + 1);
        (_requestLength, _reply, _repeats, _ticks) = (0, default, 0, 0);
    }

    /// <summary>Forgets the guest.</summary>
    public void Close() => IsOpen = false;

    /// <summary>Takes a segment.</summary>
    /// <returns>False if it is answered by a reset, as the connection is none.</returns>
    public bool Receive(in TcpSegment segment)
    {
        _peer = segment.Peer;
        if (segment.Has(PacketHeaders.Reset))
        {
            // RFC 9293, 3.10.7.4: only one inside the window counts.
            if (segment.Sequence - _received <= (uint)Room)
                Close();
            return true;
        }

        if (segment.Has(PacketHeaders.Syn))
        {
            if (!_established && segment.Sequence + 1 == _received)
                _next = _acknowledged;
            else
                _mustAcknowledge = true;
            return true;
        }

        if (!segment.Has(PacketHeaders.Acknowledge))
            return true;
        if (!TakeAcknowledgement(in segment))
        {
            _mustAcknowledge = _established;
            return _established;
        }

        TakePayload(in segment);
        GoOn();
        return true;
    }

    /// <summary>A tick of the clock that repeats what was lost. False if the guest is gone.</summary>
    public bool Tick()
    {
        if (!Awaits || ++_ticks < 1 << _repeats)
            return true;
        if (++_repeats > MostRepeats)
            return false;
        _ticks = 0;
        _next = _acknowledged;
        // A window of nothing may have been opened by a segment that was lost (RFC 9293, 3.8.6.1).
        _probes = true;
        return true;
    }

    /// <summary>Writes the next frame to be sent.</summary>
    /// <param name="frame">Room for the longest.</param>
    /// <param name="mac">This end's address.</param>
    /// <param name="address">And its IPv4 address.</param>
    /// <returns>Bytes of the frame; 0 if there is none.</returns>
    public int Next(Span<byte> frame, MacAddress mac, uint address)
    {
        if (!IsOpen)
            return 0;
        bool opens = !_established;
        int payload = opens ? 0 : PayloadNow();
        uint end = _next + (uint)payload;
        bool says = opens ? _next == _acknowledged : _ends && end == End - 1;
        if (payload == 0 && !says && !_mustAcknowledge)
            return 0;
        if (opens && !says)
            return 0;
        var segment = new TcpSegment
        {
            Peer = _peer,
            Port = MetadataNetwork.Port,
            Sequence = _next,
            Acknowledgement = _received,
            Flags = (byte)(PacketHeaders.Acknowledge | (opens ? PacketHeaders.Syn : says ? PacketHeaders.Fin : 0)),
            Window = (ushort)Room,
        };
        if (payload > 0)
            CopyReply((int)(_next - _replyStart), frame.Slice(TcpSegment.HeadersSize, payload));
        _next = end + (says ? 1u : 0);
        if ((int)(_next - _furthest) > 0)
            _furthest = _next;
        (_mustAcknowledge, _probes) = (false, false);
        if (IsOver)
            Close();
        return segment.Write(frame, mac, address, payload);
    }

    /// <summary>False if what is acknowledged was never sent.</summary>
    private bool TakeAcknowledgement(in TcpSegment segment)
    {
        uint newly = segment.Acknowledgement - _acknowledged;
        if (newly > _furthest - _acknowledged)
            // An old one is late, not wrong.
            return _established && (int)newly < 0;
        if (!_established)
        {
            if (newly == 0)
                return false;
            _established = true;
        }

        _window = segment.Window;
        if (newly == 0)
            return true;
        (_acknowledged, _repeats, _ticks) = (segment.Acknowledgement, 0, 0);
        if ((int)(_next - _acknowledged) < 0)
            _next = _acknowledged;
        return true;
    }

    private void TakePayload(in TcpSegment segment)
    {
        bool ends = segment.Has(PacketHeaders.Fin);
        if (segment.PayloadLength == 0 && !ends)
            return;
        _mustAcknowledge = true;
        // What came before may come again, with more behind it.
        uint known = _received - segment.Sequence;
        if (_peerEnded || known > (uint)segment.PayloadLength)
            return;
        int rest = segment.PayloadLength - (int)known, taken = Math.Min(rest, Room);
        if (!_ends)
        {
            taken = Math.Min(taken, Math.Max(0, segment.Payload.Length - (int)known));
            if (taken > 0)
                segment.Payload.Slice((int)known, taken).CopyTo(_request.AsSpan(_requestLength));
            _requestLength += taken;
        }

        _received += (uint)taken;
        if (!ends || taken != rest)
            return;
        _received++;
        _peerEnded = true;
    }

    /// <summary>Forgets a reply that arrived, and answers the next request.</summary>
    private void GoOn()
    {
        if (_ends)
        {
            if (IsOver && !_mustAcknowledge)
                Close();
            return;
        }

        if (_acknowledged != End)
            return;
        (_replyStart, _reply) = (_acknowledged, default);
        int used = _requestLength == 0 ? 0 : service.Answer(_request.AsSpan(0, _requestLength), MostRequest, _head, out _reply);
        _requestLength -= used;
        _request.AsSpan(used, _requestLength).CopyTo(_request);
        _mustAcknowledge |= used > 0;
        _ends = _reply.Closes || (_peerEnded && used == 0);
    }

    /// <summary>Bytes of the reply that may be sent now in one segment.</summary>
    private int PayloadNow()
    {
        int left = (int)(_replyStart + (uint)_reply.Length - _next);
        int room = _window - (int)(_next - _acknowledged);
        if (room <= 0 && _probes && _next == _acknowledged)
            room = 1;
        return Math.Max(0, Math.Min(Math.Min(left, room), _mostPayload));
    }

    private void CopyReply(int start, Span<byte> to)
    {
        int head = Math.Clamp(_reply.HeadLength - start, 0, to.Length);
        if (head > 0)
            _head.AsSpan(start, head).CopyTo(to);
        if (head < to.Length)
            _reply.Body.AsSpan(_reply.BodyStart + start + head - _reply.HeadLength, to.Length - head).CopyTo(to[head..]);
    }
}
