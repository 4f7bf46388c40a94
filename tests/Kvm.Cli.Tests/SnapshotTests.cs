using Kvm.Vmm.Snapshots.Store;

namespace Kvm.Cli.Tests;

/// <summary><c>kvmsharp snapshot</c> as a process: what it prints, its exit codes, what it leaves.</summary>
public sealed class SnapshotTests : IDisposable
{
    private static readonly SnapshotRegion s_memory = new("ram", 0, 4 * SnapshotFormat.ChunkSize);

    private readonly string _folder = Directory.CreateTempSubdirectory("kvmsharp-snapshot").FullName;

    public SnapshotTests() => Published.Require();

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    private string Store => Path.Combine(_folder, "store");

    private string At(string name) => Path.Combine(_folder, name);

    private Ended Run(params string[] words) => Published.Run(["snapshot", .. words, "--store", Store]);

    private void Save(string name, string? parent, SnapshotKey? key = null, params int[] seeds)
    {
        using var writer = SnapshotStore.Open(Store, key).Begin(name, [s_memory], new SnapshotOptions { Parent = parent, Compression = SnapshotCompression.None });
        for (int i = 0; i < seeds.Length; i++)
        {
            byte[] content = new byte[SnapshotFormat.ChunkSize];
            new Random(seeds[i]).NextBytes(content);
            writer.PutChunk(0, i, content);
        }

        writer.Finish(new SnapshotContent
        {
            Machine = """{"cpus":2}"""u8.ToArray(),
            Engine = "soft",
            Note = "of a test \e[2J",
            Records = [new SnapshotRecord("vcpu0", 2, new byte[100])],
            Disks = [new SnapshotDisk("vda", "/d.qcow2", "3", 4096)],
        });
    }

    [SkippableTheory]
    [InlineData("snapshot", "KVM0002", "needs a word")]
    [InlineData("snapshot lst", "KVM0001", "did you mean ls")]
    [InlineData("snapshot inspect", "KVM0002", "needs the NAME")]
    [InlineData("snapshot ls a", "KVM0001", "does not take 'a'")]
    [InlineData("snapshot export a", "KVM0002", "and a FILE")]
    [InlineData("snapshot export a b --compression xz", "KVM0003", "is not one of none")]
    [InlineData("snapshot ls --key secret", "KVM0511", "is not file=PATH")]
    [InlineData("snapshot ls --key file=/nowhere", "KVM0511", "no such f")]
    [InlineData("snapshot ls --key command=false", "KVM0511", "ended with 1")]
    [InlineData("snapshot ls --key credential=x", "KVM0511", "CREDENTIALS_DIRECTORY")]
    [InlineData("snapshot inspect nothing", "KVM0500", "nothing")]
    [InlineData("snapshot rm ../x", "KVM0510", "../x")]
    public void Wrong_usage_is_said(string line, string id, string part) => Published.Run([.. line.Split(' '), .. line.Contains("--store") || line == "snapshot" ? [] : (string[])["--store", Store]]).ShouldFail(2, id, part);

    [SkippableFact]
    public void An_empty_store_lists_nothing_and_is_not_made()
    {
        Run("ls").Should().Match<Ended>(e => e.ExitCode == 0 && e.Output == "There are no snapshots.\n");
        Run("ls", "--json").Json.GetArrayLength().Should().Be(0);
        Directory.Exists(Store).Should().BeFalse();
    }

