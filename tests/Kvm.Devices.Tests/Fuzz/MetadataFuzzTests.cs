using System.Globalization;
using System.Runtime.CompilerServices;
using FsCheck;
using FsCheck.Fluent;

namespace Kvm.Devices.Tests.Fuzz;

/// <summary>Hostile guests of the metadata service: a stored corpus, a fixed number of random ones, and as many as somebody has patience for (scripts/fuzz metadata).</summary>
public sealed class MetadataFuzzTests
{
    [Fact]
    public void Every_guest_of_the_corpus_leaves_the_metadata_service_answering()
    {
        var files = Directory.GetFiles(Folder(), "*.bin").Order(StringComparer.Ordinal).ToList();
        files.Should().NotBeEmpty();
        foreach (string file in files)
            MetadataFuzz.Execute(File.ReadAllBytes(file)).Wrong.Should().BeNull(Path.GetFileName(file));
    }

    [Fact]
    public void Any_guest_leaves_the_metadata_service_answering() =>
        Check.One(Config.QuickThrowOnFailure.WithMaxTest(150), Prop.ForAll(
            Gen.Choose(0, 255).Select(b => (byte)b).ArrayOf(300).ToArbitrary(), bytes => MetadataFuzz.Execute(bytes).Wrong is null));

    [SkippableFact]
    public void FuzzForAsLongAsAsked()
    {
        string? minutes = Environment.GetEnvironmentVariable("KVMSHARP_FUZZ_MINUTES"), report = Environment.GetEnvironmentVariable("KVMSHARP_FUZZ_REPORT");
        Skip.If(minutes is null || report is null || Environment.GetEnvironmentVariable("KVMSHARP_FUZZ_TARGET") != MetadataFuzz.Name, "for scripts/fuzz metadata");
        int seed = int.Parse(Environment.GetEnvironmentVariable("KVMSHARP_FUZZ_SEED") ?? "1", CultureInfo.InvariantCulture);
        var search = new FuzzSearch(MetadataFuzz.Execute, Folder(), seed);
        search.Run(TimeSpan.FromMinutes(double.Parse(minutes!, CultureInfo.InvariantCulture)), Environment.GetEnvironmentVariable("KVMSHARP_FUZZ_KEEP") == "1");
        File.WriteAllLines(report!, [search.Summary, .. search.Failures]);
        search.Failures.Should().BeEmpty();
    }

    private static string Folder([CallerFilePath] string file = "") => Path.Combine(Path.GetDirectoryName(file)!, "Corpus", MetadataFuzz.Name);
}
