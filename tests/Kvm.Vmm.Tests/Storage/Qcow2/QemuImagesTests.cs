using Kvm.Devices.Block;

namespace Kvm.Vmm.Tests.Storage.Qcow2;

/// <summary>Images that QEMU's tools made are read byte for byte as those tools read them.</summary>
public sealed class QemuImagesTests : IDisposable
{
    private readonly ImageFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    /// <summary>Content with every kind of cluster: random, compressible, zeros.</summary>
    private static byte[] Mixture(int length, int seed)
    {
        byte[] bytes = new byte[length];
        var random = new Random(seed);
        for (int at = 0; at < length;)
        {
            int count = Math.Min(length - at, random.Next(1, 40) * 4096);
            var part = bytes.AsSpan(at, count);
            switch (random.Next(3))
            {
                case 0:
                    random.NextBytes(part);
                    break;
                case 1:
                    for (int i = 0; i < count; i++)
                        part[i] = (byte)(i / 100 % 7);
                    break;
                default:
                    break;
            }

            at += count;
        }

        return bytes;
    }

    [SkippableTheory]
    [InlineData("", "cluster_size=65536")]
    [InlineData("", "compat=0.10,cluster_size=65536")]
    [InlineData("", "cluster_size=512,refcount_bits=1")]
    [InlineData("", "cluster_size=2M")]
    [InlineData("", "cluster_size=4096,refcount_bits=64,lazy_refcounts=on")]
    [InlineData("-c", "cluster_size=65536")]
    [InlineData("-c", "compat=0.10,cluster_size=4096")]
    [InlineData("-c", "compression_type=zstd")]
    [InlineData("-c", "compression_type=zstd,cluster_size=2M")]
    [InlineData("-c", "cluster_size=512")]
    public void Converted_image_reads_as_what_it_was_converted_from(string flag, string options)
    {
        QemuImg.SkipIfMissing();
        byte[] content = Mixture(3 << 20, options.Length);
        string raw = _folder.Raw("a.raw", content), path = _folder.PathOf("a.qcow2");
        QemuImg.Run([.. new[] { "convert", flag, "-f", "raw", "-O", "qcow2", "-o", options, raw, path }.Where(a => a.Length > 0)]);
        using var image = ImageFolder.Open(path, readOnly: true);
        _folder.ReadAll(image).Should().Equal(content);
        _folder.Read(image, 512 * 7, 512 * 300).Should().Equal(content.AsSpan(512 * 7, 512 * 300).ToArray());
    }

    [SkippableFact]
    public void Chain_of_three_shows_each_layer_s_part_and_zeros_behind_a_shorter_one()
    {
        QemuImg.SkipIfMissing();
        byte[] content = Mixture(1 << 20, 5);
        _folder.Raw("base.raw", content);
        string middle = _folder.PathOf("middle.qcow2"), top = _folder.PathOf("top.qcow2");
        QemuImg.Run("create", "-f", "qcow2", "-b", "base.raw", "-F", "raw", middle, "2M");
        QemuImg.Io(middle, "write -P 0x11 0x10000 0x3000", "write -z 0x40000 0x20000", "write -P 0x22 0x180000 512");
        QemuImg.Run("create", "-f", "qcow2", "-b", middle, "-F", "qcow2", top, "3M");
        QemuImg.Io(top, "write -P 0x33 0x11000 0x1000", "write -P 0x44 0x2ff000 0x1000", "discard 0x80000 0x10000");
        QemuImg.Run("convert", "-O", "raw", top, _folder.PathOf("judge.raw"));
        using var image = ImageFolder.Open(top, readOnly: true);
        image.Length.Should().Be(3 << 20);
        _folder.ReadAll(image).Should().Equal(File.ReadAllBytes(_folder.PathOf("judge.raw")));
    }

    [SkippableFact]
    public void Image_with_internal_snapshots_is_read_as_it_is_now_and_written_beside_them()
    {
        QemuImg.SkipIfMissing();
        string raw = _folder.Raw("a.raw", Mixture(1 << 20, 9)), path = _folder.PathOf("a.qcow2");
        QemuImg.Run("convert", "-f", "raw", "-O", "qcow2", raw, path);
        QemuImg.Run("snapshot", "-c", "one", path);
        QemuImg.Io(path, "write -P 0x55 0 0x8000");
        QemuImg.Run("snapshot", "-c", "two", path);
        byte[] before = File.ReadAllBytes(raw), wanted = [.. before];
        wanted.AsSpan(0, 0x8000).Fill(0x55);
        using (var image = ImageFolder.Open(path))
        {
            _folder.ReadAll(image).Should().Equal(wanted);
            byte[] more = new byte[200 * 512];
            Array.Fill(more, (byte)0x66);
            _folder.Write(image, 0x3e00, more).Should().Be(DiskResult.Done);
            more.CopyTo(wanted, 0x3e00);
            image.Discard(0x80000, 0x20000).Should().Be(DiskResult.Done);
            wanted.AsSpan(0x80000, 0x20000).Clear();
            image.Flush().Should().Be(DiskResult.Done);
            _folder.ReadAll(image).Should().Equal(wanted);
        }

        QemuImg.Check(path).Code.Should().Be(0);
        QemuImg.Run("convert", "-l", "snapshot.name=one", "-O", "raw", path, _folder.PathOf("one.raw"));
        File.ReadAllBytes(_folder.PathOf("one.raw")).Should().Equal(before);
        QemuImg.Run("convert", "-O", "raw", path, _folder.PathOf("now.raw"));
        File.ReadAllBytes(_folder.PathOf("now.raw")).Should().Equal(wanted);
    }
}
