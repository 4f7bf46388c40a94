using Kvm.Devices.Block;
using Kvm.Devices.Block.Qcow2;

namespace Kvm.Devices.Tests.Block.Qcow2;

/// <summary>What the tables behind a good header may say to harm: a request that follows such an entry fails, and nothing else does.</summary>
public sealed class HostileTablesTests : IDisposable
{
    private readonly Rig _rig = new();

    public void Dispose() => _rig.Dispose();

    [Theory]
    [InlineData(4097UL)]
    [InlineData(1UL << 50)]
    [InlineData(Qcow2Format.Compressed | 0x10000)]
    [InlineData((1UL << 58) | 0x10000)]
    [InlineData(1UL)]
    public void L1_entry_that_points_to_no_table_fails_what_it_stands_for_and_keeps_writers_out(ulong entry)
    {
        byte[] image = Rig.Valid(512);
        image.Set64(image.L1() + 8, entry);
        using (var open = Qcow2Image.Open(new GrowingFile(image), Rig.Open with { ReadOnly = true }))
        {
            _rig.TryRead(open, 0x8000, 512, out _).Should().Be(DiskResult.Failed);
            _rig.Read(open, 0, 512).Should().Equal(Rig.Pattern(200 * 512, 1)[..512]);
            open.TryMap(0x8000, 512, out _).Should().Be(DiskResult.Failed);
        }

        Refused(image).Should().Contain("L1 table");
        Qcow2Check.Run(new GrowingFile(image)).Corruptions.Should().BePositive();
    }

    [Fact]
    public void Two_tables_at_one_place_keep_writers_out()
    {
        byte[] image = Rig.Valid(512);
        ulong first = image.Get64(image.L1());
        Refused([.. ((byte[])image.Clone()).Set64(image.L1() + 8, first)]).Should().Contain("L2 table at offset");
        Refused([.. ((byte[])image.Clone()).Set64(image.L1(), (uint)image.L1() | Qcow2Format.Copied)]).Should().Contain("is where another of its tables is");
        Refused([.. ((byte[])image.Clone()).Set64(image.RefcountTable(), (ulong)image.L1())]).Should().Contain("is where another of its tables is");
        Refused([.. ((byte[])image.Clone()).Set64(image.RefcountTable() + 8, image.Get64(image.RefcountTable()))]).Should().Contain("refcount block");
    }

    [Theory]
    [InlineData(1UL << 40)]
    [InlineData(4095UL)]
    [InlineData(1UL << 60)]
    public void Refcount_block_where_none_can_be_keeps_writers_out(ulong entry)
    {
        byte[] image = Rig.Valid();
        Refused(image.Set64(image.RefcountTable() + 16, entry)).Should().Contain("entry 2 of its refcount table");
        using var open = Qcow2Image.Open(new GrowingFile(image), Rig.Open with { ReadOnly = true });
        _rig.Read(open, 0, 512).Should().Equal(Rig.Pattern(200 * 512, 1)[..512]);
    }

    [Theory]
    [InlineData(Qcow2Format.Copied | (1UL << 45))]
    [InlineData(Qcow2Format.Copied | 0x10200)]
    [InlineData(Qcow2Format.Copied)]
    [InlineData((1UL << 57) | 0x10000)]
    [InlineData(Qcow2Format.Copied | Qcow2Format.Compressed | 0x10000)]
    [InlineData(Qcow2Format.Compressed)]
    [InlineData(Qcow2Format.Compressed | (1UL << 57))]
    public void Entry_that_points_to_no_cluster_fails_every_request_of_it_and_no_other(ulong entry)
    {
        byte[] image = Rig.Valid();
        image.Set64(image.L2() + 8, entry);
        var file = new GrowingFile(image);
        using (var open = Qcow2Image.Open(file, Rig.Open))
        {
            _rig.TryRead(open, 4096, 512, out _).Should().Be(DiskResult.Failed);
            _rig.Write(open, 4096, new byte[512]).Should().Be(DiskResult.Failed);
            open.Discard(4096, 4096).Should().Be(DiskResult.Failed);
            open.WriteZeroes(4096, 4096, true).Should().Be(DiskResult.Failed);
            _rig.Write(open, 0, Rig.Pattern(4096, 7)).Should().Be(DiskResult.Done);
            _rig.Read(open, 0, 4096).Should().Equal(Rig.Pattern(4096, 7));
        }

        Qcow2Check.Run(file).Corruptions.Should().BePositive();
    }

