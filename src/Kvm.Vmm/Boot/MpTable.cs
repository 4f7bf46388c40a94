using System.Buffers.Binary;
using System.Text;
using Kvm.Devices.Memory;

namespace Kvm.Vmm.Boot;

/// <summary>
/// The MultiProcessor Specification 1.4 table, for kernels that run without ACPI: floating pointer, then configuration
/// table, at <see cref="MachineLayout.MpTable"/>.
/// </summary>
public static class MpTable
{
    /// <summary>The most processors it can describe: identifiers are 8 bits wide and 255 is broadcast.</summary>
    public const int MaxCpus = 254;

    private const int PointerSize = 16;
    private const int HeaderSize = 44;
    private const int ProcessorSize = 20;
    private const byte IsaBus = 0;
    private const byte PciBus = 1;
    private const byte LocalApicVersion = 0x14;
    private const byte IoApicVersion = 0x11;
    private const int IsaInterrupts = 16;
    private const int MostPciDevices = 32;

    // Interrupt entries (4.3.4): type, and polarity and trigger.
    private const byte Vectored = 0;
    private const byte Nmi = 1;
    private const byte ExternalController = 3;
    private const ushort Conforms = 0;
    private const ushort LevelActiveLow = 0xf;
    private const ushort LevelActiveHigh = 0xd;

