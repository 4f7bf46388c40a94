using System.Diagnostics;
using Kvm.Interop.Compression;
using Kvm.TestSupport;
using Kvm.Vmm.Boot;
using static Kvm.Vmm.Tests.Boot.Loading;

namespace Kvm.Vmm.Tests.Boot;

public class BadBzImageTests
{
    private const ulong MiB = 1 << 20;

    private static byte[] Kernel => new ElfBuilder(true) { Entry = 2 * MiB }.Load(2 * MiB, Pattern(1, 256)).Build();

    private static BzImageBuilder Good(CompressionFormat format = CompressionFormat.Gzip) => new BzImageBuilder().Pack(format, Kernel);

    [Theory]
    [InlineData(CompressionFormat.Gzip)]
    [InlineData(CompressionFormat.Lz4Legacy)]
    [InlineData(CompressionFormat.Zstd)]
    [InlineData(CompressionFormat.Xz)]
    public void Every_truncation_is_refused(CompressionFormat format)
    {
        using var m = new TestMemory(16 * MiB);
        byte[] file = Good(format).Build();
        m.Load(file).EntryMode.Should().Be(EntryMode.Linux64);
        for (int length = 0; length < file.Length; length++)
        {
            byte[] cut = file[..length];
            FluentActions.Invoking(() => m.Load(cut)).Should().Throw<LoadException>($"{length} of {file.Length} bytes are there")
                .Which.ExitCode.Should().Be(ExitCode.BadInput);
        }
    }

    [Theory]
    [InlineData(255)]
    [InlineData(65)]
    public void More_setup_sectors_than_32_KiB_are_refused(byte sects)
    {
        using var m = new TestMemory(16 * MiB);
        byte[] file = Good().Build();
        file[0x1f1] = sects;
        m.Refuse(file, LoadErrors.BadHeader).Offset.Should().Be(0x1f1);
        m.Refuse([.. file, .. new byte[200_000]], LoadErrors.BadHeader);
    }

    [Fact]
    public void Setup_sectors_past_the_end_of_the_file_are_refused()
    {
        using var m = new TestMemory(16 * MiB);
        byte[] file = Good().Build();
        file[0x1f1] = 64;
        m.Refuse(file, LoadErrors.Truncated).Field.Should().Be("setup_sects");
    }

    [Theory]
    [InlineData(uint.MaxValue, 16u, "payload_offset")]
    [InlineData(100_000u, 16u, "payload_offset")]
    [InlineData(64u, uint.MaxValue, "payload_length")]
    [InlineData(64u, 100_000u, "payload_length")]
    [InlineData(1u, 0xffff_fffeu, "payload_length")]
    public void A_payload_outside_the_file_is_refused(uint offset, uint length, string field)
    {
        using var m = new TestMemory(16 * MiB);
        var image = Good();
        (image.PayloadOffset, image.PayloadLength) = (offset, length);
        m.Refuse(image.Build(), LoadErrors.Truncated).Field.Should().Be(field);
    }

    [Theory]
    [InlineData(0u)]
    [InlineData(3u)]
    [InlineData(15u)]
    public void A_payload_too_short_for_anything_is_refused(uint length)
    {
        using var m = new TestMemory(16 * MiB);
        var image = Good();
        image.PayloadLength = length;
        FluentActions.Invoking(() => m.Load(image.Build())).Should().Throw<LoadException>()
            .Which.Error.Should().BeOneOf(LoadErrors.CorruptPayload, LoadErrors.UnsupportedCompression);
    }

    [Theory]
    [InlineData(uint.MaxValue, 2 * MiB)]
    [InlineData(15u << 20, 2 * MiB)]
    [InlineData(4096u, 16 * MiB)]
    [InlineData(4096u, ulong.MaxValue)]
    [InlineData(1u, 1UL << 40)]
    public void An_init_size_that_guest_memory_does_not_have_is_refused(uint initSize, ulong preferred)
    {
        using var m = new TestMemory(16 * MiB);
        var image = Good();
        (image.InitSize, image.PreferredAddress) = (initSize, preferred);
        m.Refuse(image.Build(), LoadErrors.DoesNotFit).Field.Should().Be("init_size");
    }

    [Fact]
    public void Without_init_size_a_senseless_preferred_address_is_still_refused()
    {
        using var m = new TestMemory(16 * MiB);
        foreach (ulong preferred in new[] { ulong.MaxValue, 1UL << 63, 0xffff_f000UL, 19 * MiB, 4UL << 30 })
        {
            var image = Good();
            (image.InitSize, image.PreferredAddress) = (0, preferred);
            m.Refuse(image.Build(), LoadErrors.DoesNotFit);
        }
    }

    [Theory]
    [InlineData(CompressionFormat.Gzip)]
    [InlineData(CompressionFormat.Lz4Legacy)]
    [InlineData(CompressionFormat.Zstd)]
    [InlineData(CompressionFormat.Xz)]
    public void A_bomb_that_admits_its_size_is_refused_before_it_is_unpacked(CompressionFormat format)
    {
        using var m = new TestMemory(256 * MiB);
        byte[] zeros = new byte[64 << 20];
        byte[] packed = TestCompressors.Compress(format, zeros);
        var image = new BzImageBuilder { InitSize = 200 << 20, Payload = format == CompressionFormat.Gzip ? packed : [.. packed, .. BitConverter.GetBytes(zeros.Length)] };
        byte[] file = image.Build();
        var e = m.Refuse(file, LoadErrors.PayloadTooLarge);
        e.Field.Should().Be("unpacked size");
        image.InitSize = 32 << 20;
        m.Refuse(image.Build(), LoadErrors.PayloadTooLarge).Message.Should().Contain("init_size");
    }

