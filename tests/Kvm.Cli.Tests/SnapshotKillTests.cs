using System.Diagnostics;
using Kvm.Vmm.Snapshots.Store;

namespace Kvm.Cli.Tests;

/// <summary>The program is killed while it works on a store, a hundred times, sooner or later.</summary>
public sealed class SnapshotKillTests : IDisposable
{
    private const int Rounds = 100;

    private static readonly SnapshotRegion s_memory = new("ram", 0, 64 * SnapshotFormat.ChunkSize);

    private readonly string _folder = Directory.CreateTempSubdirectory("kvmsharp-kill").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [SkippableFact]
    public void Kill_9_at_any_moment_of_saving_merging_pruning_backing_up_and_exporting_leaves_every_snapshot_whole()
    {
        Published.Require();
        var store = SnapshotStore.Open(Path.Combine(_folder, "store"));
        Save(store, "base", null, 0, 64);
        Save(store, "elsewhere", null, 1000, 64);
        string file = Path.Combine(_folder, "elsewhere.kvmsnap");
        store.Export("elsewhere", file, SnapshotCompression.None, 1);
        store.Remove(["elsewhere"]);
        var random = new Random(1);
        int killed = 0, finished = 0;
        // How long an operation takes is found out on the way: the next one is killed at any moment up to that.
        var time = TimeSpan.FromMilliseconds(50);
        for (int round = 0; round < Rounds; round++)
        {
            string[] words = Prepare(store, round, file);
            var clock = Stopwatch.StartNew();
            if (RunAndKill(words, time * random.NextDouble()))
            {
                killed++;
                time *= 1.02;
            }
            else
            {
                finished++;
                time = (time + clock.Elapsed) / 2;
            }

            ShouldBeWhole(store, round, file);
        }

        (killed + finished).Should().Be(Rounds);
        killed.Should().BePositive();
    }

    private static int DiskSeed(int round) => 20_000 + (100 * round);

    private static byte[] ContentOf(int seed, int chunks)
    {
        byte[] all = new byte[chunks * SnapshotFormat.ChunkSize];
        for (int i = 0; i < chunks; i++)
            new Random(seed + i).NextBytes(all.AsSpan(i * SnapshotFormat.ChunkSize, SnapshotFormat.ChunkSize));
        return all;
    }

    private static void Save(SnapshotStore store, string name, string? parent, int seed, int chunks, bool patches = false)
    {
        using var writer = store.Begin(name, [s_memory], new SnapshotOptions { Parent = parent, Compression = SnapshotCompression.None });
        byte[] content = new byte[SnapshotFormat.ChunkSize];
        for (int i = 0; i < chunks; i++)
        {
            new Random(seed + i).NextBytes(content);
            if (patches)
                writer.PutPages(0, i, 1 << 7, content.AsSpan(0, SnapshotFormat.PageSize));
            else
                writer.PutChunk(0, i, content);
        }

        writer.Finish(new SnapshotContent());
    }

    /// <summary>Makes what the operation of this round is done with.</summary>
    private string[] Prepare(SnapshotStore store, int round, string file)
    {
        switch (round % 5)
        {
            case 0:
                return ["snapshot", "import", file, "new"];
            case 1:
                Save(store, "child", "base", 5000 + round, 32, patches: true);
                return ["snapshot", "merge", "child"];
            case 2:
                Save(store, "much", null, 10_000 + 100 * round, 64);
                Save(store, "little", null, 10_000 + 100 * round, 8);
                store.Remove(["much"]);
                return ["snapshot", "prune"];
            case 3:
                File.WriteAllBytes(Path.Combine(_folder, "disk.img"), ContentOf(DiskSeed(round), 64));
                return ["backup", "create", "disk", Path.Combine(_folder, "disk.img"), "--compression", "none"];
            default:
                return ["snapshot", "export", "base", Path.Combine(_folder, "new.kvmsnap")];
        }
    }

    private bool RunAndKill(string[] words, TimeSpan after)
    {
        using var process = Published.Start([.. words, "--store", Path.Combine(_folder, "store")]);
        var output = process.StandardOutput.ReadToEndAsync();
        var errors = process.StandardError.ReadToEndAsync();
        if (process.WaitForExit(after))
        {
            process.ExitCode.Should().Be(0, errors.Result);
            return false;
        }

        process.Kill(); // SIGKILL
        process.WaitForExit();
        _ = (output.Result, errors.Result);
        return true;
    }

    private void ShouldBeWhole(SnapshotStore store, int round, string file)
    {
        store.Verify([], 2).Problems.Should().BeEmpty($"round {round}");
        ShouldHold(store, "base", 0, 64);
        string exported = Path.Combine(_folder, "new.kvmsnap");
        if (File.Exists(exported))
            SnapshotStore.VerifyFile(exported, null, 2).Problems.Should().BeEmpty();
        File.Delete(exported);
        string[] names = [.. store.List().Select(i => i.Name).Where(name => name != "base")];
        if (names.Contains("new"))
            ShouldHold(store, "new", 1000, 64);
        if (names.Contains("little"))
            ShouldHold(store, "little", 10_000 + 100 * round, 8);
        foreach (string backup in names.Where(name => name.StartsWith("disk-", StringComparison.Ordinal)))
            ShouldHold(store, backup, DiskSeed(round), 64);
        if (round % 5 is 1 or 2)
            names.Should().ContainSingle();
        // What was left half-made goes with the next operation.
        store.Remove(names);
        Directory.GetFiles(Path.Combine(_folder, "store"), "*.part", SearchOption.AllDirectories).Should().BeEmpty();
        store.Prune();
        store.Inspect("base").Sizes.Stored.Should().Be(s_memory.Length);
        foreach (string part in Directory.GetFiles(_folder, "*.part"))
            File.Delete(part);
        File.Exists(file).Should().BeTrue();
    }

    private static void ShouldHold(SnapshotStore store, string name, int seed, int chunks)
    {
        using var reader = store.Read(name);
        byte[] content = new byte[SnapshotFormat.ChunkSize], expected = new byte[SnapshotFormat.ChunkSize];
        for (int i = 0; i < chunks; i++)
        {
            new Random(seed + i).NextBytes(expected);
            reader.ReadChunk(0, i, content).Should().Be(ChunkStatus.Ok);
            content.AsSpan().SequenceEqual(expected).Should().BeTrue($"chunk {i} of {name}");
        }
    }
}
