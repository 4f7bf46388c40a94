using Kvm.Vmm.Configuration;
using Kvm.Vmm.Snapshots.Backup;
using Kvm.Vmm.Snapshots.Store;
using Kvm.Vmm.Storage;
using Kvm.Vmm.Storage.Tools;

namespace Kvm.Vmm.Tests.Snapshots.Backup;

public sealed class DiskBackupTests : IDisposable
{
    private const int DiskBytes = (5 << 20) + 512;

    private readonly string _folder = Directory.CreateTempSubdirectory("kvmsharp-backup").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    private SnapshotStore Store => SnapshotStore.Open(At("store"));

    private string At(string name) => Path.Combine(_folder, name);

    [Theory]
    [InlineData("a.img")]
    [InlineData("a.qcow2")]
    public void A_restored_disk_reads_as_it_was_and_a_second_backup_takes_what_changed(string name)
    {
        byte[] content = MakeDisk(name, 1);
        Backup("one", name);
        long first = Taken();
        content[3 << 20] ^= 1;
        Write(name, content);
        Backup("two", name);
        (Taken() - first).Should().BeLessThan(2 * SnapshotFormat.ChunkSize);
        File.Delete(At(name));
        using var backup = Store.Read("two");
        DiskBackup.Restore(backup, At("restored"), 2).Should().Equal(Path.Combine(At("restored"), name));
        Content(Path.Combine("restored", name)).AsSpan().SequenceEqual(content).Should().BeTrue();
        backup.Content.Purpose.Should().Be(SnapshotPurpose.Backup);
        Store.Verify([], 2).Problems.Should().BeEmpty();
    }

    [Fact]
    public void Several_disks_are_one_backup_and_holes_are_not_read_into_it()
    {
        MakeDisk("a.img", 1);
        using (var sparse = File.Create(At("b.img")))
            sparse.SetLength(1L << 34);
        Backup("both", "a.img", "b.img");
        using var backup = Store.Read("both");
        backup.Content.Disks.Select(d => (d.Name, d.Length)).Should().Equal(("disk0", DiskBytes), ("disk1", 1UL << 34));
        DiskBackup.Restore(backup, At("restored"), 2).Should().HaveCount(2);
        new FileInfo(At("restored/b.img")).Length.Should().Be(1L << 34);
        Content("restored/a.img").AsSpan().SequenceEqual(Content("a.img")).Should().BeTrue();
    }

    [Fact]
    public void A_disk_that_somebody_writes_is_refused()
    {
        MakeDisk("a.img", 1);
        using var guest = HostFile.Open(new DiskConfig { Path = At("a.img") });
        Action backup = () => Backup("one", "a.img");
        backup.Should().Throw<VmmException>().Which.Error.Should().Be(DiskErrors.InUse);
        Store.List().Should().BeEmpty();
    }

    [Fact]
    public void Nothing_is_overwritten_and_nothing_is_left_of_a_failed_restore()
    {
        MakeDisk("a.img", 1);
        MakeDisk("b.img", 2);
        Backup("one", "a.img", "b.img");
        using var backup = Store.Read("one");
        Directory.CreateDirectory(At("restored"));
        File.WriteAllText(At("restored/b.img"), "mine");
        Action restore = () => DiskBackup.Restore(backup, At("restored"), 2);
        restore.Should().Throw<VmmException>().Which.Error.Should().Be(DiskToolErrors.OutputExists);
        Directory.GetFiles(At("restored")).Should().Equal(At("restored/b.img"));
    }

    [Theory]
    [InlineData("/etc/passwd/..", "disk0.img")]
    [InlineData("..", "disk0.img")]
    [InlineData("/x/a\nb", "disk0.img")]
    [InlineData("/x/.hidden", "disk0.img")]
    [InlineData("", "disk0.img")]
    [InlineData("/etc/passwd", "passwd")]
    public void A_hostile_path_leads_nowhere_else(string path, string file)
    {
        using (var writer = Store.Begin("evil", [new SnapshotRegion("disk:disk0", 0, SnapshotFormat.PageSize)]))
            writer.Finish(new SnapshotContent { Disks = [new SnapshotDisk("disk0", path, "", 512)] });
        using var backup = Store.Read("evil");
        DiskBackup.Restore(backup, At("restored"), 1).Should().Equal(Path.Combine(At("restored"), file));
    }

