using FsCheck;
using FsCheck.Fluent;
using Kvm.Devices.Block;
using Kvm.Devices.Block.Qcow2;
using Kvm.Devices.Memory;
using Kvm.Devices.Virtio.Block;
using Kvm.Vmm.Storage;

namespace Kvm.Vmm.Tests.Storage.Qcow2;

/// <summary>Images that are made and written here pass QEMU's check, and read there as they read here.</summary>
public sealed class OurImagesTests : IDisposable
{
    private readonly ImageFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    private void JudgedAs(byte[] content, string path)
    {
        var (code, text) = QemuImg.Check(path);
        code.Should().Be(0, text);
        string raw = _folder.PathOf("judge.raw");
        QemuImg.Run("convert", "-f", "qcow2", "-O", "raw", path, raw);
        File.ReadAllBytes(raw).Should().Equal(content);
    }

    [SkippableTheory]
    [InlineData(65536, 16, 3, false, false)]
    [InlineData(512, 1, 3, false, false)]
    [InlineData(512, 64, 3, true, false)]
    [InlineData(4096, 16, 2, false, false)]
    [InlineData(65536, 32, 3, true, true)]
    [InlineData(2 << 20, 8, 3, false, false)]
    [InlineData(65536, 16, 2, false, true)]
    public void New_image_is_clean_empty_and_as_it_was_asked_for(int clusterSize, int refcountBits, int version, bool lazy, bool preallocated)
    {
        QemuImg.SkipIfMissing();
        using (_folder.Create("a.qcow2", new Qcow2CreateOptions
        {
            Size = 9 << 20,
            ClusterSize = clusterSize,
            RefcountBits = refcountBits,
            Version = version,
            LazyRefcounts = lazy,
            PreallocateMetadata = preallocated,
        }))
        {
        }

        JudgedAs(new byte[9 << 20], _folder.PathOf("a.qcow2"));
        string info = QemuImg.Run("info", "-f", "qcow2", "--output=json", _folder.PathOf("a.qcow2"));
        info.Should().Contain($"\"cluster-size\": {clusterSize}").And.Contain($"\"compat\": \"{(version == 2 ? "0.10" : "1.1")}\"");
        if (version == 3)
            info.Should().Contain($"\"refcount-bits\": {refcountBits}").And.Contain($"\"lazy-refcounts\": {(lazy ? "true" : "false")}");
    }

    [SkippableTheory]
    [InlineData(65536, 16, 3)]
    [InlineData(512, 4, 3)]
    [InlineData(4096, 16, 2)]
    public void Random_operations_pass_qemu_s_check_and_compare_after_each_run(int clusterSize, int refcountBits, int version)
    {
        QemuImg.SkipIfMissing();
        Check.One(Config.QuickThrowOnFailure.WithMaxTest(6), Prop.ForAll(Gen.Choose(1, int.MaxValue).ToArbitrary(), seed =>
        {
            string path = _folder.PathOf("r.qcow2");
            byte[] model = new byte[2 << 20];
            var random = new Random(seed);
            _folder.Create("r.qcow2", new Qcow2CreateOptions { Size = (ulong)model.Length, ClusterSize = clusterSize, RefcountBits = refcountBits, Version = version }).Dispose();
            for (int session = 0; session < 3; session++)
            {
                using (var image = ImageFolder.OpenQcow2(path))
                {
                    for (int i = 0; i < 25; i++)
                        Step(image, model, random);
                    _folder.ReadAll(image).Should().Equal(model);
                }

                JudgedAs(model, path);
            }

            return true;
        }));
    }

    private void Step(Qcow2Image image, byte[] model, Random random)
    {
        int position = random.Next(model.Length / 512) * 512, length = Math.Min(model.Length - position, random.Next(1, 500) * 512);
        switch (random.Next(6))
        {
            case 0:
                image.WriteZeroes((ulong)position, (ulong)length, random.Next(2) == 0).Should().Be(DiskResult.Done);
                model.AsSpan(position, length).Clear();
                break;
            case 1:
                image.Discard((ulong)position, (ulong)length).Should().Be(DiskResult.Done);
                _folder.Read(image, (ulong)position, length).CopyTo(model, position);
                break;
            case 2:
                image.Flush().Should().Be(DiskResult.Done);
                break;
            default:
                byte[] data = new byte[length];
                random.NextBytes(data);
                _folder.Write(image, (ulong)position, data).Should().Be(DiskResult.Done);
                data.CopyTo(model, position);
                break;
        }
    }

