using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Kvm.Devices.Memory;
using Kvm.Devices.Net;
using Kvm.Interop;

namespace Kvm.Vmm.Network;

/// <summary>
/// A cable that is a Unix stream socket: each frame behind its length of four bytes, highest first, as passt and QEMU have it, or with its header as well. Frames go out straight
/// from guest memory; what the socket did not take of one is kept, and the next ones wait in the guest's ring. Whoever is at the other end is not trusted. Allocates nothing for a frame.
/// </summary>
internal sealed class StreamBackend : IWatchedBackend
{
    private const int LengthBytes = 4;
    private const int Capacity = 512 << 10;

    private readonly UnixSocket _socket;
    private readonly bool _hasHeaders;

    // Without headers on the wire a frame's header goes over its length and what was before it.
    private readonly int _lead;
    private readonly Lock _sending = new();
    private readonly byte[] _in = GC.AllocateUninitializedArray<byte>(Capacity, pinned: true);
    private readonly byte[] _rest = new byte[LengthBytes + NetHeader.Size + NetHeader.MaxFrame];
    private readonly AlignedBuffer _length = new(LengthBytes, LengthBytes);
    private HostBuffer[] _pieces = new HostBuffer[64];
    private int _start;
    private int _end;
    private int _current;
    private int? _drainedAt;
    private int _restStart;
    private int _restEnd;
    private bool _isFull;
    private bool _awaitsRoom;
    private bool _isDisposed;
    private IDescriptorWait? _wait;
    private bool _isGone;
    private INetworkListener? _listener;

    /// <summary>Takes over a socket.</summary>
    /// <param name="socket">Non-blocking; it is this object's from now on.</param>
    /// <param name="hasHeaders">
    /// Each frame has its <see cref="NetHeader"/> with it, in both directions, and so may leave everything undone; a header alone is a message of the two ends to each other
    /// (<see cref="Tell"/>).
    /// </param>
    public StreamBackend(UnixSocket socket, bool hasHeaders = false)
    {
        (_socket, _hasHeaders) = (socket, hasHeaders);
        _lead = _start = _end = hasHeaders ? 0 : NetHeader.Size - LengthBytes;
    }

    /// <inheritdoc/>
    public NetOffloads SendOffloads => _hasHeaders ? NetOffloads.Modern : NetOffloads.None;

    /// <inheritdoc/>
    public NetOffloads ReceiveOffloads => SendOffloads;

    /// <inheritdoc/>
    public int MaxPairs => 1;

    /// <summary>True once the other end hung up, or said what cannot be.</summary>
    public bool IsGone => Volatile.Read(ref _isGone);

    /// <summary>The socket's descriptor.</summary>
    public int Descriptor => _socket.Handle.Fd;

    /// <inheritdoc/>
    public void WatchBy(int pair, IDescriptorWait wait)
    {
        lock (_sending)
        {
            if (_isDisposed)
                return;
            _wait = wait;
            wait.Add(Descriptor);
            AwaitRoom();
        }
    }

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
            var pieces = BehindLength(frame, length);
            // A HostBuffer is laid out as struct iovec.
            int sent = _socket.Send(MemoryMarshal.Cast<HostBuffer, IoVector>(pieces));
            if (sent == -Errno.EAGAIN)
                return Full();
            if (sent < 0)
            {
                HangUp();
                return SendOutcome.Dropped;
            }

