using Kvm.Vmm.Boot;
using static Kvm.Vmm.Tests.Boot.Loading;

namespace Kvm.Vmm.Tests.Boot;

public class ElfLoadTests
{
    private const ulong MiB = 1 << 20;
    private const ulong KernelMap = 0xffff_ffff_8000_0000;

    private static ElfBuilder Vmlinux() => new ElfBuilder(is64: true) { Entry = 2 * MiB }
        .Load(2 * MiB, Pattern(1, 5000), virtualAddress: KernelMap + (2 * MiB))
        .Load(3 * MiB, Pattern(2, 300), memorySize: 9000, virtualAddress: 0) // as the per-CPU segment has it
        .LinuxNote();

    [Fact]
    public void A_vmlinux_is_placed_at_its_physical_addresses_and_entered_by_the_64_bit_protocol()
    {
        using var m = new TestMemory(64 * MiB);
        var k = m.Load(Vmlinux().Build(), "console=ttyS0", rsdp: 0xe0000);
        (k.Format, k.EntryMode, k.EntryPoint, k.IsLinux).Should().Be((KernelFormat.Elf64, EntryMode.Linux64, 2 * MiB, true));
        k.Extent.Should().Be(new AddressRange(2 * MiB, MiB + 9000));
        k.BootParameters.Should().Be(MachineLayout.ZeroPage);
        m.Bytes(2 * MiB, 5000).Should().Equal(Pattern(1, 5000));
        m.Bytes(3 * MiB, 300).Should().Equal(Pattern(2, 300));
        m.Text(MachineLayout.CommandLine).Should().Be("console=ttyS0");
    }

    [Fact]
    public void The_zero_page_of_a_vmlinux_is_filled_as_boot_rst_says()
    {
        using var m = new TestMemory(5UL << 30);
        var k = m.Load(Vmlinux().Build(), "quiet", Pattern(3, 12_345), rsdp: 0xe0000);
        const ulong z = MachineLayout.ZeroPage;
        m.U16(z + 0x1fe).Should().Be(0xaa55);
        m.U32(z + 0x202).Should().Be(0x53726448);
        m.U16(z + 0x206).Should().Be(0x20f);
        m.U8(z + 0x210).Should().Be(0xff);
        m.U8(z + 0x211).Should().Be(1);
        m.U8(z + 0x1ef).Should().Be(0, "the sentinel says that the page was cleared");
        m.U32(z + 0x214).Should().Be((uint)k.EntryPoint);
        m.U32(z + 0x228).Should().Be((uint)MachineLayout.CommandLine);
        m.U64(z + 0x70).Should().Be(0xe0000);
        m.U32(z + 0x218).Should().Be((uint)k.Initrd!.Value.Start);
        m.U32(z + 0x21c).Should().Be(12_345);

        int entries = m.U8(z + 0x1e8);
        var map = Enumerable.Range(0, entries).Select(i => z + 0x2d0 + ((ulong)i * 20))
            .Select(at => new MemoryMapEntry(new(m.U64(at), m.U64(at + 8)), (MemoryKind)m.U32(at + 16))).ToArray();
        map.Should().Equal(m.Layout.MemoryMap);
        map.Should().HaveCount(6);
    }

    [Fact]
    public void The_page_tables_map_4_GiB_one_to_one()
    {
        using var m = new TestMemory(64 * MiB);
        var state = m.Load(Vmlinux().Build()).State;
        foreach (ulong address in new ulong[] { 0, 0x7000, 2 * MiB, 0xc000_0000, 0xffff_f000 })
        {
            ulong pml4 = m.U64(state.Cr3 + ((address >> 39) * 8));
            ulong pdpt = m.U64((pml4 & ~0xfffUL) + ((address >> 30) * 8));
            ulong pd = m.U64((pdpt & ~0xfffUL) + (((address >> 21) & 511) * 8));
            (pml4 & pdpt & pd & 3).Should().Be(3, "present and writable");
            (pd & 0x80).Should().Be(0x80, "2 MiB pages");
            (pd & ~0x1f_ffffUL).Should().Be(address & ~0x1f_ffffUL);
        }

        m.U64(state.Cr3 + 8).Should().Be(0);
        m.U64((m.U64(state.Cr3) & ~0xfffUL) + (4 * 8)).Should().Be(0);
    }