    [SkippableTheory]
    [InlineData(65536)]
    [InlineData(512)]
    public void Image_past_the_page_cache_is_the_same_image(int clusterSize)
    {
        QemuImg.SkipIfMissing();
        string path = _folder.PathOf("direct.qcow2");
        using (var made = _folder.Create("direct.qcow2", new Qcow2CreateOptions { Size = 2 << 20, ClusterSize = clusterSize }))
            _folder.Write(made, 0, new byte[512]);
        (new FileInfo(path).Length % 4096).Should().Be(0);
        byte[] model = new byte[2 << 20];
        IDiskImage image;
        try
        {
            image = DiskOpener.Open(new DiskConfig { Path = path, Format = DiskFormat.Qcow2, Cache = DiskCache.None }).Image;
        }
        catch (VmmException e) when (e.Error == DiskErrors.NoDirect)
        {
            throw new SkipException("the temporary folder's file system has no O_DIRECT");
        }

        using (image)
        {
            var random = new Random(clusterSize);
            for (int i = 0; i < 60; i++)
                Step((Qcow2Image)image, model, random);
            _folder.ReadAll(image).Should().Equal(model);
        }

        JudgedAs(model, path);
    }

    [SkippableFact]
    public void Bitmaps_of_other_programs_are_counted_until_the_disk_is_written_and_their_promise_taken_back()
    {
        QemuImg.SkipIfMissing();
        string path = _folder.PathOf("bitmap.qcow2");
        QemuImg.Run("create", "-q", "-f", "qcow2", path, "4M");
        QemuImg.Io(path, "write -P 1 0 1M");
        QemuImg.Run("bitmap", "--add", path, "changes");
        using (var file = HostFile.OpenNew(path))
            Qcow2Check.Run(file).IsClean.Should().BeTrue();
        File.ReadAllBytes(path)[95].Should().Be(1, "the bitmaps are consistent");
        using (var image = ImageFolder.OpenQcow2(path))
            _folder.Read(image, 0, 512).Should().OnlyContain(b => b == 1);
        File.ReadAllBytes(path)[95].Should().Be(1, "nothing was written");
        using (var image = ImageFolder.OpenQcow2(path))
            _folder.Write(image, 0, new byte[512]).Should().Be(DiskResult.Done);
        File.ReadAllBytes(path)[95].Should().Be(0);
        QemuImg.Check(path).Code.Should().BeOneOf(0, 3);
    }

    [SkippableTheory]
    [InlineData(Qcow2Compression.Zlib, 65536)]
    [InlineData(Qcow2Compression.Zstd, 65536)]
    [InlineData(Qcow2Compression.Zlib, 512)]
    [InlineData(Qcow2Compression.Zstd, 2 << 20)]
    public void Compressed_clusters_are_read_by_qemu(Qcow2Compression compression, int clusterSize)
    {
        QemuImg.SkipIfMissing();
        byte[] content = new byte[6 << 20];
        var random = new Random(3);
        for (int i = 0; i < content.Length; i++)
            content[i] = (byte)(random.Next(4) == 0 ? random.Next(256) : i >> 9);
        using (var image = _folder.Create("c.qcow2", new Qcow2CreateOptions { Size = (ulong)content.Length, ClusterSize = clusterSize, Compression = compression }))
        {
            using var codec = ClusterCodec.Create(compression);
            using var packed = new AlignedBuffer(clusterSize);
            for (int at = 0; at < content.Length; at += clusterSize)
            {
                int count = codec.Compress(content.AsSpan(at, clusterSize), packed.Buffer.Span[..(clusterSize - 1)]);
                var result = count > 0 ? image.WriteCompressed((ulong)at, packed.Buffer.Slice(0, count)) : _folder.Write(image, (ulong)at, content.AsSpan(at, clusterSize));
                result.Should().Be(DiskResult.Done);
            }

            _folder.ReadAll(image).Should().Equal(content);
        }

        JudgedAs(content, _folder.PathOf("c.qcow2"));
        // Written over, the cluster is one like others.
        using (var image = ImageFolder.OpenQcow2(_folder.PathOf("c.qcow2")))
            _folder.Write(image, 1024, new byte[1024]).Should().Be(DiskResult.Done);
        content.AsSpan(1024, 1024).Clear();
        JudgedAs(content, _folder.PathOf("c.qcow2"));
    }

