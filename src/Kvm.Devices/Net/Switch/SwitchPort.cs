using Kvm.Devices.Memory;

namespace Kvm.Devices.Net.Switch;

/// <summary>
/// A port of a <see cref="NetworkSwitch"/>: for a guest's card, the uplink, or a service of the network that is in this process (DHCP, a gateway). Frames have a
/// <see cref="NetHeader"/> before them both ways. Any thread may send; one at a time takes frames. Allocates nothing for a frame.
/// </summary>
public sealed class SwitchPort : IDisposable
{
    private readonly NetworkSwitch _switch;
    private readonly IPortListener _listener;
    private readonly FrameRing? _queue;
    private readonly WeightedTurns? _turns;
    private readonly long[] _drops = new long[(int)SwitchDrop.Unfinished + 1];
    private volatile bool _isGone;
    private uint _takes;
    private long _framesIn, _bytesIn, _framesOut, _bytesOut;

    internal SwitchPort(NetworkSwitch network, int number, PortOptions options, IPortListener listener)
    {
        (_switch, Number, Options, _listener) = (network, number, options, listener);
        if (options.Role == PortRole.Uplink)
            _turns = new WeightedTurns();
        else
            (_queue, ForUplink) = (new FrameRing(options.QueueBytes), new FrameRing(options.UplinkQueueBytes));
        Flood = new(options.FloodLimit ?? network.Options.FloodLimit, network.Now);
    }

    /// <summary>0 to <see cref="SwitchOptions.MaxPorts"/> less 1; another port's when this one is gone.</summary>
    public int Number { get; }

    /// <summary>How it is set up.</summary>
    public PortOptions Options { get; }

    /// <summary>
    /// What frames to it may leave undone; the switch does the rest. What waits already stays as it is. Nothing to begin with.
    /// </summary>
    public NetOffloads Takes
    {
        get => (NetOffloads)Volatile.Read(ref _takes);
        set => Volatile.Write(ref _takes, (uint)value);
    }

    /// <summary>What it did so far. Any thread.</summary>
    public PortCounters Counters =>
        new(Volatile.Read(ref _framesIn), Volatile.Read(ref _bytesIn), Volatile.Read(ref _framesOut), Volatile.Read(ref _bytesOut));

    /// <summary>Frames that were not passed on for a reason: counted where they came from, but for <see cref="SwitchDrop.QueueFull"/>, which is the receiver's.</summary>
    public long Dropped(SwitchDrop reason) => Volatile.Read(ref _drops[(int)reason]);

    /// <summary>Its frames that wait for the uplink; null is the uplink's own.</summary>
    internal FrameRing? ForUplink { get; }

    /// <summary>What it may send to everybody; under the switch's lock.</summary>
    internal Limits.TokenBucket Flood;

    /// <summary>What it could send of late to the uplink; the uplink's taker's alone.</summary>
    internal long Deficit { get; set; }

    /// <summary>True once it is detached.</summary>
    internal bool IsGone
    {
        get => _isGone;
        set => _isGone = value;
    }

    /// <summary>Sends a frame: it is on its way, or dropped and counted, when this returns.</summary>
    /// <param name="frame">As for <see cref="INetworkBackend.Send"/>: the first piece is the caller's own copy, which a <see cref="IFrameRewriter"/> may change.</param>
    /// <param name="length">Bytes of all pieces.</param>
    /// <returns>True if it waits for somebody now.</returns>
    public bool Send(ReadOnlySpan<HostBuffer> frame, int length)
    {
        Interlocked.Increment(ref _framesIn);
        Interlocked.Add(ref _bytesIn, length - NetHeader.Size);
        return _switch.Forward(this, frame, length);
    }

    /// <summary>Sends a frame that lies in one piece, header first; a <see cref="IFrameRewriter"/> may change it.</summary>
    public bool Send(Span<byte> frame) => NetworkSwitch.Send(this, frame);

    /// <summary>The next frame for whoever is at the port, header first, the same again until <see cref="Take"/>; empty if there is none.</summary>
    public ReadOnlySpan<byte> Peek() => Waiting is { } queue ? queue.Peek() : default;

    /// <summary>As <see cref="Peek"/>, for backends: valid until <see cref="Take"/>, and as long as this object is there.</summary>
    public HostBuffer PeekBuffer() => Waiting is { } queue ? queue.PeekBuffer() : default;

    /// <summary>The frame that <see cref="Peek"/> gave is done with.</summary>
    public void Take()
    {
        if (Waiting is not { } queue || queue.Peek() is not { IsEmpty: false } frame)
            return;
        Volatile.Write(ref _framesOut, _framesOut + 1);
        Volatile.Write(ref _bytesOut, _bytesOut + frame.Length - NetHeader.Size);
        _turns?.Took(frame.Length);
        queue.Take();
    }

    /// <summary>Takes it off the switch: nothing comes any more, what waits may still be taken.</summary>
    public void Dispose() => _switch.Detach(this);

    internal void Count(SwitchDrop reason) => Interlocked.Increment(ref _drops[(int)reason]);

    /// <summary>Where frames from a port to this one wait.</summary>
    internal FrameRing QueueFor(SwitchPort from) => _queue ?? from.ForUplink!;

    /// <summary>Tells whoever takes frames.</summary>
    internal void Tell() => _listener.FramesWaiting(this);

    /// <summary>True if frames of a VLAN come and go here.</summary>
    internal bool Carries(int vlan) => vlan == Options.Vlan || Options.Trunk is { } trunk && trunk.Contains(vlan);

    private FrameRing? Waiting => _queue ?? _turns!.Next(_switch.All);
}
