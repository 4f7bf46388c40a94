using System.Diagnostics;
using System.Text.RegularExpressions;

namespace Kvm.Architecture.Tests;

/// <summary>Scripts, documents and build settings.</summary>
public sealed partial class RepositoryRuleTests
{
    public static TheoryData<string> Scripts => [.. Repository.Files("*", "scripts").Append(".ci/run").Where(IsShell)];

    [Theory]
    [MemberData(nameof(Scripts))]
    public void A_script_parses(string script)
    {
        using var bash = Process.Start(new ProcessStartInfo("bash", ["-n", Repository.PathOf(script)]) { RedirectStandardError = true })!;
        var errors = bash.StandardError.ReadToEnd();
        bash.WaitForExit();
        errors.Should().BeEmpty();
        bash.ExitCode.Should().Be(0);
    }

    [Theory]
    [MemberData(nameof(Scripts))]
    public void A_script_can_be_run_unless_it_is_a_library(string script)
    {
        var executable = (File.GetUnixFileMode(Repository.PathOf(script)) & UnixFileMode.UserExecute) != 0;
        executable.Should().Be(!script.EndsWith(".sh", StringComparison.Ordinal));
    }

    [Fact]
    public void No_file_names_a_folder_or_the_name_of_the_machine_it_was_written_on()
    {
        var name = Environment.MachineName;
        var strays = from file in TrackedTexts()
                     let text = Repository.Read(file)
                     where text.Contains("/" + "work/", StringComparison.Ordinal) || HomeFolder().IsMatch(text)
                         || (name.Length >= 8 && text.Contains(name, StringComparison.OrdinalIgnoreCase))
                     select file;
        strays.Should().BeEmpty();
    }

    [Fact]
    public void Every_project_is_in_the_solution()
    {
        var solution = Repository.Read("Kvm.sln").Replace('\\', '/');
        Repository.Files("*.csproj", "src", "tests").Where(project => !solution.Contains(project, StringComparison.Ordinal)).Should().BeEmpty();
    }

    [Fact]
    public void Every_document_is_linked_from_the_index()
    {
        var index = Repository.Read("docs/README.md");
        Repository.Files("*.md", "docs").Where(file => file != "docs/README.md")
            .Where(file => !index.Contains($"({file["docs/".Length..]})", StringComparison.Ordinal)).Should().BeEmpty();
    }

    [Fact]
    public void Every_relative_link_of_a_document_leads_somewhere()
    {
        var broken = from file in Repository.Files("*.md", "docs").Concat(Directory.GetFiles(Repository.Root, "*.md").Select(file => Path.GetFileName(file)!))
                     from Match link in Link().Matches(Repository.Read(file))
                     let target = link.Groups[1].Value.Split('#')[0]
                     where target.Length > 0 && !target.Contains("://", StringComparison.Ordinal)
                     let path = Path.Combine(Repository.Root, Path.GetDirectoryName(file)!, target)
                     where !File.Exists(path) && !Directory.Exists(path)
                     select $"{file}: {target}";
        broken.Should().BeEmpty();
    }

    [Fact]
    public void Every_script_and_source_file_that_a_document_names_exists()
    {
        var broken = from file in Repository.Files("*.md", "docs").Concat(Directory.GetFiles(Repository.Root, "*.md").Select(file => Path.GetFileName(file)!))
                     where file != "CHANGELOG.md"
                     from Match named in NamedPath().Matches(Repository.Read(file))
                     let target = named.Groups[1].Value.TrimEnd('/')
                     where !File.Exists(Repository.PathOf(target)) && !Directory.Exists(Repository.PathOf(target))
                     select $"{file}: {target}";
        broken.Should().BeEmpty();
    }

    [SkippableFact]
    public void The_small_kernel_holds_every_option_of_its_fragment()
    {
        var config = Repository.PathOf("artifacts/guest/small/config");
        Skip.IfNot(File.Exists(config), "the small kernel was not built: scripts/guest-kernel small");
        var held = File.ReadLines(config).ToHashSet();
        File.ReadLines(Repository.PathOf("tests/guest/linux-6.1-small.defconfig"))
            .Where(line => line.Trim().Length > 0 && (line[0] != '#' || line.StartsWith("# CONFIG_", StringComparison.Ordinal))).Where(line => !held.Contains(line)).Should().BeEmpty();
    }

    private static bool IsShell(string file) => File.ReadLines(Repository.PathOf(file)).FirstOrDefault() is { } first
        && (file.EndsWith(".sh", StringComparison.Ordinal) || first.Contains("bash", StringComparison.Ordinal));

    private static IEnumerable<string> TrackedTexts() => Repository.Files("*", "src", "tests", "scripts", "docs", ".ci")
        .Concat(Directory.GetFiles(Repository.Root).Select(file => Path.GetFileName(file)!))
        .Where(file => Path.GetExtension(file) is "" or ".cs" or ".md" or ".sh" or ".c" or ".h" or ".S" or ".csproj" or ".props" or ".json" or ".sln");

    [GeneratedRegex(@"(?<![\w.$~}])/(root|home)/\w")]
    private static partial Regex HomeFolder();

    [GeneratedRegex(@"\]\(([^)\s]+)\)")]
    private static partial Regex Link();

    [GeneratedRegex(@"`((?:src|tests|scripts|docs)/[\w./-]+)")]
    private static partial Regex NamedPath();
}