    [SkippableFact]
    public void Commit_resize_and_another_backing_file_leave_what_qemu_expects()
    {
        QemuImg.SkipIfMissing();
        byte[] content = new byte[2 << 20];
        new Random(8).NextBytes(content);
        _folder.Raw("below.raw", [.. content]);
        using (var image = _folder.Create("top.qcow2", new Qcow2CreateOptions { Size = 2 << 20, Backing = new BackingFile("below.raw", "raw") }))
        {
            byte[] data = new byte[70_000 / 512 * 512];
            _folder.Write(image, 0x20000, data).Should().Be(DiskResult.Done);
            image.WriteZeroes(0x80000, 0x20000, true).Should().Be(DiskResult.Done);
            data.CopyTo(content, 0x20000);
            content.AsSpan(0x80000, 0x20000).Clear();
            _folder.ReadAll(image).Should().Equal(content);
        }

        JudgedAs(content, _folder.PathOf("top.qcow2"));
        using (var image = ImageFolder.OpenQcow2(_folder.PathOf("top.qcow2"), readOnly: true))
        {
            var target = new RawImage(HostFile.OpenNew(Copy("below.raw", "copy.raw")));
            using (target)
                image.CommitTo(target);
        }

        File.ReadAllBytes(_folder.PathOf("copy.raw")).Should().Equal(content);
        using (var image = ImageFolder.OpenQcow2(_folder.PathOf("top.qcow2")))
        {
            image.Empty();
            image.SetBacking(new BackingFile("copy.raw", "raw"));
        }

        JudgedAs(content, _folder.PathOf("top.qcow2"));
        using (var image = ImageFolder.OpenQcow2(_folder.PathOf("top.qcow2")))
        {
            image.Resize(5 << 20);
            image.Resize(1 << 20);
            image.Resize(3 << 20);
        }

        byte[] resized = new byte[3 << 20];
        content.AsSpan(0, 1 << 20).CopyTo(resized);
        JudgedAs(resized, _folder.PathOf("top.qcow2"));
    }

    [SkippableFact]
    public void Check_agrees_with_qemu_s_on_leaks_and_mends_them()
    {
        QemuImg.SkipIfMissing();
        string path = _folder.PathOf("leak.qcow2");
        using (var image = _folder.Create("leak.qcow2", new Qcow2CreateOptions { Size = 1 << 20 }))
            _folder.Write(image, 0, new byte[4096]);
        byte[] bytes = File.ReadAllBytes(path);
        // The block of counts is in cluster 2; the file has a few clusters.
        bytes[(2 << 16) + (3 * 2) + 1]++;
        bytes[(2 << 16) + (9 * 2) + 1]++;
        File.WriteAllBytes(path, bytes);
        QemuImg.Check(path).Code.Should().Be(3);
        using (var file = HostFile.OpenNew(path))
        {
            Qcow2Check.Run(file).Leaks.Should().Be(2);
            Qcow2Check.Run(file, Qcow2Repair.Leaks).LeaksFixed.Should().Be(2);
        }

        QemuImg.Check(path).Code.Should().Be(0);
    }

    [SkippableFact]
    public void Image_that_qemu_left_dirty_is_mended_when_it_is_opened()
    {
        QemuImg.SkipIfMissing();
        string path = _folder.PathOf("dirty.qcow2");
        QemuImg.Run("create", "-f", "qcow2", "-o", "lazy_refcounts=on", path, "4M");
        QemuImg.AbortIo(path, "write -P 0x5a 0 1M");
        File.ReadAllBytes(path)[79].Should().Be(1, "QEMU marked it as dirty");
        using (var image = ImageFolder.OpenQcow2(path))
            _folder.Read(image, 0, 1 << 20).Should().OnlyContain(b => b == 0x5a);
        QemuImg.Check(path).Code.Should().Be(0);
    }

    private string Copy(string from, string to)
    {
        File.Copy(_folder.PathOf(from), _folder.PathOf(to));
        return _folder.PathOf(to);
    }
}
