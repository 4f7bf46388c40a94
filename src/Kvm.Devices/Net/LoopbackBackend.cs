using Kvm.Devices.Memory;

namespace Kvm.Devices.Net;

/// <summary>A cable from a card to itself: every frame comes back. For tests and measurements.</summary>
public sealed class LoopbackBackend : INetworkBackend
{
    private readonly FrameRing[] _rings;
    private INetworkListener? _listener;
    private NetOffloads _receive;

    /// <summary>Makes one.</summary>
    /// <param name="pairs">Queue pairs, each with its own way back.</param>
    /// <param name="capacity">Bytes that wait in each.</param>
    public LoopbackBackend(int pairs = 1, int capacity = 1 << 20)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(pairs, 1);
        _rings = new FrameRing[pairs];
        for (int i = 0; i < pairs; i++)
            _rings[i] = new FrameRing(capacity);
    }

    /// <inheritdoc/>
    public NetOffloads SendOffloads => NetOffloads.Modern;

    /// <inheritdoc/>
    public NetOffloads ReceiveOffloads => NetOffloads.Modern;

    /// <inheritdoc/>
    public int MaxPairs => _rings.Length;

    /// <inheritdoc/>
    public void Connect(INetworkListener listener) => _listener = listener;

    /// <inheritdoc/>
    public void Configure(NetOffloads receive, int pairs) => _receive = receive;

    /// <inheritdoc/>
    public SendOutcome Send(int pair, ReadOnlySpan<HostBuffer> frame, int length)
    {
        // What the driver sends and would not take is lost: nobody here finishes frames.
        if (!NetHeader.Read(frame[0].Span).Fits(length - NetHeader.Size, _receive))
            return SendOutcome.Dropped;
        if (!_rings[pair].TryAdd(frame, length, out bool wasEmpty))
            return SendOutcome.Full;
        if (wasEmpty)
            _listener?.FramesWaiting(pair);
        return SendOutcome.Sent;
    }

    /// <inheritdoc/>
    public ReadOnlySpan<byte> Peek(int pair) => _rings[pair].Peek();

    /// <inheritdoc/>
    public void Take(int pair)
    {
        if (_rings[pair].Take())
            _listener?.RoomAgain(pair);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
    }
}
