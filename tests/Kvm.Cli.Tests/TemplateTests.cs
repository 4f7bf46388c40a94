namespace Kvm.Cli.Tests;

/// <summary><c>kvmsharp template</c> and <c>run --from</c> as processes.</summary>
public sealed class TemplateTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("kvmsharp-templates").FullName;

    public TemplateTests() => Published.Require();

    public void Dispose()
    {
        Run("template", "drop", "t", "u");
        Directory.Delete(_folder, recursive: true);
    }

    private Ended Run(params string[] words) =>
        Published.Shell($"export KVMSHARP_STATE='{_folder}/s' KVMSHARP_RUNTIME='{_folder}/r'; exec \"$KVMSHARP\" {string.Join(' ', words.Select(word => $"'{word}'"))} </dev/null");

    private Ended Build(string name) => Run("template", "build", name, Guests.Loop, "--engine", "soft", "--memory", "16M", "--ready-match", "R", "--timeout", "50s");

    [SkippableFact]
    public void A_template_from_its_making_to_its_end()
    {
        Run("template", "ls").Output.Should().Be("There are no templates.\n");
        Build("t").Should().Match<Ended>(e => e.ExitCode == 0 && e.Error.Contains("t is in the store"));
        Build("t").ShouldFail(2, "KVM0501");
        Run("template", "ls").Output.Should().Contain("(template)").And.NotContain("in memory");
        Run("run", "--from", "t", "--timeout", "500ms", "--verbose").Should().Match<Ended>(e => e.ExitCode == 13 && e.Error.Contains("generation id: new"));
        Run("template", "ls").Output.Should().Contain("in memory");
        Run("template", "drop", "t").Output.Should().Be("dropped: t\n");
        Run("template", "drop", "t").Output.Should().Be("dropped: none\n");
        Run("run", "--from", "t", "--timeout", "500ms").ExitCode.Should().Be(13, "it is put into memory again");
        Run("template", "inspect", "t").Output.Should().Contain("template");
        Run("template", "rm", "t").ExitCode.Should().Be(0);
        Run("run", "--from", "t").ShouldFail(2, "KVM0500", "t");
        Directory.Exists(Path.Combine(_folder, "s", "clones", "t")).Should().BeFalse();
    }

    [SkippableFact]
    public void Template_that_was_made_anew_is_not_mistaken_for_the_one_in_memory()
    {
        Build("u").ExitCode.Should().Be(0);
        Run("run", "--from", "u", "--timeout", "300ms").ExitCode.Should().Be(13);
        string before = Run("template", "ls", "--json").Json[0].GetProperty("identity").GetString()!;
        // Not by template rm, which takes it out of memory too.
        Run("snapshot", "rm", "u").ExitCode.Should().Be(0);
        Build("u").ExitCode.Should().Be(0);
        Run("template", "ls").Output.Should().NotContain("in memory");
        Run("run", "--from", "u", "--timeout", "300ms").ExitCode.Should().Be(13);
        Run("template", "ls", "--json").Json[0].GetProperty("identity").GetString().Should().NotBe(before);
        Run("template", "ls").Output.Should().Contain("in memory");
    }

    [SkippableFact]
    public void Wrong_usage_is_said()
    {
        Run("template").ShouldFail(2, "KVM0002", "build, ls");
        Run("template", "build", "t").ShouldFail(2, "KVM0004");
        Run("template", "build", "t", Guests.Loop, "--engine", "soft").ShouldFail(2, "KVM0002", "--ready-match");
        Run("template", "build", "../t", Guests.Loop, "--engine", "soft", "--ready-match", "R").ShouldFail(2, "KVM0510");
        Run("template", "build", "t", Guests.Six, "--engine", "soft", "--ready-match", "never").ShouldFail(2, "KVM0523", "never wrote 'never'");
        Run("run", "--from", "t", Guests.Six).ShouldFail(2, "KVM0005", "--from");
        Run("run", "--from", "../t").ShouldFail(2, "KVM0510");
    }

    [SkippableFact]
    public void Guest_goes_on_lazily_where_userfaultfd_is_permitted_and_eagerly_where_it_is_not()
    {
        Published.RequireRoot();
        Skip.IfNot(File.Exists("/usr/bin/setpriv"), "needs setpriv");
        Skip.IfNot(File.ReadAllText("/proc/sys/vm/unprivileged_userfaultfd").Trim() == "0", "this host permits userfaultfd to everybody");
        Build("t").ExitCode.Should().Be(0);
        Run("restore", "t", "--lazy", "--timeout", "300ms").Should().Match<Ended>(e => e.ExitCode == 13 && !e.Error.Contains("all memory is read"));
        Published.Shell($"chown -R 65534 '{_folder}'; KVMSHARP_STATE='{_folder}/s' KVMSHARP_RUNTIME='{_folder}/r' setpriv --reuid 65534 --clear-groups \"$KVMSHARP\" restore t --lazy --timeout 300ms --engine soft </dev/null")
            .Should().Match<Ended>(e => e.ExitCode == 13 && e.Error.Contains("all memory is read before the guest goes on: userfaultfd"));
    }
}
