namespace Kvm.Cli.Tests;

/// <summary>Help and completion, which are written from the tree that parses. KVMSHARP_UPDATE=1 writes the snapshots anew.</summary>
public class HelpTests
{
    private static string Snapshot(string name) => Path.Combine(Published.Root(), "tests", "Kvm.Cli.Tests", "Snapshots", name + ".txt");

    [SkippableTheory]
    [InlineData("help", "--help")]
    [InlineData("run", "run --help")]
    [InlineData("doctor", "doctor --help")]
    [InlineData("disk", "disk --help")]
    [InlineData("pool", "pool --help")]
    [InlineData("volume", "volume --help")]
    [InlineData("snapshot", "snapshot --help")]
    [InlineData("restore", "restore --help")]
    [InlineData("backup", "backup --help")]
    [InlineData("checkpoint", "checkpoint --help")]
    [InlineData("back", "back --help")]
    [InlineData("translate", "translate --help")]
    [InlineData("sched", "sched --help")]
    [InlineData("net", "net --help")]
    [InlineData("exec", "exec --help")]
    [InlineData("cp", "cp --help")]
    [InlineData("agent", "agent --help")]
    [InlineData("stats", "stats --help")]
    [InlineData("serve", "serve --help")]
    [InlineData("start", "start --help")]
    [InlineData("stop", "stop --help")]
    [InlineData("kill", "kill --help")]
    [InlineData("rm", "rm --help")]
    [InlineData("ps", "ps --help")]
    [InlineData("inspect", "inspect --help")]
    [InlineData("logs", "logs --help")]
    [InlineData("pause", "pause --help")]
    [InlineData("console", "console --help")]
    [InlineData("events", "events --help")]
    [InlineData("firecracker", "firecracker --help")]
    [InlineData("explain", "explain --help")]
    [InlineData("lab", "lab --help")]
    [InlineData("completion", "completion --help")]
    public void Help_is_as_reviewed(string name, string line)
    {
        Published.Require();
        var ended = Published.Run(line.Split(' '));
        ended.ExitCode.Should().Be(0);
        ended.Error.Should().BeEmpty();
        if (Environment.GetEnvironmentVariable("KVMSHARP_UPDATE") == "1")
            File.WriteAllText(Snapshot(name), ended.Output);
        ended.Output.Should().Be(File.ReadAllText(Snapshot(name)), "after a change of an option type: KVMSHARP_UPDATE=1 scripts/test Kvm.Cli.Tests");
        ended.Output.Split('\n').Should().OnlyContain(l => l.Length <= 110);
    }

    [SkippableFact]
    public void Trace_takes_what_run_takes_and_options_of_its_own()
    {
        Published.Require();
        var run = Published.Run("run", "--help").Output.Split('\n').Where(line => line.StartsWith("  --", StringComparison.Ordinal)).Select(line => line.Trim().Split(' ')[0]).ToList();
        var trace = Published.Run("trace", "--help").Output;
        run.Should().HaveCountGreaterThan(40);
        foreach (var option in run.Except(["--restart", "--on", "--health", "--shared"]).Concat(["--only", "--exit-port", "--exit-address", "--from", "--count", "--format", "--output", "--symbols", "--replay"]))
            trace.Should().Contain($"  {option} ");
        trace.Split('\n').Should().OnlyContain(line => line.Length <= 110);
    }

    [SkippableFact]
    public void Create_takes_what_run_takes_and_a_rule_for_starting_again()
    {
        Published.Require();
        var run = Published.Run("run", "--help").Output.Split('\n').Where(line => line.StartsWith("  --", StringComparison.Ordinal)).Select(line => line.Trim().Split(' ')[0]).ToList();
        var create = Published.Run("create", "--help").Output;
        foreach (var option in run.Except(["--from"]))
            create.Should().Contain($"  {option} ");
    }

