using Kvm.Cli.Tests;
using Kvm.Manager.Pools;

namespace Kvm.Manager.Tests.Pools;

public sealed class PoolTests : IDisposable
{
    private const ulong Size = 1 << 20;

    private readonly TemporaryPool _files = new();

    public void Dispose() => _files.Dispose();

    [Theory]
    [InlineData("web", "default", "web", null)]
    [InlineData("fast/web", "fast", "web", null)]
    [InlineData("fast/web@monday", "fast", "web", "monday")]
    public void Names_of_volumes_are_understood(string text, string pool, string volume, string? snapshot) =>
        VolumeName.Parse(text).Should().Be(new VolumeName(pool, volume, snapshot));

    [Theory]
    [InlineData("")]
    [InlineData("a/b/c")]
    [InlineData("/etc")]
    [InlineData("../x")]
    [InlineData("a/..")]
    [InlineData("a b")]
    [InlineData("a/b@c@d")]
    [InlineData("a;b")]
    [InlineData("a/-b")]
    [InlineData("ä")]
    public void Names_that_are_none_are_refused(string text) => TemporaryPool.Refused(() => VolumeName.Parse(text), "KVM0642", "");

    [Fact]
    public void Folders_can_be_added_and_the_quota_changed()
    {
        _files.Define();
        var pool = _files.Store.Define("p", [_files.Folder("b")], 5 * Size);
        pool.Record.Folders.Should().Equal(_files.Folder("a"), _files.Folder("b"));
        _files.Store.Define("p", [], null).Record.Should().Match<PoolRecord>(record => record.Quota == 5 * Size && record.Folders.Count == 2);
        _files.Store.List().Should().ContainSingle().Which.Pool!.Record.Quota.Should().Be(5 * Size);
    }

    [Fact]
    public void A_folder_of_another_pool_is_refused_by_name()
    {
        _files.Define();
        TemporaryPool.Refused(() => _files.Store.Define("q", [_files.Folder()], null), "KVM0646", "belongs to the pool 'p'");
        _files.Store.Exists("q").Should().BeFalse();
        // Another state folder's, too.
        using var others = new TemporaryPool();
        TemporaryPool.Refused(() => others.Store.Define("q", [_files.Folder()], null), "KVM0646", "another state folder");
    }

    [Fact]
    public void A_folder_that_has_gone_is_said_and_volumes_elsewhere_go_on()
    {
        var pool = _files.Store.Define("p", [_files.Folder("a"), _files.Folder("b")], null);
        pool.Create(TemporaryPool.Name("one"), Size);
        string path = pool.Inspect().Volumes[0].Path, folder = Path.GetDirectoryName(path)!, other = folder == _files.Folder("a") ? _files.Folder("b") : _files.Folder("a");
        Directory.Move(folder, folder + "-away");
        pool.Inspect().Problems.Should().Contain(problem => problem.Contains(folder) && problem.Contains("is not there")).And.Contain(problem => problem.StartsWith("one: its folder"));
        TemporaryPool.Refused(() => pool.Clone(TemporaryPool.Name("one"), TemporaryPool.Name("two")), "KVM0646", folder);
        pool.Create(TemporaryPool.Name("three"), Size);
        pool.Inspect().Volumes.Single(volume => volume.Name == "three").Path.Should().StartWith(other);
        // An empty folder in its place, as of a mount that is missing, is not taken for it.
        Directory.CreateDirectory(folder);
        TemporaryPool.Refused(() => pool.Locate(TemporaryPool.Name("one")), "KVM0646", PoolFolder.Marker);
        Directory.Delete(folder);
        Directory.Move(folder + "-away", folder);
        pool.Clone(TemporaryPool.Name("one"), TemporaryPool.Name("two"));
        pool.Inspect().Problems.Should().BeEmpty();
    }

    [Fact]
    public void A_volume_that_was_renamed_changed_or_removed_behind_the_pools_back_is_named()
    {
        var pool = _files.Define();
        foreach (string name in (string[])["renamed", "shorter", "removed", "replaced", "base"])
            pool.Create(TemporaryPool.Name(name), Size);
        pool.Snapshot(TemporaryPool.Name("base@kept"));
        var paths = pool.Inspect().Volumes.ToDictionary(volume => volume.Name, volume => volume.Path);
        string elsewhere = Path.Combine(_files.Folder(), "elsewhere.raw");
        File.Move(paths["renamed"], elsewhere);
        using (var file = File.OpenHandle(paths["shorter"], FileMode.Open, FileAccess.Write))
            RandomAccess.SetLength(file, 512);
        File.Delete(paths["removed"]);
        File.Copy(paths["replaced"], paths["replaced"] + ".x");
        File.Move(paths["replaced"] + ".x", paths["replaced"], overwrite: true);
        File.WriteAllText(paths["base@kept"], "changed");
        File.WriteAllText(Path.Combine(_files.Folder(), "stranger"), "");
        var problems = pool.Inspect().Problems;
        problems.Should().Contain(p => p.StartsWith("renamed: its file was renamed from") && p.Contains("elsewhere.raw"));
        problems.Should().Contain(p => p.StartsWith("shorter: ") && p.Contains("has 512 bytes"));
        problems.Should().Contain(p => p.StartsWith("removed: ") && p.Contains("is not there"));
        problems.Should().Contain(p => p.StartsWith("replaced: ") && p.Contains("replaced by another"));
        problems.Should().Contain(p => p.StartsWith("base: ") && p.Contains("was changed")).And.Contain(p => p.StartsWith("base@kept: "));
        problems.Should().Contain(p => p.Contains("stranger") && p.Contains("is no volume"));
        TemporaryPool.Refused(() => pool.Locate(TemporaryPool.Name("base")), "KVM0649", "was changed");
        TemporaryPool.Refused(() => pool.Clone(TemporaryPool.Name("removed"), TemporaryPool.Name("x")), "KVM0649", "is not there");
        // What is lost can be given up; what stands in its place is not the pool's to delete.
        pool.Remove(TemporaryPool.Name("removed"));
        pool.Remove(TemporaryPool.Name("replaced"));
        File.Exists(paths["replaced"]).Should().BeTrue();
        File.Move(elsewhere, paths["renamed"]);
        pool.Inspect().Problems.Should().NotContain(p => p.StartsWith("renamed"));
    }