    [Theory]
    [InlineData("header")]
    [InlineData("l1")]
    [InlineData("l2")]
    [InlineData("table")]
    [InlineData("block")]
    public void Entry_that_calls_a_table_data_is_read_and_never_written_zeroed_or_freed(string which)
    {
        byte[] image = Rig.Valid();
        int at = which switch { "header" => 0, "l1" => image.L1(), "l2" => image.L2(), "table" => image.RefcountTable(), _ => (int)image.Get64(image.RefcountTable()) };
        image.Set64(image.L2() + 8, Qcow2Format.Copied | (uint)at);
        byte[] before = image[at..(at + 4096)];
        var file = new GrowingFile(image);
        using (var open = Qcow2Image.Open(file, Rig.Open))
        {
            _rig.Write(open, 4096, Rig.Pattern(4096, 3)).Should().Be(DiskResult.Failed);
            open.WriteZeroes(4096, 4096, true).Should().Be(DiskResult.Failed);
            open.Discard(4096, 4096).Should().Be(DiskResult.Failed);
            open.Flush().Should().Be(DiskResult.Done);
        }

        file.ToArray()[at..(at + 4096)].Should().Equal(before);
    }

    [Theory]
    [InlineData(512)]
    [InlineData(4096)]
    public void Counts_that_say_everything_is_free_do_not_make_tables_free(int clusterSize)
    {
        byte[] image = Rig.Valid(clusterSize);
        int block = (int)image.Get64(image.RefcountTable());
        image.AsSpan(block, clusterSize).Clear();
        byte[] header = image[..clusterSize], wanted = Rig.Pattern(64 * 512, 5);
        var file = new GrowingFile(image);
        using (var open = Qcow2Image.Open(file, Rig.Open))
        {
            _rig.Write(open, 0x60000, wanted).Should().Be(DiskResult.Done);
            open.Flush().Should().Be(DiskResult.Done);
            _rig.Read(open, 0x60000, wanted.Length).Should().Equal(wanted);
        }

        file.ToArray()[..clusterSize].Should().Equal(header);
    }

    [Fact]
    public void Refcount_table_that_is_empty_does_not_make_the_header_free()
    {
        byte[] image = Rig.Valid();
        image.AsSpan(image.RefcountTable(), 4096).Clear();
        var file = new GrowingFile(image);
        using (var open = Qcow2Image.Open(file, Rig.Open))
            _rig.Write(open, 0x90000, Rig.Pattern(4096, 5)).Should().Be(DiskResult.Done);
        using var again = Qcow2Image.Open(file, Rig.Open with { ReadOnly = true });
        _rig.Read(again, 0x90000, 4096).Should().Equal(Rig.Pattern(4096, 5));
    }

    [Fact]
    public void Compressed_clusters_are_read_shared_overwritten_and_freed()
    {
        var file = new GrowingFile(HostileImages.WithCompressed());
        using (var open = Qcow2Image.Open(file, Rig.Open))
        {
            _rig.Read(open, 0x83000 + 512, 512).Should().OnlyContain(b => b == 4);
            open.TryMap(0x80000, 1 << 20, out var extent).Should().Be(DiskResult.Done);
            extent.Should().Be(new DiskExtent(0x80000, 4096, ExtentKind.Compressed, 0, null));
            _rig.Write(open, 0x83200, new byte[512]).Should().Be(DiskResult.Done);
            byte[] now = _rig.Read(open, 0x83000, 4096);
            now[..512].Should().OnlyContain(b => b == 4);
            now[512..1024].Should().OnlyContain(b => b == 0);
            now[1024..].Should().OnlyContain(b => b == 4);
            open.Discard(0x80000, 0x2000).Should().Be(DiskResult.Done);
            _rig.Read(open, 0x82000, 4096).Should().OnlyContain(b => b == 3);
        }

        var result = Qcow2Check.Run(file);
        result.IsClean.Should().BeTrue(string.Join("; ", result.Messages));
        result.CompressedClusters.Should().Be(5);
    }