    /// <summary>Writes the table.</summary>
    /// <param name="memory">Guest memory, with RAM below 1 MiB.</param>
    /// <param name="cpus">Number of processors, 1 to <see cref="MaxCpus"/>; processor n has APIC identifier n, 0 is the boot processor.</param>
    /// <param name="pciDevices">Device numbers of PCI bus 0 whose interrupts are listed, 0 to 32; 0 if there is no PCI bus.</param>
    /// <param name="wires">Interrupts of virtio-mmio devices, level-triggered: listed as the ISA bus's, which is the only one here whose numbers are pins.</param>
    /// <exception cref="ArgumentOutOfRangeException">A number is not in range.</exception>
    /// <exception cref="LoadException">Guest memory does not hold the area (KVM0116).</exception>
    public static AddressRange Write(GuestMemory memory, int cpus, int pciDevices, ReadOnlySpan<byte> wires = default)
    {
        ArgumentNullException.ThrowIfNull(memory);
        ArgumentOutOfRangeException.ThrowIfLessThan(cpus, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(cpus, MaxCpus);
        ArgumentOutOfRangeException.ThrowIfNegative(pciDevices);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(pciDevices, MostPciDevices);
        if (!memory.TrySlice(MachineLayout.MpTable, MachineLayout.MpTableSize, out var area))
            throw LoadException.NotOfFile(LoadErrors.MemoryTooSmall, "MP table", $"0x{MachineLayout.MpTable:x} is not RAM");

        var table = new Builder(area[PointerSize..]);
        for (int cpu = 0; cpu < cpus; cpu++)
            Processor(ref table, (byte)cpu);
        Bus(ref table, IsaBus, "ISA   ");
        if (pciDevices > 0)
            Bus(ref table, PciBus, "PCI   ");
        table.Entry([2, MachineLayout.IoApicId, IoApicVersion, 1, .. U32((uint)MachineLayout.IoApic)]);
        Interrupts(ref table, pciDevices, wires);
        // Local interrupts of every processor: the 8259's on LINT0, NMI on LINT1.
        table.Entry([4, ExternalController, .. U16(Conforms), IsaBus, 0, 0xff, 0]);
        table.Entry([4, Nmi, .. U16(Conforms), IsaBus, 0, 0xff, 1]);

        int size = PointerSize + table.Finish();
        WritePointer(area[..PointerSize]);
        return new(MachineLayout.MpTable, (ulong)size);
    }

    private static void Processor(ref Builder table, byte cpu)
    {
        const byte enabled = 1, bootProcessor = 2;
        const uint familySix = 0x600, fpuAndApic = 0x201;
        Span<byte> entry = stackalloc byte[ProcessorSize];
        entry.Clear();
        entry[1] = cpu;
        entry[2] = LocalApicVersion;
        entry[3] = (byte)(enabled | (cpu == 0 ? bootProcessor : 0));
        BinaryPrimitives.WriteUInt32LittleEndian(entry[4..], familySix);
        BinaryPrimitives.WriteUInt32LittleEndian(entry[8..], fpuAndApic);
        table.Entry(entry);
    }

    private static void Bus(ref Builder table, byte id, string name) => table.Entry([1, id, .. Encoding.ASCII.GetBytes(name)]);

    private static void Interrupts(ref Builder table, int pciDevices, ReadOnlySpan<byte> wires)
    {
        for (uint irq = 0; irq < IsaInterrupts; irq++)
        {
            if (irq == MachineLayout.TimerGsi)
                continue; // the cascade; its pin is the timer's
            uint pin = irq == MachineLayout.TimerIrq ? MachineLayout.TimerGsi : irq;
            ushort trigger = wires.Contains((byte)irq) ? LevelActiveHigh : Conforms;
            table.Entry([3, Vectored, .. U16(trigger), IsaBus, (byte)irq, MachineLayout.IoApicId, (byte)pin]);
        }

        foreach (byte wire in wires)
        {
            if (wire >= IsaInterrupts)
                table.Entry([3, Vectored, .. U16(LevelActiveHigh), IsaBus, wire, MachineLayout.IoApicId, wire]);
        }

        for (int device = 0; device < pciDevices; device++)
        {
            for (int pin = 0; pin < 4; pin++)
            {
                byte source = (byte)((device << 2) | pin); // D.1
                table.Entry([3, Vectored, .. U16(LevelActiveLow), PciBus, source, MachineLayout.IoApicId, (byte)MachineLayout.PciGsi(device, pin)]);
            }
        }
    }

    /// <summary>4.1: sixteen bytes that sum up to 0.</summary>
    private static void WritePointer(Span<byte> pointer)
    {
        pointer.Clear();
        "_MP_"u8.CopyTo(pointer);
        BinaryPrimitives.WriteUInt32LittleEndian(pointer[4..], (uint)MachineLayout.MpTable + PointerSize);
        pointer[8] = 1; // length in units of 16 bytes
        pointer[9] = 4; // specification revision 1.4
        pointer[10] = Checksum(pointer);
    }

    private static byte Checksum(ReadOnlySpan<byte> bytes)
    {
        byte sum = 0;
        foreach (byte b in bytes)
            sum = unchecked((byte)(sum + b));
        return unchecked((byte)-sum);
    }

    private static byte[] U16(ushort value) => BitConverter.GetBytes(value); // x86 hosts only: little-endian

    private static byte[] U32(uint value) => BitConverter.GetBytes(value);

    /// <summary>Collects entries behind the header (4.2).</summary>
    private ref struct Builder(Span<byte> area)
    {
        private readonly Span<byte> _area = area;
        private int _next = HeaderSize;
        private ushort _count;

        public void Entry(scoped ReadOnlySpan<byte> entry)
        {
            entry.CopyTo(_area[_next..]);
            _next += entry.Length;
            _count++;
        }

        /// <summary>Writes the header and returns the table's length.</summary>
        public readonly int Finish()
        {
            var table = _area[.._next];
            table[..HeaderSize].Clear();
            "PCMP"u8.CopyTo(table);
            BinaryPrimitives.WriteUInt16LittleEndian(table[4..], (ushort)_next);
            table[6] = 4; // specification revision 1.4
            "KVMSHARPKVMSHARP    "u8.CopyTo(table[8..]); // OEM, product
            BinaryPrimitives.WriteUInt16LittleEndian(table[34..], _count);
            BinaryPrimitives.WriteUInt32LittleEndian(table[36..], (uint)MachineLayout.LocalApic);
            table[7] = Checksum(table);
            return _next;
        }
    }
}
