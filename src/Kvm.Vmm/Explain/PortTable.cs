namespace Kvm.Vmm.Explain;

/// <summary>Ports of a PC: those this machine has, and others that guests try.</summary>
internal static class PortTable
{
    private const string Absent = "Nothing lives there: reads give ones, writes vanish, both are counted (devices.bus.unclaimedPorts of the report).";
    private const string KvmChips = "KVM's own chip, or the software engine's: with KVM no exit reaches the VMM.";

    public static IReadOnlyList<Topic> All { get; } =
    [
        Of(0x00, "DMA1", "The first DMA controller (8237).", Absent, 16),
        Of(0x20, "PIC1", "The first interrupt controller (8259): command and data.", KvmChips, 2),
        Of(0x2e, "SUPERIO", "Configuration of a super-I/O chip.", Absent, 2),
        Of(0x40, "PIT", "The interval timer (8254): three counters and their control.", KvmChips, 4),
        Of(MachineLayout.I8042Data, "I8042_DATA", "The keyboard controller's data.", "A keyboard controller without a keyboard: it answers its self-test and resets the machine."),
        Of(MachineLayout.SystemControlB, "SYSTEM_CONTROL_B", "Speaker and the gate of the timer's third counter; Linux measures the time-stamp counter by it.", KvmChips),
        Of(MachineLayout.I8042Command, "I8042_COMMAND", "The keyboard controller's status and command; 0xfe resets the machine.", "0xfe ends the run as reboot."),
        Of(MachineLayout.Rtc, "RTC_INDEX", "Which byte of the clock, and whether NMIs are masked.", "The clock keeps it."),
        Of(MachineLayout.Rtc + 1UL, "RTC_DATA", "The byte of the clock that was chosen.", "The clock answers from the host's time."),
        Of(MachineLayout.PostCode, "POST_CODE", "Progress of firmware, and the port that kernels write to wait a microsecond.", "Taken and forgotten. One exit each: io_delay=none in a guest's command line saves it."),
        Of(0x81, "DMA_PAGES", "Pages of the DMA controllers.", Absent, 15),
        Of(MachineLayout.SystemControlA, "SYSTEM_CONTROL_A", "Fast A20 gate (bit 1) and fast reset (bit 0).", "Bit 0 ends the run as reboot."),
        Of(0xa0, "PIC2", "The second interrupt controller (8259): command and data.", KvmChips, 2),
        Of(0xb2, "APM", "System-management commands.", Absent, 2),
        Of(0xc0, "DMA2", "The second DMA controller.", Absent, 32),
        Of(0xe9, "DEBUG_CONSOLE", "Bochs' debug console: one character a write.", Absent),
        Of(MachineLayout.IoDelay, "IO_DELAY", "Where kernels write to wait, when not at 0x80.", "Taken and forgotten."),
        Of(0xf0, "FPU_RESET", "Clears the x87's error line.", Absent, 2),
        Of(MachineLayout.DebugExit, "DEBUG_EXIT", "Ends the machine: a test device of hypervisors.", "Ends the run: 0 is exit code 0, n is 20 + n.", 4),
        Of(0x170, "IDE2", "The second IDE channel.", Absent, 8),
        Of(0x1f0, "IDE1", "The first IDE channel.", Absent, 8),
        Of(0x2e8, "COM4", "The fourth serial port.", Absent, 8),
        Of(0x2f8, "COM2", "The second serial port.", Absent, 8),
        Of(0x376, "IDE2_CONTROL", "The second IDE channel's control.", Absent),
        Of(0x378, "LPT1", "The parallel port.", Absent, 3),
        Of(0x3b0, "VGA_MONO", "VGA, monochrome registers.", Absent, 12),
        Of(0x3c0, "VGA", "VGA.", Absent, 32),
        Of(0x3e8, "COM3", "The third serial port.", Absent, 8),
        Of(0x3f0, "FLOPPY", "The floppy controller.", Absent, 6),
        Of(0x3f6, "IDE1_CONTROL", "The first IDE channel's control.", Absent),
        Of(MachineLayout.Com1, "COM1_DATA", "The serial port's data, or its divisor's low byte.", "The console (ttyS0): what is written there is printed."),
        Of(MachineLayout.Com1 + 1UL, "COM1_IER", "The serial port's interrupts, or its divisor's high byte.", "The serial port keeps it."),
        Of(MachineLayout.Com1 + 2UL, "COM1_IIR_FCR", "Read: which interrupt. Written: the queues.", "The serial port answers."),
        Of(MachineLayout.Com1 + 3UL, "COM1_LCR", "Format of characters; bit 7 lets the divisor in.", "The serial port keeps it."),
        Of(MachineLayout.Com1 + 4UL, "COM1_MCR", "Lines to the modem; loop-back.", "The serial port keeps it."),
        Of(MachineLayout.Com1 + 5UL, "COM1_LSR", "Whether a character has come, and whether one can be sent.", "Always ready to send: a guest that polls loses one exit a character."),
        Of(MachineLayout.Com1 + 6UL, "COM1_MSR", "Lines from the modem.", "Always connected."),
        Of(MachineLayout.Com1 + 7UL, "COM1_SCRATCH", "A byte that does nothing: how the chip is recognized.", "The serial port keeps it."),
        Of(0x402, "FIRMWARE_DEBUG", "The debug console of SeaBIOS and OVMF.", Absent),
        Of(0x4d0, "ELCR", "Which interrupts of the 8259s are level-triggered.", KvmChips, 2),
        Of(MachineLayout.Pvpanic, "PVPANIC", "Where a guest tells that it panicked.", "Ends the run with exit code 10, after a moment for crash kernels."),
        Of(0x510, "FW_CFG", "QEMU's configuration for firmware.", Absent, 12),
        Of(MachineLayout.AcpiBlock, "ACPI_PM", "ACPI's power-management block: events, control (S5 powers off), timer, reset, general events.", "Powering off ends the run with exit code 0.", MachineLayout.AcpiBlockSize),
        Of(MachineLayout.PciConfig, "PCI_CONFIG_ADDRESS", "Which register of which PCI function.", "PCI's configuration ports keep it.", 4),
        Of(MachineLayout.PciConfig + 4UL, "PCI_CONFIG_DATA", "The register that was chosen; written at 0xcf9 without an address, the reset register.", "PCI's configuration ports answer.", 4),
        Of(MachineLayout.PciIo.Start, "PCI_IO", "Port BARs of PCI devices: the registers of transitional virtio devices.", "The device whose BAR the guest put there answers.", MachineLayout.PciIo.Size),
    ];

    private static Topic Of(ulong number, string name, string meaning, string vmm, ulong count = 1) =>
        new(TopicTable.Port, number, name, meaning) { Vmm = vmm, Count = count };
}