    [SkippableFact]
    public void What_start_starts_is_shown_to_nobody()
    {
        Published.Require();
        Published.Run("--help").Output.Should().NotContain("worker");
        foreach (string shell in (string[])["bash", "zsh", "fish"])
            Published.Run("completion", shell).Output.Should().NotContain("worker");
    }

    [SkippableFact]
    public void Help_wins_over_mistakes_in_the_rest_of_the_line()
    {
        Published.Require();
        Published.Run("run", "--memory", "0", "--help").Output.Should().Contain("kvmsharp run KERNEL [options]");
        Published.Run("run", "-h").ExitCode.Should().Be(0);
        Published.Run("-?").Output.Should().Contain("Verbs:");
    }

    [SkippableTheory]
    [InlineData("kvmsharp|ru", "run")]
    [InlineData("kvmsharp|run|--en", "--engine")]
    [InlineData("kvmsharp|run|--engine|", "auto kvm soft")]
    [InlineData("kvmsharp|run|vmlinuz|--engine|k", "kvm")]
    [InlineData("kvmsharp|completion|", "bash zsh fish")]
    [InlineData("kvmsharp|run|--memory|", "")]
    [InlineData("kvmsharp|--v", "--verbose --version")]
    [InlineData("kvmsharp|do", "doctor")]
    public void Bash_completes_what_parses(string words, string expected)
    {
        Published.Require();
        var list = string.Join(' ', words.Split('|').Select(w => $"'{w}'"));
        var ended = Published.Shell($"""
            source <("$KVMSHARP" completion bash)
            COMP_WORDS=({list}); COMP_CWORD=$((${"{"}#COMP_WORDS[@]{"}"} - 1)); _kvmsharp; echo "${"{"}COMPREPLY[*]{"}"}"
            """);
        ended.Output.Trim().Should().Be(expected, ended.Error);
    }

    [SkippableFact]
    public void Bash_completes_files_with_spaces()
    {
        Published.Require();
        var folder = Directory.CreateTempSubdirectory("kvmsharp complete ").FullName;
        File.WriteAllText(Path.Combine(folder, "a kernel"), "");
        var ended = Published.Shell($"""
            compopt() {"{"} :; {"}"}
            source <("$KVMSHARP" completion bash)
            COMP_WORDS=(kvmsharp run --initrd '{folder}/a'); COMP_CWORD=3; _kvmsharp; echo "${"{"}COMPREPLY[0]{"}"}"
            """);
        Directory.Delete(folder, recursive: true);
        ended.Output.Trim().Should().Be($"{folder}/a kernel", ended.Error);
    }

    [SkippableTheory]
    [InlineData("bash", "bash -n")]
    [InlineData("zsh", "zsh -n")]
    [InlineData("fish", "fish -n")]
    public void A_completion_script_parses(string shell, string check)
    {
        Published.Require();
        Skip.IfNot(Published.Shell($"command -v {shell}").ExitCode == 0, $"{shell} is not installed");
        var ended = Published.Shell($"\"$KVMSHARP\" completion {shell} | {check} /dev/stdin");
        ended.ExitCode.Should().Be(0, ended.Error);
    }

    [SkippableTheory]
    [InlineData("zsh")]
    [InlineData("fish")]
    public void Every_option_of_run_is_in_the_completion_script(string shell)
    {
        Published.Require();
        var script = Published.Run("completion", shell).Output;
        var options = System.Text.RegularExpressions.Regex.Matches(Published.Run("run", "--help").Output, @"^  (?:-\S+, )*--([a-z-]+)", System.Text.RegularExpressions.RegexOptions.Multiline)
            .Select(m => m.Groups[1].Value).ToList();
        options.Should().HaveCountGreaterThan(20);
        foreach (var option in options)
            script.Should().Contain(shell == "fish" ? $"-l {option} " : $"'--{option}[");
        Published.Run("completion", shell, "--json").Json.GetProperty("script").GetString().Should().Be(script);
    }
}
