using Kvm.Interop.Compression;
using Kvm.Vmm.Boot;
using static Kvm.Vmm.Tests.Boot.Loading;

namespace Kvm.Vmm.Tests.Boot;

public class BzImageLoadTests
{
    private const ulong MiB = 1 << 20;
    private const ulong KernelMap = 0xffff_ffff_8000_0000;

    /// <summary>As a 64-bit vmlinux is: text 2 MiB into the file, data, per-CPU data nearer together in memory than in the file, bss.</summary>
    private static byte[] Vmlinux(ulong at) => new ElfBuilder(true) { Entry = at }
        .Load(at, Pattern(1, 300_000), virtualAddress: KernelMap + at, fileOffset: 0x20_0000)
        .Load(at + 0x8_0000, Pattern(2, 50_000), virtualAddress: KernelMap + at + 0x8_0000, fileOffset: 0x28_0000)
        .Load(at + 0x9_0000, Pattern(3, 9_000), virtualAddress: 0, fileOffset: 0x2a_0000)
        .Load(at + 0xa_0000, Pattern(4, 70_000), memorySize: 0x10_0000, virtualAddress: KernelMap + at + 0xa_0000, fileOffset: 0x2c_0000)
        .Build();

    private static void CheckVmlinux(TestMemory m, ulong at)
    {
        m.Bytes(at, 300_000).Should().Equal(Pattern(1, 300_000));
        m.Bytes(at + 0x8_0000, 50_000).Should().Equal(Pattern(2, 50_000));
        m.Bytes(at + 0x9_0000, 9_000).Should().Equal(Pattern(3, 9_000));
        m.Bytes(at + 0xa_0000, 70_000).Should().Equal(Pattern(4, 70_000));
        m.Bytes(at + 0xa_0000 + 70_000, 0x10_0000 - 70_000).Should().OnlyContain(b => b == 0);
    }

    private static BzImageBuilder Image(CompressionFormat format, byte[] kernel, ulong at) =>
        new BzImageBuilder { PreferredAddress = at, InitSize = 8 << 20, KernelVersion = "6.1.0-test (a@b) #1" }.Pack(format, kernel);

    [Theory]
    [InlineData(CompressionFormat.Gzip)]
    [InlineData(CompressionFormat.Lz4Legacy)]
    [InlineData(CompressionFormat.Zstd)]
    [InlineData(CompressionFormat.Xz)]
    public void A_payload_of_each_format_is_unpacked_and_entered_as_vmlinux(CompressionFormat format)
    {
        using var m = new TestMemory(64 * MiB);
        var k = m.Load(Image(format, Vmlinux(16 * MiB), 16 * MiB).Build(), "quiet", Pattern(9, 4097));
        (k.Format, k.Compression, k.EntryMode, k.EntryPoint, k.IsLinux).Should().Be((KernelFormat.BzImage, format, EntryMode.Linux64, 16 * MiB, true));
        k.KernelVersion.Should().Be("6.1.0-test (a@b) #1");
        k.Extent.Should().Be(new AddressRange(16 * MiB, 8 * MiB), "init_size counts");
        CheckVmlinux(m, 16 * MiB);
        k.Initrd.Should().Be(new AddressRange((64 * MiB) - 8192, 4097));
    }

    [Theory]
    [InlineData(0x12_0000ul)] // unpacked above its place
    [InlineData(0x1000_000ul)] // unpacked in place
    [InlineData(0x1001_000ul)]
    public void Wherever_the_kernel_wants_to_be_its_segments_get_there_and_stale_bytes_are_cleared(ulong at)
    {
        using var m = new TestMemory(64 * MiB);
        m.Memory.TrySlice(MiB, 40 << 20, out var dirty).Should().BeTrue();
        dirty.Fill(0xee);
        m.Load(Image(CompressionFormat.Lz4Legacy, Vmlinux(at), at).Build(), memoryIsZero: false);
        CheckVmlinux(m, at);
    }

