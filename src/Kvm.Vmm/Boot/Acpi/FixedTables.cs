using Kvm.Devices.Platform;

namespace Kvm.Vmm.Boot.Acpi;

/// <summary>The tables without AML: FADT, FACS, MADT and MCFG, as <see cref="AmlWriter"/> bytes without their headers.</summary>
internal static class FixedTables
{
    /// <summary>Length of the FADT of revision 6 (ACPI 6.5, table 5.9), header included.</summary>
    internal const int FadtSize = 276;

    private const int HeaderSize = 36;

    /// <summary>The FACS (5.2.10): 64 bytes, its own header, no checksum. Nobody waits in firmware here.</summary>
    internal static void Facs(AmlWriter w)
    {
        w.Ascii("FACS");
        w.DWord(64);
        w.DWord(0); // hardware signature
        w.DWord(0); // waking vector
        w.DWord(0); // global lock
        w.DWord(0); // flags
        w.QWord(0); // 64-bit waking vector
        w.Byte(2); // version
        w.Bytes(stackalloc byte[31]);
    }

    /// <summary>The FADT (5.2.9): fixed hardware at <see cref="AcpiPm"/>'s offsets, never hardware-reduced.</summary>
    internal static void Fadt(AmlWriter w, AcpiConfig config, uint facs, uint dsdt)
    {
        const ushort c2NotSupported = 101, c3NotSupported = 1001;
        w.DWord(facs);
        w.DWord(dsdt);
        w.Byte(0);
        w.Byte(0); // preferred profile: unspecified
        w.Word((ushort)MachineLayout.SciGsi);
        w.DWord(0); // SMI_CMD: none, ACPI is always on
        w.DWord(0); // ACPI_ENABLE, ACPI_DISABLE, S4BIOS_REQ, PSTATE_CNT
        w.DWord(MachineLayout.AcpiBlock + AcpiPm.EventOffset); // PM1a event
        w.DWord(0);
        w.DWord(MachineLayout.AcpiBlock + AcpiPm.ControlOffset); // PM1a control
        w.DWord(0);
        w.DWord(0); // PM2 control
        w.DWord(MachineLayout.AcpiBlock + AcpiPm.TimerOffset);
        w.DWord(MachineLayout.AcpiBlock + AcpiPm.Gpe0Offset);
        w.DWord(0); // GPE1
        w.Bytes([AcpiPm.EventLength, AcpiPm.ControlLength, 0, 4, AcpiPm.Gpe0Length, 0, 0, 0]);
        w.Word(c2NotSupported);
        w.Word(c3NotSupported);
        w.DWord(0); // flush size and stride: WBINVD works
        w.Word(0); // duty offset and width: no throttling
        w.Bytes([0, 0, config.Rtc ? (byte)Rtc.CenturyRegister : (byte)0]); // day alarm, month alarm, century
        w.Word(BootArchitecture(config));
        w.Byte(0);
        w.DWord(Flags);
        Register(w, MachineLayout.AcpiBlock + AcpiPm.ResetOffset, 1);
        w.Byte(AcpiPm.ResetValue);
        w.Word(0); // ARM boot architecture
        w.Byte(5); // minor version: 6.5
        w.QWord(0); // X_FIRMWARE_CTRL: the 32-bit field holds it
        w.QWord(dsdt);
        Register(w, MachineLayout.AcpiBlock + AcpiPm.EventOffset, AcpiPm.EventLength);
        Register(w, 0, 0);
        Register(w, MachineLayout.AcpiBlock + AcpiPm.ControlOffset, AcpiPm.ControlLength);
        Register(w, 0, 0);
        Register(w, 0, 0);
        Register(w, MachineLayout.AcpiBlock + AcpiPm.TimerOffset, 4);
        Register(w, MachineLayout.AcpiBlock + AcpiPm.Gpe0Offset, AcpiPm.Gpe0Length);
        Register(w, 0, 0);
        Register(w, 0, 0); // sleep control and status: for hardware-reduced machines
        Register(w, 0, 0);
        w.Ascii("KVMSHARP"); // hypervisor vendor identity
        if (w.Length != FadtSize - HeaderSize)
            throw new InvalidOperationException($"the FADT has {w.Length} bytes");
    }