    [Fact]
    public void A_disk_longer_than_what_was_saved_of_it_is_refused()
    {
        using (var writer = Store.Begin("evil", [new SnapshotRegion("disk:disk0", 0, SnapshotFormat.PageSize)]))
            writer.Finish(new SnapshotContent { Disks = [new SnapshotDisk("disk0", "/d", "", 1 << 20)] });
        using var backup = Store.Read("evil");
        Action restore = () => DiskBackup.Restore(backup, At("restored"), 1);
        restore.Should().Throw<VmmException>().Which.Error.Should().Be(SnapshotErrors.Damaged);
    }

    [Fact]
    public void Names_of_backups_tell_what_and_when()
    {
        var time = new DateTimeOffset(2026, 11, 22, 1, 30, 5, TimeSpan.FromHours(1));
        BackupName.Of("web1", time).Should().Be("web1-20261122T003005Z");
        BackupName.IsOf("web1-20261122T003005Z", "web1").Should().BeTrue();
        BackupName.IsOf("web1-20261122T003005Z", "web").Should().BeFalse();
        BackupName.IsOf("web1-20261322T003005Z", "web1").Should().BeFalse();
        BackupName.IsOf("web1", "web1").Should().BeFalse();
        foreach (string name in (string[])["", "../x", new string('x', BackupName.MostNameLength + 1)])
        {
            Action of = () => BackupName.Of(name, time);
            of.Should().Throw<VmmException>().Which.Error.Should().Be(SnapshotErrors.BadName);
        }
    }

    [Fact]
    public void Units_give_the_program_its_words_as_they_are()
    {
        BackupUnits.Service("web1", "/usr/bin/kvmsharp", [["backup", "create", "web1", "/vm/a \"b\" $HOME %n\\\n.img"]]).Should()
            .Contain("Description=Backup of web1 by kvmsharp\n").And
            .EndWith("""
                ExecStart="/usr/bin/kvmsharp" "backup" "create" "web1" "/vm/a \"b\" $$HOME %%n\\\x0a.img"

                """);
        BackupUnits.Timer("web1", "Mon *-*-* 03:00").Should().Contain("\nOnCalendar=Mon *-*-* 03:00\n").And.Contain("\nWantedBy=timers.target\n");
        BackupUnits.Timer("web1", "daily\nExecStart=x").Should().NotContain("\nExecStart");
    }

    private void Backup(string name, params string[] disks) => DiskBackup.Create(Store, name,
        [.. disks.Select(d => new ImageName(At(d), ImageName.FormatByName(d)))], new SnapshotOptions { Compression = SnapshotCompression.None }, 2);

    private long Taken() => Directory.GetFiles(At("store/packs")).Sum(f => new FileInfo(f).Length);

    /// <summary>A disk of noise with a hole in it.</summary>
    private byte[] MakeDisk(string name, int seed)
    {
        byte[] content = new byte[DiskBytes];
        new Random(seed).NextBytes(content);
        content.AsSpan(1 << 20, 1 << 20).Clear();
        Write(name, content);
        return content;
    }

    private void Write(string name, byte[] content)
    {
        string raw = name.EndsWith(".qcow2", StringComparison.Ordinal) ? At("raw") : At(name);
        File.WriteAllBytes(raw, content);
        if (raw != At(name))
            DiskTool.Convert(new ImageName(raw, ImageFormat.Raw), new ImageName(At(name), ImageFormat.Qcow2), new ImageOptions(), compress: false, force: true);
    }

    private byte[] Content(string name)
    {
        DiskTool.Convert(new ImageName(At(name), ImageName.FormatByName(name)), new ImageName(At("back"), ImageFormat.Raw), new ImageOptions(), compress: false, force: true);
        return File.ReadAllBytes(At("back"));
    }
}
