using System.Buffers.Binary;
using Kvm.Vmm.Boot;
using static Kvm.Vmm.Tests.Boot.Loading;

namespace Kvm.Vmm.Tests.Boot;

public class MultibootLoadTests
{
    private const ulong MiB = 1 << 20;

    private static byte[] Header(uint flags, params uint[] rest)
    {
        byte[] h = new byte[12 + (rest.Length * 4)];
        BinaryPrimitives.WriteUInt32LittleEndian(h, 0x1badb002);
        BinaryPrimitives.WriteUInt32LittleEndian(h.AsSpan(4), flags);
        BinaryPrimitives.WriteUInt32LittleEndian(h.AsSpan(8), unchecked(0u - 0x1badb002u - flags));
        for (int i = 0; i < rest.Length; i++)
            BinaryPrimitives.WriteUInt32LittleEndian(h.AsSpan(12 + (i * 4)), rest[i]);
        return h;
    }

    private static byte[] Elf(uint flags, bool is64 = false) =>
        new ElfBuilder(is64) { Entry = MiB + 12 }.Load(MiB, [.. Header(flags), 0xf4, 0xf4, 0xf4, 0xf4]).Build();

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void An_ELF_image_with_a_Multiboot_header_gets_all_the_information(bool is64)
    {
        using var m = new TestMemory(32 * MiB);
        var k = m.Load(Elf(3, is64), "a b", Pattern(1, 5000));
        (k.EntryMode, k.EntryPoint, k.State.Rax, k.State.Rbx).Should().Be((EntryMode.Multiboot32, MiB + 12, 0x2badb002, MachineLayout.StartInfo));

        const ulong s = MachineLayout.StartInfo;
        m.U32(s).Should().Be(0b10_0100_1101, "memory, command line, modules, map, loader name");
        (m.U32(s + 4), m.U32(s + 8)).Should().Be((639, 31 * 1024));
        m.Text(m.U32(s + 16)).Should().Be("kernel a b", "the first word is the image's own name");
        m.Text(m.U32(s + 64), 64).Should().Be("kvmsharp");

        m.U32(s + 20).Should().Be(1);
        ulong module = m.U32(s + 24);
        m.U32(module).Should().Be((uint)k.Initrd!.Value.Start);
        m.U32(module + 4).Should().Be((uint)k.Initrd.Value.End);
        m.Text(m.U32(module + 8), 64).Should().Be("");
        (k.Initrd.Value.Start % 4096).Should().Be(0);
        m.Bytes(k.Initrd.Value.Start, 5000).Should().Equal(Pattern(1, 5000));
        k.Initrd.Value.Start.Should().Be(MiB + 4096, "modules come right above the kernel");

        ulong map = m.U32(s + 48), end = map + m.U32(s + 44);
        var entries = new List<MemoryMapEntry>();
        for (; map < end; map += m.U32(map) + 4)
            entries.Add(new(new(m.U64(map + 4), m.U64(map + 12)), (MemoryKind)m.U32(map + 20)));
        entries.Should().Equal(m.Layout.MemoryMap);
    }

    [Fact]
    public void An_ELF_image_may_lie_where_only_Linux_gets_boot_data()
    {
        using var m = new TestMemory(32 * MiB);
        byte[] image = [.. Header(0), 0xf4, 0xf4, 0xf4, 0xf4];
        m.Load(new ElfBuilder(false) { Entry = 0x8000 + 12 }.Load(0x8000, image).Build()).EntryPoint.Should().Be(0x8000 + 12);
        m.Bytes(0x8000, image.Length).Should().Equal(image);
        m.Refuse(new ElfBuilder(false) { Entry = 0x6800 + 12 }.Load(0x6800, image).Build(), LoadErrors.Overlap);
        m.Refuse(new ElfBuilder(false) { Entry = 0x2_0000 + 12 }.Load(0x2_0000, image).Build(), LoadErrors.Overlap);
    }

    [Fact]
    public void A_flat_image_is_placed_by_its_address_fields()
    {
        using var m = new TestMemory(32 * MiB);
        const uint load = 0x20_0000, headerAt = 0x40;
        byte[] file = [.. Pattern(1, (int)headerAt), .. Header(0x1_0000, load + headerAt, load, load + 0x100, load + 0x3000, load + 0x80), .. Pattern(2, 0x200)];
        m.Memory.TrySlice(load, 0x4000, out var dirty).Should().BeTrue();
        dirty.Fill(0xff);
        var k = m.Load(file, memoryIsZero: false);
        (k.Format, k.EntryMode, k.EntryPoint).Should().Be((KernelFormat.Multiboot, EntryMode.Multiboot32, load + 0x80UL));
        m.Bytes(load, 0x100).Should().Equal(file[..0x100]);
        m.Bytes(load + 0x100, 0x3000 - 0x100).Should().OnlyContain(b => b == 0);
        m.U8(load + 0x3000).Should().Be(0xff);
    }

