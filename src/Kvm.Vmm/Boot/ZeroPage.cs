using System.Buffers.Binary;

namespace Kvm.Vmm.Boot;

/// <summary>
/// Linux's <c>struct boot_params</c> (Documentation/arch/x86/zero-page.rst; offsets as there and in boot.rst).
/// </summary>
internal static class ZeroPage
{
    private const int Size = 4096;
    private const int AcpiRsdp = 0x070;
    private const int E820Entries = 0x1e8;
    private const int E820Table = 0x2d0;
    private const int E820EntrySize = 20;
    private const int VideoMode = 0x1fa;
    private const int BootFlag = 0x1fe;
    private const int Header = 0x202;
    private const int Version = 0x206;
    private const int TypeOfLoader = 0x210;
    private const int LoadFlags = 0x211;
    private const int Code32Start = 0x214;
    private const int RamdiskImage = 0x218;
    private const int RamdiskSize = 0x21c;
    private const int CommandLinePointer = 0x228;
    private const int InitrdAddressMax = 0x22c;
    private const int KernelAlignment = 0x230;
    private const int CommandLineSize = 0x238;

    private const byte LoaderUndefined = 0xff;
    private const byte LoadedHigh = 1 << 0;
    private const byte KaslrFlag = 1 << 1; // "kernel internal": the decompressor, which we replace, would have set it
    private const byte CanUseHeap = 1 << 7;
    private const ushort VideoModeNormal = 0xffff;

    /// <summary>Writes the page.</summary>
    /// <param name="ram">Guest memory.</param>
    /// <param name="kernel">The placed kernel; its setup header is copied if it has one, else made up.</param>
    /// <param name="initrd">Where the initrd is, or empty.</param>
    /// <param name="rsdp">Address of the RSDP, or 0.</param>
    internal static void Write(GuestRam ram, PlacedKernel kernel, AddressRange initrd, ulong rsdp)
    {
        var page = ram.Slice(MachineLayout.ZeroPage, Size, "zero page");
        page.Clear(); // the sentinel (0x1ef) too: it says that this was done
        if (kernel.Setup is { } setup)
            setup.Raw.CopyTo(page[BzImageHeader.SetupHeader..]);
        else
            MakeHeader(page, kernel);

        page[TypeOfLoader] = LoaderUndefined;
        page[LoadFlags] = (byte)((page[LoadFlags] | LoadedHigh) & ~(KaslrFlag | CanUseHeap));
        U16(page, VideoMode, VideoModeNormal);
        U32(page, Code32Start, (uint)kernel.Entry);
        U32(page, RamdiskImage, (uint)initrd.Start);
        U32(page, RamdiskSize, (uint)initrd.Size);
        U32(page, CommandLinePointer, (uint)MachineLayout.CommandLine);
        U64(page, AcpiRsdp, rsdp);
        WriteE820(page, ram.Layout.MemoryMap);
    }

    private static void MakeHeader(Span<byte> page, PlacedKernel kernel)
    {
        U16(page, BootFlag, 0xaa55);
        "HdrS"u8.CopyTo(page[Header..]);
        U16(page, Version, 0x20f);
        U32(page, InitrdAddressMax, (uint)kernel.InitrdMax);
        U32(page, KernelAlignment, 0x20_0000);
        U32(page, CommandLineSize, kernel.CommandLineMax);
    }

    private static void WriteE820(Span<byte> page, IReadOnlyList<MemoryMapEntry> map)
    {
        page[E820Entries] = (byte)map.Count;
        for (int i = 0; i < map.Count; i++)
        {
            int at = E820Table + (i * E820EntrySize);
            U64(page, at, map[i].Range.Start);
            U64(page, at + 8, map[i].Range.Size);
            U32(page, at + 16, (uint)map[i].Kind);
        }
    }

    private static void U16(Span<byte> page, int at, ushort value) => BinaryPrimitives.WriteUInt16LittleEndian(page[at..], value);

    private static void U32(Span<byte> page, int at, uint value) => BinaryPrimitives.WriteUInt32LittleEndian(page[at..], value);

    private static void U64(Span<byte> page, int at, ulong value) => BinaryPrimitives.WriteUInt64LittleEndian(page[at..], value);
}
