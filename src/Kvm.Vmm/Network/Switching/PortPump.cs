using System.Runtime.InteropServices;
using Kvm.Devices.Net;
using Kvm.Devices.Net.Switch;

namespace Kvm.Vmm.Network.Switching;

/// <summary>
/// Carries frames between a port of a switch and a backend: a card of another process, or the uplink. One thread moves them; the two ends say when there are some. Allocates
/// nothing for a frame.
/// </summary>
/// <param name="backend">The other end, this object's from now on.</param>
/// <param name="wake">Has the thread call <see cref="Move"/>. Any thread.</param>
internal sealed class PortPump(INetworkBackend backend, Action wake) : IPortListener, INetworkListener, IDisposable
{
    // Frames in a row each way: then it is others' turn.
    private const int Budget = 64;

    private volatile bool _mayComeIn = true;
    private volatile bool _mayGoOut;
    private volatile bool _isEnding;

    /// <summary>The port; set once, before anything is moved.</summary>
    public SwitchPort? Port { get; set; }

    /// <summary>The other end.</summary>
    public INetworkBackend Backend => backend;

    /// <summary>True once the other end is not there any more.</summary>
    public bool IsGone { get; private set; }

    /// <summary>The other end may have frames, or room for some; where it hung up, its last ones.</summary>
    public void Look(bool hungUp)
    {
        _isEnding |= hungUp;
        _mayComeIn = true;
    }

    /// <summary>True if there may be something to move.</summary>
    public bool HasMore => !IsGone && (_mayComeIn || _mayGoOut);

    /// <summary>Moves frames both ways; true if there may be more to do at once.</summary>
    public bool Move()
    {
        if (Port is not { } port || IsGone)
            return false;
        bool more = false;
        if (_mayComeIn)
        {
            _mayComeIn = false;
            more = TakeIn(port);
        }

        if (_mayGoOut)
        {
            _mayGoOut = false;
            more |= GiveOut(port);
        }

        return more;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Port?.Dispose();
        backend.Dispose();
    }

    /// <inheritdoc/>
    void IPortListener.FramesWaiting(SwitchPort port)
    {
        _mayGoOut = true;
        wake();
    }

    /// <inheritdoc/>
    void INetworkListener.FramesWaiting(int pair)
    {
        _mayComeIn = true;
        wake();
    }

    /// <inheritdoc/>
    void INetworkListener.RoomAgain(int pair)
    {
        _mayGoOut = true;
        wake();
    }

    /// <inheritdoc/>
    void INetworkListener.LinkChanged(bool up)
    {
        IsGone |= !up;
        wake();
    }

    private bool TakeIn(SwitchPort port)
    {
        for (int i = 0; i < Budget; i++)
        {
            var frame = backend.Peek(0);
            // A stream that ended says so when it is looked at once more.
            if (frame.IsEmpty && _isEnding && !IsGone)
                frame = backend.Peek(0);
            if (frame.IsEmpty)
                return false;
            if (frame.Length == NetHeader.Size && port.Options.Role == PortRole.Card)
                port.Takes = RemoteLink.Told(NetHeader.Read(frame));
            else
                // The backend's own buffer, which nobody reads any more.
                port.Send(MemoryMarshal.CreateSpan(ref MemoryMarshal.GetReference(frame), frame.Length));
            backend.Take(0);
        }

        // Only ever set here: what the other end said since is not to be forgotten, as it says it once.
        _mayComeIn = true;
        return true;
    }

    private bool GiveOut(SwitchPort port)
    {
        for (int i = 0; i < Budget; i++)
        {
            var frame = port.PeekBuffer();
            // One that is full says when it is not.
            if (frame.Length == 0 || backend.Send(0, [frame], frame.Length) == SendOutcome.Full)
                return false;
            port.Take();
        }

        _mayGoOut = true;
        return true;
    }
}
