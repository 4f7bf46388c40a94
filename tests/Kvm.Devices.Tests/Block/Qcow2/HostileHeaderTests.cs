using System.Text;
using Kvm.Devices.Block;
using Kvm.Devices.Block.Qcow2;

namespace Kvm.Devices.Tests.Block.Qcow2;

/// <summary>What a header may say to harm: each is refused by one typed exception that names it.</summary>
public sealed class HostileHeaderTests
{
    private static Qcow2Exception Refused(byte[] image, bool readOnly = true, Qcow2OpenOptions? options = null)
    {
        var file = new GrowingFile(image);
        var open = () => Qcow2Image.Open(file, (options ?? Rig.Open) with { ReadOnly = readOnly });
        var thrown = open.Should().Throw<Qcow2Exception>().Which;
        file.Disposed.Should().BeTrue();
        file.ToArray().Should().Equal(image, "a file that is refused is not changed");
        return thrown;
    }

    [Theory]
    [InlineData(0, 0x51464900u, "magic")]
    [InlineData(4, 1u, "version is 1")]
    [InlineData(4, 4u, "version is 4")]
    [InlineData(20, 0u, "cluster_bits (offset 20) is 0")]
    [InlineData(20, 8u, "cluster_bits (offset 20) is 8")]
    [InlineData(20, 22u, "cluster_bits (offset 20) is 22")]
    [InlineData(20, 63u, "cluster_bits (offset 20) is 63")]
    [InlineData(20, uint.MaxValue, "cluster_bits")]
    [InlineData(32, 1u, "encrypted")]
    [InlineData(32, 2u, "encrypted")]
    [InlineData(36, 1u << 31, "l1_size (offset 36) is 2147483648")]
    [InlineData(36, 0u, "l1_size (offset 36) is 0, too few")]
    [InlineData(36, 1u << 22, "beyond the end of the file")]
    [InlineData(56, 0u, "refcount_table_clusters (offset 56) is 0")]
    [InlineData(56, uint.MaxValue, "refcount_table_clusters")]
    [InlineData(60, uint.MaxValue, "nb_snapshots (offset 60) is 4294967295")]
    [InlineData(60, 5u, "snapshot")]
    [InlineData(96, 7u, "refcount_order (offset 96) is 7")]
    [InlineData(96, uint.MaxValue, "refcount_order")]
    [InlineData(100, 103u, "header_length (offset 100) is 103")]
    [InlineData(100, 105u, "header_length")]
    [InlineData(100, 0x8000_0000u, "header_length")]
    [InlineData(100, 0u, "header_length")]
    public void Number_that_cannot_be_is_refused_by_its_name(int at, uint value, string said) =>
        Refused(Rig.Valid().Set32(at, value)).Message.Should().Contain(said);

    [Theory]
    [InlineData(24, ulong.MaxValue, "size (offset 24)")]
    [InlineData(24, 1UL << 62, "too few for a disk of")]
    [InlineData(40, 0UL, "L1 table is at offset 0, over the header")]
    [InlineData(40, 513UL, "no multiple")]
    [InlineData(40, 1UL << 62, "beyond the end")]
    [InlineData(40, ulong.MaxValue << 12, "beyond the end")]
    [InlineData(48, 0UL, "refcount table is at offset 0, over the header")]
    [InlineData(48, 4097UL, "no multiple")]
    [InlineData(48, 1UL << 40, "beyond the end")]
    [InlineData(72, 1UL << 2, "external data file")]
    [InlineData(72, 1UL << 4, "extended L2 entries")]
    [InlineData(72, 1UL << 40, "bit 40")]
    [InlineData(72, 1UL << 3, "compression type")]
    public void Place_or_feature_that_cannot_be_is_refused_by_its_name(int at, ulong value, string said) =>
        Refused(Rig.Valid().Set64(at, value)).Message.Should().Contain(said);

    [Fact]
    public void Tables_over_each_other_are_refused()
    {
        byte[] image = Rig.Valid();
        Refused(image.Set64(48, (ulong)image.L1())).Message.Should().Contain("over the L1 table");
        image = HostileImages.WithSnapshot();
        Refused(image.Set64(64, (ulong)image.L1())).Message.Should().Contain("over the L1 table");
    }

    [Fact]
    public void Unknown_feature_is_called_what_the_image_calls_it_without_control_characters()
    {
        byte[] image = Rig.Valid();
        int names = 112 + 8;
        (image[names], image[names + 1]) = (0, 9);
        Encoding.ASCII.GetBytes("secret\u001b[31m sauce\0junk").CopyTo(image, names + 2);
        var refused = Refused(image.Set64(72, 1 << 9));
        refused.Message.Should().Contain("bit 9 (secret[31m sauce)");
        refused.Problem.Should().Be(Qcow2Problem.Unsupported);
    }

    [Fact]
    public void Unknown_compression_is_refused_by_its_number()
    {
        byte[] image = Rig.Valid().Set64(72, 1 << 3);
        image[104] = 2;
        Refused(image).Message.Should().Contain("compression type (offset 104) is 2");
    }

