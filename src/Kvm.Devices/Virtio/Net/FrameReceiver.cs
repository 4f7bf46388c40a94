using System.Buffers.Binary;
using Kvm.Devices.Memory;
using Kvm.Devices.Net;
using Kvm.Devices.Virtio.Queue;

namespace Kvm.Devices.Virtio.Net;

/// <summary>What became of a frame for the guest.</summary>
internal enum Delivery
{
    /// <summary>It is in the guest's buffers.</summary>
    Done,

    /// <summary>There are too few buffers yet: what was begun goes on with the next ones.</summary>
    Waits,

    /// <summary>It can never be in these buffers, which went back empty.</summary>
    DoesNotFit,
}

/// <summary>
/// Puts frames into one receive queue's buffers (virtio 1.2, 5.1.6.3, 5.1.6.4): into one each, or with VIRTIO_NET_F_MRG_RXBUF into as many as it takes. It
/// knows no network. Used under the queue's gate; allocates nothing.
/// </summary>
/// <param name="memory">Guest memory.</param>
/// <param name="queueSize">The most entries the queue may have.</param>
internal sealed class FrameReceiver(GuestMemory memory, int queueSize)
{
    private readonly ChainToken[] _tokens = new ChainToken[queueSize];
    private readonly uint[] _written = new uint[queueSize];
    // Where the header is, which holds the number of buffers: as many places as it may have been cut into.
    private readonly HostBuffer[] _header = new HostBuffer[NetHeader.Size];
    private int _headerPieces;
    private int _chains;
    private int _placed;

    /// <summary>True while a frame waits for more buffers.</summary>
    public bool HasBegun => _chains > 0;

    /// <summary>Puts a frame in, from where it stopped before.</summary>
    /// <param name="queue">The queue.</param>
    /// <param name="frame">Header of <see cref="NetHeader.Size"/> bytes, then the frame.</param>
    /// <param name="headerSize">Bytes of this driver's header.</param>
    /// <param name="merge">A frame may take several buffers.</param>
    public Delivery Deliver(VirtQueue queue, ReadOnlySpan<byte> frame, int headerSize, bool merge)
    {
        int length = frame.Length - NetHeader.Size + headerSize;
        while (_placed < length || _chains == 0)
        {
            // A frame that all of a ring's buffers together do not hold will not find more.
            if (_chains == queue.Size || _chains == queueSize || (_chains > 0 && !merge))
                return GiveBack(queue);
            if (!queue.TryPop(out var chain))
                return Delivery.Waits;
            int before = _placed;
            if (!chain.HasBadBuffer)
                Fill(ref chain, frame, headerSize, length);
            _tokens[_chains] = chain.Token;
            _written[_chains++] = (uint)(_placed - before);
            if (_placed == before)
                return GiveBack(queue);
        }

        WriteHeader(frame, headerSize);
        for (int i = 0; i < _chains; i++)
            queue.Complete(_tokens[i], _written[i]);
        Forget();
        return Delivery.Done;
    }

    /// <summary>Puts the buffers of a frame that waits for more back into the ring, for the frame to be begun anew.</summary>
    public void PutBack(VirtQueue queue)
    {
        while (_chains > 0)
            queue.PutBack(_tokens[--_chains]);
        Forget();
    }

    /// <summary>Forgets what was begun: the queue is started anew.</summary>
    public void Forget() => (_chains, _placed, _headerPieces) = (0, 0, 0);

    private Delivery GiveBack(VirtQueue queue)
    {
        for (int i = 0; i < _chains; i++)
            queue.Complete(_tokens[i], 0);
        Forget();
        return Delivery.DoesNotFit;
    }

    private void Fill(ref DescriptorChain chain, ReadOnlySpan<byte> frame, int headerSize, int length)
    {
        while (_placed < headerSize && chain.TryWritePiece(headerSize - _placed, out var place))
        {
            _header[_headerPieces++] = place;
            _placed += place.Length;
        }

        while (_placed >= headerSize && _placed < length && chain.TryWritePiece(length - _placed, out var place))
        {
            frame.Slice(NetHeader.Size + _placed - headerSize, place.Length).CopyTo(place.Span);
            Tell(in place);
            _placed += place.Length;
        }
    }

    private void WriteHeader(ReadOnlySpan<byte> frame, int headerSize)
    {
        Span<byte> header = stackalloc byte[NetHeader.Size];
        frame[..NetHeader.Size].CopyTo(header);
        // 5.1.6.4: 1 where buffers are not merged too.
        BinaryPrimitives.WriteUInt16LittleEndian(header[NetHeader.BuffersOffset..], (ushort)_chains);
        header = header[..headerSize];
        foreach (ref readonly var place in _header.AsSpan(0, _headerPieces))
        {
            header[..place.Length].CopyTo(place.Span);
            Tell(in place);
            header = header[place.Length..];
        }
    }

    private void Tell(in HostBuffer place)
    {
        if (memory.WriteObserver is not null && memory.TryAddress(in place, out ulong address))
            memory.NotifyWritten(address, (ulong)place.Length);
    }
}
