using Kvm.Devices.Block.Qcow2;
using Kvm.Tests.Support;
using Kvm.Vmm.Storage;
using Kvm.Vmm.Storage.Tools;

namespace Kvm.Vmm.Tests.Storage.Tools;

/// <summary>Images made, looked at, changed and compared; qemu-img judges.</summary>
public sealed class DiskToolTests : IDisposable
{
    private readonly ToolFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    private static void Refused(ErrorInfo error, Action action) => action.Should().Throw<VmmException>().Which.Error.Should().Be(error);

    private ulong Create(string name, ulong? size, string options = "", bool backing = false)
    {
        ImageOptions.Parse(options, out var parsed).Should().BeNull();
        return DiskTool.Create(_folder.Name(name, backing), size, parsed, force: false);
    }

    [SkippableTheory]
    [InlineData("a.img", "")]
    [InlineData("a.img", "preallocation=falloc")]
    [InlineData("a.qcow2", "")]
    [InlineData("a.qcow2", "preallocation=metadata")]
    [InlineData("a.qcow2", "compat=0.10,cluster_size=512")]
    [InlineData("a.qcow2", "compression_type=zstd,lazy_refcounts=on,refcount_bits=64")]
    public void New_image_is_clean_and_reads_as_zeros(string name, string options)
    {
        QemuImg.SkipIfMissing();
        Create(name, (5 << 20) - 100, options).Should().Be(5 << 20, "sizes are rounded up to sectors");
        _folder.ShouldBe(name, new byte[5 << 20]);
        var info = DiskTool.Info(_folder.Name(name));
        info.Length.Should().Be(5 << 20);
        if (options == "preallocation=falloc")
            info.Allocated.Should().BeGreaterThanOrEqualTo(5 << 20);
    }

    [SkippableFact]
    public void New_image_over_another_one_begins_as_that()
    {
        QemuImg.SkipIfMissing();
        byte[] content = _folder.Raw("base.img", 1 << 20);
        Refused(DiskErrors.BackingRefused, () => Create("top.qcow2", null, "backing_file=base.img,backing_fmt=raw"));
        Create("top.qcow2", null, "backing_file=base.img,backing_fmt=raw", backing: true).Should().Be(1 << 20);
        _folder.ShouldBe("top.qcow2", content);
        DiskTool.Info(_folder.Name("top.qcow2")).Qcow2!.Backing.Should().Be(new BackingFile("base.img", "raw"));
        Refused(DiskToolErrors.CannotBe, () => Create("x.qcow2", null));
        Refused(DiskToolErrors.OutputExists, () => Create("top.qcow2", 1 << 20));
    }

    [Fact]
    public void Raw_file_that_begins_like_qcow2_stays_raw_and_is_pointed_out()
    {
        Create("a.qcow2", 1 << 20);
        File.Move(_folder.Path("a.qcow2"), _folder.Path("a.img"));
        var info = DiskTool.Info(_folder.Name("a.img"));
        info.LooksLikeQcow2.Should().BeTrue();
        info.Qcow2.Should().BeNull();
        _folder.Raw("b.img", 4096);
        DiskTool.Info(_folder.Name("b.img")).LooksLikeQcow2.Should().BeFalse();
    }

    [SkippableFact]
    public void Map_tells_where_there_is_data_without_gaps_and_says_zeros_only_of_zeros()
    {
        QemuImg.SkipIfMissing();
        byte[] content = _folder.Raw("base.img", 3 << 20, 3);
        QemuImg.Run("create", "-f", "qcow2", "-b", "base.img", "-F", "raw", _folder.Path("top.qcow2"), "4M");
        QemuImg.Io(_folder.Path("top.qcow2"), "write -P 0x11 0x10000 0x3000", "write -z 0x40000 0x20000");
        content = [.. content, .. new byte[1 << 20]];
        content.AsSpan(0x10000, 0x3000).Fill(0x11);
        content.AsSpan(0x40000, 0x20000).Clear();
        foreach (string name in (string[])["top.qcow2", "base.img"])
        {
            ulong position = 0;
            foreach (var extent in DiskTool.Map(_folder.Name(name, backing: true)))
            {
                extent.Position.Should().Be(position);
                extent.Length.Should().BePositive();
                if (extent.Kind == ExtentKind.Zero && name == "top.qcow2")
                    content.AsSpan((int)position, (int)extent.Length).ContainsAnyExcept((byte)0).Should().BeFalse();
                if (extent is { Kind: ExtentKind.Data, Depth: 0, HostOffset: { } offset })
                    _folder.Bytes(name).AsSpan((int)offset, (int)extent.Length).SequenceEqual((name == "top.qcow2" ? content : _folder.Bytes(name)).AsSpan((int)position, (int)extent.Length)).Should().BeTrue();
                position += extent.Length;
            }

            position.Should().Be(name == "top.qcow2" ? 4u << 20 : 3u << 20);
        }
    }

