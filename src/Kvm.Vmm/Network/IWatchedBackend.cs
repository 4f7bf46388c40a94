using Kvm.Devices.Net;
using Kvm.Interop;

namespace Kvm.Vmm.Network;

/// <summary>A backend that hears of frames by descriptors, which whoever calls it waits for: a card's own thread (<see cref="Virtio.DeviceThread.WaitOf"/>), or a switch's.</summary>
internal interface IWatchedBackend : INetworkBackend
{
    /// <summary>Says by whom a queue pair's descriptor is waited for, the one there is and any that takes its place. Once for each pair.</summary>
    void WatchBy(int pair, IDescriptorWait wait);
}

/// <summary>
/// Whoever sleeps until a descriptor is ready, and then calls <see cref="INetworkBackend.Peek"/>. Any thread, as long as the descriptor is open; its end is that of the wait.
/// </summary>
internal interface IDescriptorWait
{
    /// <summary>From now on it is waited for: edges of its becoming readable, or broken.</summary>
    void Add(int fd);

    /// <summary>Its becoming writable wakes too, or does not any more: only who needs room waits for it, as else each frame that the other end takes would wake.</summary>
    void AwaitRoom(int fd, bool wanted);

    /// <summary>
    /// How many edges whoever waits has been told of, for who calls on its thread: as long as it is the same number, what the last look at the descriptor found is still so, or will wake.
    /// </summary>
    int Edges { get; }
}

/// <summary>A wait in an epoll set.</summary>
/// <param name="epoll">The set.</param>
/// <param name="data">What comes back with the events.</param>
internal sealed class EpollWait(Epoll epoll, ulong data) : IDescriptorWait
{
    private const EpollEvents Input = EpollEvents.EdgeTriggered | EpollEvents.In | EpollEvents.RdHup;

    /// <inheritdoc/>
    public int Edges { get; private set; }

    /// <summary>An event came.</summary>
    public void Note() => Edges++;

    /// <inheritdoc/>
    public void Add(int fd) => epoll.Add(fd, Input, data);

    /// <inheritdoc/>
    public void AwaitRoom(int fd, bool wanted) => epoll.Modify(fd, wanted ? Input | EpollEvents.Out : Input, data);
}
