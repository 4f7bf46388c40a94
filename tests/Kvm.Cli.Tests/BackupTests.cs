using Kvm.Vmm.Snapshots.Backup;
using Kvm.Vmm.Snapshots.Store;

namespace Kvm.Cli.Tests;

/// <summary><c>kvmsharp backup</c> as a process: what it prints, its exit codes, what it leaves.</summary>
public sealed class BackupTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("kvmsharp-backups").FullName;

    public BackupTests() => Published.Require();

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    private string At(string name) => Path.Combine(_folder, name);

    private Ended Run(params string[] words) => Published.Run(["backup", .. words, "--store", At("store")]);

    [SkippableTheory]
    [InlineData("backup", "KVM0002", "needs a word")]
    [InlineData("backup crate", "KVM0001", "did you mean create")]
    [InlineData("backup create", "KVM0002", "needs the NAME of a running guest, or a NAME and a DISK")]
    [InlineData("backup create web1 disk.img --memory", "KVM0005", "--memory is of a running guest")]
    [InlineData("backup restore web1", "KVM0002", "needs a BACKUP and a FOLDER")]
    [InlineData("backup prune", "KVM0002", "needs the NAME")]
    [InlineData("backup ls a b", "KVM0001", "does not take 'b'")]
    [InlineData("backup create ../x disk.img", "KVM0510", "../x")]
    [InlineData("backup prune web1 --store /nowhere/at/all", "KVM0002", "all would go")]
    [InlineData("backup prune web1 --keep-last many --store /nowhere/at/all", "KVM0003", "is not a whole number")]
    public void Wrong_usage_is_said(string line, string id, string part) => Published.Run(line.Split(' ')).ShouldFail(2, id, part);

    [SkippableFact]
    public void A_backup_is_made_verified_exported_and_restored_when_all_else_is_gone()
    {
        byte[] content = new byte[1 << 20];
        new Random(1).NextBytes(content);
        File.WriteAllBytes(At("disk.img"), content);
        string name = Run("create", "web1", At("disk.img"), "--json").Json.GetProperty("name").GetString()!;
        name.Should().StartWith("web1-2");
        Run("ls", "web1", "--json").Json[0].GetProperty("purpose").GetString().Should().Be("backup");
        Run("ls", "web").Output.Should().Be("There are no snapshots.\n");
        Run("verify").ExitCode.Should().Be(0);
        Published.Run("snapshot", "export", name, At("web1.kvmsnap"), "--store", At("store")).ExitCode.Should().Be(0);
        Directory.Delete(At("store"), recursive: true);
        File.Delete(At("disk.img"));
        Run("restore", At("web1.kvmsnap"), At("restored"), "--json").Json.GetProperty("files")[0].GetString().Should().Be(At("restored/disk.img"));
        File.ReadAllBytes(At("restored/disk.img")).AsSpan().SequenceEqual(content).Should().BeTrue();
        Run("restore", At("web1.kvmsnap"), At("restored")).ShouldFail(2, "KVM0160");
    }

    [SkippableFact]
    public void Pruning_keeps_what_the_rule_says_and_other_names()
    {
        var store = SnapshotStore.Open(At("store"));
        DateTimeOffset now = new(2026, 11, 22, 12, 0, 0, TimeSpan.Zero);
        string[] names = [.. Enumerable.Range(0, 5).Select(day => Save("web1", now.AddDays(-day))), Save("db", now.AddDays(-9))];
        Run("prune", "web1", "--keep-last", "2", "--dry-run", "--json").Json.GetProperty("removed").GetArrayLength().Should().Be(3);
        store.List().Should().HaveCount(6);
        Run("prune", "web1", "--keep-daily", "2").Output.Should().StartWith("removed: web1-20261118T120000Z, web1-20261119T");
        store.List().Select(i => i.Name).Should().BeEquivalentTo(names[0], names[1], names[5]);
        Run("prune", "web1", "--keep-daily", "2").Output.Should().Be("removed: none\n");

        string Save(string name, DateTimeOffset time)
        {
            using var writer = store.Begin(BackupName.Of(name, time), [new SnapshotRegion("disk:disk0", 0, SnapshotFormat.PageSize)], new SnapshotOptions { Created = time });
            writer.Finish(new SnapshotContent { Purpose = SnapshotPurpose.Backup });
            return BackupName.Of(name, time);
        }
    }

    [SkippableFact]
    public void A_timer_is_printed_or_written_with_whole_paths_and_the_rule()
    {
        var printed = Run("timer", "web1", "disk.img", "--keep-daily", "7", "--on-calendar", "03:00");
        printed.Output.Should().Contain("OnCalendar=03:00\n").And.Contain($"\"backup\" \"create\" \"web1\" \"{Path.Combine(Environment.CurrentDirectory, "disk.img")}\" \"--store\" \"{At("store")}\"")
            .And.Contain("\"backup\" \"prune\" \"web1\" \"--store\"").And.Contain("\"--keep-daily\" \"7\"");
        Run("timer", "web1", "disk.img", "--output", _folder).ExitCode.Should().Be(0);
        File.ReadAllText(At("kvmsharp-backup-web1.service")).Should().Contain("Type=oneshot").And.NotContain("prune");
        File.ReadAllText(At("kvmsharp-backup-web1.timer")).Should().Contain("OnCalendar=daily\n");
        Run("timer", "web1", "disk.img", "--json").Json.GetProperty("timer").GetString().Should().Contain("timers.target");
    }
}
