using Kvm.Devices.Virtio.Queue;

namespace Kvm.Devices.Virtio.Vsock;

/// <summary>The queues: packets both ways, and events.</summary>
public sealed partial class VsockDevice
{
    /// <summary>Bytes of data in a packet to the guest at most; its buffers are smaller in general.</summary>
    private const int MostData = VsockConnection.BufferSize;

    private readonly byte[] _data = new byte[MostData];

    private bool HasOutgoing
    {
        get
        {
            lock (_lock)
                return _resets.Count > 0 || _ready.Count > 0;
        }
    }

    /// <inheritdoc/>
    protected override bool OnQueue(int index, VirtQueue queue)
    {
        ArgumentNullException.ThrowIfNull(queue);
        switch (index)
        {
            case Input:
                return SendToGuest(queue);
            case Output:
                bool more = Drain(index, queue);
                if (HasOutgoing)
                    WakeQueue(Input);
                return more;
            default:
                SendEvent(queue);
                return false;
        }
    }

    /// <inheritdoc/>
    protected override ChainResult OnChain(int index, VirtQueue queue, ref DescriptorChain chain)
    {
        ArgumentNullException.ThrowIfNull(queue);
        lock (_lock)
        {
            // Each packet may have to be answered, and the answer waits for room: a guest that takes none is not listened to.
            if (_resets.Count >= MaxResets)
            {
                _outputHeld = true;
                return ChainResult.Later;
            }

            Receive(ref chain);
        }

        queue.Complete(chain.Token, 0);
        return ChainResult.Taken;
    }

    // ---- From the guest -----------------------------------------------------------------------------------------------

    private void Receive(ref DescriptorChain chain)
    {
        Span<byte> header = stackalloc byte[VsockPacket.Size];
        if (chain.Read(header) != header.Length)
        {
            _dropped++;
            return;
        }

        var packet = VsockPacket.Read(header);
        if (packet.SourceCid != _cid || packet.TargetCid != HostCid)
            _dropped++;
        else if (!_connections.TryGetValue((packet.TargetPort, packet.SourcePort), out var connection))
            ReceiveFirst(in packet);
        else if (packet.Type == VsockPacket.Stream)
            Receive(connection, in packet, ref chain);
        else
            Refuse(connection);
    }

    /// <summary>A packet for nobody: a guest's wish for a connection, or one that is answered with a reset (5.10.6.4).</summary>
    private void ReceiveFirst(in VsockPacket packet)
    {
        if (packet.Operation == VsockOperation.Reset)
            return;
        if (packet is { Operation: VsockOperation.Request, Type: VsockPacket.Stream })
        {
            if (TryAccept(in packet))
                return;
            _refused++;
        }
        else
        {
            _dropped++;
        }

        OweReset(packet.TargetPort, packet.SourcePort);
    }

    private bool TryAccept(in VsockPacket packet)
    {
        if (_connections.Count >= MaxConnections)
            return false;
        var connection = new VsockConnection(packet.TargetPort, packet.SourcePort, fromGuest: true);
        if (_host.Connect(connection, packet.TargetPort) is not { } stream)
            return false;
        connection.Stream = stream;
        connection.NoteCredit(in packet);
        connection.Owe(VsockOperation.Response);
        _established++;
        Add(connection);
        return true;
    }

    private void Receive(VsockConnection connection, in VsockPacket packet, ref DescriptorChain chain)
    {
        connection.NoteCredit(in packet);
        switch (packet.Operation)
        {
            case VsockOperation.Response when !connection.IsEstablished && !connection.Owes(VsockOperation.Request):
                connection.IsEstablished = true;
                // What the host sent meanwhile has come before anybody read.
                connection.IsReadable = true;
                _established++;
                connection.Stream!.OnAccepted(connection.HostPort);
                break;
            case VsockOperation.Reset:
                _refused += connection.IsEstablished ? 0 : 1;
                Forget(connection);
                return;
            case VsockOperation.Shutdown when connection.IsEstablished:
                connection.GuestEnds |= packet.Ends & VsockEnds.Both;
                break;
            case VsockOperation.Data when connection.IsEstablished && connection.TryReceive(packet.Length) && TryDeliver(connection, packet.Length, ref chain):
                _fromGuest += packet.Length;
                break;
            case VsockOperation.CreditUpdate:
                break;
            case VsockOperation.CreditRequest:
                connection.Owe(VsockOperation.CreditUpdate);
                break;
            default:
                Refuse(connection);
                return;
        }

        Settle(connection);
    }

    /// <summary>Hands a packet's data to the host; false where there is less than its header says.</summary>
    private static bool TryDeliver(VsockConnection connection, uint length, ref DescriptorChain chain)
    {
        if (length > chain.ReadableLength)
            return false;
        for (int left = (int)length; left > 0 && chain.TryReadPiece(left, out var piece); left -= piece.Length)
        {
            if ((connection.HostEnds & VsockEnds.Receives) == 0 && !connection.Deliver(piece.Span))
                connection.HostEnds |= VsockEnds.Receives;
        }

        return true;
    }

