using Kvm.Vmm.Snapshots.Disks;
using Kvm.Vmm.Storage;
using Kvm.Vmm.Storage.Tools;

namespace Kvm.Vmm.Tests.Snapshots.Disks;

/// <summary>Disks kept as they are at a snapshot's moment, and put back.</summary>
public sealed class DiskKeepingTests
{
    private const ulong Here = 0, There = 512 << 10;

    [SkippableFact]
    public void A_qcow2_disk_goes_on_as_an_overlay_and_comes_back_as_it_was_with_nothing_lost()
    {
        using var rig = new DiskRig("a.qcow2");
        rig.Write(Here, 1);
        SkipIfReflinks(rig.Take("one"));
        rig.Write(Here, 2);
        rig.Write(There, 3);
        rig.Take("two").Should().ContainSingle().Which.Keeping.Should().Be(DiskKeeping.Overlay);
        rig.Write(There, 4);
        (rig.Read(Here), rig.Read(There)).Should().Be((2, 4));
        rig.Reopen();
        (rig.Read(Here), rig.Read(There)).Should().Be((2, 4), "the disk's path leads to the newest overlay");
        rig.Files.Should().HaveCount(3).And.NotContain(f => f.EndsWith(".part"));
        rig.Close();
        rig.Refusal("one").Should().Contain("generation");

        var (until, refusal) = rig.PutBack("one");
        refusal.Should().BeNull();
        rig.Open();
        (rig.Read(Here), rig.Read(There)).Should().Be((1, 0));
        rig.Write(Here, 9);
        rig.Close();
        using (var newest = ToolImage.Open(new ImageName(until!, ImageFormat.Qcow2, AllowBacking: true)))
            (DiskRig.Read(newest.Image, Here), DiskRig.Read(newest.Image, There)).Should().Be((2, 4), "what the disk was until then is kept");
        rig.PutBack("two").Refusal.Should().BeNull();
        rig.Open();
        (rig.Read(Here), rig.Read(There)).Should().Be((2, 3));
        rig.Close();
        rig.PutBack("one").Refusal.Should().BeNull();
        rig.Open();
        rig.Read(Here).Should().Be(1, "nobody wrote to what was kept");
    }

    [SkippableFact]
    public void A_disk_that_was_not_written_since_needs_no_putting_back()
    {
        using var rig = new DiskRig("a.qcow2");
        rig.Write(Here, 1);
        SkipIfReflinks(rig.Take("one"));
        rig.Close();
        rig.Refusal("one").Should().BeNull();
        rig.PutBack("one").Should().Be((null, null));
        rig.Open();
    }

    [SkippableFact]
    public void A_kept_file_that_was_changed_or_removed_is_refused_with_both_generations()
    {
        using var rig = new DiskRig("a.qcow2");
        rig.Write(Here, 1);
        SkipIfReflinks(rig.Take("one"));
        rig.Write(Here, 2);
        rig.Close();
        string kept = rig.At(rig.Files.Single(f => f.Contains("one-")));
        using (var below = ToolImage.Open(new ImageName(kept, ImageFormat.Qcow2), writable: true))
            DiskRig.Write(below.Image, There, 7);
        rig.PutBack("one").Refusal.Should().MatchRegex("is of generation [0-9a-f]+-[0-9a-f]+, the snapshot's was [0-9a-f]+-[0-9a-f]+");
        File.Delete(kept);
        rig.PutBack("one").Refusal.Should().Contain("is gone");
        // The disk itself needs the file too.
        using var image = NewImage.Begin(new ImageName(kept, ImageFormat.Qcow2), DiskRig.Length, new ImageOptions(), force: false);
        image.Finish();
        rig.Open();
    }

    [Theory]
    [InlineData("a.img")]
    [InlineData("a.qcow2")]
    public void A_disk_that_is_only_known_by_its_generation_is_as_it_was_until_it_is_written(string name)
    {
        using var rig = new DiskRig(name, allowBacking: false);
        rig.Write(Here, 1);
        var kept = rig.Take("one").Should().ContainSingle().Subject;
        rig.Files.Should().Equal(name);
        if (kept.Keeping == DiskKeeping.Reflink)
            return;
        kept.Why.Should().Contain(name == "a.img" ? "reflinks" : "backing=allow");
        rig.Refusal("one").Should().BeNull();
        rig.Take("again");
        rig.Reopen();
        rig.Refusal("one").Should().BeNull("closing an image changes nothing of it");
        rig.Write(Here, 2);
        rig.Close();
        rig.Refusal("one").Should().MatchRegex("is of generation [0-9a-f]+-[0-9a-f]+, the snapshot's was [0-9a-f]+-[0-9a-f]+");
        rig.Open();
    }

    [Theory]
    [InlineData("a.img")]
    [InlineData("a.qcow2")]
    public void A_volume_of_a_pool_keeps_its_file_and_is_known_by_its_generation(string name)
    {
        using var rig = new DiskRig(name, volume: "p/web");
        rig.Write(Here, 1);
        var kept = rig.Take("one").Should().ContainSingle().Subject;
        (kept.Keeping, kept.Why).Should().Be((DiskKeeping.Generation, "its files are those of the volume p/web: kvmsharp volume snapshot keeps it, while no machine has it"));
        rig.Files.Should().Equal(name);
        rig.Store.Folder.DisksPath.Should().Match<string>(path => !Directory.Exists(path) || Directory.GetFiles(path).Length == 0);
        rig.Close();
        rig.Refusal("one").Should().BeNull("nobody wrote it");
        rig.Open();
        rig.Write(Here, 2);
        rig.Close();
        rig.Refusal("one").Should().Contain("generation");
        rig.PutBack("one").Should().Be((null, null), "nothing is put over a volume's file");
        rig.Open();
        rig.Read(Here).Should().Be(2);
        rig.Files.Should().Equal(name);
    }