    /// <summary>The MADT (5.2.12): processors, the I/O APIC, what of ISA is wired otherwise, and NMI on LINT1.</summary>
    internal static void Madt(AmlWriter w, AcpiConfig config)
    {
        w.DWord((uint)MachineLayout.LocalApic);
        w.DWord(1); // PCAT_COMPAT: there are two 8259s, to be masked
        bool x2Apic = false;
        for (int cpu = 0; cpu < config.Cpus; cpu++)
        {
            if (cpu < byte.MaxValue)
            {
                w.Bytes([0, 8, (byte)cpu, (byte)cpu]); // local APIC
                w.DWord(1); // enabled
                continue;
            }

            x2Apic = true;
            w.Bytes([9, 16, 0, 0]); // local x2APIC: 255 and above do not fit the other
            w.DWord((uint)cpu);
            w.DWord(1);
            w.DWord((uint)cpu);
        }

        w.Bytes([1, 12, MachineLayout.IoApicId, 0]);
        w.DWord((uint)MachineLayout.IoApic);
        w.DWord(0); // first GSI
        SourceOverride(w, MachineLayout.TimerIrq, MachineLayout.TimerGsi, 0);
        SourceOverride(w, MachineLayout.SciGsi, MachineLayout.SciGsi, 0xd); // level, active high
        w.Bytes([4, 6, 0xff, 0, 0, 1]); // LINT1 of every processor is NMI
        if (x2Apic)
            w.Bytes([0xa, 12, 0, 0, 0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0]);
    }

    /// <summary>The MCFG (PCI Firmware 3.3, 4.1.2).</summary>
    internal static void Mcfg(AmlWriter w)
    {
        w.QWord(0);
        w.QWord(MachineLayout.PciEcam.Start);
        w.Word(0); // segment
        w.Byte(0);
        w.Byte((byte)((MachineLayout.PciEcam.Size >> 20) - 1)); // last bus: 1 MiB each
        w.DWord(0);
    }

    /// <summary>IA-PC boot architecture flags (5.2.9.3).</summary>
    private static ushort BootArchitecture(AcpiConfig config)
    {
        const ushort legacyDevices = 1 << 0, keyboardController = 1 << 1, vgaNotPresent = 1 << 2, rtcNotPresent = 1 << 5;
        return (ushort)(vgaNotPresent
            | (config.Serial ? legacyDevices : 0)
            | (config.I8042 ? keyboardController : 0)
            | (config.Rtc ? 0 : rtcNotPresent));
    }

    /// <summary>
    /// Fixed feature flags (5.2.9, table 5.10): WBINVD works, C1 on every processor, no sleep button, RTC cannot wake,
    /// the timer is 32 bits wide, the reset register works. The power button bit is clear: it is fixed hardware.
    /// </summary>
    private static uint Flags => (1 << 0) | (1 << 2) | (1 << 5) | (1 << 6) | (1 << 8) | (1 << 10);

    private static void SourceOverride(AmlWriter w, uint irq, uint gsi, ushort flags)
    {
        w.Bytes([2, 10, 0, (byte)irq]);
        w.DWord(gsi);
        w.Word(flags);
    }

    /// <summary>Generic address structure (5.2.3.2) of I/O ports; all zero for a block that is not there.</summary>
    private static void Register(AmlWriter w, int port, int bytes)
    {
        byte access = bytes switch { 0 => 0, 1 => 1, 2 => 2, _ when port == MachineLayout.AcpiBlock + AcpiPm.TimerOffset => 3, _ => 2 };
        w.Bytes([bytes == 0 ? (byte)0 : (byte)1, (byte)(bytes * 8), 0, access]);
        w.QWord((ulong)port);
    }
}
