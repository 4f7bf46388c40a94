using System.Buffers.Binary;

namespace Kvm.Vmm.Boot;

/// <summary>The Multiboot information structure (Multiboot Specification 0.6.96, 3.3) with memory map and one module.</summary>
internal static class MultibootInfo
{
    private const uint FlagMemory = 1 << 0;
    private const uint FlagCommandLine = 1 << 2;
    private const uint FlagModules = 1 << 3;
    private const uint FlagMemoryMap = 1 << 6;
    private const uint FlagLoaderName = 1 << 9;

    private const int Module = 0x80;
    private const int LoaderName = 0xa0;
    private const int EmptyString = 0xc0;
    private const int MemoryMap = 0x100;
    private const int MemoryMapEntrySize = 24; // a size field, which does not count itself, and 20 bytes

    /// <summary>Writes the structure at <see cref="MachineLayout.StartInfo"/>.</summary>
    internal static void Write(GuestRam ram, AddressRange initrd)
    {
        var page = ram.Slice(MachineLayout.StartInfo, MachineLayout.StartInfoSize, "Multiboot information");
        page.Clear();
        var map = ram.Layout.MemoryMap;
        const uint start = (uint)MachineLayout.StartInfo;
        bool module = initrd.Size != 0;
        U32(page, 0, FlagMemory | FlagCommandLine | FlagMemoryMap | FlagLoaderName | (module ? FlagModules : 0));
        U32(page, 4, (uint)(MachineLayout.Ebda >> 10)); // mem_lower, KiB
        U32(page, 8, (uint)((ram.Layout.LowRamEnd - MachineLayout.HighMemory) >> 10)); // mem_upper, KiB up to the first hole
        U32(page, 16, (uint)MachineLayout.CommandLine);
        U32(page, 20, module ? 1u : 0);
        U32(page, 24, module ? start + Module : 0);
        U32(page, 44, (uint)(map.Count * MemoryMapEntrySize));
        U32(page, 48, start + MemoryMap);
        U32(page, 64, start + LoaderName);

        U32(page, Module, (uint)initrd.Start);
        U32(page, Module + 4, (uint)initrd.End);
        U32(page, Module + 8, start + EmptyString);
        "kvmsharp"u8.CopyTo(page[LoaderName..]);
        for (int i = 0; i < map.Count; i++)
        {
            int at = MemoryMap + (i * MemoryMapEntrySize);
            U32(page, at, MemoryMapEntrySize - 4);
            BinaryPrimitives.WriteUInt64LittleEndian(page[(at + 4)..], map[i].Range.Start);
            BinaryPrimitives.WriteUInt64LittleEndian(page[(at + 12)..], map[i].Range.Size);
            U32(page, at + 20, (uint)map[i].Kind);
        }
    }

    private static void U32(Span<byte> page, int at, uint value) => BinaryPrimitives.WriteUInt32LittleEndian(page[at..], value);
}
