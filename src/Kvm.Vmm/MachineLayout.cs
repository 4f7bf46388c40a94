using Kvm.Devices.Platform;

namespace Kvm.Vmm;

/// <summary>A piece of an address space, in bytes.</summary>
/// <param name="Start">First address.</param>
/// <param name="Size">Length; <c>Start + Size</c> does not wrap.</param>
public readonly record struct AddressRange(ulong Start, ulong Size)
{
    /// <summary>One past the last address.</summary>
    public ulong End => Start + Size;

    /// <summary>True if the two have an address in common.</summary>
    public bool Overlaps(AddressRange other) => Size != 0 && other.Size != 0 && Start < other.End && other.Start < End;

    /// <summary>True if all of <paramref name="other"/> lies inside.</summary>
    public bool Contains(AddressRange other) =>
        other.Start >= Start && other.Start - Start <= Size && other.Size <= Size - (other.Start - Start);

    /// <inheritdoc/>
    public override string ToString() => $"0x{Start:x}–0x{End:x}";
}

/// <summary>What a piece of guest-physical memory is, in the numbers of the e820 map (ACPI 6.5, table 15.3).</summary>
public enum MemoryKind
{
    /// <summary>Usable RAM.</summary>
    Ram = 1,

    /// <summary>Not for the guest to use or to place devices in.</summary>
    Reserved = 2,
}

/// <summary>One entry of the memory map handed to the guest.</summary>
public readonly record struct MemoryMapEntry(AddressRange Range, MemoryKind Kind);

/// <summary>
/// Where everything is in the machine: the one place that knows guest-physical addresses, port numbers and interrupt
/// numbers. Constants hold for every machine; what depends on the amount of memory is in the instance. Immutable.
/// </summary>
/// <remarks>
/// Below 1 MiB (all of it RAM to the hypervisor; the e820 map says what the guest may use):
/// <code>
/// 0x00000 interrupt vectors and BIOS data area (EBDA segment at 0x40e, KiB of base memory at 0x413)
/// 0x01000 GDT                0x06000 PVH start_info or Multiboot information     0x07000 zero page
/// 0x09000 page tables (PML4, PDPT, four PDs: identity map of 0–4 GiB)            0x0f000 end
/// 0x20000 command line, up to 64 KiB                                              0x30000 end
/// 0x9fc00 EBDA, reserved     0xe0000 RSDP and ACPI tables, reserved    0xf0000 MP table, reserved
/// </code>
/// Above: RAM from 1 MiB to at most 3 GiB, devices between 3 GiB and 4 GiB, the rest of RAM from 4 GiB on.
/// </remarks>
public sealed class MachineLayout
{
    // ---- Memory below 1 MiB -------------------------------------------------------------------------------------

    /// <summary>Word that holds the real-mode segment of the EBDA (BIOS data area).</summary>
    public const ulong BdaEbdaSegment = 0x40e;

    /// <summary>Word that holds the KiB of base memory (BIOS data area).</summary>
    public const ulong BdaBaseMemoryKiB = 0x413;

    /// <summary>Initial GDT.</summary>
    public const ulong Gdt = 0x1000;

    /// <summary>PVH <c>hvm_start_info</c> or the Multiboot information, with what they point to.</summary>
    public const ulong StartInfo = 0x6000;

    /// <summary>Bytes at <see cref="StartInfo"/>.</summary>
    public const int StartInfoSize = 0x1000;

    /// <summary>Linux <c>struct boot_params</c>, the zero page; 4096 bytes.</summary>
    public const ulong ZeroPage = 0x7000;

    /// <summary>Initial page tables: PML4, then the PDPT, then <see cref="IdentityMappedGiB"/> page directories.</summary>
    public const ulong PageTables = 0x9000;

    /// <summary>GiB mapped one to one by the initial page tables.</summary>
    public const int IdentityMappedGiB = 4;

    /// <summary>Command line, NUL-terminated.</summary>
    public const ulong CommandLine = 0x20000;

    /// <summary>Bytes at <see cref="CommandLine"/>, the NUL included.</summary>
    public const int CommandLineSize = 0x10000;

    /// <summary>What the loader may write below the EBDA for every kernel but the command line: vectors, BIOS data, GDT, start information.</summary>
    public static readonly AddressRange StartData = new(0, StartInfo + StartInfoSize);

