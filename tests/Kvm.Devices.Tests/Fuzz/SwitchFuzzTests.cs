using System.Globalization;
using System.Runtime.CompilerServices;
using FsCheck;
using FsCheck.Fluent;

namespace Kvm.Devices.Tests.Fuzz;

/// <summary>Hostile stations of a switch chosen by bytes: a stored corpus, a fixed number of random ones, and as many as somebody has patience for (scripts/fuzz switch).</summary>
public sealed class SwitchFuzzTests
{
    [Fact]
    public void Every_input_of_the_corpus_leaves_the_switch_going_on()
    {
        var files = Directory.GetFiles(Folder(), "*.bin").Order(StringComparer.Ordinal).ToList();
        files.Should().NotBeEmpty();
        foreach (string file in files)
            SwitchFuzz.Execute(File.ReadAllBytes(file)).Wrong.Should().BeNull(Path.GetFileName(file));
    }

    [Fact]
    public void Any_bytes_leave_the_switch_going_on() =>
        Check.One(Config.QuickThrowOnFailure.WithMaxTest(150), Prop.ForAll(
            Gen.Choose(0, 255).Select(b => (byte)b).ArrayOf(200).ToArbitrary(), bytes => SwitchFuzz.Execute(bytes).Wrong is null));

    [SkippableFact]
    public void FuzzForAsLongAsAsked()
    {
        string? minutes = Environment.GetEnvironmentVariable("KVMSHARP_FUZZ_MINUTES"), report = Environment.GetEnvironmentVariable("KVMSHARP_FUZZ_REPORT");
        Skip.If(minutes is null || report is null || Environment.GetEnvironmentVariable("KVMSHARP_FUZZ_TARGET") != SwitchFuzz.Name, "for scripts/fuzz switch");
        int seed = int.Parse(Environment.GetEnvironmentVariable("KVMSHARP_FUZZ_SEED") ?? "1", CultureInfo.InvariantCulture);
        var search = new FuzzSearch(SwitchFuzz.Execute, Folder(), seed);
        search.Run(TimeSpan.FromMinutes(double.Parse(minutes!, CultureInfo.InvariantCulture)), Environment.GetEnvironmentVariable("KVMSHARP_FUZZ_KEEP") == "1");
        File.WriteAllLines(report!, [search.Summary, .. search.Failures]);
        search.Failures.Should().BeEmpty();
    }

    private static string Folder([CallerFilePath] string file = "") => Path.Combine(Path.GetDirectoryName(file)!, "Corpus", SwitchFuzz.Name);
}