    [Theory]
    [InlineData(CompressionFormat.Gzip)]
    [InlineData(CompressionFormat.Lz4Legacy)]
    [InlineData(CompressionFormat.Zstd)]
    [InlineData(CompressionFormat.Xz)]
    public void A_bomb_that_lies_about_its_size_is_stopped_at_that_size(CompressionFormat format)
    {
        using var m = new TestMemory(16 * MiB);
        byte[] packed = TestCompressors.Compress(format, new byte[64 << 20]);
        if (format == CompressionFormat.Gzip)
            BitConverter.GetBytes(1 << 20).CopyTo(packed, packed.Length - 4);
        else
            packed = [.. packed, .. BitConverter.GetBytes(1 << 20)];
        var clock = Stopwatch.StartNew();
        m.Refuse(new BzImageBuilder { Payload = packed }.Build(), LoadErrors.PayloadTooLarge);
        clock.Elapsed.Should().BeLessThan(TimeSpan.FromSeconds(5));
        m.Bytes(2 * MiB, 4096).Should().OnlyContain(b => b == 0, "nothing is written past the size that was allowed");
    }

    [Theory]
    [InlineData(0u, "KVM0111")]
    [InlineData(1u, "KVM0111")]
    [InlineData(0x20_0000u, "KVM0110")] // unpacks to less than it says
    [InlineData(0x20_0001u, "KVM0111")] // more than init_size
    [InlineData(uint.MaxValue, "KVM0111")]
    public void An_unpacked_size_that_is_not_the_payloads_is_refused(uint size, string id)
    {
        using var m = new TestMemory(16 * MiB);
        var image = Good(CompressionFormat.Lz4Legacy);
        BitConverter.GetBytes(size).CopyTo(image.Payload, image.Payload.Length - 4);
        FluentActions.Invoking(() => m.Load(image.Build())).Should().Throw<LoadException>().Which.Error.Id.Should().Be(id);
    }

    [Theory]
    [InlineData("5d00008000", "Lzma")]
    [InlineData("425a683931", "Bzip2")]
    [InlineData("894c5a4f00", "Lzo")]
    [InlineData("0000000000", "unknown")]
    public void A_compression_that_we_do_not_have_is_named_with_those_we_have(string hex, string name)
    {
        using var m = new TestMemory(16 * MiB);
        var image = new BzImageBuilder { Payload = [.. Convert.FromHexString(hex), .. new byte[100]] };
        m.Refuse(image.Build(), LoadErrors.UnsupportedCompression).Message.Should().Contain(name).And.Contain("gzip, LZ4 (legacy), zstd, xz");
    }

    [Theory]
    [InlineData(CompressionFormat.Gzip)]
    [InlineData(CompressionFormat.Lz4Legacy)]
    [InlineData(CompressionFormat.Zstd)]
    [InlineData(CompressionFormat.Xz)]
    public void A_payload_that_unpacks_to_no_ELF_file_is_refused(CompressionFormat format)
    {
        using var m = new TestMemory(16 * MiB);
        m.Refuse(new BzImageBuilder().Pack(format, Pattern(1, 5000)).Build(), LoadErrors.UnknownFormat).File.Should().Contain("unpacked");
        m.Refuse(new BzImageBuilder().Pack(format, [1, 2, 3]).Build(), LoadErrors.Truncated);
    }

    [Theory]
    [InlineData(0x1fe, 0, "KVM0104")] // boot_flag
    [InlineData(0x202, 0, "KVM0102")] // HdrS
    [InlineData(0x207, 1, "KVM0117")] // version 1.15
    [InlineData(0x211, 0, "KVM0117")] // zImage
    [InlineData(0x201, 0x10, "KVM0104")] // header shorter than its version
    [InlineData(0x201, 0xff, "KVM0104")] // header longer than the zero page has room
    public void Wrong_setup_header_fields_are_refused(int at, byte value, string id)
    {
        using var m = new TestMemory(16 * MiB);
        byte[] file = Good().Build();
        file[at] = value;
        FluentActions.Invoking(() => m.Load(file)).Should().Throw<LoadException>().Which.Error.Id.Should().Be(id);
    }

    [Theory]
    [InlineData(0u)]
    [InlineData(0x9_fbf0u)]
    [InlineData(0x00ff_ffffu)]
    [InlineData(uint.MaxValue)]
    public void A_load_address_that_is_not_free_RAM_is_refused(uint code32Start)
    {
        using var m = new TestMemory(16 * MiB);
        var image = Good();
        image.Code32Start = code32Start;
        FluentActions.Invoking(() => m.Load(image.Build(), protocol: BootProtocol.Linux32)).Should().Throw<LoadException>()
            .Which.Error.Should().BeOneOf(LoadErrors.Overlap, LoadErrors.DoesNotFit);
    }

    [Fact]
    public void A_payload_whose_unpacked_ELF_is_bad_says_so_of_the_unpacked_file()
    {
        using var m = new TestMemory(16 * MiB);
        byte[] elf = new ElfBuilder(true) { Entry = 2 * MiB }.Load(2 * MiB, Pattern(1, 256)).Load(32 * MiB, [1]).Build();
        m.Refuse(new BzImageBuilder().Pack(CompressionFormat.Zstd, elf).Build(), LoadErrors.DoesNotFit).File.Should().Be("dir/kernel (unpacked)");
    }
}