            Keep(pieces, sent);
            AwaitRoom();
            return SendOutcome.Sent;
        }
    }

    /// <summary>Sends a header alone, which is no frame; false if there is no room for it now.</summary>
    public bool Tell(in NetHeader header)
    {
        lock (_sending)
        {
            if (_isGone || !Flush())
                return _isGone;
            BinaryPrimitives.WriteInt32BigEndian(_rest, NetHeader.Size);
            header.Write(_rest.AsSpan(LengthBytes));
            (_restStart, _restEnd) = (0, LengthBytes + NetHeader.Size);
            Flush();
            AwaitRoom();
            return true;
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
                if (!CanBe(length))
                {
                    HangUp();
                    break;
                }

                if (length <= there - LengthBytes)
                {
                    _current = (int)length;
                    if (!_hasHeaders)
                        _in.AsSpan(_start - _lead, NetHeader.Size).Clear();
                    break;
                }
            }

            if (!Receive())
                return default;
        }

        return _current == 0 ? default : _hasHeaders ? _in.AsSpan(_start + LengthBytes, _current) : _in.AsSpan(_start - _lead, NetHeader.Size + _current);
    }

    /// <inheritdoc/>
    public void Take(int pair)
    {
        _start += LengthBytes + _current;
        _current = 0;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        lock (_sending)
        {
            _isGone = _isDisposed = true;
            _socket.Dispose();
            _length.Dispose();
        }
    }

    /// <summary>The frame's pieces as they are sent.</summary>
    private Span<HostBuffer> BehindLength(ReadOnlySpan<HostBuffer> frame, int length)
    {
        if (frame.Length + 1 > _pieces.Length)
            Array.Resize(ref _pieces, 2 * frame.Length);
        if (_hasHeaders)
        {
            _pieces[0] = _length.Buffer;
            frame.CopyTo(_pieces.AsSpan(1));
            BinaryPrimitives.WriteInt32BigEndian(_pieces[0].Span, length);
            return _pieces.AsSpan(0, frame.Length + 1);
        }

        frame.CopyTo(_pieces);
        // The last four bytes of the header, which is the card's own copy and needed no more, become the length.
        _pieces[0] = _pieces[0].Slice(_lead);
        BinaryPrimitives.WriteInt32BigEndian(_pieces[0].Span, length - NetHeader.Size);
        return _pieces.AsSpan(0, frame.Length);
    }

    private bool CanBe(uint length)
    {
        if (!_hasHeaders)
            return length is >= NetHeader.EthernetSize and <= NetHeader.MaxFrame;
        return length is NetHeader.Size or (>= NetHeader.Size + NetHeader.EthernetSize and <= NetHeader.Size + NetHeader.MaxFrame);
    }

    /// <summary>Reads more behind what is there, which is moved to the front where there is little room left.</summary>
    private bool Receive()
    {
        // The last call had less than there was room for, so that the socket was empty; since then nobody was told of anything.
        if (_wait is not null && _drainedAt == _wait.Edges)
            return false;

        if (_start == _end || Capacity - _end < LengthBytes + NetHeader.Size + NetHeader.MaxFrame)
        {
            _in.AsSpan(_start, _end - _start).CopyTo(_in.AsSpan(_lead));
            (_start, _end) = (_lead, _lead + _end - _start);
        }

        int count = _socket.ReceiveBytes(_in.AsSpan(_end));
        if (count <= 0)
        {
            if (count != -Errno.EAGAIN)
                HangUp();
            _drainedAt = _wait?.Edges;
            return false;
        }

        _end += count;
        _drainedAt = _end < Capacity && _wait is { } wait ? wait.Edges : null;
        return true;
    }

    private void GoOnSending()
    {
        bool room;
        lock (_sending)
        {
            room = _isFull && !_isGone && Flush();
            _isFull &= !room;
            if (!room && !_isGone && _restStart != _restEnd)
                Flush();
            AwaitRoom();
        }

        if (room)
            _listener?.RoomAgain(0);
    }

    private SendOutcome Full()
    {
        _isFull = true;
        AwaitRoom();
        return SendOutcome.Full;
    }

    /// <summary>Has the socket waited for as long as there is something to send. Under the lock.</summary>
    private void AwaitRoom()
    {
        bool wanted = !_isGone && (_isFull || _restStart != _restEnd);
        if (_wait is null || wanted == _awaitsRoom || _isDisposed)
            return;
        _awaitsRoom = wanted;
        _wait.AwaitRoom(Descriptor, wanted);
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
            int sent = _socket.Send(_rest.AsSpan(_restStart, _restEnd - _restStart), wait: false);
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
