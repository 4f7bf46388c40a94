using Kvm.Devices.Platform;

namespace Kvm.Devices.Virtio.Vsock;

/// <summary>A connection between a port of the guest's and one of the host's: what each side has room for, and what is still to be told. Under the device's lock.</summary>
public sealed class VsockConnection
{
    /// <summary>Bytes of the guest's that wait here for the host to take them: what the guest is given credit for.</summary>
    public const int BufferSize = 64 << 10;

    private ByteRing? _waiting;
    private uint _received;
    private uint _sent;
    private uint _peerSize;
    private uint _peerConsumed;
    private uint _consumedTold;
    private bool _askedForCredit;
    private bool _writesEnded;
    // What is to be told to the guest, a bit for each operation.
    private uint _owed;

    internal VsockConnection(uint hostPort, uint guestPort, bool fromGuest) =>
        (HostPort, GuestPort, IsEstablished) = (hostPort, guestPort, fromGuest);

    /// <summary>The host's port.</summary>
    public uint HostPort { get; }

    /// <summary>The guest's port.</summary>
    public uint GuestPort { get; }

    internal IVsockStream? Stream { get; set; }

    /// <summary>Both sides have agreed to it.</summary>
    internal bool IsEstablished { get; set; }

    /// <summary>It stands in the row of those that have something for the guest.</summary>
    internal bool IsQueued { get; set; }

    /// <summary>The host may have sent something.</summary>
    internal bool IsReadable { get; set; }

    /// <summary>What the guest was told that the host will not do any more.</summary>
    internal VsockEnds ToldEnds { get; set; }

    /// <summary>What the guest will not do any more.</summary>
    internal VsockEnds GuestEnds { get; set; }

    /// <summary>What the host will not do any more.</summary>
    internal VsockEnds HostEnds { get; set; }

    /// <summary>Bytes of the guest's that the host did not take yet.</summary>
    internal int WaitingBytes => _waiting?.Count ?? 0;

    /// <summary>What the host consumed so far, to be told in a packet: nothing is owed of it any more.</summary>
    internal uint TellConsumed()
    {
        TryPay(VsockOperation.CreditUpdate);
        _consumedTold = Consumed;
        return Consumed;
    }

    /// <summary>Bytes the guest has room for. A guest that takes back what it has consumed has none until it makes sense again.</summary>
    internal uint PeerRoom
    {
        get
        {
            uint inFlight = unchecked(_sent - _peerConsumed);
            return inFlight > _peerSize ? 0 : _peerSize - inFlight;
        }
    }

    /// <summary>Takes note of bytes that the guest sends; false where it was not given credit for so many.</summary>
    internal bool TryReceive(uint bytes)
    {
        if (bytes > BufferSize - unchecked(_received - Consumed))
            return false;
        _received = unchecked(_received + bytes);
        return true;
    }

    private uint Consumed => unchecked(_received - (uint)WaitingBytes);

    /// <summary>Nothing goes either way any more.</summary>
    internal bool IsOver => IsEstablished
        && ((HostEnds & VsockEnds.Receives) != 0 || ((GuestEnds & VsockEnds.Sends) != 0 && WaitingBytes == 0))
        && ((HostEnds & VsockEnds.Sends) != 0 || (GuestEnds & VsockEnds.Receives) != 0);

    /// <summary>The guest takes what the host sends, and the host may have something.</summary>
    internal bool CanSend => IsEstablished && IsReadable && (GuestEnds & VsockEnds.Receives) == 0 && PeerRoom > 0;

    /// <summary>There is a packet to be made for the guest.</summary>
    internal bool HasSomething => _owed != 0 || CanSend;

    internal bool Owes(VsockOperation operation) => (_owed & Bit(operation)) != 0;

    internal void Owe(VsockOperation operation) => _owed |= Bit(operation);

    /// <summary>Takes something that is owed; false where it is not.</summary>
    internal bool TryPay(VsockOperation operation)
    {
        bool owes = Owes(operation);
        _owed &= ~Bit(operation);
        return owes;
    }

    /// <summary>Decides what is owed to each side, of what has happened.</summary>
    internal void Decide()
    {
        if (!IsEstablished)
            return;
        if ((GuestEnds & VsockEnds.Sends) != 0 && WaitingBytes == 0 && !_writesEnded)
        {
            _writesEnded = true;
            Stream!.EndWrites();
        }

        if ((HostEnds & ~ToldEnds) != 0)
            Owe(VsockOperation.Shutdown);
        // The guest has more room than it knows of (5.10.6.3): told in pieces that are worth a packet, the last of which leaves it most of the buffer.
        if (unchecked(Consumed - _consumedTold) >= BufferSize / 4)
            Owe(VsockOperation.CreditUpdate);
        if (IsReadable && (GuestEnds & VsockEnds.Receives) == 0 && PeerRoom == 0 && !_askedForCredit)
        {
            _askedForCredit = true;
            Owe(VsockOperation.CreditRequest);
        }
    }

    private static uint Bit(VsockOperation operation) => 1u << (int)operation;

    /// <summary>What a packet of the guest's says of its buffer.</summary>
    internal void NoteCredit(in VsockPacket packet)
    {
        (_peerSize, _peerConsumed) = (packet.BufferSize, packet.Consumed);
        if (PeerRoom > 0)
            _askedForCredit = false;
    }

    /// <summary>So many bytes went to the guest.</summary>
    internal void NoteSent(int bytes) => _sent = unchecked(_sent + (uint)bytes);

    /// <summary>Hands bytes of the guest's to the host, or keeps them. They were received (<see cref="TryReceive"/>).</summary>
    /// <returns>False where nobody is there any more.</returns>
    internal bool Deliver(ReadOnlySpan<byte> bytes)
    {
        int taken = WaitingBytes > 0 ? 0 : Stream!.Write(bytes);
        if (taken < 0)
            return false;
        if (taken < bytes.Length)
            (_waiting ??= new ByteRing(BufferSize)).Push(bytes[taken..]);
        return true;
    }

    /// <summary>Hands over what was kept.</summary>
    /// <returns>False where nobody is there any more.</returns>
    internal bool Flush()
    {
        Span<byte> piece = stackalloc byte[4096];
        while (_waiting is { Count: > 0 })
        {
            int count = _waiting.CopyTo(piece), taken = Stream!.Write(piece[..count]);
            if (taken < 0)
                return false;
            _waiting.Drop(taken);
            if (taken < count)
                break;
        }

        return true;
    }
}
