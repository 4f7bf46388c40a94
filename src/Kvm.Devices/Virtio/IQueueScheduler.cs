namespace Kvm.Devices.Virtio;

/// <summary>
/// Who runs a device's queues: its own thread, or whoever notified. The one decision is made by who makes the machine; a device does
/// not know.
/// </summary>
public interface IQueueScheduler
{
    /// <summary>
    /// A queue may have work: <see cref="VirtioDevice.ProcessQueue"/> is to be called, here or elsewhere, until it says there is no more.
    /// Called on any thread, a vCPU's most often, with none of the device's locks held; must not throw.
    /// </summary>
    void Wake(VirtioDevice device, int queue);
}

/// <summary>
/// Runs queues where they are notified, on the vCPU's thread. A guest whose other processors feed a queue without end keeps this one
/// here for as long; <see cref="VirtioDevice.Pause"/>, from any thread, ends that.
/// </summary>
public sealed class InlineScheduler : IQueueScheduler
{
    /// <inheritdoc/>
    public void Wake(VirtioDevice device, int queue)
    {
        ArgumentNullException.ThrowIfNull(device);
        while (device.ProcessQueue(queue))
        {
        }
    }
}
