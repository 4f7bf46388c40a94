using Kvm.Devices.Block.Cache;
using Kvm.Devices.Memory;
using Kvm.Devices.Virtio.Block;
using Kvm.Tests.Support;
using Kvm.Vmm.Storage;

namespace Kvm.Vmm.Tests.Storage;

/// <summary>Two disks based on one file, and the cache they share.</summary>
public sealed class CachedChainTests : IDisposable
{
    private const int Length = 4 << 20;

    private readonly string _folder = Directory.CreateTempSubdirectory("kvmsharp-cache").FullName;
    private readonly AlignedBuffer _memory = new(64 << 10);

    public void Dispose()
    {
        _memory.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    [SkippableTheory]
    [InlineData(DiskCache.WriteBack)]
    [InlineData(DiskCache.None)]
    public void Disks_on_one_backing_file_share_what_they_read_of_it_and_write_what_is_their_own(DiskCache mode)
    {
        QemuImg.SkipIfMissing();
        byte[] content = new byte[Length];
        new Random(3).NextBytes(content);
        string At(string name) => Path.Combine(_folder, name);
        File.WriteAllBytes(At("base.img"), content);
        foreach (string name in (string[])["one.qcow2", "two.qcow2"])
        {
            QemuImg.Run("create", "-f", "qcow2", "-b", "base.img", "-F", "raw", At(name));
            // Whole blocks, as O_DIRECT takes them.
            using var file = File.OpenWrite(At(name));
            file.SetLength(256 << 10);
        }

        using var cache = new BlockCache(8 << 20);
        DiskConfig Disk(string name) => new() { Path = At(name), Format = DiskFormat.Qcow2, AllowBacking = true, CacheBytes = 8 << 20, Cache = mode };
        OpenedDisk one, two;
        try
        {
            (one, two) = (DiskOpener.Open(Disk("one.qcow2"), cache), DiskOpener.Open(Disk("two.qcow2"), cache));
        }
        catch (VmmException e) when (e.Error == DiskErrors.NoDirect)
        {
            throw new SkipException("the temporary folder's file system has no O_DIRECT");
        }

        var buffer = _memory.Buffer;
        void Check(OpenedDisk disk, byte[] expected)
        {
            for (int at = 0; at < Length; at += buffer.Length)
            {
                disk.Image.Read((ulong)at, new ReadOnlySpan<HostBuffer>(in buffer)).Should().Be(Kvm.Devices.Block.DiskResult.Done);
                buffer.Span.SequenceEqual(expected.AsSpan(at, buffer.Length)).Should().BeTrue();
            }
        }

        using (one.Image)
        using (two.Image)
        {
            Check(one, content);
            long read = cache.Counters.Misses;
            Check(two, content);
            cache.Counters.Misses.Should().Be(read, "the other disk has read all of it");
            buffer.Span.Fill(7);
            one.Image.Write(1 << 20, new ReadOnlySpan<HostBuffer>(in buffer)).Should().Be(Kvm.Devices.Block.DiskResult.Done);
            byte[] changed = [.. content];
            changed.AsSpan(1 << 20, buffer.Length).Fill(7);
            Check(one, changed);
            Check(two, content);
        }
    }
}
