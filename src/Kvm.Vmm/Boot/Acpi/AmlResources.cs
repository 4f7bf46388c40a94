namespace Kvm.Vmm.Boot.Acpi;

/// <summary>Resource descriptors (ACPI 6.5, 6.4), to be written inside <see cref="AmlWriter.ResourceTemplate"/>.</summary>
internal static class AmlResources
{
    /// <summary>I/O port descriptor, 16-bit decode, fixed place (6.4.2.5).</summary>
    public static void Io(this AmlWriter w, ushort port, byte length)
    {
        w.Byte(0x47);
        w.Byte(1);
        w.Word(port);
        w.Word(port);
        w.Byte(1);
        w.Byte(length);
    }

    /// <summary>IRQ descriptor: edge, active high, exclusive (6.4.2.1).</summary>
    public static void Irq(this AmlWriter w, uint irq)
    {
        w.Byte(0x22);
        w.Word((ushort)(1 << (int)irq));
    }

    /// <summary>32-bit fixed memory range, writable (6.4.3.4).</summary>
    public static void Memory32Fixed(this AmlWriter w, AddressRange range)
    {
        w.Byte(0x86);
        w.Word(9);
        w.Byte(1);
        w.DWord((uint)range.Start);
        w.DWord((uint)range.Size);
    }

    /// <summary>Extended interrupt: consumer, active high, exclusive (6.4.3.6).</summary>
    public static void Interrupt(this AmlWriter w, uint gsi, bool edge)
    {
        w.Byte(0x89);
        w.Word(6);
        w.Byte((byte)(1 | (edge ? 2 : 0)));
        w.Byte(1);
        w.DWord(gsi);
    }

    /// <summary>Bus numbers that a host bridge produces (6.4.3.5.3).</summary>
    public static void BusNumbers(this AmlWriter w, ushort first, ushort last) => AddressSpace16(w, 2, 0, first, last);

    /// <summary>I/O ports that a host bridge passes on (6.4.3.5.3); the whole range, ISA's too.</summary>
    public static void IoWindow(this AmlWriter w, AddressRange range) =>
        AddressSpace16(w, 1, 3, (ushort)range.Start, (ushort)(range.End - 1));

    /// <summary>32-bit memory that a host bridge passes on, not cacheable (6.4.3.5.2).</summary>
    public static void MemoryWindow32(this AmlWriter w, AddressRange range)
    {
        w.Byte(0x87);
        w.Word(0x17);
        AddressSpaceHeader(w, 0, 1);
        w.DWord(0);
        w.DWord((uint)range.Start);
        w.DWord((uint)(range.End - 1));
        w.DWord(0);
        w.DWord((uint)range.Size);
    }

    /// <summary>64-bit memory that a host bridge passes on, prefetchable (6.4.3.5.1).</summary>
    public static void MemoryWindow64(this AmlWriter w, AddressRange range)
    {
        w.Byte(0x8a);
        w.Word(0x2b);
        AddressSpaceHeader(w, 0, 1 | (3 << 1));
        w.QWord(0);
        w.QWord(range.Start);
        w.QWord(range.End - 1);
        w.QWord(0);
        w.QWord(range.Size);
    }

    private static void AddressSpace16(AmlWriter w, byte type, byte typeFlags, ushort first, ushort last)
    {
        w.Byte(0x88);
        w.Word(0x0d);
        AddressSpaceHeader(w, type, typeFlags);
        w.Word(0);
        w.Word(first);
        w.Word(last);
        w.Word(0);
        w.Word((ushort)(last - first + 1));
    }

    private static void AddressSpaceHeader(AmlWriter w, byte type, byte typeFlags)
    {
        const byte fixedMinimumAndMaximum = 0x0c;
        w.Byte(type);
        w.Byte(fixedMinimumAndMaximum);
        w.Byte(typeFlags);
    }
}
