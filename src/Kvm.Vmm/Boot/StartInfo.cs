using System.Buffers.Binary;

namespace Kvm.Vmm.Boot;

/// <summary>PVH's <c>hvm_start_info</c>, version 1, with its module list and memory map (Xen public/arch-x86/hvm/start_info.h).</summary>
internal static class StartInfo
{
    private const uint Magic = 0x336ec578;
    private const int ModuleList = 0x40;
    private const int MemoryMap = 0x80;
    private const int MemoryMapEntrySize = 24;

    /// <summary>Writes the structure at <see cref="MachineLayout.StartInfo"/>.</summary>
    internal static void Write(GuestRam ram, AddressRange initrd, ulong rsdp)
    {
        var page = ram.Slice(MachineLayout.StartInfo, MachineLayout.StartInfoSize, "start_info");
        page.Clear();
        var map = ram.Layout.MemoryMap;
        U32(page, 0, Magic);
        U32(page, 4, 1); // version
        U32(page, 12, initrd.Size == 0 ? 0 : 1u); // nr_modules
        U64(page, 16, initrd.Size == 0 ? 0 : MachineLayout.StartInfo + ModuleList);
        U64(page, 24, MachineLayout.CommandLine);
        U64(page, 32, rsdp);
        U64(page, 40, MachineLayout.StartInfo + MemoryMap);
        U32(page, 48, (uint)map.Count);

        U64(page, ModuleList, initrd.Start);
        U64(page, ModuleList + 8, initrd.Size);
        for (int i = 0; i < map.Count; i++)
        {
            int at = MemoryMap + (i * MemoryMapEntrySize);
            U64(page, at, map[i].Range.Start);
            U64(page, at + 8, map[i].Range.Size);
            U32(page, at + 16, (uint)map[i].Kind);
        }
    }

    private static void U32(Span<byte> page, int at, uint value) => BinaryPrimitives.WriteUInt32LittleEndian(page[at..], value);

    private static void U64(Span<byte> page, int at, ulong value) => BinaryPrimitives.WriteUInt64LittleEndian(page[at..], value);
}
