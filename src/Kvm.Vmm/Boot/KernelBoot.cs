using Kvm.Devices.Memory;
using Kvm.Vmm.Boot.Acpi;
using Kvm.Vmm.Virtio;

namespace Kvm.Vmm.Boot;

/// <summary>From the files a configuration names to a kernel in guest memory that only needs a processor.</summary>
internal static class KernelBoot
{
    /// <summary>Describes the machine by tables, loads kernel and initial RAM disk, and returns the registers the boot processor starts with.</summary>
    /// <param name="config">Names the files and the way in.</param>
    /// <param name="layout">Where things go.</param>
    /// <param name="memory">Fresh guest memory, all zero but for what this method writes.</param>
    /// <param name="commandLine">The whole command line.</param>
    /// <exception cref="VmmException">A file is wrong, or something does not fit.</exception>
    public static BootState Load(VmConfig config, MachineLayout layout, GuestMemory memory, string commandLine)
    {
        // The host bridge, and what VirtioSet puts on PCI bus 0.
        bool onPci = config.Virtio != VirtioTransport.Mmio;
        int pciDevices = 1 + (onPci ? VirtioSet.CountOf(config) : 0);
        var acpi = AcpiTables.Write(memory, layout, new AcpiConfig
        {
            Cpus = config.Cpus,
            Pci = true,
            PciDevices = pciDevices,
            PciEcam = true,
            HasGenerationId = true,
            VirtioMmio = onPci ? [] : [.. Enumerable.Range(0, VirtioSet.CountOf(config)).Select(MmioSlot)],
        });
        GenerationId.Write(memory, config.Deterministic);
        MpTable.Write(memory, config.Cpus, pciDevices, onPci ? [] : MachineLayout.VirtioMmioGsis[..VirtioSet.CountOf(config)]);
        using var kernel = ImageSource.Open(config.KernelPath);
        using var initrd = config.InitrdPath is { } path ? ImageSource.Open(path) : null;
        var request = new BootRequest
        {
            Kernel = kernel,
            Initrd = initrd,
            CommandLine = commandLine,
            Protocol = config.Protocol,
            RsdpAddress = acpi.Rsdp,
            MemoryIsZero = true,
        };
        return KernelLoader.Load(request, memory, layout).State;
    }

    private static VirtioMmioDescription MmioSlot(int slot) =>
        new(new AddressRange(MachineLayout.VirtioMmioAddress(slot), MachineLayout.VirtioMmioSlotSize), MachineLayout.VirtioMmioGsis[slot], Edge: false);
}
