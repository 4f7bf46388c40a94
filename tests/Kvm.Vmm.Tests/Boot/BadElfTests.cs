using System.Buffers.Binary;
using Kvm.Vmm.Boot;
using static Kvm.Vmm.Tests.Boot.Loading;

namespace Kvm.Vmm.Tests.Boot;

public class BadElfTests
{
    private const ulong MiB = 1 << 20;

    private static ElfBuilder Good(bool is64 = true) =>
        new ElfBuilder(is64) { Entry = MiB }.Load(MiB, Pattern(1, 64)).Load(2 * MiB, Pattern(2, 64), memorySize: 128).Pvh(0x10_0000);

    private static byte[] With(byte[] file, int at, byte[] value)
    {
        value.CopyTo(file, at);
        return file;
    }

    private static byte[] With(byte[] file, int at, ulong value) => With(file, at, BitConverter.GetBytes(value));

    [Fact]
    public void An_empty_file_is_refused()
    {
        using var m = new TestMemory(16 * MiB);
        m.Refuse([], LoadErrors.Empty);
    }

    [Theory]
    [InlineData("00")]
    [InlineData("4d5a9000030000000400")]
    [InlineData("7f454c")]
    [InlineData("1f8b0800")]
    public void A_wrong_magic_is_refused_with_the_bytes_that_are_there(string hex)
    {
        using var m = new TestMemory(16 * MiB);
        m.Refuse(Convert.FromHexString(hex), LoadErrors.UnknownFormat).Message.ToLowerInvariant().Should().Contain(hex[..Math.Min(16, hex.Length)]);
    }