    [Fact]
    public void A_pool_goes_when_nothing_is_in_it_or_with_all_that_is()
    {
        var pool = _files.Define();
        pool.Create(TemporaryPool.Name("one"), Size);
        pool.Snapshot(TemporaryPool.Name("one@a"));
        TemporaryPool.Refused(() => _files.Store.Remove("p", force: false), "KVM0650", "2 volumes and snapshots");
        _files.Store.Remove("p", force: true);
        Directory.GetFileSystemEntries(_files.Folder()).Should().BeEmpty("neither files nor the mark are left");
        _files.Store.List().Should().BeEmpty();
        TemporaryPool.Refused(() => _files.Store.Get("p"), "KVM0640", "'p'");
        _files.Define().Inspect().Volumes.Should().BeEmpty();
    }

    [Fact]
    public void A_journal_cut_within_its_last_line_is_as_before_that_and_one_damaged_elsewhere_is_refused()
    {
        var pool = _files.Define();
        pool.Create(TemporaryPool.Name("one"), Size);
        string journal = _files.Store.JournalOf("p");
        byte[] before = File.ReadAllBytes(journal);
        pool.Create(TemporaryPool.Name("two"), Size);
        byte[] after = File.ReadAllBytes(journal);
        for (int length = before.Length; length < after.Length; length++)
        {
            File.WriteAllBytes(journal, after[..length]);
            pool.Inspect().Volumes.Should().ContainSingle();
        }

        // The next change clears away what the cut one left.
        pool.Create(TemporaryPool.Name("three"), Size);
        pool.Inspect().Should().Match<PoolState>(state => state.Problems.Count == 0 && state.Volumes.Count == 2);
        byte[] all = File.ReadAllBytes(journal);
        all[before.Length / 2] ^= 1;
        File.WriteAllBytes(journal, all);
        TemporaryPool.Refused(() => pool.Inspect(), "KVM0644", "is damaged");
        TemporaryPool.Refused(() => pool.Create(TemporaryPool.Name("four"), Size), "KVM0644", "is damaged");
    }

    [Fact]
    public void A_journal_stays_short_however_often_volumes_come_and_go()
    {
        var pool = _files.Define();
        for (int i = 0; i < 100; i++)
        {
            pool.Create(TemporaryPool.Name("web"), Size);
            pool.Remove(TemporaryPool.Name("web"));
        }

        File.ReadAllLines(_files.Store.JournalOf("p")).Length.Should().BeLessThan(100);
    }

    [SkippableFact]
    public void A_read_only_or_full_folder_says_so_and_loses_nothing()
    {
        Published.RequireRoot();
        string folder = _files.Folder("small");
        Directory.CreateDirectory(folder);
        Skip.If(Published.Shell($"mount -t tmpfs -o size=20m,mode=700 none {folder}").ExitCode != 0, "mounting is not permitted");
        try
        {
            var pool = _files.Store.Define("p", [folder], null);
            pool.Create(TemporaryPool.Name("one"), 8 << 20);
            TemporaryPool.Write(pool, "one", 0, 7);
            Published.Shell($"dd if=/dev/zero of={folder}/.fill bs=64k").ExitCode.Should().NotBe(0);
            TemporaryPool.Refused(() => pool.Create(TemporaryPool.Name("two"), Size), "KVM0647", "bytes free");
            File.Delete(Path.Combine(folder, ".fill"));
            Published.Shell($"mount -o remount,ro {folder}").ExitCode.Should().Be(0);
            TemporaryPool.Refused(() => pool.Create(TemporaryPool.Name("two"), Size), "KVM0645", "ead-only");
            pool.Inspect().Volumes.Should().ContainSingle();
            TemporaryPool.Read(pool, "one", 0).Should().Be(7);
            Published.Shell($"mount -o remount,rw {folder}").ExitCode.Should().Be(0);
            pool.Create(TemporaryPool.Name("two"), Size);
            pool.Inspect().Problems.Should().BeEmpty();
        }
        finally
        {
            Published.Shell($"umount {folder}");
        }
    }
}
