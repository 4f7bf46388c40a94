namespace Kvm.Devices.Net.Switch;

/// <summary>
/// Who may send what to whom, asked for every frame and every port it would go to. Any thread, several at once; must not throw, block or allocate. Swapped
/// while traffic runs (<see cref="NetworkSwitch.Policy"/>): one that is not asked any more may still be in the middle of an answer.
/// </summary>
public interface IFramePolicy
{
    /// <summary>True if a frame may pass.</summary>
    /// <param name="fromPort">The <see cref="SwitchPort.Number"/> it came from.</param>
    /// <param name="toPort">That of the port it would go to.</param>
    /// <param name="frame">
    /// The Ethernet frame, or its first <see cref="INetworkBackend.HeadBytes"/> at least where it is longer, without <see cref="NetHeader"/>, with the tag it was
    /// sent with, after <see cref="IFrameRewriter"/>. It is a copy that no guest can change.
    /// </param>
    bool Allows(int fromPort, int toPort, ReadOnlySpan<byte> frame);
}

/// <summary>
/// Changes addresses of a frame before it is decided where it goes, as for an address that stands for several machines. Any thread, several at once; must not throw,
/// block or allocate.
/// </summary>
public interface IFrameRewriter
{
    /// <summary>Looks at a frame, and may change it in place; its length stays. The sender was learned before by the source it had.</summary>
    /// <param name="fromPort">The <see cref="SwitchPort.Number"/> it came from.</param>
    /// <param name="header">What is left undone in the frame.</param>
    /// <param name="frame">
    /// The Ethernet frame, or its first <see cref="INetworkBackend.HeadBytes"/> at least, as for <see cref="IFramePolicy.Allows"/>. A checksum that covers
    /// what is changed is to be changed by the difference, also where it is unfinished: then it holds the pseudo-header's sum.
    /// </param>
    void Rewrite(int fromPort, in NetHeader header, Span<byte> frame);
}

/// <summary>Whoever takes frames from a port. Called on the thread of whoever sends, without any lock of the switch's; must not block for long.</summary>
public interface IPortListener
{
    /// <summary>
    /// Frames are there for <see cref="SwitchPort.Peek"/> where there were none. The listener may take them at once, and answer by <see cref="SwitchPort.Send(Span{byte})"/>,
    /// if only one thread at a time does: this is called by several.
    /// </summary>
    void FramesWaiting(SwitchPort port);
}