    [Fact]
    public void Segments_that_move_up_are_moved_without_losing_bytes()
    {
        using var m = new TestMemory(64 * MiB);
        // Text a page into the file, as 32-bit kernels have it: everything is unpacked below its place.
        byte[] elf = new ElfBuilder(true) { Entry = 16 * MiB }
            .Load(16 * MiB, Pattern(1, 3 << 20), fileOffset: 0x1000)
            .Load(20 * MiB, Pattern(2, 100_000), fileOffset: 0x31_0000).Build();
        m.Load(Image(CompressionFormat.Lz4Legacy, elf, 16 * MiB).Build());
        m.Bytes(16 * MiB, 3 << 20).Should().Equal(Pattern(1, 3 << 20));
        m.Bytes(20 * MiB, 100_000).Should().Equal(Pattern(2, 100_000));
    }

    [Fact]
    public void Segments_in_another_order_in_the_file_than_in_memory_are_placed_right()
    {
        using var m = new TestMemory(64 * MiB);
        byte[] elf = new ElfBuilder(true) { Entry = 16 * MiB }
            .Load(14 * MiB, Pattern(1, 2 << 20), fileOffset: 0x22_0000)
            .Load(17 * MiB, Pattern(2, 2 << 20), fileOffset: 0x1_0000)
            .Load(16 * MiB, Pattern(3, 1000), fileOffset: 0x43_0000).Build();
        m.Load(Image(CompressionFormat.Lz4Legacy, elf, 16 * MiB).Build());
        m.Bytes(14 * MiB, 2 << 20).Should().Equal(Pattern(1, 2 << 20));
        m.Bytes(17 * MiB, 2 << 20).Should().Equal(Pattern(2, 2 << 20));
        m.Bytes(16 * MiB, 1000).Should().Equal(Pattern(3, 1000));
    }

    [Fact]
    public void What_follows_the_ELF_file_in_the_payload_such_as_relocations_is_ignored()
    {
        using var m = new TestMemory(64 * MiB);
        byte[] kernel = [.. Vmlinux(16 * MiB), .. Pattern(8, 5000)];
        m.Load(Image(CompressionFormat.Zstd, kernel, 16 * MiB).Build());
        CheckVmlinux(m, 16 * MiB);
    }

    [Fact]
    public void A_payload_that_is_not_compressed_is_placed_as_it_is()
    {
        using var m = new TestMemory(64 * MiB);
        var image = new BzImageBuilder { PreferredAddress = 16 * MiB, InitSize = 8 << 20, Payload = Vmlinux(16 * MiB) };
        m.Load(image.Build()).Compression.Should().Be(CompressionFormat.Unknown);
        CheckVmlinux(m, 16 * MiB);
    }

    [Fact]
    public void The_setup_header_goes_into_the_zero_page_with_the_loaders_fields_filled_in()
    {
        using var m = new TestMemory(64 * MiB);
        var image = Image(CompressionFormat.Gzip, Vmlinux(16 * MiB), 16 * MiB);
        image.LoadFlags = 0x83; // CAN_USE_HEAP, and KASLR_FLAG, which is the decompressor's to set
        byte[] file = image.Build();
        var k = m.Load(file, "a=b", Pattern(9, 100), rsdp: 0xe0000);
        const ulong z = MachineLayout.ZeroPage;
        m.Bytes(z + 0x1f1, 7).Should().Equal(file[0x1f1..0x1f8]);
        m.Bytes(z + 0x230, 0x3c).Should().Equal(file[0x230..0x26c]);
        m.Bytes(z + 0x26c, 0x290 - 0x26c).Should().OnlyContain(b => b == 0, "the header ends there");
        (m.U8(z + 0x210), m.U8(z + 0x211), m.U16(z + 0x1fa)).Should().Be((0xff, 1, 0xffff));
        m.U32(z + 0x218).Should().Be((uint)k.Initrd!.Value.Start);
        m.U64(z + 0x70).Should().Be(0xe0000);
    }

