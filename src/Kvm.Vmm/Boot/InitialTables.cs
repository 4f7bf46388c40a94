using System.Buffers.Binary;

namespace Kvm.Vmm.Boot;

/// <summary>The GDT, page tables and BIOS data that a kernel finds when it is entered.</summary>
internal static class InitialTables
{
    private const int TableSize = 4096;

    /// <summary>Present, writable, accessed; dirty as well where a page is mapped, so that the processor need not set them.</summary>
    private const ulong TableFlags = 0x23;
    private const ulong LargePageFlags = 0xe3;

    /// <summary>Writes the GDT that <paramref name="state"/> names.</summary>
    internal static void WriteGdt(GuestRam ram, BootState state)
    {
        var gdt = ram.Slice(state.GdtBase, BootState.GdtSize, "GDT");
        gdt.Clear();
        foreach (var segment in (ReadOnlySpan<BootSegment>)[state.Code, state.Data, state.Task])
            BinaryPrimitives.WriteUInt64LittleEndian(gdt[segment.Selector..], segment.ToDescriptor());
    }

    /// <summary>Writes an identity map of the first 4 GiB in pages of 2 MiB (SDM vol. 3, 4.5).</summary>
    internal static void WritePageTables(GuestRam ram)
    {
        const int directories = MachineLayout.IdentityMappedGiB;
        const ulong start = MachineLayout.PageTables;
        var all = ram.Slice(start, (2 + directories) * TableSize, "page tables");
        all[..(2 * TableSize)].Clear();
        Write(all, 0, (start + TableSize) | TableFlags);
        for (int d = 0; d < directories; d++)
            Write(all, TableSize + (d * 8), (start + (ulong)((2 + d) * TableSize)) | TableFlags);
        for (int page = 0; page < directories * 512; page++)
            Write(all, (2 * TableSize) + (page * 8), ((ulong)page << 21) | LargePageFlags);
    }

    /// <summary>Writes the two words of the BIOS data area by which guests find the end of base memory and the EBDA.</summary>
    internal static void WriteBiosData(GuestRam ram)
    {
        BinaryPrimitives.WriteUInt16LittleEndian(ram.Slice(MachineLayout.BdaEbdaSegment, 2, "BIOS data"), (ushort)(MachineLayout.Ebda >> 4));
        BinaryPrimitives.WriteUInt16LittleEndian(ram.Slice(MachineLayout.BdaBaseMemoryKiB, 2, "BIOS data"), (ushort)(MachineLayout.Ebda >> 10));
    }

    private static void Write(Span<byte> tables, int at, ulong entry) => BinaryPrimitives.WriteUInt64LittleEndian(tables[at..], entry);
}