    [Fact]
    public void A_compressed_file_is_named_as_such()
    {
        using var m = new TestMemory(16 * MiB);
        m.Refuse(TestSupport.TestCompressors.Gzip(Good().Build()), LoadErrors.UnknownFormat).Message.Should().Contain("Gzip");
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Every_truncation_is_refused(bool is64)
    {
        using var m = new TestMemory(16 * MiB);
        byte[] file = Good(is64).Build();
        m.Load(file).EntryMode.Should().Be(EntryMode.Pvh32);
        for (int length = 0; length < file.Length; length++)
        {
            byte[] cut = file[..length];
            FluentActions.Invoking(() => m.Load(cut)).Should().Throw<LoadException>($"{length} of {file.Length} bytes are there")
                .Which.ExitCode.Should().Be(ExitCode.BadInput);
        }
    }

    [Theory]
    [InlineData(4, 3, "EI_CLASS", "KVM0104")]
    [InlineData(5, 2, "EI_DATA", "KVM0105")]
    [InlineData(6, 0, "EI_VERSION", "KVM0104")]
    [InlineData(16, 1, "e_type", "KVM0105")] // relocatable
    [InlineData(16, 4, "e_type", "KVM0105")] // core
    [InlineData(18, 0xb7, "e_machine", "KVM0105")] // AArch64
    [InlineData(18, 3, "e_machine", "KVM0105")] // 80386 in an ELF64
    [InlineData(54, 32, "e_phentsize", "KVM0104")]
    [InlineData(54, 0, "e_phentsize", "KVM0104")]
    public void Wrong_header_fields_are_named(int at, byte value, string field, string id)
    {
        using var m = new TestMemory(16 * MiB);
        byte[] file = Good().Build();
        file[at] = value;
        var e = FluentActions.Invoking(() => m.Load(file)).Should().Throw<LoadException>().Which;
        (e.Field, e.Offset, e.Error.Id).Should().Be((field, (ulong)at, id));
    }

    [Theory]
    [InlineData(true, 65_535)]
    [InlineData(false, 65_535)]
    [InlineData(true, 257)]
    public void More_program_headers_than_a_kernel_has_are_refused(bool is64, ushort count)
    {
        using var m = new TestMemory(16 * MiB);
        byte[] file = Good(is64).Build();
        BinaryPrimitives.WriteUInt16LittleEndian(file.AsSpan(is64 ? 56 : 44), count);
        m.Refuse(file, LoadErrors.BadHeader).Field.Should().Be("e_phnum");
        // Also where the file is really that long.
        m.Refuse([.. file, .. new byte[count * 56]], LoadErrors.BadHeader);
    }

    [Fact]
    public void No_program_headers_or_no_loadable_ones_are_refused()
    {
        using var m = new TestMemory(16 * MiB);
        m.Refuse(With(Good().Build(), 56, [0, 0]), LoadErrors.BadHeader).Field.Should().Be("e_phnum");
        m.Refuse(new ElfBuilder(true).Pvh(0x10_0000).Build(), LoadErrors.BadHeader);
    }

    [Theory]
    [InlineData(ulong.MaxValue)]
    [InlineData(ulong.MaxValue - 55)]
    [InlineData(0x7fff_ffff_ffff_ffff)]
    [InlineData(1_000_000)]
    public void Program_headers_past_the_end_are_refused(ulong offset)
    {
        using var m = new TestMemory(16 * MiB);
        m.Refuse(With(Good().Build(), 32, offset), LoadErrors.Truncated);
    }

    [Theory]
    [InlineData(8, ulong.MaxValue, "KVM0103")] // p_offset
    [InlineData(8, ulong.MaxValue - 63, "KVM0103")]
    [InlineData(32, 129, "KVM0104")] // p_filesz > p_memsz
    [InlineData(40, ulong.MaxValue, "KVM0104")] // p_memsz wraps
    [InlineData(24, ulong.MaxValue - 10, "KVM0104")] // p_paddr wraps
    [InlineData(24, 16 * MiB, "KVM0107")] // just outside RAM
    [InlineData(24, (16 * MiB) - 127, "KVM0107")] // one byte outside
    [InlineData(24, 1UL << 63, "KVM0107")]
    [InlineData(40, 16 * MiB, "KVM0107")] // bss outside RAM
    [InlineData(24, 0, "KVM0106")] // on the boot data
    [InlineData(24, 0x2_ffff, "KVM0106")]
    [InlineData(24, 0x9_fb81, "KVM0106")] // its end in the firmware tables
    [InlineData(24, 0xf_ffff, "KVM0106")]
    [InlineData(24, MiB, "KVM0106")] // on the other segment
    [InlineData(24, MiB + 63, "KVM0106")]
    [InlineData(24, MiB - 127, "KVM0106")]
    public void Wrong_segments_are_refused(int field, ulong value, string id)
    {
        using var m = new TestMemory(16 * MiB);
        var elf = Good();
        byte[] file = With(elf.Build(), elf.ProgramHeader(1) + field, value);
        FluentActions.Invoking(() => m.Load(file)).Should().Throw<LoadException>().Which.Error.Id.Should().Be(id);
    }

    [Fact]
    public void Segments_may_touch_and_end_at_the_last_byte_of_RAM()
    {
        using var m = new TestMemory(16 * MiB);
        var elf = Good();
        m.Load(With(elf.Build(), elf.ProgramHeader(1) + 24, MiB + 64)).EntryMode.Should().Be(EntryMode.Pvh32);
        m.Load(With(elf.Build(), elf.ProgramHeader(1) + 24, (16 * MiB) - 128)).EntryMode.Should().Be(EntryMode.Pvh32);
        m.Load(With(elf.Build(), elf.ProgramHeader(1) + 24, 0x3_0000)).EntryMode.Should().Be(EntryMode.Pvh32);
    }

    [Theory]
    [InlineData("ffffffff0400000012000000")] // namesz
    [InlineData("04000000ffffffff12000000")] // descsz
    [InlineData("fffffffffffffffffffffff0")]
    [InlineData("f4ffffff0000000000000000")]
    [InlineData("0000000001000000120000")] // too short for a header: padding
    public void Notes_that_lie_about_their_size_end_the_walk(string hex)
    {
        using var m = new TestMemory(16 * MiB);
        byte[] notes = Convert.FromHexString(hex);
        byte[] file = new ElfBuilder(true) { Entry = MiB }.Load(MiB, [0xf4]).RawNotes(notes).Build();
        if (notes.Length < 12)
            m.Load(file).EntryMode.Should().Be(EntryMode.Linux64);
        else
            m.Refuse(file, LoadErrors.BadHeader).Field.Should().Be("note");
    }

    [Fact]
    public void Endless_notes_are_walked_once_and_megabytes_of_them_refused()
    {
        using var m = new TestMemory(16 * MiB);
        byte[] empty = new byte[60_000]; // 5,000 notes of nothing
        m.Load(new ElfBuilder(true) { Entry = MiB }.Load(MiB, [0xf4]).RawNotes(empty).Build()).EntryMode.Should().Be(EntryMode.Linux64);
        m.Refuse(new ElfBuilder(true) { Entry = MiB }.Load(MiB, [0xf4]).RawNotes(empty).RawNotes(empty).Build(), LoadErrors.BadHeader);
        m.Refuse(new ElfBuilder(true) { Entry = MiB }.Load(MiB, [0xf4]).RawNotes(new byte[4 << 20]).Build(), LoadErrors.BadHeader);
    }

    [Fact]
    public void A_note_segment_past_the_end_is_refused()
    {
        using var m = new TestMemory(16 * MiB);
        var elf = Good();
        m.Refuse(With(elf.Build(), elf.ProgramHeader(2) + 8, 1UL << 40), LoadErrors.Truncated);
        m.Refuse(With(elf.Build(), elf.ProgramHeader(2) + 32, ulong.MaxValue), LoadErrors.BadHeader);
    }

    [Theory]
    [InlineData(0x50_0000u)]
    [InlineData(0u)]
    [InlineData(uint.MaxValue)]
    public void A_PVH_entry_in_no_segment_is_refused(uint entry)
    {
        using var m = new TestMemory(16 * MiB);
        m.Refuse(new ElfBuilder(true) { Entry = MiB }.Load(MiB, [0xf4]).Pvh(entry).Build(), LoadErrors.NoEntry).Field.Should().Be("XEN_ELFNOTE_PHYS32_ENTRY");
    }

    [Theory]
    [InlineData(0ul)]
    [InlineData(0xffff_ffff_8020_0000)]
    public void An_entry_in_no_segment_is_refused(ulong entry)
    {
        using var m = new TestMemory(16 * MiB);
        m.Refuse(new ElfBuilder(true) { Entry = entry }.Load(MiB, [0xf4]).Build(), LoadErrors.NoEntry).Field.Should().Be("e_entry");
    }

    [Fact]
    public void An_entry_above_4_GiB_is_refused()
    {
        using var m = new TestMemory(4UL << 30);
        m.Refuse(new ElfBuilder(true) { Entry = 4UL << 30 }.Load(4UL << 30, [0xf4]).Build(), LoadErrors.NoEntry);
    }
}