    [Fact]
    public void A_write_in_the_same_tick_of_the_clock_makes_another_generation()
    {
        using var rig = new DiskRig("a.img");
        for (byte round = 1; round < 100; round++)
        {
            rig.Write(Here, round);
            rig.Disk.Stamp();
            string before = Kvm.Vmm.Snapshots.DiskGenerations.Of(rig.Config.Path);
            rig.Disk.Stamp();
            Kvm.Vmm.Snapshots.DiskGenerations.Of(rig.Config.Path).Should().Be(before, "nothing was written");
            rig.Write(Here, round);
            Kvm.Vmm.Snapshots.DiskGenerations.Of(rig.Config.Path).Should().NotBe(before);
        }
    }

    [SkippableFact]
    public void A_snapshot_that_is_given_up_leaves_the_disk_writable_and_no_copy()
    {
        using var rig = new DiskRig("a.qcow2");
        rig.Write(Here, 1);
        rig.Take("one", finishes: false);
        rig.Write(There, 2);
        rig.Reopen();
        (rig.Read(Here), rig.Read(There)).Should().Be((1, 2));
        rig.Store.List().Should().BeEmpty();
        if (Directory.Exists(rig.Store.Folder.DisksPath))
            Directory.GetFiles(rig.Store.Folder.DisksPath).Should().BeEmpty();
        rig.Files.Should().NotContain(f => f.EndsWith(".part"));
    }

    [SkippableFact]
    public void A_chain_as_long_as_it_may_be_is_told_and_the_disk_goes_on()
    {
        using var rig = new DiskRig("a.qcow2");
        IReadOnlyList<DiskKept> last = [];
        for (int i = 1; i <= DiskOpener.MostFiles; i++)
        {
            rig.Write(Here, (byte)i);
            last = rig.Take($"s{i}");
            SkipIfReflinks(last);
        }

        last[0].Why.Should().Contain("disk commit");
        rig.Reopen();
        rig.Read(Here).Should().Be(DiskOpener.MostFiles);
        rig.Close();
        rig.PutBack("s3").Refusal.Should().BeNull();
        rig.Open();
        rig.Read(Here).Should().Be(3);
    }

    [SkippableFact]
    public void A_disk_in_use_is_not_put_back()
    {
        using var rig = new DiskRig("a.qcow2");
        rig.Write(Here, 1);
        SkipIfReflinks(rig.Take("one"));
        rig.Write(Here, 2);
        FluentActions.Invoking(() => rig.PutBack("one")).Should().Throw<VmmException>().Which.Error.Should().Be(DiskErrors.InUse);
        rig.Read(Here).Should().Be(2);
        rig.Files.Should().HaveCount(2);
    }

    [SkippableTheory]
    [InlineData("a.img")]
    [InlineData("a.qcow2")]
    public void A_disk_on_a_file_system_with_reflinks_is_copied_and_comes_back_until_its_snapshot_is_removed(string name)
    {
        // A folder of xfs or btrfs, where the host of the tests has one.
        string? folder = Environment.GetEnvironmentVariable("KVMSHARP_REFLINK_FOLDER");
        Skip.If(folder is null, "KVMSHARP_REFLINK_FOLDER names no folder with reflinks");
        using var rig = new DiskRig(name, parent: folder);
        rig.Write(Here, 1);
        rig.Take("one").Should().ContainSingle().Which.Keeping.Should().Be(DiskKeeping.Reflink);
        rig.Write(Here, 2);
        rig.Close();
        rig.Refusal("one").Should().Contain("generation");
        string until = rig.PutBack("one").Until!;
        rig.Open();
        rig.Read(Here).Should().Be(1);
        using (var newest = ToolImage.Open(new ImageName(until, ImageName.FormatByName(name), AllowBacking: true)))
            DiskRig.Read(newest.Image, Here).Should().Be(2);
        rig.Take("two");
        rig.Store.Remove(["one"]);
        Directory.GetFiles(rig.Store.Folder.DisksPath).Should().ContainSingle();
        rig.Store.Remove(["two"]);
        Directory.GetFiles(rig.Store.Folder.DisksPath).Should().BeEmpty();
    }

    [Fact]
    public void Any_byte_changed_or_missing_of_the_record_is_a_record_or_an_error_of_ours()
    {
        KeptDisk[] disks = [new("disk0", DiskKeeping.Overlay, "/vm/a.qcow2", DiskFormat.Qcow2, "1-2"), new("disk1", DiskKeeping.Reflink, "x.disk1", DiskFormat.Raw, "3-4")];
        var record = KeptDisk.Write(disks).Single();
        KeptDisk.Read([record]).Should().Equal(disks);
        byte[] bytes = record.Bytes.ToArray();
        for (int at = 0; at < bytes.Length; at++)
        {
            foreach (byte[] bad in (byte[][])[[.. bytes[..at], (byte)(bytes[at] ^ 0xff), .. bytes[(at + 1)..]], bytes[..at]])
            {
                if (Record.Exception(() => KeptDisk.Read([record with { Bytes = bad }])) is { } error)
                    error.Should().BeOfType<VmmException>();
            }
        }
    }

    private static void SkipIfReflinks(IReadOnlyList<DiskKept> kept) => Skip.If(kept[0].Keeping == DiskKeeping.Reflink, "the file system has reflinks, which come first");
}
