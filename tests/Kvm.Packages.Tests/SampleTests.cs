namespace Kvm.Packages.Tests;

/// <summary>The samples, as somebody runs them who has just cloned the repository.</summary>
public sealed class SampleTests
{
    public static TheoryData<string> Samples => [.. Directory.GetDirectories(GuestFiles.RequireSource("samples")).Select(folder => Path.GetFileName(folder)!).Order()];

    [SkippableTheory]
    [MemberData(nameof(Samples))]
    public void A_sample_is_built_and_its_tests_pass(string name)
    {
        GuestFiles.Require("small/vmlinux");
        string said = Tool.Run(GuestFiles.RequireSource("."), "dotnet", ["test", $"samples/{name}", "-c", "Release"], ("DOTNET_CLI_UI_LANGUAGE", "en"));
        // A sample whose kernels cannot be had here says so in each of its tests.
        said.Should().MatchRegex("Passed!|Skipped!").And.NotContain("Failed!");
    }
}