    [SkippableFact]
    public void A_life_from_list_to_removal()
    {
        Save("monday", null, null, 1, 2, 1);
        Save("tuesday", "monday", null, 3);
        var list = Run("ls", "--json").Json;
        list.EnumerateArray().Select(s => (s.GetProperty("name").GetString(), s.GetProperty("parent").GetString(), s.GetProperty("size").GetInt64()))
            .Should().Equal(("monday", null, 4 * SnapshotFormat.ChunkSize), ("tuesday", "monday", 4 * SnapshotFormat.ChunkSize));
        Run("ls").Output.Should().Contain("tuesday").And.Contain(@"of a test \x1b[2J").And.NotContain("\e");
        var details = Run("inspect", "tuesday", "--json").Json;
        details.GetProperty("chain")[0].GetString().Should().Be("monday");
        details.GetProperty("machine").GetProperty("cpus").GetInt32().Should().Be(2);
        details.GetProperty("records")[0].GetProperty("bytes").GetInt32().Should().Be(100);
        details.GetProperty("disks")[0].GetProperty("generation").GetString().Should().Be("3");
        var sizes = details.GetProperty("sizes");
        sizes.GetProperty("zero").GetInt64().Should().Be(SnapshotFormat.ChunkSize);
        sizes.GetProperty("stored").GetInt64().Should().Be(3 * SnapshotFormat.ChunkSize);
        sizes.GetProperty("shared").GetInt64().Should().Be(2 * SnapshotFormat.ChunkSize);
        Run("inspect", "tuesday").Output.Should().Contain("based on:       monday\n").And.Contain("vcpu0 v2 (100 B)");
        Run("rm", "monday").ShouldFail(2, "KVM0509", "tuesday is based on monday");
        Run("merge", "tuesday").Output.Should().Contain("2 snapshots");
        Run("rm", "monday", "--json").Json.GetProperty("removed")[0].GetString().Should().Be("monday");
        Run("prune", "--json").Json.GetProperty("bytesAfter").GetInt64().Should().BeGreaterThan(3 * SnapshotFormat.ChunkSize);
        Run("verify").Output.Should().Be("1 snapshots, 3 chunks, 192 KiB of content: nothing is wrong\n");
        Run("rm", "tuesday").ExitCode.Should().Be(0);
        Run("ls").Output.Should().Be("There are no snapshots.\n");
    }

    [SkippableFact]
    public void A_file_of_export_is_shown_verified_and_imported_without_the_store_it_came_from()
    {
        Save("a", null, null, 1, 2);
        Run("export", "a", At("a.kvmsnap")).ExitCode.Should().Be(0);
        Run("export", "a", At("a.kvmsnap")).ShouldFail(2, "KVM0501");
        Run("rm", "a").ExitCode.Should().Be(0);
        Published.Run("snapshot", "inspect", At("a.kvmsnap"), "--json").Json.GetProperty("name").GetString().Should().Be("a");
        Published.Run("snapshot", "verify", At("a.kvmsnap"), "--json").Json.GetProperty("chunks").GetInt32().Should().Be(2);
        Run("import", At("a.kvmsnap"), "b").Output.Should().Be("b is in the store\n");
        Run("verify", "b").ExitCode.Should().Be(0);
        Run("import", At("a.kvmsnap")).ShouldFail(2, "KVM0501", "it is called b");
    }

    [SkippableFact]
    public void Damage_is_told_with_exit_code_3_and_where_it_is()
    {
        Save("a", null, null, 1, 2);
        string pack = Directory.GetFiles(Path.Combine(Store, "packs")).Single();
        byte[] bytes = File.ReadAllBytes(pack);
        bytes[100] ^= 1;
        File.WriteAllBytes(pack, bytes);
        var ended = Run("verify", "--json");
        ended.ShouldFail(3, "KVM0502", "1 places");
        ended.Json.GetProperty("problems")[0].GetString().Should().Contain("'ram' at 0");
        File.WriteAllBytes(Path.Combine(Store, "b.snapshot"), [1, 2, 3]);
        Run("inspect", "b").ShouldFail(3, "KVM0502", "3 bytes");
        Run("rm", "b").ExitCode.Should().Be(0);
    }

    [SkippableFact]
    public void Encrypted_snapshots_take_their_key_from_a_file_a_credential_or_a_command()
    {
        byte[] secret = new byte[40];
        new Random(5).NextBytes(secret);
        File.WriteAllBytes(At("key"), secret);
        Save("a", null, SnapshotKey.From(secret), 1, 2);
        Run("ls").Output.Should().Contain("encrypted");
        Run("inspect", "a").ShouldFail(3, "KVM0508");
        Run("inspect", "a", "--key", "file=/dev/zero").ShouldFail(2, "KVM0511");
        Run("verify", "a", "--key", $"file={At("key")}").ExitCode.Should().Be(0);
        Run("verify", "a", "--key", $"command=cat '{At("key")}'").ExitCode.Should().Be(0);
        Published.Shell($"CREDENTIALS_DIRECTORY='{_folder}' \"$KVMSHARP\" snapshot verify a --key credential=key --store '{Store}'").ExitCode.Should().Be(0);
        Run("verify", "a", "--key", "command=head -c 32 /dev/zero").ShouldFail(3, "KVM0508", "another key");
    }
}