    /// <summary>What it writes for Linux besides: zero page and page tables, and room up to the command line.</summary>
    public static readonly AddressRange LinuxData = new(ZeroPage, CommandLine - ZeroPage);

    /// <summary>Where the command line is.</summary>
    public static readonly AddressRange CommandLineData = new(CommandLine, CommandLineSize);

    /// <summary>Extended BIOS data area: end of usable RAM below 640 KiB.</summary>
    public const ulong Ebda = 0x9fc00;

    /// <summary>RSDP and, after it, the ACPI tables. In the area that guests search for the RSDP (ACPI 6.5, 5.2.5.1).</summary>
    public const ulong AcpiTables = 0xe0000;

    /// <summary>Bytes at <see cref="AcpiTables"/>.</summary>
    public const int AcpiTablesSize = 0x10000;

    /// <summary>The VM generation id: the last page of <see cref="AcpiTables"/>, which no table reaches into.</summary>
    public const ulong GenerationId = AcpiTables + AcpiTablesSize - 0x1000;

    /// <summary>MP floating pointer and configuration table, in the area searched for them (MultiProcessor Specification 1.4, 4).</summary>
    public const ulong MpTable = 0xf0000;

    /// <summary>Bytes at <see cref="MpTable"/>.</summary>
    public const int MpTableSize = 0x8000;

    /// <summary>The firmware area: EBDA to 1 MiB, reserved in the memory map.</summary>
    public static readonly AddressRange Firmware = new(Ebda, HighMemory - Ebda);

    /// <summary>1 MiB: where kernels start.</summary>
    public const ulong HighMemory = 0x10_0000;

    // ---- The hole below 4 GiB -----------------------------------------------------------------------------------

    /// <summary>3 GiB: RAM below ends here at the latest.</summary>
    public const ulong HoleStart = 0xc000_0000;

    /// <summary>4 GiB: RAM goes on here.</summary>
    public const ulong HoleEnd = 0x1_0000_0000;

    /// <summary>Window of 32-bit PCI memory BARs.</summary>
    public static readonly AddressRange PciMmio32 = new(0xc000_0000, 0x2000_0000);

    /// <summary>PCI ECAM (MCFG), buses 0 to 255.</summary>
    public static readonly AddressRange PciEcam = new(0xe000_0000, 0x1000_0000);

    /// <summary>I/O APIC, one page.</summary>
    public const ulong IoApic = 0xfec0_0000;

    /// <summary>Identifier of the I/O APIC in MADT and MP table.</summary>
    public const byte IoApicId = 0;

    /// <summary>Pins of the I/O APIC: GSIs 0 to 23.</summary>
    public const int IoApicPins = 24;

    /// <summary>HPET, one page; reserved, no device there yet.</summary>
    public const ulong Hpet = 0xfed0_0000;

    /// <summary>virtio-mmio transports, one page each.</summary>
    public static readonly AddressRange VirtioMmio = new(0xfeb0_0000, (ulong)VirtioMmioSlots * VirtioMmioSlotSize);

    /// <summary>Bytes of one virtio-mmio transport.</summary>
    public const int VirtioMmioSlotSize = 0x1000;

    /// <summary>Number of virtio-mmio transports: one for each interrupt in <see cref="VirtioMmioGsis"/>.</summary>
    public const int VirtioMmioSlots = 12;

    /// <summary>Local APICs, one page.</summary>
    public const ulong LocalApic = 0xfee0_0000;

    /// <summary>KVM's page for virtual real mode on old Intel processors (KVM_SET_IDENTITY_MAP_ADDR).</summary>
    public const ulong KvmIdentityMap = 0xfffb_c000;

    /// <summary>KVM's three pages for a TSS on old Intel processors (KVM_SET_TSS_ADDR).</summary>
    public const ulong KvmTss = 0xfffb_d000;

    /// <summary>From KVM's private pages to 4 GiB: reserved in the memory map.</summary>
    public static readonly AddressRange KvmReserved = new(KvmIdentityMap, HoleEnd - KvmIdentityMap);

    /// <summary>Read-only memory that holds the reset vector, 4 GiB − 16.</summary>
    public static readonly AddressRange ResetRom = new(HoleEnd - 4096, 4096);

    // ---- Ports --------------------------------------------------------------------------------------------------

    /// <summary>i8042 data; the command and status port is 4 above.</summary>
    public const ushort I8042Data = 0x60;