    [Fact]
    public void Compressed_data_that_is_damaged_cut_or_a_bomb_fails_or_fills_one_cluster()
    {
        byte[] image = HostileImages.WithCompressed();
        int entryAt = image.L2() + (0x80000 / 4096 * 8);
        var (offset, length) = new EntryFormat(12, 3).CompressedRange(image.Get64(entryAt));
        // A bomb: 1 MiB of zeros in about a kilobyte; an honest length, and no end within the cluster.
        byte[] bomb = Rig.Deflate(new byte[1 << 20]), bombed = [.. image, .. new byte[4096 - (image.Length % 4096)], .. bomb, .. new byte[4096]];
        ulong at = (ulong)(image.Length + 4096 - (image.Length % 4096));
        bombed.Set64(entryAt, new EntryFormat(12, 3).CompressedEntry(at, bomb.Length));
        using (var open = Qcow2Image.Open(new GrowingFile(bombed), Rig.Open with { ReadOnly = true }))
            _rig.Read(open, 0x80000, 4096).Should().OnlyContain(b => b == 0);
        // Damaged.
        byte[] damaged = [.. image];
        damaged.AsSpan((int)offset, Math.Min(length, damaged.Length - (int)offset)).Fill(0xff);
        using (var open = Qcow2Image.Open(new GrowingFile(damaged), Rig.Open with { ReadOnly = true }))
            _rig.TryRead(open, 0x80000, 4096, out _).Should().Be(DiskResult.Failed);
        // At the end of the file, and longer than what is left of it.
        byte[] straddling = [.. image];
        straddling.Set64(entryAt, new EntryFormat(12, 3).CompressedEntry((ulong)image.Length - 4, 4000));
        using (var open = Qcow2Image.Open(new GrowingFile(straddling), Rig.Open with { ReadOnly = true }))
            _rig.TryRead(open, 0x80000, 4096, out _).Should().Be(DiskResult.Failed);
        // No codec.
        using (var open = Qcow2Image.Open(new GrowingFile(image), Rig.Open with { ReadOnly = true, Codecs = null }))
            _rig.TryRead(open, 0x80000, 4096, out _).Should().Be(DiskResult.Unsupported);
    }

    [Fact]
    public void Snapshot_s_clusters_are_copied_before_they_are_written_and_it_stays_as_it_was()
    {
        byte[] image = HostileImages.WithSnapshot();
        int l1 = (int)image.Get64((int)image.Get64(64));
        var file = new GrowingFile(image);
        byte[] before;
        using (var open = Qcow2Image.Open(file, Rig.Open))
        {
            before = _rig.Read(open, 0, 1 << 20);
            _rig.Write(open, 0x1200, Rig.Pattern(0x3000, 6)).Should().Be(DiskResult.Done);
            open.Discard(0x8000, 0x4000).Should().Be(DiskResult.Done);
        }

        Qcow2Check.Run(file).IsClean.Should().BeTrue();
        // The snapshot is an image whose L1 table is another.
        byte[] then = file.ToArray().Set64(40, (ulong)l1).Set32(60, 0);
        using var old = Qcow2Image.Open(new GrowingFile(then), Rig.Open with { ReadOnly = true });
        _rig.Read(old, 0, 1 << 20).Should().Equal(before);
    }

    private static string Refused(byte[] image)
    {
        var open = () => Qcow2Image.Open(new GrowingFile(image), Rig.Open);
        var thrown = open.Should().Throw<Qcow2Exception>().Which;
        thrown.Problem.Should().Be(Qcow2Problem.NotWritable);
        return thrown.Message;
    }
}