    [Fact]
    public void The_GDT_holds_the_segments_of_the_state()
    {
        using var m = new TestMemory(64 * MiB);
        var s = m.Load(Vmlinux().Build()).State;
        m.U64(s.GdtBase).Should().Be(0);
        m.U64(s.GdtBase + s.Code.Selector).Should().Be(s.Code.ToDescriptor());
        m.U64(s.GdtBase + s.Data.Selector).Should().Be(s.Data.ToDescriptor());
        m.U64(s.GdtBase + s.Task.Selector).Should().Be(s.Task.ToDescriptor());
        (s.GdtLimit + 1).Should().Be(48);
    }

    [Fact]
    public void The_BIOS_data_area_names_the_EBDA()
    {
        using var m = new TestMemory(64 * MiB);
        m.Load(Vmlinux().Build());
        (m.U16(0x40e) * 16UL).Should().Be(MachineLayout.Ebda);
        (m.U16(0x413) * 1024UL).Should().Be(MachineLayout.Ebda);
    }

    [Theory]
    [InlineData(true, 0)]
    [InlineData(false, 0)]
    [InlineData(false, 0xff)]
    public void Bss_is_zero_whether_or_not_memory_was(bool memoryIsZero, byte fill)
    {
        using var m = new TestMemory(16 * MiB);
        m.Memory.TrySlice(3 * MiB, 16_384, out var dirty).Should().BeTrue();
        dirty.Fill(fill);
        m.Load(Vmlinux().Build(), memoryIsZero: memoryIsZero);
        m.Bytes((3 * MiB) + 300, 9000 - 300).Should().OnlyContain(b => b == 0);
        m.U8((3 * MiB) + 9000).Should().Be(fill, "what lies behind the segment is not the loader's");
    }

    [Fact]
    public void A_virtual_entry_point_is_translated()
    {
        using var m = new TestMemory(16 * MiB);
        var elf = Vmlinux();
        elf.Entry = KernelMap + (2 * MiB) + 0x123;
        m.Load(elf.Build()).EntryPoint.Should().Be((2 * MiB) + 0x123);
    }

