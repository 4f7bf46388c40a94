using Kvm.Devices.Virtio;
using Kvm.Devices.Virtio.Block;
using Kvm.Devices.Virtio.Net;
using Kvm.Vmm.Vcpu;

namespace Kvm.Vmm.Virtio;

/// <summary>
/// Who runs a device's queues: the one decision (docs/virtio.md has what was measured). A disk over KVM has a thread, woken by an
/// ioeventfd, so that a transfer does not stop the vCPU that asked for it, and polling while requests come fast (<see cref="PollWindow"/>).
/// A disk whose requests end by themselves (io_uring), or wait for a limit to let them go, has one everywhere, and so has a network
/// card, whose frames come by themselves: somebody has to be there when they do. A card's looks for what the guest answers
/// (<see cref="AnswerWindow"/>), but does not poll its cable: whoever sends the next frame needs a processor, and each look is a system call.
/// On the software engine, where a notification is a call and not an exit, queues run where they are notified. Devices that only move
/// a few bytes run where they are notified everywhere, and so do all in a run that is to repeat.
/// </summary>
internal static class QueuePlacement
{
    /// <summary>Makes the scheduler of a device.</summary>
    /// <param name="device">The device.</param>
    /// <param name="config">May say otherwise, for measuring (<see cref="VmConfig.InlineQueues"/>).</param>
    /// <param name="engine">The engine.</param>
    /// <param name="failed">Told of a fault of the program on a device's thread.</param>
    public static IQueueScheduler Place(VirtioDevice device, VmConfig config, IEngine engine, Action<string> failed) =>
        device is NetDevice || (device is BlockDevice disk && !config.Deterministic && (disk.IsAsynchronous || disk.IsLimited || !(config.InlineQueues ?? engine.Doorbells is null)))
            ? new DeviceThread(device, failed, device is NetDevice ? LooksFor.Answers : LooksFor.Requests)
            : new InlineScheduler();
}
