using FsCheck;
using FsCheck.Fluent;
using Kvm.Devices.Block.Qcow2;
using Kvm.Tests.Support;
using Kvm.Vmm.Storage;
using Kvm.Vmm.Storage.Tools;

namespace Kvm.Vmm.Tests.Storage.Tools;

/// <summary>Copies of disks, judged by qemu-img: byte for byte the same, and clean.</summary>
public sealed class ConvertTests : IDisposable
{
    private const int Length = (3 << 20) + 5 * 512;

    private readonly ToolFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    private void Convert(string from, string to, string options = "", bool compress = false, bool force = false, bool backing = false)
    {
        ImageOptions.Parse(options, out var parsed).Should().BeNull();
        DiskTool.Convert(_folder.Name(from, backing), _folder.Name(to), parsed, compress, force);
    }

    private VmmException Refused(ErrorInfo error, Action action)
    {
        string[] before = _folder.Files;
        var thrown = action.Should().Throw<VmmException>().Which;
        thrown.Error.Should().Be(error, thrown.Message);
        _folder.Files.Should().Equal(before, "nothing half-made is left");
        return thrown;
    }

    [SkippableTheory]
    [InlineData("", false)]
    [InlineData("", true)]
    [InlineData("cluster_size=512", false)]
    [InlineData("cluster_size=4K", true)]
    [InlineData("cluster_size=2M", false)]
    [InlineData("cluster_size=2M,compression_type=zstd", true)]
    [InlineData("compression_type=zstd", true)]
    [InlineData("compat=0.10", true)]
    [InlineData("refcount_bits=1,lazy_refcounts=on", false)]
    public void Raw_becomes_qcow2_that_qemu_finds_clean_and_the_same_and_raw_again(string options, bool compress)
    {
        QemuImg.SkipIfMissing();
        byte[] content = _folder.Raw("a.img", Length, options.Length);
        Convert("a.img", "b.qcow2", options, compress);
        _folder.ShouldBe("b.qcow2", content);
        Convert("b.qcow2", "c.img");
        _folder.Bytes("c.img").Should().Equal(content);
        if (compress && !options.Contains("2M", StringComparison.Ordinal))
            new FileInfo(_folder.Path("b.qcow2")).Length.Should().BeLessThan(Length * 2 / 3);
    }

    [SkippableTheory]
    [InlineData("-c", "")]
    [InlineData("", "compat=0.10")]
    [InlineData("", "cluster_size=512,refcount_bits=64")]
    public void What_qemu_made_is_copied_byte_for_byte(string flag, string options)
    {
        QemuImg.SkipIfMissing();
        byte[] content = _folder.Raw("a.img", Length, 7);
        List<string> arguments = ["convert", "-f", "raw", "-O", "qcow2"];
        if (flag.Length > 0)
            arguments.Add(flag);
        if (options.Length > 0)
            arguments.AddRange(["-o", options]);
        QemuImg.Run([.. arguments, _folder.Path("a.img"), _folder.Path("b.qcow2")]);
        Convert("b.qcow2", "c.img");
        _folder.Bytes("c.img").Should().Equal(content);
        Convert("b.qcow2", "d.qcow2", compress: true);
        _folder.ShouldBe("d.qcow2", content);
    }

    /// <summary>Disks of any length and cluster size, there and back.</summary>
    [SkippableFact]
    public void Any_mixture_of_any_length_survives_the_way_there_and_back()
    {
        QemuImg.SkipIfMissing();
        var gen = from sectors in Gen.Choose(1, 6000) from bits in Gen.Choose(9, 18) from compress in Gen.Elements(false, true) from seed in Gen.Choose(0, 1 << 20) select (sectors, bits, compress, seed);
        Check.One(Config.QuickThrowOnFailure.WithMaxTest(25), Prop.ForAll(gen.ToArbitrary(), t =>
        {
            byte[] content = _folder.Raw("a.img", t.sectors * 512, t.seed);
            Convert("a.img", "b.qcow2", $"cluster_size={1 << t.bits}", t.compress, force: true);
            _folder.ShouldBe("b.qcow2", content);
            Convert("b.qcow2", "c.img", force: true);
            return _folder.Bytes("c.img").AsSpan().SequenceEqual(content);
        }));
    }