    [SkippableTheory]
    [InlineData("a.img")]
    [InlineData("a.qcow2")]
    public void Disk_grows_with_zeros_and_shrinks_only_when_told_to(string name)
    {
        QemuImg.SkipIfMissing();
        byte[] content = _folder.Raw("from.img", 2 << 20);
        DiskTool.Convert(_folder.Name("from.img"), _folder.Name(name), new ImageOptions(), compress: false, force: false);
        DiskTool.Resize(_folder.Name(name), old => old + (1 << 20), shrink: false).Should().Be(3 << 20);
        _folder.ShouldBe(name, [.. content, .. new byte[1 << 20]]);
        Refused(DiskToolErrors.CannotBe, () => DiskTool.Resize(_folder.Name(name), _ => 1 << 20, shrink: false));
        Refused(DiskToolErrors.CannotBe, () => DiskTool.Resize(_folder.Name(name), _ => 0, shrink: true));
        Refused(DiskToolErrors.CannotBe, () => DiskTool.Resize(_folder.Name(name), _ => ulong.MaxValue, shrink: true));
        DiskTool.Resize(_folder.Name(name), _ => 1 << 20, shrink: true).Should().Be(1 << 20);
        _folder.ShouldBe(name, content[..(1 << 20)]);
        DiskTool.Resize(_folder.Name(name), _ => 2 << 20, shrink: false);
        _folder.ShouldBe(name, [.. content[..(1 << 20)], .. new byte[1 << 20]]);
    }

    [SkippableTheory]
    [InlineData("base.img", "raw")]
    [InlineData("base.qcow2", "qcow2")]
    public void Commit_moves_content_into_the_backing_file_which_grows_and_empties_the_image(string below, string format)
    {
        QemuImg.SkipIfMissing();
        byte[] content = [.. _folder.Raw("from.img", 1 << 20), .. new byte[1 << 20]];
        DiskTool.Convert(_folder.Name("from.img"), _folder.Name(below), new ImageOptions(), compress: false, force: false);
        QemuImg.Run("create", "-f", "qcow2", "-b", below, "-F", format, _folder.Path("top.qcow2"), "2M");
        QemuImg.Io(_folder.Path("top.qcow2"), "write -P 0x77 0x8000 0x5000", "write -z 0x40000 0x10000", "write -P 0x78 0x1f0000 0x200");
        content.AsSpan(0x8000, 0x5000).Fill(0x77);
        content.AsSpan(0x40000, 0x10000).Clear();
        content.AsSpan(0x1f0000, 0x200).Fill(0x78);
        Refused(DiskErrors.BackingRefused, () => DiskTool.Commit(_folder.Name("top.qcow2"), keep: false));
        DiskTool.Commit(_folder.Name("top.qcow2", backing: true), keep: true);
        _folder.ShouldBe(below, content);
        DiskTool.Commit(_folder.Name("top.qcow2", backing: true), keep: false);
        _folder.ShouldBe(below, content);
        _folder.ShouldBe("top.qcow2", content);
        DiskTool.Map(_folder.Name("top.qcow2", backing: true)).Should().OnlyContain(e => e.Depth == 1 || e.Kind == ExtentKind.Zero);
        Refused(DiskToolErrors.CannotBe, () => DiskTool.Commit(_folder.Name("from.img"), keep: false));
    }

    [SkippableFact]
    public void Rebase_keeps_what_the_disk_reads_as_over_any_file_or_none()
    {
        QemuImg.SkipIfMissing();
        byte[] content = _folder.Raw("one.img", 1 << 20, 1);
        _folder.Raw("two.img", (1 << 20) - (64 << 10), 2);
        QemuImg.Run("create", "-f", "qcow2", "-b", "one.img", "-F", "raw", _folder.Path("top.qcow2"));
        QemuImg.Io(_folder.Path("top.qcow2"), "write -P 0x77 0x8000 0x5000");
        content.AsSpan(0x8000, 0x5000).Fill(0x77);
        var name = _folder.Name("top.qcow2", backing: true);
        DiskTool.Rebase(name, new BackingFile("two.img", "raw"), blindly: false);
        _folder.ShouldBe("top.qcow2", content);
        DiskTool.Info(name).Qcow2!.Backing.Should().Be(new BackingFile("two.img", "raw"));
        DiskTool.Rebase(name, null, blindly: false);
        DiskTool.Info(name).Qcow2!.Backing.Should().BeNull();
        _folder.ShouldBe("top.qcow2", content);
        DiskTool.Rebase(_folder.Name("top.qcow2"), new BackingFile("one.img", "raw"), blindly: true);
        DiskTool.Info(name).Qcow2!.Backing.Should().Be(new BackingFile("one.img", "raw"));
        _folder.ShouldBe("top.qcow2", content);
        Refused(DiskErrors.BackingRefused, () => DiskTool.Rebase(_folder.Name("top.qcow2"), null, blindly: false));
        Refused(DiskErrors.Unreadable, () => DiskTool.Rebase(name, new BackingFile("missing.img", "raw"), blindly: false));
        _folder.ShouldBe("top.qcow2", content);
    }

