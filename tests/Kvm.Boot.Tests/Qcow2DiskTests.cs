using Kvm.Devices.Block.Qcow2;
using Kvm.Devices.Virtio.Block;
using Kvm.Vmm;
using Kvm.Vmm.Storage;

namespace Kvm.Boot.Tests;

/// <summary>A guest whose root is on a qcow2 image over another file.</summary>
public class Qcow2DiskTests
{
    private static readonly TimeSpan s_limit = TimeSpan.FromMinutes(3);

    [SkippableTheory]
    [InlineData(DiskCache.WriteBack)]
    [InlineData(DiskCache.Unsafe)]
    public void Small_kernel_has_its_root_on_an_image_over_a_compressed_one_which_is_left_as_it_was(DiskCache cache)
    {
        QemuImg.SkipIfMissing();
        using var disk = new Ext4Disk(root: true);
        string below = disk.PathOf("base.qcow2"), above = disk.PathOf("disk.qcow2"), merged = disk.PathOf("merged.raw");
        QemuImg.Run("convert", "-c", "-f", "raw", "-O", "qcow2", disk.FilePath, below);
        byte[] before = File.ReadAllBytes(below);
        File.WriteAllBytes(above, []);
        Qcow2Creator.Create(HostFile.OpenNew(above), new Qcow2CreateOptions { Size = 64 << 20, Backing = new BackingFile("base.qcow2", "qcow2") },
            new Qcow2OpenOptions { WithoutBacking = true }).Dispose();

        var run = LinuxGuest.Boot("small/vmlinux", EngineChoice.Soft, "root", s_limit, c => c with
        {
            InitrdPath = null,
            Disks = [new DiskConfig { Path = above, Format = DiskFormat.Qcow2, AllowBacking = true, Cache = cache }],
        }, VirtioDiskTests.TypeCommands);

        VirtioDiskTests.ShouldHaveUsedTheRoot(run, "/dev/root ext4");
        File.ReadAllBytes(below).Should().Equal(before);
        var (code, text) = QemuImg.Check(above);
        code.Should().Be(0, text);
        QemuImg.Run("convert", "-f", "qcow2", "-O", "raw", above, merged);
        disk.ShouldBeWhole(merged);
    }
}
