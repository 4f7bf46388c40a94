using System.Buffers.Binary;
using Kvm.Devices.Limits;
using Kvm.Devices.Memory;
using Kvm.Devices.Net;
using Kvm.Devices.Virtio.Queue;

namespace Kvm.Devices.Virtio.Net;

/// <summary>The queues: frames both ways, and the driver's commands.</summary>
public sealed partial class NetDevice
{
    private readonly byte[] _commandRoom = new byte[ControlRequest.MaxData];
    private long _controlRefused;

    private static int ReceiveQueue(int pair) => 2 * pair;

    // 5.1.2: without multi-queue there is one pair, whatever the device has.
    private int ControlIndex => Has(NetFeature.MultiQueue) ? 2 * _options.Pairs : 2;

    // 5.1.6.1: legacy drivers that do not merge buffers have no place for their number.
    private int HeaderSize => Has(VirtioFeature.Version1 | NetFeature.MergeableBuffers) ? NetHeader.Size : NetHeader.LegacySize;

    /// <inheritdoc/>
    protected override bool OnQueue(int index, VirtQueue queue)
    {
        ArgumentNullException.ThrowIfNull(queue);
        if (index == ControlIndex && Has(NetFeature.ControlQueue))
            return Drain(index, queue);
        int pair = index / 2;
        if (pair >= _activePairs)
            return false;
        if (_announceOnRun && Has(NetFeature.Status))
        {
            _announceOnRun = false;
            SignalConfig();
        }

        return index == ReceiveQueue(pair) ? Receive(index, queue, pair) : Drain(index, queue);
    }

    /// <inheritdoc/>
    protected override ChainResult OnChain(int index, VirtQueue queue, ref DescriptorChain chain)
    {
        ArgumentNullException.ThrowIfNull(queue);
        if (index == ControlIndex)
            Command(queue, ref chain);
        else if (Transmit(index / 2, ref chain) == SendOutcome.Full)
            return ChainResult.Later;
        else
            queue.Complete(chain.Token, 0);
        return ChainResult.Taken;
    }

    /// <inheritdoc/>
    protected override void DrainQueue(int index, VirtQueue queue, bool abandon)
    {
        if (index % 2 != 0 || index / 2 >= _pairs.Length)
            return;
        if (abandon)
            _pairs[index / 2].Receiver.Forget();
        else
            _pairs[index / 2].Receiver.PutBack(queue);
    }

    private SendOutcome Transmit(int index, ref DescriptorChain chain)
    {
        var pair = _pairs[index];
        if (!TransmitRequest.TryParse(ref chain, HeaderSize, NetFeature.ToHost(Features), pair.Head.Buffer, pair.Pieces, out var request))
        {
            Add(ref pair.Malformed, 1);
            return SendOutcome.Dropped;
        }

        if (_options.FixedMac && request.Source != _options.Mac)
        {
            Add(ref pair.Spoofed, 1);
            return SendOutcome.Dropped;
        }

        if (pair.SendToll is { } toll && !toll.TryPass(request.Length - NetHeader.Size))
            return SendOutcome.Full;
        var outcome = _backend.Send(index, request.Pieces, request.Length);
        if (outcome != SendOutcome.Full)
            pair.SendToll?.Passed();
        if (outcome == SendOutcome.Sent)
        {
            Add(ref pair.FramesSent, 1);
            Add(ref pair.BytesSent, request.Length - NetHeader.Size);
        }
        else if (outcome == SendOutcome.Dropped)
        {
            Add(ref pair.SendDropped, 1);
        }

        return outcome;
    }

    /// <summary>Puts the frames that wait into the driver's buffers, as many as the queue has entries at most.</summary>
    private bool Receive(int index, VirtQueue queue, int number)
    {
        var pair = _pairs[number];
        int budget = queue.Size, headerSize = HeaderSize;
        bool merge = Has(NetFeature.MergeableBuffers);
        var offloads = NetFeature.ToGuest(Volatile.Read(ref _guestOffloads));
        queue.DisableNotifications();
        while (budget-- > 0)
        {
            var frame = _backend.Peek(number);
            if (frame.IsEmpty)
            {
                // Nothing to be notified of: the next frame looks for buffers by itself.
                Publish(index, queue);
                return false;
            }

            // A frame that was begun is ended, whatever the driver has said of its wishes since.
            bool goes = pair.Receiver.HasBegun || IsWanted(pair, frame, offloads);
            if (goes && pair.ReceiveToll is { } toll && !toll.TryPass(frame.Length - NetHeader.Size))
            {
                Publish(index, queue);
                return false;
            }

            var outcome = goes ? pair.Receiver.Deliver(queue, frame, headerSize, merge) : (Delivery?)null;
            if (outcome == Delivery.Waits)
            {
                Publish(index, queue);
                if (queue.EnableNotifications())
                    continue;
                Add(ref pair.ReceiveStalls, 1);
                return false;
            }

            if (outcome == Delivery.Done)
            {
                Add(ref pair.FramesReceived, 1);
                Add(ref pair.BytesReceived, frame.Length - NetHeader.Size);
            }
            else if (outcome == Delivery.DoesNotFit)
            {
                Add(ref pair.ReceiveDropped, 1);
            }

            pair.ReceiveToll?.Passed();
            _backend.Take(number);
        }

        Publish(index, queue);
        return true;
    }

