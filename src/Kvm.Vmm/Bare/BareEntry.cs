using System.Buffers.Binary;
using Kvm.Devices.Memory;
using Kvm.Vmm.Boot;

namespace Kvm.Vmm.Bare;

/// <summary>The state a bare guest starts in, in one of three modes, and the tables this takes in its memory.</summary>
internal static class BareEntry
{
    /// <summary>The GDT: null, 64-bit code at 0x08, 32-bit code at 0x10, data at 0x18, a TSS at 0x20.</summary>
    public const ulong Gdt = 0x500;

    /// <summary>The TSS, 104 zero bytes.</summary>
    public const ulong Tss = 0x580;

    /// <summary>Page tables of a 64-bit start: one table of each of three levels maps the first GiB and the last one below 4 GiB to themselves, in pages of 2 MiB.</summary>
    public const ulong PageTables = 0x1000;

    /// <summary>Where the stack grows down from.</summary>
    public const ulong Stack = 0x7000;

    private const ushort Code64 = 0x08, Code32 = 0x10, Data = 0x18, Task = 0x20;

    /// <summary>Writes what the mode needs and returns the registers to start with.</summary>
    /// <param name="memory">At least 64 KiB from address 0.</param>
    /// <param name="bits">16, 32 or 64.</param>
    /// <param name="address">Of the first instruction; below 64 KiB in 16-bit mode.</param>
    public static BootState Prepare(GuestMemory memory, int bits, uint address)
    {
        if (bits == 16)
            return Real(address);
        var state = bits == 64 ? Long(address) : Protected(address);
        var code64 = Flat(Code64, code: true, isLong: true);
        var code32 = Flat(Code32, code: true, isLong: false);
        ReadOnlySpan<BootSegment> segments = [code64, code32, state.Data, state.Task];
        foreach (var segment in segments)
            memory.TryWrite(Gdt + segment.Selector, segment.ToDescriptor());
        if (bits == 64)
            WritePageTables(memory);
        return state;
    }

    private static BootState Real(uint address) => new()
    {
        Mode = EntryMode.Linux32,
        Code = RealSegment(0xb),
        Data = RealSegment(0x3),
        Task = TaskSegment with { Selector = 0 },
        GdtBase = 0,
        GdtLimit = ushort.MaxValue,
        Cr0 = 0x10, // ET
        Cr3 = 0,
        Cr4 = 0,
        Efer = 0,
        Rip = address,
        Rsp = Stack,
    };

    private static BootState Protected(uint address) => new()
    {
        Mode = EntryMode.Linux32,
        Code = Flat(Code32, code: true, isLong: false),
        Data = Flat(Data, code: false, isLong: false),
        Task = TaskSegment,
        GdtBase = Gdt,
        GdtLimit = Task + 15,
        Cr0 = 0x11, // ET PE
        Cr3 = 0,
        Cr4 = 0,
        Efer = 0,
        Rip = address,
        Rsp = Stack,
    };

    private static BootState Long(uint address) => new()
    {
        Mode = EntryMode.Linux64,
        Code = Flat(Code64, code: true, isLong: true),
        Data = Flat(Data, code: false, isLong: false),
        Task = TaskSegment,
        GdtBase = Gdt,
        GdtLimit = Task + 15,
        Cr0 = 0x8001_0033, // PG WP NE ET MP PE
        Cr3 = PageTables,
        Cr4 = 0x620, // PAE OSFXSR OSXMMEXCPT
        Efer = 0x500, // LMA LME
        Rip = address,
        Rsp = Stack,
    };

    private static BootSegment RealSegment(byte type) => new(0, 0, 0xffff, type, false, 0, true, Long: false, Big: false, Granular: false);

    private static BootSegment TaskSegment => new(Task, Tss, 0x67, 0xb, true, 0, true, Long: false, Big: false, Granular: false);

    private static BootSegment Flat(ushort selector, bool code, bool isLong) =>
        new(selector, 0, uint.MaxValue, (byte)(code ? 0xb : 0x3), false, 0, true, Long: isLong, Big: !isLong, Granular: true);

    private static void WritePageTables(GuestMemory memory)
    {
        const ulong present = 3, large = 0x83, pointers = PageTables + 0x1000, low = PageTables + 0x2000, high = PageTables + 0x3000;
        Span<byte> table = stackalloc byte[4096];
        table.Clear();
        BinaryPrimitives.WriteUInt64LittleEndian(table, pointers | present);
        memory.TryWrite(PageTables, table);
        BinaryPrimitives.WriteUInt64LittleEndian(table, low | present);
        BinaryPrimitives.WriteUInt64LittleEndian(table[(3 * 8)..], high | present);
        memory.TryWrite(pointers, table);
        for (int gigabyte = 0; gigabyte < 4; gigabyte += 3)
        {
            for (int i = 0; i < 512; i++)
                BinaryPrimitives.WriteUInt64LittleEndian(table[(i * 8)..], (ulong)gigabyte << 30 | (ulong)i << 21 | large);
            memory.TryWrite(gigabyte == 0 ? low : high, table);
        }
    }
}