    [Fact]
    public void Same_source_makes_the_same_image_however_many_threads_compress()
    {
        _folder.Raw("a.img", 9 << 20);
        Convert("a.img", "b.qcow2", compress: true);
        Convert("a.img", "c.qcow2", compress: true);
        _folder.Bytes("b.qcow2").Should().Equal(_folder.Bytes("c.qcow2"));
    }

    [Fact]
    public void Holes_stay_holes_and_zeros_of_an_image_become_holes()
    {
        using (var file = new FileStream(_folder.Path("a.img"), FileMode.Create))
        {
            file.SetLength(256 << 20);
            file.Position = 128 << 20;
            file.Write(new byte[1 << 20]);
            file.Write([1, 2, 3]);
        }

        Convert("a.img", "b.img");
        DiskTool.Info(_folder.Name("b.img")).Allocated.Should().BeLessThan(4 << 20);
        Convert("a.img", "c.qcow2");
        DiskTool.Info(_folder.Name("c.qcow2")).FileLength.Should().BeLessThan(1 << 20, "zeros that are written in the source are left out");
        Convert("c.qcow2", "d.img");
        DiskTool.Info(_folder.Name("d.img")).Allocated.Should().BeLessThan(1 << 20);
        DiskTool.Compare(_folder.Name("a.img"), _folder.Name("d.img")).FirstDifference.Should().BeNull();
    }

    [SkippableFact]
    public void Chain_is_copied_as_one_disk_only_where_that_is_allowed()
    {
        QemuImg.SkipIfMissing();
        byte[] content = _folder.Raw("base.img", Length);
        QemuImg.Run("create", "-f", "qcow2", "-b", "base.img", "-F", "raw", _folder.Path("top.qcow2"));
        QemuImg.Io(_folder.Path("top.qcow2"), "write -P 0x5a 1M 64K", "write -z 2M 64K");
        content.AsSpan(1 << 20, 64 << 10).Fill(0x5a);
        content.AsSpan(2 << 20, 64 << 10).Clear();
        Refused(DiskErrors.BackingRefused, () => Convert("top.qcow2", "copy.img"));
        Convert("top.qcow2", "copy.img", backing: true);
        _folder.Bytes("copy.img").Should().Equal(content);
    }

    [SkippableTheory]
    [InlineData("vpc", "a.vhd", "")]
    [InlineData("vmdk", "a.vmdk", "")]
    [InlineData("vmdk", "a.vmdk", "subformat=streamOptimized")]
    [InlineData("vhdx", "a.vhdx", "")]
    public void Formats_of_others_are_converted_by_qemu_img(string format, string name, string options)
    {
        QemuImg.SkipIfMissing();
        // VHD rounds sizes up to cylinders: what it has more is zeros.
        _folder.Raw("a.img", 8 << 20);
        List<string> arguments = ["convert", "-f", "raw", "-O", format];
        if (options.Length > 0)
            arguments.AddRange(["-o", options]);
        QemuImg.Run([.. arguments, _folder.Path("a.img"), _folder.Path(name)]);
        Convert(name, "b.qcow2", "cluster_size=4K", compress: true);
        DiskTool.Compare(_folder.Name("a.img"), _folder.Name("b.qcow2")).FirstDifference.Should().BeNull();
        DiskTool.Info(_folder.Name("b.qcow2")).Qcow2!.ClusterSize.Should().Be(4096);
        Convert(name, "c.img");
        DiskTool.Compare(_folder.Name("a.img"), _folder.Name("c.img")).FirstDifference.Should().BeNull();
        Refused(DiskToolErrors.NeedsQemuImg, () => DiskTool.Info(_folder.Name(name)));
        Refused(DiskToolErrors.CannotBe, () => Convert("a.img", "x" + Path.GetExtension(name)));
    }

