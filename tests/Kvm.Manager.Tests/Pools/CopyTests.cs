using Kvm.Manager.Pools;
using Kvm.Vmm;
using Kvm.Vmm.Storage.Tools;

namespace Kvm.Manager.Tests.Pools;

public sealed class CopyTests : IDisposable
{
    private const ulong Size = 8 << 20;

    private readonly TemporaryPool _files = new();

    public void Dispose() => _files.Dispose();

    [Fact]
    public void What_was_uploaded_is_downloaded_the_same()
    {
        var pool = _files.Define();
        string file = Path.Combine(_files.Root, "disk.raw"), back = Path.Combine(_files.Root, "back.qcow2");
        byte[] content = new byte[3 << 20];
        new Random(7).NextBytes(content);
        File.WriteAllBytes(file, content);
        pool.Upload(new ImageName(file, ImageFormat.Raw), TemporaryPool.Name("one"));
        pool.Snapshot(TemporaryPool.Name("one@a"));
        TemporaryPool.Write(pool, "one", 0, 1);
        pool.Download(TemporaryPool.Name("one@a"), new ImageName(back, ImageFormat.Qcow2), compress: true, force: false);
        DiskTool.Compare(new ImageName(file, ImageFormat.Raw), new ImageName(back, ImageFormat.Qcow2)).FirstDifference.Should().BeNull();
        FluentActions.Invoking(() => pool.Download(TemporaryPool.Name("one"), new ImageName(back, ImageFormat.Qcow2), false, force: false)).Should().Throw<VmmException>().Which.Error.Should().Be(DiskToolErrors.OutputExists);
        pool.Inspect().Should().Match<PoolState>(state => state.Problems.Count == 0 && state.Pending == 0);
    }

    [Fact]
    public void An_upload_that_is_ended_leaves_nothing()
    {
        var pool = _files.Define();
        string file = Path.Combine(_files.Root, "disk.raw");
        File.WriteAllBytes(file, new byte[Size]);
        using var cancel = new CancellationTokenSource();
        cancel.Cancel();
        FluentActions.Invoking(() => pool.Upload(new ImageName(file, ImageFormat.Raw), TemporaryPool.Name("one"), null, cancel.Token)).Should().Throw<OperationCanceledException>();
        pool.Inspect().Should().Match<PoolState>(state => state.Promised == 0 && state.Problems.Count == 0 && state.Pending == 0);
        Directory.GetFiles(_files.Folder()).Should().ContainSingle("the mark");
    }

    [Fact]
    public void A_full_clone_is_based_on_nothing()
    {
        var pool = _files.Define();
        pool.Create(TemporaryPool.Name("gold"), Size);
        TemporaryPool.Write(pool, "gold", 4096, 7);
        pool.Clone(TemporaryPool.Name("gold"), TemporaryPool.Name("thin"));
        pool.CloneFull(TemporaryPool.Name("thin"), TemporaryPool.Name("full"));
        pool.Inspect().Volumes.Single(volume => volume.Name == "full").Files.Should().Be(1);
        TemporaryPool.Read(pool, "full", 4096).Should().Be(7);
    }

    [SkippableFact]
    public void Cold_images_are_packed_and_read_the_same_and_those_that_are_written_or_open_stay()
    {
        var pool = _files.Define();
        foreach (string name in (string[])["cold", "open", "noise"])
        {
            pool.Create(TemporaryPool.Name(name), Size);
            for (ulong at = 0; at < Size; at += 1 << 20)
                TemporaryPool.Write(pool, name, at, (byte)(1 + (at >> 20)), 1 << 20);
        }

        TemporaryPool.Write(pool, "noise", 0, 0, 1 << 20);
        pool.Clone(TemporaryPool.Name("noise"), TemporaryPool.Name("above"));
        TemporaryPool.Write(pool, "above", 0, 9);
        pool.Pack(null, TimeSpan.FromHours(1), DateTimeOffset.UtcNow).Should().OnlyContain(image => image.Why == "it was written not long ago");
        using var guest = TemporaryPool.Disk(pool, "open", readOnly: false);
        var packed = pool.Pack(null, TimeSpan.FromHours(1), DateTimeOffset.UtcNow.AddHours(2));
        packed.Single(image => image.Name == "open").Why.Should().Be("a guest has it");
        packed.Single(image => image.Name == "cold").Should().Match<PackedImage>(image => image.Why == null && image.After * 4 < image.Before);
        packed.Should().Contain(image => image.Why == "others are based on it as a raw file");
        for (ulong at = 0; at < Size; at += 1 << 20)
            TemporaryPool.Read(pool, "cold", at + 5000).Should().Be((byte)(1 + (at >> 20)));
        TemporaryPool.Read(pool, "above", 0).Should().Be(9);
        TemporaryPool.Read(pool, "above", 1 << 20).Should().Be(2);
        TemporaryPool.Write(pool, "cold", 0, 5);
        TemporaryPool.Read(pool, "cold", 0).Should().Be(5);
        pool.Inspect().Should().Match<PoolState>(state => state.Problems.Count == 0 && state.Pending == 0);
    }

    [Fact]
    public void A_packed_image_that_others_are_based_on_is_found_by_them()
    {
        var pool = _files.Define();
        pool.Create(TemporaryPool.Name("web"), Size);
        pool.Snapshot(TemporaryPool.Name("web@empty"));
        TemporaryPool.Write(pool, "web", 0, 7, 1 << 20);
        // The second one is a qcow2 image with another above it: it keeps its name.
        pool.Snapshot(TemporaryPool.Name("web@full"));
        TemporaryPool.Write(pool, "web", 4096, 8);
        var packed = pool.Pack(TemporaryPool.Name("web@full"), TimeSpan.Zero, DateTimeOffset.UtcNow);
        packed.Should().ContainSingle().Which.Should().Match<PackedImage>(image => image.Why == null && image.After < image.Before);
        TemporaryPool.Read(pool, "web", 0).Should().Be(7);
        TemporaryPool.Read(pool, "web", 4096).Should().Be(8);
        TemporaryPool.Read(pool, "web@full", 4096).Should().Be(7);
        TemporaryPool.Read(pool, "web@empty", 0).Should().Be(0);
        pool.Inspect().Should().Match<PoolState>(state => state.Problems.Count == 0 && state.Pending == 0);
    }
}