    /// <summary>i8042 command and status.</summary>
    public const ushort I8042Command = 0x64;

    /// <summary>System control port B: gate and output of the PIT's channel 2. KVM's in-kernel PIT has it itself.</summary>
    public const ushort SystemControlB = 0x61;

    /// <summary>POST codes; also written as a delay of about a microsecond.</summary>
    public const ushort PostCode = 0x80;

    /// <summary>Written by kernels as a delay instead of <see cref="PostCode"/>.</summary>
    public const ushort IoDelay = 0xed;

    /// <summary>System control port A: bit 0 resets.</summary>
    public const ushort SystemControlA = 0x92;

    /// <summary>RTC and CMOS: index, and data one above.</summary>
    public const ushort Rtc = 0x70;

    /// <summary>Debug-exit: the value written is the guest's exit code; 4 ports.</summary>
    public const ushort DebugExit = 0xf4;

    /// <summary>With test devices: ports that keep what is written to them, <see cref="TestPortsSize"/> of them.</summary>
    public const ushort TestPorts = 0xe0;

    /// <summary>Ports of <see cref="TestPorts"/>. To test guests the upper four say which page to forget translations of; none is kept that the guest could notice.</summary>
    public const int TestPortsSize = 8;

    /// <summary>With test devices: ports that drive the wires of GSIs 0 to 23.</summary>
    public const ushort TestInterrupts = 0x2000;

    /// <summary>With test devices: registers that keep what is written to them.</summary>
    public static readonly AddressRange TestMemory = new(0xff00_0000, 0x1_0000);

    /// <summary>First serial port, 8 ports.</summary>
    public const ushort Com1 = 0x3f8;

    /// <summary>pvpanic, 1 port.</summary>
    public const ushort Pvpanic = 0x505;

    /// <summary>ACPI PM1a event block: status and enable, 2 + 2 ports.</summary>
    public const ushort AcpiPm1Event = AcpiBlock + AcpiPm.EventOffset;

    /// <summary>ACPI PM1a control, 2 ports.</summary>
    public const ushort AcpiPm1Control = AcpiBlock + AcpiPm.ControlOffset;

    /// <summary>ACPI power management timer, 4 ports.</summary>
    public const ushort AcpiPmTimer = AcpiBlock + AcpiPm.TimerOffset;

    /// <summary>ACPI reset register, 1 port; <see cref="AcpiResetValue"/> resets.</summary>
    public const ushort AcpiReset = AcpiBlock + AcpiPm.ResetOffset;

    /// <summary>The value that resets the machine when written to <see cref="AcpiReset"/>.</summary>
    public const byte AcpiResetValue = AcpiPm.ResetValue;

    /// <summary>ACPI general-purpose event block 0: status, then enable, <see cref="AcpiGpe0Size"/> ports in all.</summary>
    public const ushort AcpiGpe0 = AcpiBlock + AcpiPm.Gpe0Offset;

    /// <summary>Ports of <see cref="AcpiGpe0"/>.</summary>
    public const byte AcpiGpe0Size = AcpiPm.Gpe0Length;

    /// <summary>First port of the ACPI block.</summary>
    public const ushort AcpiBlock = 0x600;

    /// <summary>Ports of the ACPI block, GPE0 included.</summary>
    public const int AcpiBlockSize = AcpiPm.Size;

    /// <summary>SLP_TYP value of soft-off, in the \_S5 package and in PM1a control.</summary>
    public const byte AcpiSleepTypeS5 = AcpiPm.SoftOffSleepType;

    /// <summary>PCI configuration mechanism 1: address (4 ports), data (4 ports).</summary>
    public const ushort PciConfig = 0xcf8;

    /// <summary>Ports of <see cref="PciConfig"/>.</summary>
    public const int PciConfigSize = 8;

    /// <summary>Device 31 of PCI bus 0, where the watchdog is: behind the virtio devices.</summary>
    public const int PciWatchdog = 31 << 3;

    /// <summary>Window of PCI I/O BARs.</summary>
    public static readonly AddressRange PciIo = new(0xc000, 0x4000);

    // ---- Interrupts (GSI = pin of the I/O APIC; ISA numbers are the same but for the timer) ------------------------

    /// <summary>ISA interrupt of the PIT.</summary>
    public const uint TimerIrq = 0;

