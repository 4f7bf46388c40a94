namespace Kvm.Devices.Virtio;

/// <summary>How a device tells its driver: implemented by the transport. Safe from any thread, under a queue's gate too; must not throw.</summary>
internal interface IVirtioInterrupts
{
    /// <summary>A used buffer notification (virtio 1.2, 2.3).</summary>
    void SignalQueue(int queue);

    /// <summary>A configuration change notification.</summary>
    void SignalConfig();
}