    [Fact]
    public void Address_fields_win_over_ELF_headers()
    {
        using var m = new TestMemory(32 * MiB);
        byte[] elf = new ElfBuilder(false) { Entry = MiB }.Load(MiB, Header(0x1_0000, 0, 0, 0, 0, 0)).Build();
        uint at = (uint)elf.AsSpan().IndexOf(Header(0x1_0000).AsSpan(0, 4));
        Header(0x1_0000, 0x30_0000 + at, 0x30_0000, 0, 0, 0x30_0000).CopyTo(elf, at);
        var k = m.Load(elf);
        (k.EntryPoint, k.Format).Should().Be((0x30_0000, KernelFormat.Elf32));
        m.Bytes(0x30_0000, elf.Length).Should().Equal(elf);
    }

    [Fact]
    public void A_PVH_note_wins_over_a_Multiboot_header_and_Multiboot_can_be_asked_for()
    {
        using var m = new TestMemory(32 * MiB);
        byte[] elf = new ElfBuilder(false) { Entry = MiB }.Load(MiB, Header(0)).Pvh(0x10_0000).Build();
        m.Load(elf).EntryMode.Should().Be(EntryMode.Pvh32);
        m.Load(elf, protocol: BootProtocol.Multiboot).EntryMode.Should().Be(EntryMode.Multiboot32);
    }

    [Theory]
    [InlineData(1u << 2)]
    [InlineData(1u << 3)]
    [InlineData(1u << 15)]
    public void Requirements_that_cannot_be_met_are_refused(uint flags)
    {
        using var m = new TestMemory(32 * MiB);
        m.Refuse(Elf(flags), LoadErrors.NoEntry).Message.Should().Contain("Multiboot flags");
    }

    [Fact]
    public void Optional_flags_that_nobody_knows_are_ignored()
    {
        using var m = new TestMemory(32 * MiB);
        m.Load(Elf(1u << 20)).EntryMode.Should().Be(EntryMode.Multiboot32);
    }

    [Theory]
    [InlineData(0x20_0000u, 0x30_0000u, 0u, 0u)] // load_addr above header_addr
    [InlineData(0x20_1000u, 0x20_0000u, 0u, 0u)] // the file would begin before its start
    [InlineData(0x20_0000u, 0x20_0000u, 0x10_0000u, 0u)] // load_end_addr below load_addr
    [InlineData(0x20_0000u, 0x20_0000u, 0x20_1000u, 0u)] // load_end_addr past the end of the file
    [InlineData(0x20_0000u, 0x20_0000u, 0u, 0x20_0001u)] // bss_end_addr inside what is loaded
    [InlineData(0x20_0000u, 0x20_0000u, 0u, 0x10_0000u)] // bss_end_addr below load_addr
    [InlineData(0xffff_fff0u, 0xffff_fff0u, 0u, 0u)] // not RAM
    [InlineData(0x0u, 0x0u, 0u, 0u)] // on the boot data
    [InlineData(0x9_fbf0u, 0x9_fbf0u, 0u, 0u)] // on the firmware tables
    public void Address_fields_that_contradict_themselves_are_refused(uint header, uint load, uint loadEnd, uint bssEnd)
    {
        using var m = new TestMemory(32 * MiB);
        byte[] file = Header(0x1_0000, header, load, loadEnd, bssEnd, load);
        FluentActions.Invoking(() => m.Load(file)).Should().Throw<LoadException>().Which.ExitCode.Should().Be(ExitCode.BadInput);
    }

    [Fact]
    public void An_entry_outside_what_is_loaded_is_refused()
    {
        using var m = new TestMemory(32 * MiB);
        m.Refuse(Header(0x1_0000, 0x20_0000, 0x20_0000, 0, 0, 0x20_0100), LoadErrors.NoEntry);
    }

    [Fact]
    public void A_header_past_the_first_8_KiB_or_with_a_wrong_checksum_is_none()
    {
        using var m = new TestMemory(32 * MiB);
        byte[] header = Header(0x1_0000, 0x20_0000, 0x20_0000, 0, 0, 0x20_0000);
        m.Refuse([.. new byte[8192], .. header], LoadErrors.UnknownFormat);
        header[8] ^= 1;
        m.Refuse(header, LoadErrors.UnknownFormat);
    }
}
