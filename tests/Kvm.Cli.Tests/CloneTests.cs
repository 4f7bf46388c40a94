namespace Kvm.Cli.Tests;

/// <summary><c>kvmsharp clone</c>: machines that go on from a template, as processes.</summary>
public sealed class CloneTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("kvmsharp-clones").FullName;

    public CloneTests() => Published.Require();

    public void Dispose()
    {
        foreach (string name in (ReadOnlySpan<string>)["a", "b", "c-1", "c-2"])
            Run("rm", name, "--force");
        Run("template", "drop", "t");
        Directory.Delete(_folder, recursive: true);
    }

    private Ended Run(params string[] words) =>
        Published.Shell($"export KVMSHARP_STATE='{_folder}/s' KVMSHARP_RUNTIME='{_folder}/r'; exec \"$KVMSHARP\" {string.Join(' ', words.Select(word => $"'{word}'"))} </dev/null");

    private void Build() => Run("template", "build", "t", Guests.PowerButton, "--engine", "soft", "--memory", "16M", "--net", "none,mac=52:54:00:00:00:01", "--ready-match", "R", "--timeout", "50s").ExitCode.Should().Be(0);

    [SkippableFact]
    public void Clones_go_on_from_the_template_with_addresses_of_their_own_and_boot_when_they_are_started_again()
    {
        Build();
        var made = Run("clone", "t", "a", "b", "--start", "--json").Json.EnumerateArray().ToList();
        made.Select(record => record.GetProperty("state").GetString()).Should().Equal("running", "running");
        string[] addresses = [.. made.Select(record => record.GetProperty("origin").GetProperty("changes").EnumerateArray().Single(change => change.GetProperty("what").GetString() == "net0").GetProperty("to").GetString()!)];
        addresses.Should().OnlyHaveUniqueItems().And.NotContain("52:54:00:00:00:01");
        made[0].GetProperty("parents")[0].GetString().Should().Be(Run("template", "ls", "--json").Json[0].GetProperty("identity").GetString());
        // It looks at its power button already: what it says before that it has said in the template.
        Run("stop", "a").ExitCode.Should().Be(0);
        Run("inspect", "a", "--json").Json.GetProperty("end").GetProperty("how").GetString().Should().Be("stop");
        Run("logs", "a").Output.Should().NotContain("R");
        Run("start", "a").ExitCode.Should().Be(0);
        Run("stop", "a").ExitCode.Should().Be(0);
        Run("logs", "a").Output.Should().Contain("R", "it has booted");
        Run("inspect", "b").Output.Should().Contain("made from   t");
    }

    [SkippableFact]
    public void Clone_that_is_started_when_its_template_is_in_memory_no_more_comes_from_the_store()
    {
        Build();
        Run("clone", "t", "c", "--count", "2").Output.Split('\n', StringSplitOptions.RemoveEmptyEntries).Should().HaveCount(2).And.OnlyContain(line => line.Contains("net0") && line.Contains("generation id"));
        Run("template", "drop", "t").Output.Should().Be("dropped: t\n");
        Run("start", "c-1").ExitCode.Should().Be(0);
        Run("stop", "c-1").ExitCode.Should().Be(0);
        Run("logs", "c-1").Output.Should().NotContain("R");
        Run("template", "rm", "t").ExitCode.Should().Be(0);
        Run("start", "c-2").ShouldFail(1, "KVM0608", "t");
    }

    [SkippableFact]
    public void Wrong_usage_is_said()
    {
        Run("clone").ShouldFail(2, "KVM0002", "SOURCE");
        Run("clone", "nothing").ShouldFail(2, "KVM0500");
        Run("clone", "t", "a", "--count", "0").ShouldFail(2, "KVM0003", "1 to 1000");
        Run("clone", "t", "a", "b", "--count", "2").ShouldFail(2, "KVM0005");
        Build();
        Run("clone", "t", "a", "a").ShouldFail(2, "KVM0603");
        Run("clone", "t", "../a").ShouldFail(2, "KVM0602");
    }
}
