using Kvm.Devices.Memory;
using Kvm.Devices.Net;
using Kvm.Devices.Net.Switch;

namespace Kvm.Vmm.Network.Switching;

/// <summary>What is between a card and its switch at the moment. As for <see cref="INetworkBackend"/>, with one queue pair.</summary>
internal interface ICardLink : IDisposable
{
    SendOutcome Send(ReadOnlySpan<HostBuffer> frame, int length);

    ReadOnlySpan<byte> Peek();

    void Take();

    /// <summary>What the card's driver takes from now on.</summary>
    void Configure(NetOffloads takes);
}

/// <summary>Nothing: the switch is not there.</summary>
internal sealed class NoLink : ICardLink
{
    public static readonly NoLink Instance = new();

    public SendOutcome Send(ReadOnlySpan<HostBuffer> frame, int length) => SendOutcome.Dropped;

    public ReadOnlySpan<byte> Peek() => default;

    public void Take()
    {
    }

    public void Configure(NetOffloads takes)
    {
    }

    public void Dispose()
    {
    }
}

/// <summary>A port of a switch in this process.</summary>
internal sealed class LocalLink(SwitchPort port) : ICardLink
{
    /// <summary>The port.</summary>
    public SwitchPort Port => port;

    /// <remarks>What becomes of a frame behind the port is for the port to count.</remarks>
    public SendOutcome Send(ReadOnlySpan<HostBuffer> frame, int length)
    {
        port.Send(frame, length);
        return SendOutcome.Sent;
    }

    public ReadOnlySpan<byte> Peek() => port.Peek();

    public void Take() => port.Take();

    public void Configure(NetOffloads takes) => port.Takes = takes;

    public void Dispose() => port.Dispose();
}

/// <summary>A stream to a switch in another process.</summary>
internal sealed class RemoteLink(StreamBackend stream) : ICardLink
{
    private int _takes;
    private volatile bool _isUntold;
    private volatile bool _isOver;

    /// <summary>True once the other end is known to have hung up.</summary>
    public bool IsOver
    {
        get => _isOver;
        set => _isOver = value;
    }

    /// <summary>The stream.</summary>
    public StreamBackend Stream => stream;

    public SendOutcome Send(ReadOnlySpan<HostBuffer> frame, int length)
    {
        if (_isUntold)
            Tell();
        return stream.Send(0, frame, length);
    }

    public ReadOnlySpan<byte> Peek()
    {
        if (_isUntold)
            Tell();
        return stream.Peek(0);
    }

    public void Take() => stream.Take(0);

    public void Configure(NetOffloads takes)
    {
        Volatile.Write(ref _takes, (int)takes);
        _isUntold = true;
        Tell();
    }

    public void Dispose() => stream.Dispose();

    /// <summary>What a message says that a card takes.</summary>
    public static NetOffloads Told(in NetHeader message) => (NetOffloads)message.ChecksumStart & NetOffloads.Modern;

    private void Tell()
    {
        // Before what is told is looked at: what changes meanwhile is told again.
        _isUntold = false;
        if (!stream.Tell(new NetHeader(0, 0, 0, 0, (ushort)Volatile.Read(ref _takes), 0, 0)))
            _isUntold = true;
    }
}