    [Fact]
    public void Rebase_that_is_ended_leaves_the_old_file_and_the_same_disk()
    {
        byte[] content = _folder.Raw("one.img", 8 << 20, 1);
        Create("top.qcow2", null, "backing_file=one.img,backing_fmt=raw", backing: true);
        var name = _folder.Name("top.qcow2", backing: true);
        using var ended = new CancellationTokenSource();
        var act = () => DiskTool.Rebase(name, null, false, (_, _) => ended.Cancel(), ended.Token);
        act.Should().Throw<OperationCanceledException>();
        DiskTool.Info(name).Qcow2!.Backing!.Name.Should().Be("one.img");
        DiskTool.Compare(name, _folder.Name("one.img")).FirstDifference.Should().BeNull();
        content.Length.Should().Be(8 << 20);
    }

    [SkippableFact]
    public void Check_agrees_with_qemu_on_clean_and_on_leaking_images_and_mends_leaks()
    {
        QemuImg.SkipIfMissing();
        _folder.Raw("a.img", 1 << 20);
        DiskTool.Convert(_folder.Name("a.img"), _folder.Name("b.qcow2"), new ImageOptions(), compress: false, force: false);
        DiskTool.Check(_folder.Name("b.qcow2"), Qcow2Repair.None).IsClean.Should().BeTrue();
        // The count of a cluster behind all others: header, refcount table, first block, where it is in new images.
        using (var file = File.OpenWrite(_folder.Path("b.qcow2")))
        {
            file.SetLength(file.Length + (64 << 10));
            file.Position = (2 << 16) + 2 * ((file.Length >> 16) - 1);
            file.Write([0, 1]);
        }

        QemuImg.Check(_folder.Path("b.qcow2")).Code.Should().Be(3);
        DiskTool.Check(_folder.Name("b.qcow2"), Qcow2Repair.None).Should().Match<Qcow2CheckResult>(r => r.Leaks == 1 && r.LeaksFixed == 0 && r.Corruptions == 0);
        DiskTool.Check(_folder.Name("b.qcow2"), Qcow2Repair.Leaks).IsClean.Should().BeTrue();
        QemuImg.Check(_folder.Path("b.qcow2")).Code.Should().Be(0);
        Refused(DiskToolErrors.CannotBe, () => DiskTool.Check(_folder.Name("a.img"), Qcow2Repair.None));
        using var guest = HostFile.Open(new DiskConfig { Path = _folder.Path("b.qcow2") });
        Refused(DiskErrors.InUse, () => DiskTool.Check(_folder.Name("b.qcow2"), Qcow2Repair.None));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(4095)]
    [InlineData((1 << 20) + 1)]
    [InlineData((3 << 20) - 1)]
    public void First_difference_is_found_to_the_byte(int at)
    {
        byte[] content = _folder.Raw("a.img", 3 << 20);
        DiskTool.Convert(_folder.Name("a.img"), _folder.Name("b.qcow2"), new ImageOptions(), compress: true, force: false);
        DiskTool.Compare(_folder.Name("a.img"), _folder.Name("b.qcow2")).FirstDifference.Should().BeNull();
        content[at] ^= 0x40;
        File.WriteAllBytes(_folder.Path("c.img"), content);
        DiskTool.Compare(_folder.Name("c.img"), _folder.Name("b.qcow2")).FirstDifference.Should().Be((ulong)at);
    }

    [Fact]
    public void Longer_disk_is_the_same_if_the_rest_is_zeros()
    {
        byte[] content = _folder.Raw("a.img", 1 << 20);
        File.WriteAllBytes(_folder.Path("b.img"), [.. content, .. new byte[1 << 20]]);
        var difference = DiskTool.Compare(_folder.Name("a.img"), _folder.Name("b.img"));
        difference.Should().Be(new DiskDifference(null, (1 << 20, 2 << 20)));
        File.WriteAllBytes(_folder.Path("b.img"), [.. content, .. new byte[1000], 1, .. new byte[535]]);
        DiskTool.Compare(_folder.Name("b.img"), _folder.Name("a.img")).FirstDifference.Should().Be((1 << 20) + 1000);
    }
}
