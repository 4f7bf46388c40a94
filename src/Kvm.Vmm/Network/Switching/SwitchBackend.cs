using Kvm.Devices.Memory;
using Kvm.Devices.Net;
using Kvm.Devices.Net.Switch;

namespace Kvm.Vmm.Network.Switching;

/// <summary>
/// A cable to a switch, in this process or another one: what is in between changes when who serves the switch does, and the card does not see it but by frames that are
/// lost. Allocates nothing for a frame.
/// </summary>
internal sealed class SwitchBackend : IWatchedBackend, ICountedBackend, IPortListener, INetworkListener
{
    private readonly SwitchNode _node;
    private readonly Action _leave;
    private readonly TaskCompletionSource<string> _joined = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Lock _changing = new(), _telling = new();
    private ICardLink _out = NoLink.Instance;
    private ICardLink _in = NoLink.Instance;
    private ICardLink? _next;
    private bool _isHeld;
    private INetworkListener? _listener;
    private IDescriptorWait? _wait;
    private NetOffloads _takes;
    private bool _isUp = true;
    private long _lost;

    /// <summary>Makes one; <see cref="SwitchRegistry.Join"/> alone does.</summary>
    public SwitchBackend(SwitchNode node, SwitchPortConfig port, MacAddress? mac, Action leave) => (_node, Port, Mac, _leave) = (node, port, mac, leave);

    /// <summary>How it wants to be there.</summary>
    public SwitchPortConfig Port { get; }

    /// <summary>The card's address, if it is fixed.</summary>
    public MacAddress? Mac { get; }

    /// <summary>What it is linked by now; the node's thread alone changes it.</summary>
    public ICardLink Link => Volatile.Read(ref _out);

    /// <summary>Completes when it is there for the first time, with nothing or with why it cannot be.</summary>
    public Task<string> Joined => _joined.Task;

    /// <inheritdoc/>
    public NetOffloads SendOffloads => NetOffloads.Modern;

    /// <inheritdoc/>
    public NetOffloads ReceiveOffloads => NetOffloads.Modern;

    /// <inheritdoc/>
    public int MaxPairs => 1;

    /// <inheritdoc/>
    /// <remarks>Frames lost for want of a switch; where the switch is in this process, why it dropped what this card sent or was to get.</remarks>
    public IEnumerable<(string Name, long Value)> Counters
    {
        get
        {
            yield return ("switchLost", Volatile.Read(ref _lost));
            if (Link is not LocalLink { Port: var port })
                yield break;
            for (var reason = SwitchDrop.Malformed; reason <= SwitchDrop.Unfinished; reason++)
                yield return ($"switch{reason}", port.Dropped(reason));
        }
    }

    /// <inheritdoc/>
    public void Connect(INetworkListener listener)
    {
        lock (_telling)
        {
            _listener = listener;
            if (!_isUp)
                listener.LinkChanged(false);
        }
    }

    /// <summary>Nobody tells the card anything any more, and nobody is still telling it: its thread may end.</summary>
    public void Silence()
    {
        lock (_telling)
            _listener = null;
    }

    /// <inheritdoc/>
    /// <remarks>Which descriptor that is changes with who serves the switch.</remarks>
    public void WatchBy(int pair, IDescriptorWait wait)
    {
        lock (_changing)
        {
            _wait = wait;
            (_out as RemoteLink)?.Stream.WatchBy(pair, wait);
        }
    }

    /// <inheritdoc/>
    public void Configure(NetOffloads receive, int pairs)
    {
        lock (_changing)
        {
            _takes = receive;
            _out.Configure(receive);
        }
    }

    /// <inheritdoc/>
    public SendOutcome Send(int pair, ReadOnlySpan<HostBuffer> frame, int length)
    {
        var outcome = Volatile.Read(ref _out).Send(frame, length);
        if (outcome == SendOutcome.Dropped)
            Interlocked.Increment(ref _lost);
        return outcome;
    }

    /// <inheritdoc/>
    public ReadOnlySpan<byte> Peek(int pair)
    {
        // A frame that somebody looks at stays where it is.
        if (!_isHeld && Volatile.Read(ref _next) is not null)
            TakeNext();
        var frame = _in.Peek();
        _isHeld = !frame.IsEmpty;
        return frame;
    }

    /// <inheritdoc/>
    public void Take(int pair)
    {
        _in.Take();
        _isHeld = false;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _node.Remove(this);
        lock (_changing)
        {
            _out.Dispose();
            _in.Dispose();
        }

        _leave();
    }

    /// <summary>Says that it is there, or why it cannot be; false if that was said before.</summary>
    public bool Say(string why) => _joined.TrySetResult(why);

    /// <summary>Links it anew; frames go there at once, and come from there when the last one that somebody looks at is taken. The node's thread.</summary>
    public void Change(ICardLink link)
    {
        lock (_changing)
        {
            // One that frames never came from is nobody's any more.
            if (_next is not null)
                _out.Dispose();
            if (link is RemoteLink remote)
            {
                remote.Stream.Connect(this);
                if (_wait is not null)
                    remote.Stream.WatchBy(0, _wait);
            }

            link.Configure(_takes);

            Volatile.Write(ref _out, link);
            Volatile.Write(ref _next, link);
        }

        lock (_telling)
        {
            _listener?.FramesWaiting(0);
            _listener?.RoomAgain(0);
        }
    }

    /// <summary>Says whether the cable is plugged in. The node's thread.</summary>
    public void SetUp(bool up)
    {
        lock (_telling)
        {
            if (_isUp != up)
                _listener?.LinkChanged(up);
            _isUp = up;
        }
    }

    /// <inheritdoc/>
    void IPortListener.FramesWaiting(SwitchPort port) => FramesWaiting(0);

    /// <inheritdoc/>
    public void FramesWaiting(int pair)
    {
        lock (_telling)
            _listener?.FramesWaiting(pair);
    }

    /// <inheritdoc/>
    void INetworkListener.RoomAgain(int pair)
    {
        lock (_telling)
            _listener?.RoomAgain(pair);
    }

    /// <inheritdoc/>
    void INetworkListener.LinkChanged(bool up) => _node.Wake();

    private void TakeNext()
    {
        lock (_changing)
        {
            if (_next is not { } next)
                return;
            if (_in != next)
                _in.Dispose();
            Volatile.Write(ref _next, null);
            _in = next;
        }
    }
}
