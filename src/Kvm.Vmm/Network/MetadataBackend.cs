using Kvm.Devices.Memory;
using Kvm.Devices.Net;
using Kvm.Devices.Net.Metadata;
using Kvm.Devices.Virtio.Rng;

namespace Kvm.Vmm.Network;

/// <summary>Stands between a card and its backend, and keeps to itself what is for the metadata service. What it says comes by the first queue pair, between the backend's frames.</summary>
internal sealed class MetadataBackend : ICountedBackend
{
    private readonly INetworkBackend _inner;
    private readonly MetadataService _service;
    private readonly MetadataNetwork _network;
    private readonly byte[] _frame = GC.AllocateUninitializedArray<byte>(MetadataNetwork.FrameBytes);
    private INetworkListener? _listener;

    // Used by whoever receives at the first pair: bytes of a frame of the service's that waits to be taken, and whether one of the backend's does.
    private int _length;
    private bool _innerWaits;

    /// <summary>Makes one.</summary>
    /// <param name="inner">The backend, which stays the caller's to dispose of.</param>
    /// <param name="service">Who answers.</param>
    /// <param name="address">At which address.</param>
    /// <param name="entropy">Where connections' first numbers come from.</param>
    /// <param name="time">The clock.</param>
    public MetadataBackend(INetworkBackend inner, MetadataService service, uint address, IEntropySource entropy, TimeProvider time)
    {
        (_inner, _service) = (inner, service);
        _network = new MetadataNetwork(service, address, entropy, time, () => _listener?.FramesWaiting(0));
    }

    /// <inheritdoc/>
    public NetOffloads SendOffloads => _inner.SendOffloads;

    /// <inheritdoc/>
    public NetOffloads ReceiveOffloads => _inner.ReceiveOffloads;

    /// <inheritdoc/>
    public int MaxPairs => _inner.MaxPairs;

    /// <inheritdoc/>
    public IEnumerable<(string Name, long Value)> Counters
    {
        get
        {
            var (requests, refused, tokens) = _service.Counters;
            var (connections, evicted, dropped) = _network.Traffic;
            return
            [
                .. (_inner as ICountedBackend)?.Counters ?? [],
                ("metadataRequests", requests), ("metadataRefused", refused), ("metadataTokens", tokens),
                ("metadataConnections", connections), ("metadataEvicted", evicted), ("metadataDropped", dropped),
            ];
        }
    }

    /// <inheritdoc/>
    public void Connect(INetworkListener listener)
    {
        _listener = listener;
        _inner.Connect(listener);
    }

    /// <inheritdoc/>
    public void Configure(NetOffloads receive, int pairs) => _inner.Configure(receive, pairs);

    /// <inheritdoc/>
    public SendOutcome Send(int pair, ReadOnlySpan<HostBuffer> frame, int length)
    {
        if (!_network.IsMine(frame[0].Span[NetHeader.Size..]))
            return _inner.Send(pair, frame, length);
        _network.Receive(frame, length);
        return SendOutcome.Sent;
    }

    /// <inheritdoc/>
    public ReadOnlySpan<byte> Peek(int pair)
    {
        if (pair != 0)
            return _inner.Peek(pair);
        // What was shown once is shown until it is taken.
        if (_length == 0 && !_innerWaits && _network.HasFrames)
            _length = _network.Next(_frame);
        if (_length > 0)
            return _frame.AsSpan(0, _length);
        var frame = _inner.Peek(pair);
        _innerWaits = !frame.IsEmpty;
        return frame;
    }

    /// <inheritdoc/>
    public void Take(int pair)
    {
        if (pair == 0 && _length > 0)
        {
            _length = 0;
            return;
        }

        if (pair == 0)
            _innerWaits = false;
        _inner.Take(pair);
    }

    /// <inheritdoc/>
    public void Dispose() => _network.Dispose();
}
