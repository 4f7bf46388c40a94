using System.Diagnostics;
using System.Xml.Linq;

namespace Kvm.Testing.Tests;

/// <summary>What xunit 3 makes of tests with guests: it runs tests/Kvm.Testing.Xunit3.Specimens, a program of its own.</summary>
public sealed class Xunit3Tests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("kvmsharp-xunit3").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [VmFact]
    public async Task Tests_pass_fail_with_what_their_guest_did_and_are_skipped_where_it_cannot_be()
    {
        _ = GuestImage.Small;
        string kept = Path.Combine(_folder, "kept");
        var tests = await RunAsync(kept);

        string Result(string test) => (string)tests.Single(t => ((string)t.Attribute("name")!).Contains(test, StringComparison.Ordinal)).Attribute("result")!;
        Result("Passes").Should().Be("Pass");
        Result("another").Should().Be("Pass");
        Result("one").Should().Be("Fail");
        Result("by_what_it_says").Should().Be("Skip");
        Result("before_it_runs").Should().Be("Skip");
        tests.Should().Contain(test => test.Value.Contains("not today")).And.Contain(test => test.Value.Contains("there is no such image"));

        string folder = Directory.GetDirectories(kept).Should().ContainSingle("one has failed").Subject;
        tests.Should().ContainSingle(test => test.Value.Contains(folder));
        (await File.ReadAllTextAsync(Path.Combine(folder, "console.log"))).Should().Contain("failing one");
        (await File.ReadAllTextAsync(Path.Combine(folder, "report.json"))).Should().Contain("\"exits\"");
    }

    private async Task<IReadOnlyList<XElement>> RunAsync(string kept)
    {
        const string specimens = "Kvm.Testing.Xunit3.Specimens";
        string here = AppContext.BaseDirectory.TrimEnd('/'), results = Path.Combine(_folder, "results.xml");
        string program = Path.Combine(here, "..", "..", specimens, Path.GetFileName(here), $"{specimens}.dll");
        var start = new ProcessStartInfo("dotnet", [program, "-xml", results]) { RedirectStandardOutput = true };
        start.Environment["KVMSHARP_ARTIFACTS"] = kept;
        using var process = Process.Start(start)!;
        string said = await process.StandardOutput.ReadToEndAsync();
        await process.WaitForExitAsync();
        File.Exists(results).Should().BeTrue(said);
        return [.. XDocument.Load(results).Descendants("test")];
    }
}
