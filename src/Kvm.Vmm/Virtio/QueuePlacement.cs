using Kvm.Devices.Virtio;
using Kvm.Vmm.Vcpu;

namespace Kvm.Vmm.Virtio;

/// <summary>
/// Who runs a device's queues: the one decision (docs/virtio.md has what was measured). Queues run where they are notified on the
/// software engine, where a notification is a call and not an exit, and on a KVM that interprets kernels, where
/// waking another thread costs more than the exit it saves. On any other KVM a disk's run on a thread of the device, woken by
/// an ioeventfd, so that a transfer does not stop the vCPU that asked for it. Devices that only move a few bytes run where
/// they are notified everywhere, and so do all in a run that is to repeat.
/// </summary>
internal static class QueuePlacement
{
    /// <summary>Makes the scheduler of a device.</summary>
    /// <param name="device">The device.</param>
    /// <param name="config">May say otherwise, for measuring (<see cref="VmConfig.InlineQueues"/>).</param>
    /// <param name="engine">The engine.</param>
    /// <param name="kernelInterpreted">Whether KVM interprets guest kernels (<see cref="Probing.HostProfile.KernelInterpreted"/>).</param>
    /// <param name="failed">Told of a fault of the program on a device's thread.</param>
    public static IQueueScheduler Place(VirtioDevice device, VmConfig config, IEngine engine, bool kernelInterpreted, Action<string> failed) =>
        device.Type == VirtioDeviceType.Block && !config.Deterministic && !(config.InlineQueues ?? (engine.Doorbells is null || kernelInterpreted))
            ? new DeviceThread(device, failed)
            : new InlineScheduler();
}
