using Kvm.Devices.Memory;
using Kvm.Devices.Net;

namespace Kvm.Vmm.Network;

/// <summary>Writes every frame that passes between a card and its backend into a capture.</summary>
/// <param name="inner">The backend, which stays the caller's to dispose of.</param>
/// <param name="capture">The file, of all cards.</param>
/// <param name="card">The card's place in it.</param>
/// <param name="full">Told once, when a frame is left away.</param>
internal sealed class CapturingBackend(INetworkBackend inner, PcapngWriter capture, int card, Action full) : ICountedBackend
{
    /// <inheritdoc/>
    public NetOffloads SendOffloads => inner.SendOffloads;

    /// <inheritdoc/>
    public NetOffloads ReceiveOffloads => inner.ReceiveOffloads;

    /// <inheritdoc/>
    public int MaxPairs => inner.MaxPairs;

    /// <inheritdoc/>
    public IEnumerable<(string Name, long Value)> Counters => [.. (inner as ICountedBackend)?.Counters ?? [], ("captureLost", capture.Lost)];

    /// <inheritdoc/>
    public void Connect(INetworkListener listener) => inner.Connect(listener);

    /// <inheritdoc/>
    public void Configure(NetOffloads receive, int pairs) => inner.Configure(receive, pairs);

    /// <inheritdoc/>
    public SendOutcome Send(int pair, ReadOnlySpan<HostBuffer> frame, int length)
    {
        var outcome = inner.Send(pair, frame, length);
        if (outcome != SendOutcome.Full && !capture.Add(card, outgoing: true, frame, length))
            full();
        return outcome;
    }

    /// <inheritdoc/>
    public ReadOnlySpan<byte> Peek(int pair) => inner.Peek(pair);

    /// <inheritdoc/>
    public void Take(int pair)
    {
        if (inner.Peek(pair) is { IsEmpty: false } frame && !capture.Add(card, outgoing: false, frame))
            full();
        inner.Take(pair);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
    }
}
