using System.Globalization;
using System.Runtime.CompilerServices;
using FsCheck;
using FsCheck.Fluent;

namespace Kvm.Devices.Tests.Fuzz;

/// <summary>Hostile guests chosen by bytes: a stored corpus, a fixed number of random ones, and as many as somebody has patience for (scripts/fuzz).</summary>
public sealed class DeviceFuzzTests
{
    public static TheoryData<string> Devices => new(FuzzTarget.Names);

    [Theory]
    [MemberData(nameof(Devices))]
    public void Every_input_of_the_corpus_leaves_the_host_whole_and_the_device_answering(string device)
    {
        var files = Directory.GetFiles(Folder(device), "*.bin").Order(StringComparer.Ordinal).ToList();
        files.Should().NotBeEmpty();
        foreach (string file in files)
            FuzzRun.Execute(device, File.ReadAllBytes(file)).Wrong.Should().BeNull(Path.GetFileName(file));
    }

    [Theory]
    [MemberData(nameof(Devices))]
    public void Any_bytes_leave_the_host_whole_and_the_device_answering(string device) =>
        Check.One(Config.QuickThrowOnFailure.WithMaxTest(150), Prop.ForAll(
            Gen.Choose(0, 255).Select(b => (byte)b).ArrayOf(400).ToArbitrary(), bytes => FuzzRun.Execute(device, bytes).Wrong is null));

    [Theory]
    [MemberData(nameof(Devices))]
    public void The_same_bytes_are_the_same_run(string device)
    {
        byte[] bytes = new byte[2000];
        new Random(3).NextBytes(bytes);
        FuzzRun.Execute(device, bytes).Should().Be(FuzzRun.Execute(device, bytes));
    }

    public static TheoryData<string> LegacyDevices => new(FuzzTarget.Names.Where(name => name != "virtio-vsock"));

    [Theory]
    [MemberData(nameof(LegacyDevices))]
    public void Legacy_start_is_one_that_works(string device) => FuzzRun.AnswersLegacy(device).Should().BeTrue();

    [SkippableFact]
    public void FuzzForAsLongAsAsked()
    {
        string? minutes = Environment.GetEnvironmentVariable("KVMSHARP_FUZZ_MINUTES"), report = Environment.GetEnvironmentVariable("KVMSHARP_FUZZ_REPORT");
        string device = Environment.GetEnvironmentVariable("KVMSHARP_FUZZ_TARGET") ?? "";
        Skip.If(minutes is null || report is null || !FuzzTarget.Names.Contains(device), "for scripts/fuzz virtio-…");
        int seed = int.Parse(Environment.GetEnvironmentVariable("KVMSHARP_FUZZ_SEED") ?? "1", CultureInfo.InvariantCulture);
        var search = new FuzzSearch(bytes => FuzzRun.Execute(device, bytes), Folder(device), seed);
        search.Run(TimeSpan.FromMinutes(double.Parse(minutes!, CultureInfo.InvariantCulture)), Environment.GetEnvironmentVariable("KVMSHARP_FUZZ_KEEP") == "1");
        File.WriteAllLines(report!, [search.Summary, .. search.Failures]);
        search.Failures.Should().BeEmpty();
    }

    private static string Folder(string device, [CallerFilePath] string file = "") => Path.Combine(Path.GetDirectoryName(file)!, "Corpus", device);
}