    [Fact]
    public void A_bare_64_bit_executable_is_entered_as_vmlinux_is()
    {
        using var m = new TestMemory(16 * MiB);
        var k = m.Load(new ElfBuilder(true) { Entry = MiB }.Load(MiB, [0xf4]).Build());
        (k.EntryMode, k.IsLinux).Should().Be((EntryMode.Linux64, false));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void An_image_with_only_a_PVH_note_goes_PVH(bool is64)
    {
        using var m = new TestMemory(16 * MiB);
        var elf = new ElfBuilder(is64) { Entry = MiB }.Load(MiB, Pattern(1, 64)).Pvh(0x10_0010);
        var k = m.Load(elf.Build(), "hello", Pattern(4, 5000), rsdp: 0xe0000);
        (k.EntryMode, k.EntryPoint, k.BootParameters).Should().Be((EntryMode.Pvh32, 0x10_0010, MachineLayout.StartInfo));

        const ulong s = MachineLayout.StartInfo;
        (m.U32(s), m.U32(s + 4), m.U32(s + 8), m.U32(s + 12)).Should().Be((0x336ec578, 1, 0, 1));
        m.U64(s + 24).Should().Be(MachineLayout.CommandLine);
        m.U64(s + 32).Should().Be(0xe0000);
        ulong module = m.U64(s + 16);
        (m.U64(module), m.U64(module + 8), m.U64(module + 16)).Should().Be((k.Initrd!.Value.Start, 5000, 0));
        m.Bytes(k.Initrd.Value.Start, 5000).Should().Equal(Pattern(4, 5000));
        ulong map = m.U64(s + 40);
        m.U32(s + 48).Should().Be((uint)m.Layout.MemoryMap.Count);
        for (int i = 0; i < m.Layout.MemoryMap.Count; i++, map += 24)
        {
            var e = m.Layout.MemoryMap[i];
            (m.U64(map), m.U64(map + 8), m.U32(map + 16), m.U32(map + 20)).Should().Be((e.Range.Start, e.Range.Size, (uint)e.Kind, 0));
        }
    }

    [Fact]
    public void Without_an_initrd_start_info_has_no_modules()
    {
        using var m = new TestMemory(16 * MiB);
        m.Load(new ElfBuilder(true) { Entry = MiB }.Load(MiB, [0xf4]).Pvh(0x10_0000).Build()).Initrd.Should().BeNull();
        m.U32(MachineLayout.StartInfo + 12).Should().Be(0);
        m.U64(MachineLayout.StartInfo + 16).Should().Be(0);
    }

    [Fact]
    public void Linux_with_a_PVH_note_goes_by_the_64_bit_protocol_and_PVH_on_request()
    {
        using var m = new TestMemory(16 * MiB);
        byte[] elf = Vmlinux().Pvh(0x20_0040).Build();
        m.Load(elf).EntryMode.Should().Be(EntryMode.Linux64);
        var pvh = m.Load(elf, protocol: BootProtocol.Pvh);
        (pvh.EntryMode, pvh.EntryPoint).Should().Be((EntryMode.Pvh32, 0x20_0040));
    }

    [Theory]
    [InlineData("linux", EntryMode.Linux64)]
    [InlineData("FreeBSD", EntryMode.Pvh32)]
    public void Xens_note_of_the_system_decides_where_it_is_there(string system, EntryMode expected)
    {
        using var m = new TestMemory(16 * MiB);
        byte[] elf = new ElfBuilder(true) { Entry = 2 * MiB }
            .Load(2 * MiB, Pattern(1, 100), virtualAddress: KernelMap + (2 * MiB))
            .Note("Xen", 6, System.Text.Encoding.ASCII.GetBytes(system + '\0')).Pvh(0x20_0000).Build();
        m.Load(elf).EntryMode.Should().Be(expected);
    }

    [Fact]
    public void A_kernel_linked_into_the_kernel_mapping_is_Linux_without_a_note()
    {
        using var m = new TestMemory(16 * MiB);
        byte[] elf = new ElfBuilder(true) { Entry = 2 * MiB }.Load(2 * MiB, Pattern(1, 100), virtualAddress: KernelMap + (2 * MiB)).Pvh(0x20_0000).Build();
        m.Load(elf).Should().Match<LoadedKernel>(k => k.IsLinux && k.EntryMode == EntryMode.Linux64);
    }

    [Theory]
    [InlineData(4)]
    [InlineData(8)]
    public void A_PVH_note_is_found_behind_others_with_either_alignment(ulong align)
    {
        using var m = new TestMemory(16 * MiB);
        byte[] elf = new ElfBuilder(true) { Entry = MiB }.Load(MiB, [0xf4])
            .Note("GNU", 3, new byte[20], align).Note("Xen", 18, BitConverter.GetBytes(0x10_0000UL), align).Build();
        m.Load(elf).EntryMode.Should().Be(EntryMode.Pvh32);
    }

    [Fact]
    public void A_32_bit_Linux_kernel_is_entered_by_the_32_bit_protocol()
    {
        using var m = new TestMemory(16 * MiB);
        byte[] elf = new ElfBuilder(false) { Entry = 2 * MiB }.Load(2 * MiB, Pattern(1, 100), virtualAddress: 0xc020_0000).Build();
        var k = m.Load(elf, "x");
        (k.EntryMode, k.Format, k.State.Rsi).Should().Be((EntryMode.Linux32, KernelFormat.Elf32, MachineLayout.ZeroPage));
        m.U32(MachineLayout.ZeroPage + 0x202).Should().Be(0x53726448);
    }

    [Fact]
    public void A_32_bit_image_without_any_way_in_is_refused()
    {
        using var m = new TestMemory(16 * MiB);
        m.Refuse(new ElfBuilder(false) { Entry = MiB }.Load(MiB, [0xf4]).Build(), LoadErrors.NoEntry);
    }

    [Theory]
    [InlineData(BootProtocol.Pvh)]
    [InlineData(BootProtocol.Linux32)]
    [InlineData(BootProtocol.Multiboot)]
    public void A_protocol_that_the_image_does_not_offer_is_refused(BootProtocol protocol)
    {
        using var m = new TestMemory(16 * MiB);
        m.Refuse(Vmlinux().Build(), LoadErrors.NoEntry, protocol: protocol);
    }

    [Fact]
    public void Segments_above_4_GiB_go_to_the_second_piece_of_RAM()
    {
        using var m = new TestMemory(4UL << 30);
        byte[] elf = new ElfBuilder(true) { Entry = MiB }.Load(MiB, [0xf4]).Load((4UL << 30) + 4096, Pattern(5, 100)).Build();
        m.Load(elf);
        m.Bytes((4UL << 30) + 4096, 100).Should().Equal(Pattern(5, 100));
    }

    [Fact]
    public void A_six_instruction_guest_loads_without_touching_more_than_it_needs()
    {
        using var m = new TestMemory(16 * MiB);
        byte[] elf = new ElfBuilder(true) { Entry = MiB }.Load(MiB, [0xb0, 0x41, 0x66, 0xba, 0xf8, 0x03, 0xee, 0xf4]).Pvh(0x10_0000).Build();
        Allocation.Of(_ => m.Load(elf), 1).Should().BeLessThan(16 << 10);
        m.Bytes(MachineLayout.PageTables, 4096).Should().OnlyContain(b => b == 0, "a 32-bit entry needs no page tables");
    }
}
