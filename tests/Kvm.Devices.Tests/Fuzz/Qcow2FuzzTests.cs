using System.Globalization;
using System.Runtime.CompilerServices;
using FsCheck;
using FsCheck.Fluent;

namespace Kvm.Devices.Tests.Fuzz;

/// <summary>Hostile images chosen by bytes: a stored corpus, a fixed number of random ones, and as many as somebody has patience for (scripts/fuzz qcow2).</summary>
public sealed class Qcow2FuzzTests
{
    [Fact]
    public void Every_image_of_the_corpus_is_used_or_refused()
    {
        var files = Directory.GetFiles(Folder(), "*.bin").Order(StringComparer.Ordinal).ToList();
        files.Should().NotBeEmpty();
        foreach (string file in files)
            Qcow2Fuzz.Execute(File.ReadAllBytes(file)).Wrong.Should().BeNull(Path.GetFileName(file));
    }

    [Fact]
    public void Any_image_is_used_or_refused() =>
        Check.One(Config.QuickThrowOnFailure.WithMaxTest(150), Prop.ForAll(
            Gen.Choose(0, 255).Select(b => (byte)b).ArrayOf(200).ToArbitrary(), bytes => Qcow2Fuzz.Execute(bytes).Wrong is null));

    [SkippableFact]
    public void FuzzForAsLongAsAsked()
    {
        string? minutes = Environment.GetEnvironmentVariable("KVMSHARP_FUZZ_MINUTES"), report = Environment.GetEnvironmentVariable("KVMSHARP_FUZZ_REPORT");
        Skip.If(minutes is null || report is null || Environment.GetEnvironmentVariable("KVMSHARP_FUZZ_TARGET") != Qcow2Fuzz.Name, "for scripts/fuzz qcow2");
        int seed = int.Parse(Environment.GetEnvironmentVariable("KVMSHARP_FUZZ_SEED") ?? "1", CultureInfo.InvariantCulture);
        var search = new FuzzSearch(Qcow2Fuzz.Execute, Folder(), seed);
        search.Run(TimeSpan.FromMinutes(double.Parse(minutes!, CultureInfo.InvariantCulture)), Environment.GetEnvironmentVariable("KVMSHARP_FUZZ_KEEP") == "1");
        File.WriteAllLines(report!, [search.Summary, .. search.Failures]);
        search.Failures.Should().BeEmpty();
    }

    private static string Folder([CallerFilePath] string file = "") => Path.Combine(Path.GetDirectoryName(file)!, "Corpus", Qcow2Fuzz.Name);
}
