using System.Globalization;
using System.Runtime.CompilerServices;
using FsCheck;
using FsCheck.Fluent;

namespace Kvm.Devices.Tests.Fuzz;

/// <summary>Hostile frames chosen by bytes: a stored corpus, a fixed number of random ones, and as many as somebody has patience for (scripts/fuzz network).</summary>
public sealed class NetworkFuzzTests
{
    [Fact]
    public void Every_frame_of_the_corpus_harms_nobody()
    {
        var files = Directory.GetFiles(Folder(), "*.bin").Order(StringComparer.Ordinal).ToList();
        files.Should().NotBeEmpty();
        foreach (string file in files)
            NetworkFuzz.Execute(File.ReadAllBytes(file)).Wrong.Should().BeNull(Path.GetFileName(file));
    }

    [Fact]
    public void Any_frames_harm_nobody() =>
        Check.One(Config.QuickThrowOnFailure.WithMaxTest(150), Prop.ForAll(
            Gen.Choose(0, 255).Select(b => (byte)b).ArrayOf(200).ToArbitrary(), bytes => NetworkFuzz.Execute(bytes).Wrong is null));

    [SkippableFact]
    public void FuzzForAsLongAsAsked()
    {
        string? minutes = Environment.GetEnvironmentVariable("KVMSHARP_FUZZ_MINUTES"), report = Environment.GetEnvironmentVariable("KVMSHARP_FUZZ_REPORT");
        Skip.If(minutes is null || report is null || Environment.GetEnvironmentVariable("KVMSHARP_FUZZ_TARGET") != NetworkFuzz.Name, "for scripts/fuzz network");
        int seed = int.Parse(Environment.GetEnvironmentVariable("KVMSHARP_FUZZ_SEED") ?? "1", CultureInfo.InvariantCulture);
        var search = new FuzzSearch(NetworkFuzz.Execute, Folder(), seed);
        search.Run(TimeSpan.FromMinutes(double.Parse(minutes!, CultureInfo.InvariantCulture)), Environment.GetEnvironmentVariable("KVMSHARP_FUZZ_KEEP") == "1");
        File.WriteAllLines(report!, [search.Summary, .. search.Failures]);
        search.Failures.Should().BeEmpty();
    }

    private static string Folder([CallerFilePath] string file = "") => Path.Combine(Path.GetDirectoryName(file)!, "Corpus", NetworkFuzz.Name);
}
