namespace Kvm.Vmm.Explain;

/// <summary>Registers of virtio's transports by offset: the MMIO window, PCI's common configuration, and the ports of drivers from before virtio 1.0.</summary>
internal static class VirtioTable
{
    private const string Mmio = "virtio 1.2, 4.2.2";
    private const string Pci = "virtio 1.2, 4.1.4.3";
    private const string Legacy = "virtio 1.2, 4.1.4.10";

    public static IReadOnlyList<Topic> All { get; } =
    [
        Of(0x000, "MMIO_MAGIC_VALUE", "“virt” (0x74726976), read.", Mmio),
        Of(0x004, "MMIO_VERSION", "2 for devices of virtio 1.0 and later.", Mmio),
        Of(0x008, "MMIO_DEVICE_ID", "Which kind of device: 1 net, 2 block, 3 console, 4 entropy, 5 balloon, 19 socket; 0 none.", Mmio),
        Of(0x00c, "MMIO_VENDOR_ID", "Whose device.", Mmio),
        Of(0x010, "MMIO_DEVICE_FEATURES", "Features offered, 32 of them.", Mmio),
        Of(0x014, "MMIO_DEVICE_FEATURES_SEL", "Which 32.", Mmio),
        Of(0x020, "MMIO_DRIVER_FEATURES", "Features taken, 32 of them.", Mmio),
        Of(0x024, "MMIO_DRIVER_FEATURES_SEL", "Which 32.", Mmio),
        Of(0x030, "MMIO_QUEUE_SEL", "Which queue the next registers mean.", Mmio),
        Of(0x034, "MMIO_QUEUE_NUM_MAX", "How long the queue may be.", Mmio),
        Of(0x038, "MMIO_QUEUE_NUM", "How long the driver makes it.", Mmio),
        Of(0x044, "MMIO_QUEUE_READY", "1 starts the queue.", Mmio),
        Of(0x050, "MMIO_QUEUE_NOTIFY", "The doorbell: the number of the queue in which something waits.", Mmio, "An ioeventfd where the engine has them: the device's thread wakes without an exit to the VMM."),
        Of(0x060, "MMIO_INTERRUPT_STATUS", "Why the device interrupted: bit 0 a queue, bit 1 its configuration.", Mmio),
        Of(0x064, "MMIO_INTERRUPT_ACK", "Reasons that were served.", Mmio),
        Of(0x070, "MMIO_STATUS", "How far the driver is: 1 acknowledged, 2 driver, 8 features, 4 ready, 64 broken, 128 failed; 0 resets.", Mmio),
        Of(0x080, "MMIO_QUEUE_DESC", "Where the queue's descriptors are: low and high half.", Mmio, count: 8),
        Of(0x090, "MMIO_QUEUE_DRIVER", "Where the ring of available descriptors is.", Mmio, count: 8),
        Of(0x0a0, "MMIO_QUEUE_DEVICE", "Where the ring of used descriptors is.", Mmio, count: 8),
        Of(0x0ac, "MMIO_SHM_SEL", "Which shared memory region the next registers mean.", Mmio),
        Of(0x0b0, "MMIO_SHM_LEN", "The region's length.", Mmio, count: 8),
        Of(0x0b8, "MMIO_SHM_BASE", "Where the region is.", Mmio, count: 8),
        Of(0x0c0, "MMIO_QUEUE_RESET", "1 resets one queue.", Mmio),
        Of(0x0fc, "MMIO_CONFIG_GENERATION", "Changes with the configuration: read before and after.", Mmio),
        Of(0x100, "MMIO_CONFIG", "The device's own configuration.", Mmio, count: 0xf00),
        Of(0x00, "PCI_DEVICE_FEATURE_SELECT", "Which 32 features are read.", Pci, count: 4),
        Of(0x04, "PCI_DEVICE_FEATURE", "Features offered.", Pci, count: 4),
        Of(0x08, "PCI_DRIVER_FEATURE_SELECT", "Which 32 features are written.", Pci, count: 4),
        Of(0x0c, "PCI_DRIVER_FEATURE", "Features taken.", Pci, count: 4),
        Of(0x10, "PCI_CONFIG_MSIX_VECTOR", "The MSI-X vector of configuration changes.", Pci, count: 2),
        Of(0x12, "PCI_NUM_QUEUES", "How many queues there are.", Pci, count: 2),
        Of(0x14, "PCI_DEVICE_STATUS", "As MMIO_STATUS.", Pci),
        Of(0x15, "PCI_CONFIG_GENERATION", "Changes with the configuration.", Pci),
        Of(0x16, "PCI_QUEUE_SELECT", "Which queue the next registers mean.", Pci, count: 2),
        Of(0x18, "PCI_QUEUE_SIZE", "How long the queue is.", Pci, count: 2),
        Of(0x1a, "PCI_QUEUE_MSIX_VECTOR", "The queue's MSI-X vector.", Pci, count: 2),
        Of(0x1c, "PCI_QUEUE_ENABLE", "1 starts the queue.", Pci, count: 2),
        Of(0x1e, "PCI_QUEUE_NOTIFY_OFF", "Where the queue's doorbell is.", Pci, "Each queue has a doorbell of its own, with an ioeventfd.", 2),
        Of(0x20, "PCI_QUEUE_DESC", "Where the queue's descriptors are.", Pci, count: 8),
        Of(0x28, "PCI_QUEUE_DRIVER", "Where the ring of available descriptors is.", Pci, count: 8),
        Of(0x30, "PCI_QUEUE_DEVICE", "Where the ring of used descriptors is.", Pci, count: 8),
        Of(0x38, "PCI_QUEUE_NOTIFY_DATA", "What to write to the doorbell, where that was negotiated.", Pci, count: 2),
        Of(0x3a, "PCI_QUEUE_RESET", "1 resets one queue.", Pci, count: 2),
        Of(0x00, "LEGACY_DEVICE_FEATURES", "Features offered.", Legacy, count: 4),
        Of(0x04, "LEGACY_DRIVER_FEATURES", "Features taken.", Legacy, count: 4),
        Of(0x08, "LEGACY_QUEUE_ADDRESS", "The queue's page number.", Legacy, count: 4),
        Of(0x0c, "LEGACY_QUEUE_SIZE", "How long the queue is.", Legacy, count: 2),
        Of(0x0e, "LEGACY_QUEUE_SELECT", "Which queue.", Legacy, count: 2),
        Of(0x10, "LEGACY_QUEUE_NOTIFY", "The doorbell.", Legacy, count: 2),
        Of(0x12, "LEGACY_DEVICE_STATUS", "As MMIO_STATUS.", Legacy),
        Of(0x13, "LEGACY_ISR_STATUS", "Why the device interrupted; reading clears it.", Legacy),
    ];

    private static Topic Of(ulong number, string name, string meaning, string clause, string? vmm = null, ulong count = 1) =>
        new(TopicTable.VirtioRegister, number, name, meaning) { Clause = clause, Vmm = vmm, Count = count };
}
