using System.Globalization;
using System.Runtime.CompilerServices;
using FsCheck;
using FsCheck.Fluent;

namespace Kvm.Vmm.Tests.Fuzz;

/// <summary>Hostile snapshots chosen by bytes: a stored corpus, a fixed number of random ones, and as many as somebody has patience for (scripts/fuzz snapshot).</summary>
public sealed class SnapshotFuzzTests
{
    [Fact]
    public void Every_snapshot_of_the_corpus_is_read_or_refused()
    {
        var files = Directory.GetFiles(Folder(), "*.bin").Order(StringComparer.Ordinal).ToList();
        files.Should().NotBeEmpty();
        foreach (string file in files)
            SnapshotFuzz.Execute(File.ReadAllBytes(file)).Wrong.Should().BeNull(Path.GetFileName(file));
    }

    [Fact]
    public void Any_snapshot_is_read_or_refused() =>
        Check.One(Config.QuickThrowOnFailure.WithMaxTest(300), Prop.ForAll(
            Gen.Choose(0, 255).Select(b => (byte)b).ArrayOf(60).ToArbitrary(), bytes => SnapshotFuzz.Execute(bytes).Wrong is null));

    [SkippableFact]
    public void FuzzForAsLongAsAsked()
    {
        string? minutes = Environment.GetEnvironmentVariable("KVMSHARP_FUZZ_MINUTES"), report = Environment.GetEnvironmentVariable("KVMSHARP_FUZZ_REPORT");
        Skip.If(minutes is null || report is null || Environment.GetEnvironmentVariable("KVMSHARP_FUZZ_TARGET") != SnapshotFuzz.Name, "for scripts/fuzz snapshot");
        int seed = int.Parse(Environment.GetEnvironmentVariable("KVMSHARP_FUZZ_SEED") ?? "1", CultureInfo.InvariantCulture);
        var search = new FuzzSearch(SnapshotFuzz.Execute, Folder(), seed);
        search.Run(TimeSpan.FromMinutes(double.Parse(minutes!, CultureInfo.InvariantCulture)), Environment.GetEnvironmentVariable("KVMSHARP_FUZZ_KEEP") == "1");
        File.WriteAllLines(report!, [search.Summary, .. search.Failures]);
        search.Failures.Should().BeEmpty();
    }

    private static string Folder([CallerFilePath] string file = "") => Path.Combine(Path.GetDirectoryName(file)!, "Corpus", SnapshotFuzz.Name);
}
