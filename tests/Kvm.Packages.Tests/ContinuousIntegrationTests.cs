using System.Diagnostics;
using System.Text.RegularExpressions;
using YamlDotNet.RepresentationModel;

namespace Kvm.Packages.Tests;

/// <summary>What other projects' continuous integration takes from here (docs/ci.md).</summary>
public sealed partial class ContinuousIntegrationTests
{
    private static readonly string _action = File.ReadAllText(GuestFiles.RequireSource(".github/actions/kvmsharp/action.yml"));

    [Fact]
    public void The_action_is_a_composite_action_each_of_whose_steps_says_what_it_runs()
    {
        var action = Parse(_action);
        Scalar(action, "name").Should().Be("kvmsharp");
        var runs = (YamlMappingNode)action["runs"];
        Scalar(runs, "using").Should().Be("composite");
        foreach (var step in ((YamlSequenceNode)runs["steps"]).Cast<YamlMappingNode>())
        {
            // A composite action's `run` needs a shell; a step is either.
            (step.Children.ContainsKey("run") ? Scalar(step, "shell") : Scalar(step, "uses")).Should().NotBeNullOrEmpty();
            step.Children.Keys.Select(key => ((YamlScalarNode)key).Value).Should().BeSubsetOf(["name", "id", "if", "shell", "run", "env", "uses", "with"]);
        }
    }

    [Fact]
    public void Whatever_the_action_refers_to_is_there()
    {
        var action = Parse(_action);
        var steps = ((YamlSequenceNode)action["runs"]["steps"]).Cast<YamlMappingNode>().ToList();
        var ids = steps.Where(step => step.Children.ContainsKey("id")).Select(step => Scalar(step, "id"));
        StepReference().Matches(_action).Select(m => m.Groups[1].Value).Should().NotBeEmpty().And.BeSubsetOf(ids);
        var inputs = ((YamlMappingNode)action["inputs"]).Children.Keys.Select(key => ((YamlScalarNode)key).Value!);
        InputReference().Matches(_action).Select(m => m.Groups[1].Value).Distinct().Should().BeEquivalentTo(inputs);
        foreach (Match script in ScriptName().Matches(_action))
            File.Exists(GuestFiles.RequireSource(script.Groups[1].Value)).Should().BeTrue(script.Value);
    }

    [Fact]
    public void Each_script_of_the_action_is_one_to_bash_and_takes_inputs_by_its_environment()
    {
        foreach (var step in ((YamlSequenceNode)Parse(_action)["runs"]["steps"]).Cast<YamlMappingNode>().Where(step => step.Children.ContainsKey("run")))
        {
            string script = Scalar(step, "run");
            // An expression in a script is text that somebody else writes into it.
            script.Should().NotContain("${{");
            using var bash = Process.Start(new ProcessStartInfo("bash", ["-n", "-c", script]) { RedirectStandardError = true })!;
            string errors = bash.StandardError.ReadToEnd();
            bash.WaitForExit();
            errors.Should().BeEmpty();
        }
    }

    [Fact]
    public void The_documents_examples_are_YAML()
    {
        var examples = Example().Matches(File.ReadAllText(GuestFiles.RequireSource("docs/ci.md"))).Select(m => Parse(m.Groups[1].Value)).ToList();
        examples.Should().HaveCount(2);
        var steps = (YamlSequenceNode)examples[0]["jobs"]["test"]["steps"];
        var inputs = ((YamlMappingNode)Parse(_action)["inputs"]).Children.Keys;
        var used = (YamlMappingNode)steps.Cast<YamlMappingNode>().Single(step => step.Children.TryGetValue("uses", out var what) && what.ToString().Contains("kvmsharp", StringComparison.Ordinal))["with"];
        used.Children.Keys.Should().BeSubsetOf(inputs);
        ((YamlSequenceNode)examples[1]["test"]["script"]).Should().NotBeEmpty();
    }

    private static YamlMappingNode Parse(string text)
    {
        var stream = new YamlStream();
        stream.Load(new StringReader(text));
        return (YamlMappingNode)stream.Documents.Should().ContainSingle().Subject.RootNode;
    }

    private static string Scalar(YamlMappingNode node, string key) => ((YamlScalarNode)node[key]).Value!;

    [GeneratedRegex(@"steps\.([\w-]+)\.outputs")]
    private static partial Regex StepReference();

    [GeneratedRegex(@"inputs\.([\w-]+)")]
    private static partial Regex InputReference();

    [GeneratedRegex(@"\$root/(scripts/[\w-]+)")]
    private static partial Regex ScriptName();

    [GeneratedRegex("```yaml\n(.*?)```", RegexOptions.Singleline)]
    private static partial Regex Example();
}