    [SkippableFact]
    public void Image_of_another_format_that_names_other_files_is_refused()
    {
        QemuImg.SkipIfMissing();
        _folder.Raw("a.img", 1 << 20);
        QemuImg.Run("convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=monolithicFlat", _folder.Path("a.img"), _folder.Path("flat.vmdk"));
        Refused(DiskToolErrors.NeedsQemuImg, () => Convert("flat.vmdk", "b.img")).Message.Should().Contain("names other files");
        QemuImg.Run("convert", "-f", "raw", "-O", "vmdk", _folder.Path("a.img"), _folder.Path("base.vmdk"));
        QemuImg.Run("create", "-f", "vmdk", "-b", _folder.Path("base.vmdk"), "-F", "vmdk", _folder.Path("top.vmdk"));
        Refused(DiskToolErrors.NeedsQemuImg, () => Convert("top.vmdk", "b.img")).Message.Should().Contain("names other files");
        File.WriteAllBytes(_folder.Path("bad.vmdk"), new byte[4096]);
        Refused(DiskToolErrors.NeedsQemuImg, () => Convert("bad.vmdk", "b.img"));
    }

    [Fact]
    public void Nothing_is_overwritten_but_a_file_by_force()
    {
        byte[] content = _folder.Raw("a.img", 64 << 10);
        File.WriteAllText(_folder.Path("b.img"), "precious");
        Refused(DiskToolErrors.OutputExists, () => Convert("a.img", "b.img"));
        File.ReadAllText(_folder.Path("b.img")).Should().Be("precious");
        Convert("a.img", "b.img", force: true);
        _folder.Bytes("b.img").Should().Equal(content);
        Directory.CreateDirectory(_folder.Path("folder"));
        Refused(DiskToolErrors.OutputExists, () => Convert("a.img", "folder", force: true));
        Refused(DiskToolErrors.WriteFailed, () => Convert("a.img", "no/such/folder.img"));
    }

    /// <summary>Nodes of the test's own in its folder: a mistake here must not reach the host's.</summary>
    [SkippableTheory]
    [InlineData("mkfifo", "")]
    [InlineData("mknod", "c 1 3")]
    [InlineData("mknod", "b 7 250")]
    public void Device_or_pipe_is_never_written_over_not_even_by_force(string program, string kind)
    {
        _folder.Raw("a.img", 64 << 10);
        string node = _folder.Path("node.img");
        using (var made = System.Diagnostics.Process.Start(program, [node, .. kind.Split(' ', StringSplitOptions.RemoveEmptyEntries)]))
        {
            made.WaitForExit();
            Skip.If(made.ExitCode != 0, $"{program} is not allowed here");
        }

        Kvm.Interop.DiskFile.IsRegularFile(node).Should().BeFalse();
        Refused(DiskToolErrors.OutputExists, () => Convert("a.img", "node.img", force: true));
        Refused(DiskToolErrors.OutputExists, () => Convert("a.img", "node.img"));
        File.CreateSymbolicLink(_folder.Path("link.img"), "node.img");
        Refused(DiskToolErrors.OutputExists, () => Convert("a.img", "link.img", force: true));
        Kvm.Interop.DiskFile.IsRegularFile(node).Should().BeFalse("it is still what it was");
    }

    [Fact]
    public void Symbolic_link_as_output_is_followed_and_one_to_the_input_is_refused()
    {
        byte[] content = _folder.Raw("a.img", 64 << 10);
        File.CreateSymbolicLink(_folder.Path("link.img"), "target.img");
        Convert("a.img", "link.img");
        _folder.Bytes("target.img").Should().Equal(content);
        new FileInfo(_folder.Path("link.img")).LinkTarget.Should().Be("target.img");
        File.CreateSymbolicLink(_folder.Path("same.img"), "a.img");
        Refused(DiskToolErrors.SameFile, () => Convert("a.img", "same.img", force: true));
        Refused(DiskToolErrors.SameFile, () => Convert("a.img", "a.img", force: true));
        _folder.Bytes("a.img").Should().Equal(content);
    }

