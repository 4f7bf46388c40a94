using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Kvm.Devices.Memory;
using Kvm.Devices.Net;
using Kvm.Interop;

namespace Kvm.Vmm.Network;

/// <summary>
/// A cable that is a Unix stream socket: each frame behind its length of four bytes, highest first, as passt and QEMU have it. Frames go out straight from guest
/// memory; what the socket did not take of one is kept, and the next ones wait in the guest's ring. Whoever is at the other end is not trusted. Allocates nothing for a frame.
/// </summary>
/// <param name="socket">Non-blocking; it is this object's from now on.</param>
internal sealed class StreamBackend(UnixSocket socket) : IWatchedBackend
{
    private const int LengthBytes = 4;

    // A frame's header goes over its length and what was before it.
    private const int Lead = NetHeader.Size - LengthBytes;
    private const int Capacity = 512 << 10;

    private readonly Lock _sending = new();
    private readonly byte[] _in = GC.AllocateUninitializedArray<byte>(Capacity, pinned: true);
    private readonly byte[] _rest = new byte[LengthBytes + NetHeader.MaxFrame];
    private HostBuffer[] _pieces = new HostBuffer[64];
    private int _start = Lead;
    private int _end = Lead;
    private int _current;
    private int _restStart;
    private int _restEnd;
    private bool _isFull;
    private bool _isGone;
    private INetworkListener? _listener;

    /// <inheritdoc/>
    public NetOffloads SendOffloads => NetOffloads.None;

    /// <inheritdoc/>
    public NetOffloads ReceiveOffloads => NetOffloads.None;

    /// <inheritdoc/>
    public int MaxPairs => 1;

    /// <inheritdoc/>
    public bool CanBeFull => true;

    /// <summary>True once the other end hung up, or said what cannot be.</summary>
    public bool IsGone => Volatile.Read(ref _isGone);

    /// <inheritdoc/>
    public int DescriptorOf(int pair) => socket.Handle.Fd;

    /// <inheritdoc/>
    public void Connect(INetworkListener listener) => _listener = listener;

    /// <inheritdoc/>
    public void Configure(NetOffloads receive, int pairs)
    {
    }

    /// <inheritdoc/>
    public SendOutcome Send(int pair, ReadOnlySpan<HostBuffer> frame, int length)
    {
        lock (_sending)
        {
            if (_isGone)
                return SendOutcome.Dropped;
            if (!Flush())
                return Full();
            if (frame.Length > _pieces.Length)
                Array.Resize(ref _pieces, 2 * frame.Length);
            var pieces = _pieces.AsSpan(0, frame.Length);
            frame.CopyTo(pieces);
            // The last four bytes of the header, which is the card's own copy and needed no more, become the length.
            pieces[0] = pieces[0].Slice(Lead);
            BinaryPrimitives.WriteInt32BigEndian(pieces[0].Span, length - NetHeader.Size);
            // A HostBuffer is laid out as struct iovec.
            int sent = socket.Send(MemoryMarshal.Cast<HostBuffer, IoVector>(pieces));
            if (sent == -Errno.EAGAIN)
                return Full();
            if (sent < 0)
            {
                HangUp();
                return SendOutcome.Dropped;
            }

            Keep(pieces, sent);
            return SendOutcome.Sent;
        }
    }

    /// <inheritdoc/>
    public ReadOnlySpan<byte> Peek(int pair)
    {
        GoOnSending();
        while (_current == 0 && !_isGone)
        {
            int there = _end - _start;
            if (there >= LengthBytes)
            {
                uint length = BinaryPrimitives.ReadUInt32BigEndian(_in.AsSpan(_start));
                if (length is < NetHeader.EthernetSize or > NetHeader.MaxFrame)
                {
                    HangUp();
                    break;
                }

                if (length <= there - LengthBytes)
                {
                    _current = (int)length;
                    _in.AsSpan(_start - Lead, NetHeader.Size).Clear();
                    break;
                }
            }

            if (!Receive())
                return default;
        }

        return _current == 0 ? default : _in.AsSpan(_start - Lead, NetHeader.Size + _current);
    }

    /// <inheritdoc/>
    public void Take(int pair)
    {
        _start += LengthBytes + _current;
        _current = 0;
    }

    /// <inheritdoc/>
    public void Dispose() => socket.Dispose();

    /// <summary>Reads more behind what is there, which is moved to the front where there is little room left.</summary>
    private bool Receive()
    {
        if (_start == _end || Capacity - _end < LengthBytes + NetHeader.MaxFrame)
        {
            _in.AsSpan(_start, _end - _start).CopyTo(_in.AsSpan(Lead));
            (_start, _end) = (Lead, Lead + _end - _start);
        }

        int count = socket.Receive(_in.AsSpan(_end), out var stray, wait: false);
        stray?.Dispose();
        if (count <= 0)
        {
            if (count != -Errno.EAGAIN)
                HangUp();
            return false;
        }

        _end += count;
        return true;
    }

    private void GoOnSending()
    {
        bool room;
        lock (_sending)
        {
            room = _isFull && !_isGone && Flush();
            _isFull &= !room;
            if (!room && _restStart != _restEnd)
                Flush();
        }

        if (room)
            _listener?.RoomAgain(0);
    }

    private SendOutcome Full()
    {
        _isFull = true;
        return SendOutcome.Full;
    }

    /// <summary>Keeps what the socket did not take of a frame.</summary>
    private void Keep(ReadOnlySpan<HostBuffer> pieces, int sent)
    {
        _restStart = _restEnd = 0;
        foreach (ref readonly var piece in pieces)
        {
            int skipped = Math.Min(sent, piece.Length);
            sent -= skipped;
            piece.Span[skipped..].CopyTo(_rest.AsSpan(_restEnd));
            _restEnd += piece.Length - skipped;
        }
    }

    /// <summary>Sends what is left of a frame; true if nothing is any more.</summary>
    private bool Flush()
    {
        while (_restStart < _restEnd)
        {
            int sent = socket.Send(_rest.AsSpan(_restStart, _restEnd - _restStart), wait: false);
            if (sent < 0)
            {
                if (sent != -Errno.EAGAIN)
                    HangUp();
                return false;
            }

            _restStart += sent;
        }

        return true;
    }

    private void HangUp()
    {
        if (!Interlocked.Exchange(ref _isGone, true))
            _listener?.LinkChanged(false);
    }
}
