using System.Diagnostics;
using System.Text.RegularExpressions;

namespace Kvm.Architecture.Tests;

/// <summary>docs/cli.md and `--help` say the same.</summary>
public sealed partial class CommandLineDocumentTests
{
    private const string Program = "artifacts/kvmsharp/kvmsharp";

    [SkippableFact]
    public void Every_verb_and_option_of_the_help_is_in_the_document()
    {
        var help = Help();
        var verbs = Verbs(help).ToList();
        Skip.If(verbs.Count == 0, "the program has no verbs yet");
        var document = Repository.Read("docs/cli.md");
        foreach (var verb in verbs)
        {
            document.Should().Contain($"`{verb}", "docs/cli.md tells of every verb");
            foreach (Match option in Option().Matches(Help(verb)))
                document.Should().Contain(option.Value, $"docs/cli.md tells of every option of `{verb}`");
        }
    }

    private static string Help(params string[] verb)
    {
        var program = Repository.PathOf(Program);
        Skip.IfNot(File.Exists(program), "the program was not published: scripts/build");
        using var process = Process.Start(new ProcessStartInfo(program, [.. verb, "--help"]) { RedirectStandardOutput = true, RedirectStandardError = true })!;
        var errors = process.StandardError.ReadToEndAsync();
        var help = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return help + errors.Result;
    }

    private static IEnumerable<string> Verbs(string help)
    {
        var at = help.IndexOf("Verbs:", StringComparison.Ordinal);
        return at < 0 ? [] : Verb().Matches(help[at..]).Select(match => match.Groups[1].Value);
    }

    [GeneratedRegex(@"^  ([a-z][a-z-]*)", RegexOptions.Multiline)]
    private static partial Regex Verb();

    [GeneratedRegex(@"--[a-z][a-z-]+")]
    private static partial Regex Option();
}
