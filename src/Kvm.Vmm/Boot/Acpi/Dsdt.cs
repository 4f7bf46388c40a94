using Kvm.Devices.Platform;

namespace Kvm.Vmm.Boot.Acpi;

/// <summary>The DSDT: the machine's devices in AML. No methods run but those that answer a constant or pass an event on.</summary>
internal static class Dsdt
{
    /// <summary>Writes the definition block's content, without the table header.</summary>
    internal static void Write(AmlWriter w, AcpiConfig config, MachineLayout layout)
    {
        using (w.Scope("\\_SB"))
        {
            for (int cpu = 0; cpu < config.Cpus; cpu++)
                Processor(w, cpu);
            if (config.Serial)
                Legacy(w, "COM1", "PNP0501", [(MachineLayout.Com1, 8)], MachineLayout.Com1Gsi);
            if (config.Rtc)
                Legacy(w, "RTC0", "PNP0B00", [(MachineLayout.Rtc, (byte)Rtc.Size)], MachineLayout.RtcGsi);
            if (config.I8042)
                Legacy(w, "KBD0", "PNP0303", [(MachineLayout.I8042Data, 1), (MachineLayout.I8042Command, 1)], MachineLayout.KeyboardGsi);
            if (config.Pvpanic)
                PanicDevice(w);
            for (int i = 0; i < config.VirtioMmio.Count; i++)
                VirtioMmio(w, i, config.VirtioMmio[i]);
            if (config.Pci)
                PciHost(w, layout, config.PciDevices);
            if (config.HasGenerationId)
                Generation(w);
            Motherboard(w, config);
        }

        // Edge-triggered: the status is cleared before the method runs (ACPI 6.5, 5.6.4.1).
        if (config.HasGenerationId)
        {
            using (w.Scope("\\_GPE"))
            {
                using (w.Method($"_E{GenerationId.Event:X2}", 0))
                    w.Notify("\\_SB.VGEN", 0x80);
            }
        }

        // Soft-off: the values for PM1a and PM1b control, and two that are reserved (ACPI 6.5, 7.4.2.6).
        w.NameHeader("\\_S5");
        using (w.Package(4))
        {
            w.Integer(AcpiPm.SoftOffSleepType);
            w.Integer(0);
            w.Integer(0);
            w.Integer(0);
        }
    }

    /// <summary>ACPI 6.5, 8.4: a processor is a device, tied to its MADT entry by _UID.</summary>
    private static void Processor(AmlWriter w, int cpu)
    {
        using (w.Device($"C{cpu:X3}"))
        {
            w.Name("_HID", "ACPI0007");
            w.Name("_UID", (ulong)cpu);
        }
    }

    private static void Legacy(AmlWriter w, string name, string id, ReadOnlySpan<(ushort Port, byte Length)> ports, uint irq)
    {
        using (w.Device(name))
        {
            w.EisaName("_HID", id);
            w.Name("_UID", 0);
            w.NameHeader("_CRS");
            using (w.ResourceTemplate())
            {
                foreach (var (port, length) in ports)
                    w.Io(port, length);
                w.Irq(irq);
            }
        }
    }

    private static void PanicDevice(AmlWriter w)
    {
        using (w.Device("PEVT"))
        {
            w.Name("_HID", "QEMU0001");
            w.NameHeader("_CRS");
            using (w.ResourceTemplate())
                w.Io(MachineLayout.Pvpanic, 1);
        }
    }

    /// <summary>Drivers find it by its compatible id, and the place of its 16 bytes as two halves of an address.</summary>
    private static void Generation(AmlWriter w)
    {
        using (w.Device("VGEN"))
        {
            w.Name("_HID", "KVMS0001");
            w.Name("_CID", "VM_Gen_Counter");
            w.Name("_DDN", "VM_Gen_Counter");
            w.NameHeader("ADDR");
            using (w.Package(2))
            {
                w.Integer(MachineLayout.GenerationId);
                w.Integer(0);
            }
        }
    }

    private static void VirtioMmio(AmlWriter w, int index, VirtioMmioDescription device)
    {
        using (w.Device($"VR{index:X2}"))
        {
            w.Name("_HID", "LNRO0005");
            w.Name("_UID", (ulong)index);
            w.NameHeader("_CRS");
            using (w.ResourceTemplate())
            {
                w.Memory32Fixed(device.Registers);
                w.Interrupt(device.Gsi, device.Edge);
            }
        }
    }

    private static void PciHost(AmlWriter w, MachineLayout layout, int devices)
    {
        using (w.Device("PCI0"))
        {
            w.EisaName("_HID", "PNP0A08"); // PCI Express root
            w.EisaName("_CID", "PNP0A03"); // for those that know only PCI
            w.Name("_UID", 0);
            w.Name("_SEG", 0);
            w.Name("_BBN", 0);
            w.NameHeader("_CRS");
            using (w.ResourceTemplate())
            {
                w.BusNumbers(0, 255);
                w.Io(MachineLayout.PciConfig, MachineLayout.PciConfigSize);
                w.IoWindow(MachineLayout.PciIo);
                w.MemoryWindow32(MachineLayout.PciMmio32);
                w.MemoryWindow64(layout.PciMmio64);
            }

            w.NameHeader("_PRT");
            PciRouting(w, devices);
        }
    }

    /// <summary>ACPI 6.5, 6.2.13: for each device and pin of bus 0 the GSI, with no link device between.</summary>
    private static void PciRouting(AmlWriter w, int devices)
    {
        using (w.Package(devices * 4))
        {
            for (int device = 0; device < devices; device++)
            {
                for (int pin = 0; pin < 4; pin++)
                {
                    using (w.Package(4))
                    {
                        w.Integer(((ulong)device << 16) | 0xffff);
                        w.Integer((ulong)pin);
                        w.Integer(0);
                        w.Integer(MachineLayout.PciGsi(device, pin));
                    }
                }
            }
        }
    }

    /// <summary>Resources that belong to the board: guests must not put anything there.</summary>
    private static void Motherboard(AmlWriter w, AcpiConfig config)
    {
        using (w.Device("MBRD"))
        {
            w.EisaName("_HID", "PNP0C02");
            w.Name("_UID", 0);
            w.NameHeader("_CRS");
            using (w.ResourceTemplate())
            {
                w.Io(MachineLayout.AcpiBlock, AcpiPm.Size);
                if (config is { Pci: true, PciEcam: true })
                    w.Memory32Fixed(MachineLayout.PciEcam);
            }
        }
    }
}
