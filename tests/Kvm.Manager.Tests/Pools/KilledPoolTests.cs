using System.Diagnostics;
using Kvm.Cli.Tests;
using Kvm.Manager.Pools;
using Kvm.Vmm;
using Kvm.Vmm.Storage.Tools;

namespace Kvm.Manager.Tests.Pools;

/// <summary>Whoever works on a pool is killed, at any moment: nothing is lost, no reference is wrong, no file is left.</summary>
public sealed class KilledPoolTests : IDisposable
{
    private static readonly TimeSpan s_long = TimeSpan.FromSeconds(60);

    private readonly TemporaryPool _files = new();

    public KilledPoolTests() => Published.Require();

    public void Dispose() => _files.Dispose();

    [SkippableFact]
    public void A_hundred_kills_during_operations_lose_nothing_and_leave_nothing()
    {
        var random = new Random(11);
        var pool = _files.Store.Define("p", [_files.Folder("a"), _files.Folder("b")], null);
        pool.Create(TemporaryPool.Name("gold"), 4 << 20);
        TemporaryPool.Write(pool, "gold", 0, 42, 1 << 20);
        string file = Path.Combine(_files.Root, "up.raw");
        File.WriteAllBytes(file, [.. Enumerable.Repeat((byte)42, 1 << 20)]);
        for (int i = 0; i < 100; i++)
        {
            string some = pool.Inspect().Volumes.Where(volume => !volume.IsSnapshot).Select(volume => volume.Name).OrderBy(_ => random.Next()).First();
            string[] operation = random.Next(10) switch
            {
                0 => ["volume", "create", $"p/new{i}", "1M"],
                1 or 2 => ["volume", "clone", $"p/{some}", $"p/clone{i}"],
                3 => ["volume", "clone", "--full", $"p/{some}", $"p/full{i}"],
                4 => ["volume", "snapshot", $"p/{some}@s{i}"],
                5 => ["volume", "upload", file, $"p/up{i}"],
                6 => ["volume", "resize", $"p/{some}", "+1M"],
                7 => ["pool", "pack", "p", "--cold", "0s"],
                8 => ["volume", "rm", "--force", some == "gold" ? "p/none" : $"p/{some}"],
                _ => pool.Inspect().Volumes.FirstOrDefault(volume => volume.IsSnapshot) is { } snapshot ? ["volume", "restore", $"p/{snapshot.Name}"] : ["pool", "rebalance", "p"],
            };
            using var command = Command(operation);
            // Any moment of it, from before its first instruction to after its last.
            command.WaitForExit(random.Next(60));
            command.Kill();
            command.WaitForExit(s_long).Should().BeTrue();
            Whole(pool);
        }

        // Whoever opens it next for a change clears away what is left.
        pool.Create(TemporaryPool.Name("last"), 1 << 20);
        var state = pool.Inspect();
        state.Pending.Should().Be(0);
        state.Problems.Should().BeEmpty();
        TemporaryPool.Read(pool, "gold", 0).Should().Be(42);
        foreach (var volume in state.Volumes.Where(volume => volume.Name.StartsWith("up", StringComparison.Ordinal)))
            TemporaryPool.Read(pool, volume.Name, (1 << 20) - 1).Should().Be(42, volume.Name);
        _files.Store.Remove("p", force: true);
        Directory.GetFileSystemEntries(_files.Folder("a")).Should().BeEmpty();
        Directory.GetFileSystemEntries(_files.Folder("b")).Should().BeEmpty();
    }

    /// <summary>Every volume's chain of files is there, reads, and its tables are right; nobody is referred to who is not there.</summary>
    private static void Whole(VolumePool pool)
    {
        var state = pool.Inspect();
        foreach (var volume in state.Volumes)
        {
            // A size that was being given is the file's already; the next one to open the pool writes it down.
            if (state.Pending == 0)
                volume.Problem.Should().BeNull(volume.Name);
            volume.References.Should().BePositive();
            if (volume.Format == Kvm.Vmm.Storage.DiskFormat.Qcow2)
                DiskTool.Check(new ImageName(volume.Path, ImageFormat.Qcow2, true), Kvm.Devices.Block.Qcow2.Qcow2Repair.None).Corruptions.Should().Be(0, volume.Name);
        }
    }

    private Process Command(string[] arguments)
    {
        var start = new ProcessStartInfo(Published.Executable, arguments) { RedirectStandardOutput = true, RedirectStandardError = true };
        start.Environment["KVMSHARP_STATE"] = _files.Store.Options.StateFolder;
        start.Environment["KVMSHARP_RUNTIME"] = _files.Store.Options.RuntimeFolder;
        return Process.Start(start)!;
    }
}
