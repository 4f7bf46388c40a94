using System.Globalization;
using System.Runtime.CompilerServices;
using System.Text;
using System.Text.RegularExpressions;
using Kvm.Sched.Simulation;
using static Kvm.Sched.Tests.JobLists;

namespace Kvm.Sched.Tests;

/// <summary>The worked examples of docs/scheduling.md are what the policies do. KVMSHARP_UPDATE=1 writes their tables anew.</summary>
public sealed partial class DocumentTests
{
    private static string Root([CallerFilePath] string file = "") => Path.GetFullPath(Path.Combine(Path.GetDirectoryName(file)!, "../.."));

    private static string Page => Path.Combine(Root(), "docs/scheduling.md");

    public static TheoryData<string, string> Examples
    {
        get
        {
            var data = new TheoryData<string, string>();
            foreach (Match match in Example().Matches(File.ReadAllText(Page)))
                data.Add(match.Groups["policy"].Value, match.Groups["jobs"].Value);
            return data;
        }
    }

    [Theory]
    [MemberData(nameof(Examples))]
    public void The_worked_example_of_a_policy_is_what_it_does(string policy, string jobs)
    {
        string page = File.ReadAllText(Page);
        var example = Find(page, policy, jobs);
        string table = Table(policy, jobs, example.Groups["rest"].Value);
        if (Environment.GetEnvironmentVariable("KVMSHARP_UPDATE") == "1")
            File.WriteAllText(Page, page = page[..example.Groups["table"].Index] + table + page[(example.Groups["table"].Index + example.Groups["table"].Length)..]);
        Find(page, policy, jobs).Groups["table"].Value.Should().Be(table);
    }

    [Fact]
    public void Every_policy_has_a_worked_example() =>
        Example().Matches(File.ReadAllText(Page)).Select(match => match.Groups["policy"].Value).Distinct().Should().Equal(PolicyNames.All);

    private static Match Find(string page, string policy, string jobs) =>
        Example().Matches(page).Single(match => match.Groups["policy"].Value == policy && match.Groups["jobs"].Value == jobs);

    [Fact]
    public void Every_policy_has_a_section_and_a_column_of_the_property_table()
    {
        string page = File.ReadAllText(Page);
        string header = page.Split('\n').Single(line => line.StartsWith("| property |", StringComparison.Ordinal));
        header.Split('|', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries).Skip(1).Should().Equal(PolicyNames.All);
        foreach (string policy in PolicyNames.All)
            page.Should().Contain($"\n### {policy}\n");
    }

    [Fact]
    public void Every_column_of_a_jobs_file_is_explained()
    {
        string page = File.ReadAllText(Page);
        foreach (string column in JobFile.Columns)
            page.Should().Contain($"`{column}`");
    }

    private static string Table(string policy, string file, string options)
    {
        using var reader = new StreamReader(Path.Combine(Root(), file));
        var jobs = JobFile.Read(reader);
        jobs.Count.Should().BeLessThanOrEqualTo(6);
        int cpus = CpuCount().Match(options) is { Success: true } match ? int.Parse(match.Groups[1].Value, CultureInfo.InvariantCulture) : 1;
        var capacity = new ResourceVector(cpus, Capacity(options, "memory"), Capacity(options, "disk"), 0, Capacity(options, "network"));
        var settings = On(cpus) with { Policy = new PolicySettings { Capacity = capacity } };
        var result = Simulator.Run(policy, jobs, settings);
        bool serves = policy == "rap";
        var text = new StringBuilder($"| job | arrives | length | runs | ends | turnaround | wait |{(serves ? " R |" : "")}\n|---|---|---|---|---|---|---|{(serves ? "---|" : "")}\n");
        for (int i = 0; i < jobs.Count; i++)
        {
            string stays = string.Join(", ", result.Stays.Where(stay => stay.Job == i).OrderBy(stay => stay.From).ThenBy(stay => stay.Cpu)
                .Select(stay => $"{InMs(stay.From)}–{InMs(stay.To)}{(cpus > 1 ? $" on {stay.Cpu}" : "")}"));
            var outcome = result.Jobs[i];
            text.Append(CultureInfo.InvariantCulture, $"| {jobs[i].Name} | {InMs(jobs[i].Arrival)} | {InMs(jobs[i].Length)} | {stays} | {InMs(outcome.Finish)} | {InMs(outcome.Finish - jobs[i].Arrival)} | {InMs(outcome.Wait)} |{(serves ? $" {Served(outcome.Served)} |" : "")}\n");
        }

        return text.Append(CultureInfo.InvariantCulture, $"| mean | | | | | {result.Measures.Turnaround.Mean / Ms:0.00} | {result.Measures.Wait.Mean / Ms:0.00} |{(serves ? " |" : "")}\n").ToString();
    }

    private static string Served(ResourceVector served) =>
        string.Join(", ", Enumerable.Range(0, ResourceVector.Kinds).Where(kind => served[kind] > 0).Select(kind => $"{ResourceVector.Names[kind]} {InMs(served[kind])}"));

    private static double Capacity(string options, string name) =>
        Regex.Match(options, name + @"=(\d+[MG])") is { Success: true } match && Amounts.TryParse(match.Groups[1].Value, out double amount) ? amount : 0;

    [GeneratedRegex(@"^`kvmsharp sched simulate --policy (?<policy>[a-z-]+) --jobs (?<jobs>\S+?)(?<rest> [^`]*)?`\n\n(?<table>(?:\|.*\n)*)", RegexOptions.Multiline)]
    private static partial Regex Example();

    [GeneratedRegex(@"--cpus (\d+)")]
    private static partial Regex CpuCount();
}