    [Theory]
    [InlineData(0)]
    [InlineData(3)]
    [InlineData(71)]
    [InlineData(103)]
    public void Header_cut_short_is_refused(int length) => Refused(Rig.Valid()[..length]).Problem.Should().Be(Qcow2Problem.Damaged);

    [Fact]
    public void Header_extension_longer_than_the_cluster_is_refused() => Refused(Rig.Valid().Set32(112 + 4, 1 << 20)).Message.Should().Contain("header extension at offset 112");

    [Theory]
    [InlineData(1024u, 600UL, "1024 bytes, not 1 to 1023")]
    [InlineData(0u, 600UL, "0 bytes")]
    [InlineData(uint.MaxValue, 600UL, "bytes, not 1 to 1023")]
    [InlineData(1000u, 4000UL, "not in the header's cluster")]
    [InlineData(10u, 8UL, "not in the header's cluster")]
    [InlineData(10u, ulong.MaxValue, "not in the header's cluster")]
    [InlineData(10u, 1UL << 20, "not in the header's cluster")]
    public void Backing_name_that_cannot_be_is_refused(uint length, ulong at, string said) =>
        Refused(Rig.Valid().Set32(16, length).Set64(8, at)).Message.Should().Contain(said);

    [Theory]
    [InlineData("json:{\"driver\":\"file\"}", "json:")]
    [InlineData("JSON:{}", "json:")]
    [InlineData("nbd:127.0.0.1:10809", "protocol")]
    [InlineData("https://example.org/a", "protocol")]
    [InlineData("fat:rw:/etc", "protocol")]
    [InlineData("a\0b", "zero byte")]
    public void Backing_name_that_is_no_path_is_refused_before_it_is_looked_at(string name, string said)
    {
        byte[] bytes = Encoding.UTF8.GetBytes(name), image = Rig.Valid().Set32(16, (uint)bytes.Length).Set64(8, 2000);
        bytes.CopyTo(image, 2000);
        bool asked = false;
        var refused = Refused(image, options: Rig.Open with { OpenBacking = _ => { asked = true; return new RawImage(new GrowingFile(image)); } });
        refused.Message.Should().Contain(said);
        refused.Problem.Should().Be(Qcow2Problem.BackingRefused);
        asked.Should().BeFalse();
    }

    [Fact]
    public void Backing_name_that_is_not_utf8_is_refused()
    {
        byte[] image = Rig.Valid().Set32(16, 2).Set64(8, 2000);
        (image[2000], image[2001]) = (0xff, 0xfe);
        Refused(image).Message.Should().Contain("UTF-8");
    }

    [Fact]
    public void Backing_file_is_refused_unless_it_is_allowed()
    {
        byte[] image = Rig.Valid().Set32(16, 1).Set64(8, 2000);
        image[2000] = (byte)'x';
        Refused(image).Problem.Should().Be(Qcow2Problem.BackingRefused);
        using var alone = Qcow2Image.Open(new GrowingFile(image), Rig.Open with { WithoutBacking = true });
        alone.Info.Backing.Should().Be(new BackingFile("x", null));
    }

    [Theory]
    [InlineData(0, 777UL)]
    [InlineData(8, 1UL << 30)]
    [InlineData(36, 1UL << 43)]
    [InlineData(12, 0xffff_ffff_0000_0000)]
    public void Snapshot_that_lies_is_refused(int at, ulong value)
    {
        byte[] image = HostileImages.WithSnapshot();
        int table = (int)image.Get64(64);
        Refused(image.Set64(table + at, value)).Message.Should().Contain("snapshot 0");
    }

    [Fact]
    public void Image_marked_as_corrupt_is_read_and_not_written()
    {
        byte[] image = Rig.Valid().Set64(72, Qcow2Format.Corrupt);
        Refused(image, readOnly: false).Problem.Should().Be(Qcow2Problem.NotWritable);
        using var rig = new Rig();
        using var open = Qcow2Image.Open(new GrowingFile(image), Rig.Open with { ReadOnly = true });
        rig.Read(open, 0, 512).Should().Equal(Rig.Pattern(512 * 200, 1)[..512]);
        open.Info.IsCorrupt.Should().BeTrue();
        rig.Write(open, 0, new byte[512]).Should().Be(DiskResult.Unsupported);
        open.Flush().Should().Be(DiskResult.Done);
    }

    [Fact]
    public void Image_that_was_not_closed_is_mended_before_it_is_written()
    {
        byte[] image = Rig.Valid().Set64(72, Qcow2Format.Dirty);
        // Counts that were not written: none of the data's.
        int block = (int)image.Get64(image.RefcountTable());
        image.AsSpan(block + 20, 60).Clear();
        Qcow2Check.Run(new GrowingFile(image)).Corruptions.Should().BePositive();
        var file = new GrowingFile(image);
        using (var open = Qcow2Image.Open(file, Rig.Open))
            open.Info.IsDirty.Should().BeFalse();
        Qcow2Check.Run(file).IsClean.Should().BeTrue();
    }
}