    [Fact]
    public void A_32_bit_kernel_in_a_payload_is_entered_by_the_32_bit_protocol()
    {
        using var m = new TestMemory(64 * MiB);
        byte[] elf = new ElfBuilder(false) { Entry = 16 * MiB }.Load(16 * MiB, Pattern(1, 1000), virtualAddress: 0xc100_0000).Build();
        var image = Image(CompressionFormat.Gzip, elf, 16 * MiB);
        image.XLoadFlags = 0;
        var k = m.Load(image.Build());
        (k.EntryMode, k.EntryPoint, k.State.Rsi).Should().Be((EntryMode.Linux32, 16 * MiB, MachineLayout.ZeroPage));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void A_32_bit_kernel_that_we_cannot_unpack_unpacks_itself(bool packed)
    {
        using var m = new TestMemory(64 * MiB);
        var image = new BzImageBuilder { XLoadFlags = 0, Version = packed ? (ushort)0x20f : (ushort)0x204, PreferredAddress = 16 * MiB };
        if (packed)
            image.Payload = [0x5d, 0, 0, 0x80, .. Pattern(1, 1000)]; // LZMA
        byte[] file = image.Build();
        var k = m.Load(file, "x", Pattern(1, 100));
        (k.EntryMode, k.EntryPoint, k.Compression).Should().Be((EntryMode.Linux32, 0x10_0000, CompressionFormat.Unknown));
        m.Bytes(0x10_0000, file.Length - 1024).Should().Equal(file[1024..]);
        m.U32(MachineLayout.ZeroPage + 0x214).Should().Be(0x10_0000);
    }

    [Fact]
    public void Any_bzImage_can_be_told_to_unpack_itself_and_go_PVH_where_its_kernel_can()
    {
        using var m = new TestMemory(64 * MiB);
        byte[] elf = new ElfBuilder(true) { Entry = 16 * MiB }.Load(16 * MiB, Pattern(1, 1000)).Pvh(0x100_0020).LinuxNote().Build();
        byte[] file = Image(CompressionFormat.Gzip, elf, 16 * MiB).Build();
        m.Load(file, protocol: BootProtocol.Linux32).EntryMode.Should().Be(EntryMode.Linux32);
        m.Load(file, protocol: BootProtocol.Pvh).Should().Match<LoadedKernel>(k => k.EntryMode == EntryMode.Pvh32 && k.EntryPoint == 0x100_0020);
        m.Load(file, protocol: BootProtocol.Linux64).EntryMode.Should().Be(EntryMode.Linux64);
        m.Refuse(file, LoadErrors.NoEntry, protocol: BootProtocol.Multiboot);
    }

    [Theory]
    [InlineData(0x37ff_ffffu, 0x3800_0000ul)]
    [InlineData(0x7fff_ffffu, 0x8000_0000ul)]
    [InlineData(0xffff_ffffu, 0xc000_0000ul)]
    [InlineData(0u, 0x3800_0000ul)] // "not present": 2.02 and before
    public void The_initrd_ends_below_what_the_kernel_can_reach_and_below_the_hole(uint max, ulong expectedEnd)
    {
        using var m = new TestMemory(4UL << 30);
        var image = Image(CompressionFormat.Gzip, Vmlinux(16 * MiB), 16 * MiB);
        image.InitrdMax = max;
        var initrd = m.Load(image.Build(), initrd: Pattern(1, 10_000)).Initrd!.Value;
        (initrd.Start % 4096).Should().Be(0);
        initrd.End.Should().BeInRange(expectedEnd - 4096, expectedEnd);
        m.Bytes(initrd.Start, 10_000).Should().Equal(Pattern(1, 10_000));
    }

    [Fact]
    public void Setup_sects_of_zero_means_four()
    {
        using var m = new TestMemory(64 * MiB);
        var image = Image(CompressionFormat.Gzip, Vmlinux(16 * MiB), 16 * MiB);
        image.SetupSects = 0;
        m.Load(image.Build()).EntryPoint.Should().Be(16 * MiB);
    }

    [Theory]
    [InlineData("bad\u0001version")]
    [InlineData("")]
    public void A_version_text_that_is_not_text_is_left_out(string version)
    {
        using var m = new TestMemory(64 * MiB);
        var image = Image(CompressionFormat.Gzip, Vmlinux(16 * MiB), 16 * MiB);
        image.KernelVersion = version;
        m.Load(image.Build()).KernelVersion.Should().BeNull();
    }
}
