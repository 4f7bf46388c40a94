using Kvm.Devices.Net;

namespace Kvm.Vmm.Network;

/// <summary>A backend that hears of frames by descriptors, which the card's own thread waits for (<see cref="Virtio.DeviceThread.Watch"/>).</summary>
internal interface IWatchedBackend : INetworkBackend
{
    /// <summary>The descriptor of a queue pair: edges of it becoming readable are frames for the guest.</summary>
    int DescriptorOf(int pair);

    /// <summary>True if it may also be full: its becoming writable then wakes the same queue, whose <see cref="INetworkBackend.Peek"/> goes on with sending.</summary>
    bool CanBeFull { get; }
}