    /// <summary>Ends a connection whose guest does not keep to the rules.</summary>
    private void Refuse(VsockConnection connection)
    {
        _dropped++;
        Drop(connection);
    }

    // ---- To the guest -------------------------------------------------------------------------------------------------

    private bool SendToGuest(VirtQueue queue)
    {
        int budget = queue.Size;
        queue.DisableNotifications();
        do
        {
            while (budget > 0 && HasOutgoing && queue.TryPop(out var chain))
            {
                budget--;
                if (chain.WritableLength <= VsockPacket.Size)
                {
                    lock (_lock)
                        _dropped++;
                    queue.Complete(chain.Token, 0);
                    continue;
                }

                uint written = SendNext(ref chain);
                if (written == 0)
                    queue.PutBack(chain.Token);
                else
                    queue.Complete(chain.Token, written);
            }
        }
        // With nothing to say there is nothing to be notified of: the next packet looks for buffers by itself.
        while (budget > 0 && HasOutgoing && queue.EnableNotifications());

        Publish(Input, queue);
        return budget == 0;
    }

    /// <summary>Puts the next packet into a buffer of more than a header's bytes.</summary>
    /// <returns>Bytes written; 0 where there was nothing to say after all.</returns>
    private uint SendNext(ref DescriptorChain chain)
    {
        lock (_lock)
        {
            while (_resets.Count > 0 || _ready.Count > 0)
            {
                if (_resets.TryDequeue(out var ports))
                {
                    ListenAgain();
                    return Send(ref chain, new VsockPacket { SourcePort = ports.Host, TargetPort = ports.Guest, Operation = VsockOperation.Reset }, []);
                }

                var connection = _ready.Dequeue();
                connection.IsQueued = false;
                if (connection.Stream is null)
                    continue;
                uint written = SendOf(connection, ref chain);
                if (connection is { Stream: not null, HasSomething: true })
                    Enqueue(connection);
                if (written > 0)
                    return written;
            }
        }

        return 0;
    }

    private void ListenAgain()
    {
        if (!_outputHeld)
            return;
        _outputHeld = false;
        WakeQueue(Output);
    }

    /// <summary>Says the next thing of a connection: what was asked or answered, data, the end, credit.</summary>
    private uint SendOf(VsockConnection connection, ref DescriptorChain chain)
    {
        if (connection.TryPay(VsockOperation.Request))
            return Send(connection, ref chain, VsockOperation.Request, []);
        if (connection.TryPay(VsockOperation.Response))
            return Send(connection, ref chain, VsockOperation.Response, []);
        if (connection.CanSend)
        {
            int count = connection.Stream!.Read(_data.AsSpan(0, (int)Math.Min(MostData, Math.Min(connection.PeerRoom, chain.WritableLength - VsockPacket.Size))));
            if (count > 0)
            {
                connection.NoteSent(count);
                connection.Decide();
                _toGuest += count;
                return Send(connection, ref chain, VsockOperation.Data, _data.AsSpan(0, count));
            }

            connection.IsReadable = false;
            if (count == 0)
                connection.HostEnds |= VsockEnds.Sends;
            Settle(connection);
        }

        if (connection.Stream is null)
            return 0;
        if (connection.TryPay(VsockOperation.Shutdown))
        {
            connection.ToldEnds = connection.HostEnds;
            return Send(connection, ref chain, VsockOperation.Shutdown, []);
        }

        if (connection.TryPay(VsockOperation.CreditRequest))
            return Send(connection, ref chain, VsockOperation.CreditRequest, []);
        return connection.Owes(VsockOperation.CreditUpdate) ? Send(connection, ref chain, VsockOperation.CreditUpdate, []) : 0;
    }

    private uint Send(VsockConnection connection, ref DescriptorChain chain, VsockOperation operation, ReadOnlySpan<byte> data) => Send(
        ref chain,
        new VsockPacket
        {
            SourcePort = connection.HostPort,
            TargetPort = connection.GuestPort,
            Operation = operation,
            Ends = operation == VsockOperation.Shutdown ? connection.ToldEnds : VsockEnds.None,
            BufferSize = VsockConnection.BufferSize,
            Consumed = connection.TellConsumed(),
        },
        data);

    private uint Send(ref DescriptorChain chain, VsockPacket packet, ReadOnlySpan<byte> data)
    {
        Span<byte> header = stackalloc byte[VsockPacket.Size];
        (packet with { SourceCid = HostCid, TargetCid = _cid, Type = VsockPacket.Stream, Length = (uint)data.Length }).Write(header);
        return (uint)(chain.Write(header) + chain.Write(data));
    }

    /// <summary>VIRTIO_VSOCK_EVENT_TRANSPORT_RESET, which is 0 (5.10.6.7).</summary>
    private void SendEvent(VirtQueue queue)
    {
        lock (_lock)
        {
            if (!_isForgotten || !queue.TryPop(out var chain))
                return;
            _isForgotten = false;
            Span<byte> transportReset = stackalloc byte[sizeof(uint)];
            transportReset.Clear();
            queue.Complete(chain.Token, (uint)chain.Write(transportReset));
        }

        Publish(Events, queue);
    }
}
