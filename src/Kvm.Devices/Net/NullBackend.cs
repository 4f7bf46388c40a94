using Kvm.Devices.Memory;

namespace Kvm.Devices.Net;

/// <summary>A cable that ends nowhere (<c>--net none</c>): takes everything, gives nothing.</summary>
public sealed class NullBackend : INetworkBackend
{
    /// <inheritdoc/>
    public NetOffloads SendOffloads => NetOffloads.Modern;

    /// <inheritdoc/>
    public NetOffloads ReceiveOffloads => NetOffloads.None;

    /// <inheritdoc/>
    public int MaxPairs => 1;

    /// <inheritdoc/>
    public void Connect(INetworkListener listener)
    {
    }

    /// <inheritdoc/>
    public void Configure(NetOffloads receive, int pairs)
    {
    }

    /// <inheritdoc/>
    public SendOutcome Send(int pair, ReadOnlySpan<HostBuffer> frame, int length) => SendOutcome.Sent;

    /// <inheritdoc/>
    public ReadOnlySpan<byte> Peek(int pair) => default;

    /// <inheritdoc/>
    public void Take(int pair)
    {
    }

    /// <inheritdoc/>
    public void Dispose()
    {
    }
}
