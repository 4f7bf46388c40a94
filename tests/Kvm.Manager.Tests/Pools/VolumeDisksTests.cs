using Kvm.Manager.Pools;
using Kvm.Vmm.Configuration;
using Kvm.Vmm.Storage;

namespace Kvm.Manager.Tests.Pools;

public sealed class VolumeDisksTests : IDisposable
{
    private readonly TemporaryPool _files = new();

    public void Dispose() => _files.Dispose();

    [Fact]
    public void A_disk_with_a_size_is_a_volume_that_is_made_once()
    {
        var first = Named("data,size=64M").Machine.Disks[0];
        first.Volume.Should().Be("default/data");
        _files.Store.Get("default").Inspect().Volumes.Should().ContainSingle().Which.Size.Should().Be(64 << 20);
        Named("data,size=64M").Machine.Disks[0].Volume.Should().Be("default/data");
        TemporaryPool.Refused(() => Named("data,size=65M"), "KVM0651", "67108864 bytes");
        var located = VolumeDisks.Locate(Named("default/data"), _files.Store.Options).Machine.Disks[0];
        File.Exists(located.Path).Should().BeTrue();
        located.Should().Match<DiskConfig>(disk => disk.Format == DiskFormat.Raw && disk.AllowBacking);
    }

    [Theory]
    [InlineData("./p/web")]
    [InlineData("/p/web")]
    [InlineData("p/none")]
    [InlineData("q/web")]
    [InlineData("web")]
    public void A_path_that_names_no_volume_is_a_file(string text)
    {
        _files.Define().Create(TemporaryPool.Name("web"), 1 << 20);
        Named(text).Machine.Disks[0].Volume.Should().BeNull();
        Named("p/web").Machine.Disks[0].Volume.Should().Be("p/web");
    }

    [Fact]
    public void A_volume_that_became_another_file_while_the_machine_was_built_is_noticed()
    {
        var pool = _files.Define();
        pool.Create(TemporaryPool.Name("web"), 1 << 20);
        var located = VolumeDisks.Locate(Named("p/web"), _files.Store.Options);
        VolumeDisks.Check(located, _files.Store.Options);
        TemporaryPool.Write(pool, "web", 0, 1);
        pool.Snapshot(TemporaryPool.Name("web@a"));
        TemporaryPool.Refused(() => VolumeDisks.Check(located, _files.Store.Options), "KVM0648", "p/web");
    }

    [Fact]
    public void A_snapshot_is_only_read()
    {
        var pool = _files.Define();
        pool.Create(TemporaryPool.Name("web"), 1 << 20);
        pool.Snapshot(TemporaryPool.Name("web@a"));
        TemporaryPool.Refused(() => VolumeDisks.Locate(Named("p/web@a"), _files.Store.Options), "KVM0651", "readonly");
        VolumeDisks.Locate(Named("p/web@a,readonly"), _files.Store.Options).Machine.Disks[0].Path.Should().StartWith(_files.Folder());
    }

    [Fact]
    public void A_machines_record_keeps_the_volume_and_not_its_file()
    {
        var settings = Named("data,size=1M");
        ConfigFile.Parse(System.Text.Encoding.UTF8.GetBytes(ConfigFile.Write(settings.WithAbsolutePaths())), "x").Machine.Disks[0].Should()
            .Match<DiskConfig>(disk => disk.Volume == "default/data" && disk.VolumeBytes == null && disk.Path == "data");
        var manager = new VmManager(_files.Store.Options);
        manager.Create(settings with { Machine = settings.Machine with { Name = "vm1" } });
        VolumeDisks.MachineOf(manager, VolumeName.Parse("data")).Should().Be("vm1");
        VolumeDisks.MachineOf(manager, VolumeName.Parse("other")).Should().BeNull();
    }

    private RunSettings Named(string disk)
    {
        DiskConfig.Parse(disk, out var config).Should().BeNull();
        var settings = TemporaryState.Machine("vm");
        return VolumeDisks.Name(settings with { Machine = settings.Machine with { Disks = [config] } }, _files.Store.Options);
    }
}
