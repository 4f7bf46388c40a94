using Kvm.Devices.Memory;
using Kvm.Vmm.Boot.Acpi;

namespace Kvm.Vmm.Boot;

/// <summary>From the files a configuration names to a kernel in guest memory that only needs a processor.</summary>
internal static class KernelBoot
{
    /// <summary>What <see cref="PlatformDevices"/> puts on PCI bus 0: the host bridge.</summary>
    private const int PciDevices = 1;

    /// <summary>Describes the machine by tables, loads kernel and initial RAM disk, and returns the registers the boot processor starts with.</summary>
    /// <param name="config">Names the files and the way in.</param>
    /// <param name="layout">Where things go.</param>
    /// <param name="memory">Fresh guest memory, all zero but for what this method writes.</param>
    /// <param name="commandLine">The whole command line.</param>
    /// <exception cref="VmmException">A file is wrong, or something does not fit.</exception>
    public static BootState Load(VmConfig config, MachineLayout layout, GuestMemory memory, string commandLine)
    {
        var acpi = AcpiTables.Write(memory, layout, new AcpiConfig { Cpus = config.Cpus, Pci = true, PciDevices = PciDevices });
        MpTable.Write(memory, config.Cpus, PciDevices);
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
}