    [Fact]
    public void Source_of_a_running_guest_and_output_of_one_are_refused()
    {
        _folder.Raw("a.img", 64 << 10);
        _folder.Raw("b.img", 64 << 10);
        using var guest = HostFile.Open(new DiskConfig { Path = _folder.Path("a.img") });
        Refused(DiskErrors.InUse, () => Convert("a.img", "c.img"));
        Refused(DiskErrors.InUse, () => Convert("b.img", "a.img", force: true));
    }

    [Fact]
    public void Copy_that_is_ended_leaves_nothing()
    {
        _folder.Raw("a.img", 8 << 20);
        foreach (string output in (string[])["b.img", "b.qcow2"])
        {
            using var ended = new CancellationTokenSource();
            var act = () => DiskTool.Convert(_folder.Name("a.img"), _folder.Name(output), new ImageOptions(), false, false, (_, _) => ended.Cancel(), ended.Token);
            act.Should().Throw<OperationCanceledException>();
            _folder.Files.Should().Equal("a.img");
        }
    }

    [Fact]
    public void Hostile_and_cut_images_are_typed_errors()
    {
        File.WriteAllBytes(_folder.Path("junk.qcow2"), new byte[65536]);
        Refused(DiskErrors.BadImage, () => Convert("junk.qcow2", "b.img"));
        _folder.Raw("a.img", 1 << 20);
        Convert("a.img", "good.qcow2", compress: true);
        byte[] whole = _folder.Bytes("good.qcow2");
        for (int cut = 0; cut < whole.Length; cut += 30_011)
        {
            File.WriteAllBytes(_folder.Path("cut.qcow2"), whole[..cut]);
            try
            {
                Convert("cut.qcow2", "b.img", force: true);
            }
            catch (VmmException e)
            {
                e.ExitCode.Should().Be(ExitCode.BadInput, e.Message);
            }

            _folder.Files.Where(f => f.EndsWith(".part", StringComparison.Ordinal)).Should().BeEmpty();
        }

        File.WriteAllBytes(_folder.Path("odd.img"), new byte[1000]);
        Refused(DiskErrors.BadSize, () => Convert("odd.img", "x.img"));
        Refused(DiskErrors.Unreadable, () => Convert("missing.img", "x.img"));
    }

    [Fact]
    public void What_does_not_go_together_is_said()
    {
        _folder.Raw("a.img", 64 << 10);
        Refused(DiskToolErrors.CannotBe, () => Convert("a.img", "b.img", compress: true));
        Refused(DiskToolErrors.CannotBe, () => Convert("a.img", "b.img", "cluster_size=4096"));
        Refused(DiskToolErrors.CannotBe, () => Convert("a.img", "b.qcow2", "cluster_size=1000"));
        Refused(DiskToolErrors.CannotBe, () => Convert("a.img", "b.qcow2", "preallocation=falloc"));
        Refused(DiskToolErrors.CannotBe, () => Convert("a.img", "b.qcow2", "backing_file=a.img,backing_fmt=raw"));
    }

    [Theory]
    [InlineData("cluster_size=64", true)]
    [InlineData("cluster_size=2M,compat=1.1,,", false)]
    [InlineData("cluster_size", false)]
    [InlineData("compat=2", false)]
    [InlineData("lazy_refcounts=yes", false)]
    [InlineData("encryption=on", false)]
    [InlineData("backing_fmt=vmdk", false)]
    [InlineData("backing_file=", false)]
    [InlineData("", true)]
    public void Options_are_those_of_qemu_img(string text, bool isKnown) => (ImageOptions.Parse(text, out _) is null).Should().Be(isKnown);

    [Fact]
    public void All_options_are_taken()
    {
        ImageOptions.Parse("cluster_size=4K,compat=v3,compression_type=zstd,refcount_bits=8,lazy_refcounts=on,preallocation=metadata,backing_file=a,,b,backing_fmt=raw", out var options).Should().BeNull();
        options.Should().Be(new ImageOptions
        {
            ClusterSize = 4096,
            Compression = Qcow2Compression.Zstd,
            RefcountBits = 8,
            LazyRefcounts = true,
            Preallocation = Preallocation.Metadata,
            BackingFile = "a,b",
            BackingFormat = "raw",
        });
    }
}