    /// <summary>GSI of the PIT: ISA 0 is wired to pin 2.</summary>
    public const uint TimerGsi = 2;

    /// <summary>Keyboard.</summary>
    public const uint KeyboardGsi = 1;

    /// <summary>First serial port.</summary>
    public const uint Com1Gsi = 4;

    /// <summary>RTC.</summary>
    public const uint RtcGsi = 8;

    /// <summary>ACPI system control interrupt, level-triggered, active high.</summary>
    public const uint SciGsi = 9;

    /// <summary>First of the four GSIs of PCI INTA–INTD.</summary>
    public const uint PciIntxGsi = 16;

    /// <summary>Number of PCI INTx GSIs.</summary>
    public const int PciIntxGsis = 4;

    /// <summary>GSIs of the virtio-mmio slots, none shared.</summary>
    public static ReadOnlySpan<byte> VirtioMmioGsis => [20, 21, 22, 23, 5, 6, 7, 10, 11, 14, 15, 3];

    /// <summary>GSI of a PCI function's interrupt pin, swizzled by device as bridges do (PCI-to-PCI Bridge 1.2, 9.1).</summary>
    /// <param name="device">Device number on bus 0, 0–31.</param>
    /// <param name="pin">0 is INTA.</param>
    public static uint PciGsi(int device, int pin) => PciIntxGsi + (uint)((device + pin) & (PciIntxGsis - 1));

    /// <summary>Address of a virtio-mmio slot's registers.</summary>
    /// <exception cref="ArgumentOutOfRangeException">There is no such slot.</exception>
    public static ulong VirtioMmioAddress(int slot)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(slot);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(slot, VirtioMmioSlots);
        return VirtioMmio.Start + ((ulong)slot * VirtioMmioSlotSize);
    }

    // ---- What depends on the amount of memory ---------------------------------------------------------------------

    private readonly AddressRange[] _ram;

    /// <summary>Lays out a machine.</summary>
    /// <param name="memorySize">Guest memory in bytes: a multiple of 4096, not zero, below 2⁵¹.</param>
    /// <exception cref="ArgumentOutOfRangeException">The size is not such a number.</exception>
    public MachineLayout(ulong memorySize)
    {
        if (memorySize == 0 || memorySize % 4096 != 0 || memorySize >= 1UL << 51)
            throw new ArgumentOutOfRangeException(nameof(memorySize), memorySize, "not a multiple of 4096 between 4096 and 2^51");
        MemorySize = memorySize;
        ulong low = Math.Min(memorySize, HoleStart);
        _ram = memorySize > low ? [new(0, low), new(HoleEnd, memorySize - low)] : [new(0, low)];
    }

    /// <summary>Guest memory in bytes.</summary>
    public ulong MemorySize { get; }

    /// <summary>RAM as memory slots have it: one range from 0, a second from 4 GiB if there is more than 3 GiB.</summary>
    public ReadOnlySpan<AddressRange> Ram => _ram;

    /// <summary>End of RAM below the hole.</summary>
    public ulong LowRamEnd => _ram[0].End;

    /// <summary>One past the last byte of RAM.</summary>
    public ulong RamEnd => _ram[^1].End;

    /// <summary>Window of 64-bit PCI memory BARs: 32 GiB above all RAM, aligned to its size.</summary>
    public AddressRange PciMmio64
    {
        get
        {
            const ulong size = 32UL << 30;
            ulong end = Math.Max(RamEnd, HoleEnd);
            return new((end + (size - 1)) & ~(size - 1), size);
        }
    }

    /// <summary>The memory map handed to the guest (e820, PVH and Multiboot), ascending and without overlaps.</summary>
    public IReadOnlyList<MemoryMapEntry> MemoryMap
    {
        get
        {
            var map = new List<MemoryMapEntry>(6)
            {
                new(new(0, Math.Min(Ebda, LowRamEnd)), MemoryKind.Ram),
                new(Firmware, MemoryKind.Reserved),
            };
            if (LowRamEnd > HighMemory)
                map.Add(new(new(HighMemory, LowRamEnd - HighMemory), MemoryKind.Ram));
            map.Add(new(PciEcam, MemoryKind.Reserved));
            map.Add(new(KvmReserved, MemoryKind.Reserved));
            if (_ram.Length > 1)
                map.Add(new(_ram[1], MemoryKind.Ram));
            return map;
        }
    }
}
