namespace Kvm.Vmm.Explain;

/// <summary>What a guest's access went to, by the machine's layout and the tables.</summary>
public static class AddressNames
{
    /// <summary>The name of a port; null where nothing is known of it.</summary>
    /// <param name="port">0 to 65,535.</param>
    public static string? OfPort(ulong port) => Find(TopicTable.Port, port);

    /// <summary>The name of an MSR; null where nothing is known of it.</summary>
    /// <param name="index">Its number.</param>
    public static string? OfMsr(ulong index) => Find(TopicTable.Msr, index);

    /// <summary>What is at a guest-physical address that is no memory; null where nothing has its place there.</summary>
    /// <param name="address">The address.</param>
    public static string? OfMemory(ulong address)
    {
        const ulong page = 4096;
        if (address - MachineLayout.LocalApic < page)
            return "local-apic";
        if (address - MachineLayout.IoApic < page)
            return "io-apic";
        if (address - MachineLayout.Hpet < page)
            return "hpet";
        if (address - MachineLayout.VirtioMmio.Start < MachineLayout.VirtioMmio.Size)
        {
            ulong offset = address % MachineLayout.VirtioMmioSlotSize;
            var register = Explanations.Of(TopicTable.VirtioRegister).FirstOrDefault(t => t.Has(offset) && t.Name.StartsWith("MMIO_", StringComparison.Ordinal));
            return $"virtio-mmio{(address - MachineLayout.VirtioMmio.Start) / MachineLayout.VirtioMmioSlotSize} {register?.Name ?? $"0x{offset:x}"}";
        }

        if (address - MachineLayout.PciEcam.Start < MachineLayout.PciEcam.Size)
            return "pci-ecam";
        return address - MachineLayout.PciMmio32.Start < MachineLayout.PciMmio32.Size ? "pci-memory" : null;
    }

    private static string? Find(TopicTable table, ulong number) =>
        Explanations.Of(table).FirstOrDefault(topic => topic.Has(number)) is { } topic ? topic.NameOf(number) : null;
}