    /// <summary>True for a frame the driver wants and can take.</summary>
    private bool IsWanted(PerPair pair, ReadOnlySpan<byte> frame, NetOffloads offloads)
    {
        // A backend may pass on what somebody else made: another guest, by way of a socket.
        if (frame.Length < NetHeader.Size || !NetHeader.Read(frame).Fits(frame.Length - NetHeader.Size, offloads))
        {
            Add(ref pair.ReceiveDropped, 1);
            return false;
        }

        if (_filter.Wants(frame[NetHeader.Size..], Mac))
            return true;
        Add(ref pair.Filtered, 1);
        return false;
    }

    private void Command(VirtQueue queue, ref DescriptorChain chain)
    {
        bool done = ControlRequest.TryParse(ref chain, _commandRoom, out var request) && Execute(in request);
        if (!done)
            Add(ref _controlRefused, 1);
        uint written = 0;
        if (request.Answer.Length != 0)
        {
            request.Answer.Span[0] = done ? (byte)0 : (byte)1;
            // The length counts from the front without gaps.
            written = chain.WritableLength == 0 ? 1u : 0;
        }

        queue.Complete(chain.Token, written);
    }

    private bool Execute(in ControlRequest request)
    {
        switch (request.Command)
        {
            case >= NetCommand.Promiscuous and <= NetCommand.NoBroadcast:
                bool extra = request.Command > NetCommand.Promiscuous + 1;
                if (request.DataLength != 1 || !Has(extra ? NetFeature.ControlReceiveExtra : NetFeature.ControlReceive))
                    return false;
                _filter = _filter.With((byte)(1 << (int)request.Command), request.Data[0] != 0);
                return true;
            case NetCommand.MacTable:
                if (!Has(NetFeature.ControlReceive) || !request.TryReadTables(out var singles, out var groups))
                    return false;
                _filter = _filter with { Singles = singles, Groups = groups };
                return true;
            case NetCommand.MacAddress:
                if (request.DataLength != MacAddress.Size || !Has(NetFeature.ControlMac) || !MacAddress.Read(request.Data).IsUsable)
                    return false;
                SetMac(MacAddress.Read(request.Data));
                return true;
            case NetCommand.VlanAdd or NetCommand.VlanDelete:
                return SetVlan(in request);
            case NetCommand.AnnounceDone:
                if (!Has(NetFeature.GuestAnnounce))
                    return false;
                lock (_linkLock)
                    _mustAnnounce = false;
                SetLinkConfig();
                return true;
            case NetCommand.Pairs:
                return SetPairs(in request);
            case NetCommand.GuestOffloads:
                return SetGuestOffloads(in request);
            default:
                return false;
        }
    }

    private bool SetVlan(in ControlRequest request)
    {
        if (request.DataLength != 2 || !Has(NetFeature.ControlVlan) || BinaryPrimitives.ReadUInt16LittleEndian(request.Data) is var vlan && vlan >= NetFilter.Vlans)
            return false;
        _filter = _filter.WithVlan(vlan, request.Command == NetCommand.VlanAdd);
        return true;
    }

    private bool SetPairs(in ControlRequest request)
    {
        if (request.DataLength != 2 || !Has(NetFeature.MultiQueue))
            return false;
        int pairs = BinaryPrimitives.ReadUInt16LittleEndian(request.Data);
        if (pairs < 1 || pairs > _options.Pairs)
            return false;
        Volatile.Write(ref _activePairs, pairs);
        _backend.Configure(NetFeature.ToGuest(_guestOffloads), pairs);
        for (int queue = 0; queue < 2 * pairs; queue++)
            WakeQueue(queue);
        return true;
    }

    private bool SetGuestOffloads(in ControlRequest request)
    {
        if (request.DataLength != 8 || !Has(NetFeature.GuestOffloads))
            return false;
        // 5.1.6.5.6.2: what was negotiated, or less of it.
        ulong wanted = BinaryPrimitives.ReadUInt64LittleEndian(request.Data);
        if ((wanted & ~NetFeature.OfGuestOffloads(Features)) != 0)
            return false;
        Volatile.Write(ref _guestOffloads, wanted);
        _backend.Configure(NetFeature.ToGuest(wanted), _activePairs);
        return true;
    }

    private static void Add(ref long counter, long by) => Volatile.Write(ref counter, counter + by);

    /// <summary>What a queue pair has of its own: each half under its queue's gate; the counters are read by anybody.</summary>
    private sealed class PerPair(GuestMemory memory, int queueSize, Toll? receiveToll, Toll? sendToll) : IDisposable
    {
        /// <summary>What holds frames back that come too fast; null where nothing does.</summary>
        public readonly Toll? ReceiveToll = receiveToll, SendToll = sendToll;

        public readonly AlignedBuffer Head = new(TransmitRequest.HeadSize, 64);

        public readonly HostBuffer[] Pieces = new HostBuffer[queueSize + 1];

        public readonly FrameReceiver Receiver = new(memory, queueSize);

        public long FramesSent, BytesSent, FramesReceived, BytesReceived, Malformed, Spoofed, SendDropped, Filtered, ReceiveDropped, ReceiveStalls;

        public void Dispose() => Head.Dispose();
    }
}
