namespace Kvm.Vmm.Boot.Acpi;

/// <summary>One virtio-mmio transport to be described.</summary>
/// <param name="Registers">Its registers.</param>
/// <param name="Gsi">Its interrupt.</param>
/// <param name="Edge">True if the interrupt is a pulse, false if it is a level.</param>
public readonly record struct VirtioMmioDescription(AddressRange Registers, uint Gsi, bool Edge);

/// <summary>What the ACPI tables tell the guest. The places are <see cref="MachineLayout"/>'s.</summary>
public sealed record AcpiConfig
{
    /// <summary>The most processors the tables have room for.</summary>
    public const int MaxCpus = 1024;

    /// <summary>Number of processors, 1 to <see cref="MaxCpus"/>; processor n has APIC identifier n.</summary>
    public int Cpus { get; init; } = 1;

    /// <summary>The first serial port is there.</summary>
    public bool Serial { get; init; } = true;

    /// <summary>The RTC is there.</summary>
    public bool Rtc { get; init; } = true;

    /// <summary>A keyboard controller is there; without it guests do not probe for one.</summary>
    public bool I8042 { get; init; } = true;

    /// <summary>pvpanic is there.</summary>
    public bool Pvpanic { get; init; } = true;

    /// <summary>The VM generation id is at <see cref="MachineLayout.GenerationId"/>.</summary>
    public bool HasGenerationId { get; init; }

    /// <summary>A PCI host bridge is there: bus 0 with <see cref="MachineLayout"/>'s windows.</summary>
    public bool Pci { get; init; }

    /// <summary>
    /// Device numbers of bus 0 whose interrupt pins are routed, from 0 up, at most 32. No more than there are: guests evaluate the
    /// table at start and again for every device, which takes most of a second where a host interprets their kernel.
    /// </summary>
    public int PciDevices { get; init; } = 32;

    /// <summary>Configuration space is also at <see cref="MachineLayout.PciEcam"/> (MCFG); only with <see cref="Pci"/>.</summary>
    public bool PciEcam { get; init; }

    /// <summary>virtio-mmio transports.</summary>
    public IReadOnlyList<VirtioMmioDescription> VirtioMmio { get; init; } = [];
}

/// <summary>One table in guest memory, for inspection.</summary>
/// <param name="Signature">Four characters, such as <c>FACP</c>.</param>
/// <param name="Range">Where it is.</param>
public readonly record struct AcpiTable(string Signature, AddressRange Range);

/// <summary>Where the tables were put.</summary>
/// <param name="Rsdp">Address of the RSDP, to be handed to the kernel.</param>
/// <param name="Tables">All tables, in ascending order of address.</param>
public sealed record AcpiPlacement(ulong Rsdp, IReadOnlyList<AcpiTable> Tables);
