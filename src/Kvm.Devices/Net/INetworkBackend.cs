using Kvm.Devices.Memory;

namespace Kvm.Devices.Net;

/// <summary>What became of a frame that was given to a backend.</summary>
public enum SendOutcome
{
    /// <summary>It is on its way.</summary>
    Sent,

    /// <summary>There is no room now: it is to be given again after <see cref="INetworkListener.RoomAgain"/>.</summary>
    Full,

    /// <summary>It is lost, as frames may be.</summary>
    Dropped,
}

/// <summary>
/// The other end of a network card's cable. A frame is a <see cref="NetHeader"/> of <see cref="NetHeader.Size"/> bytes and the Ethernet frame. Calls for
/// one queue pair come one at a time in each direction, from any thread, and must not throw, block or allocate.
/// </summary>
public interface INetworkBackend : IDisposable
{
    /// <summary>What frames sent to it may leave undone. Fixed.</summary>
    NetOffloads SendOffloads { get; }

    /// <summary>What its frames may leave undone, as far as the driver allows it. Fixed.</summary>
    NetOffloads ReceiveOffloads { get; }

    /// <summary>The most queue pairs it can serve, at least 1. Fixed.</summary>
    int MaxPairs { get; }

    /// <summary>Says whom to tell; once, before the first frame.</summary>
    void Connect(INetworkListener listener);

    /// <summary>What the driver takes from now on; called when it starts, changes its mind or is reset.</summary>
    /// <param name="receive">What frames to it may leave undone, a part of <see cref="ReceiveOffloads"/>.</param>
    /// <param name="pairs">Queue pairs in use, 1 to <see cref="MaxPairs"/>.</param>
    void Configure(NetOffloads receive, int pairs);

    /// <summary>Sends a frame.</summary>
    /// <param name="pair">The queue pair it came by.</param>
    /// <param name="frame">
    /// Header and frame in pieces, none empty, of which the first is the device's own copy of at least the header and the first
    /// <see cref="HeadBytes"/> of the frame, as far as it goes: what is decided by those bytes is decided by what is sent. The rest may be guest memory, and change.
    /// </param>
    /// <param name="length">Bytes of all pieces.</param>
    SendOutcome Send(int pair, ReadOnlySpan<HostBuffer> frame, int length);

    /// <summary>
    /// The next frame for the guest, header first, the same again until <see cref="Take"/>; empty if there is none, and then
    /// <see cref="INetworkListener.FramesWaiting"/> tells when there is.
    /// </summary>
    ReadOnlySpan<byte> Peek(int pair);

    /// <summary>The frame that <see cref="Peek"/> gave is done with.</summary>
    void Take(int pair);

    /// <summary>Bytes of a frame's beginning that hold every header somebody may want to look at (Ethernet, VLAN, IPv4 with options, TCP).</summary>
    const int HeadBytes = 128;
}

/// <summary>The device's side of a cable. Any thread; never blocks for long.</summary>
public interface INetworkListener
{
    /// <summary>Frames may be there for a queue pair where <see cref="INetworkBackend.Peek"/> had none.</summary>
    void FramesWaiting(int pair);

    /// <summary>Frames may be taken again of a queue pair that was <see cref="SendOutcome.Full"/>.</summary>
    void RoomAgain(int pair);

    /// <summary>The cable was plugged in or out.</summary>
    void LinkChanged(bool up);
}
