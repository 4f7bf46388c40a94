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

    public static TheoryData<string> Policies => [.. PolicyNames.All];

    [Theory]
    [MemberData(nameof(Policies))]
    public void The_worked_example_of_a_policy_is_what_it_does(string policy)
    {
        string page = File.ReadAllText(Page);
        var example = Example().Matches(page).Single(match => match.Groups["policy"].Value == policy);
        string table = Table(policy, example.Groups["jobs"].Value, example.Groups["rest"].Value);
        if (Environment.GetEnvironmentVariable("KVMSHARP_UPDATE") == "1")
            File.WriteAllText(Page, page = page[..example.Groups["table"].Index] + table + page[(example.Groups["table"].Index + example.Groups["table"].Length)..]);
        Example().Matches(page).Single(match => match.Groups["policy"].Value == policy).Groups["table"].Value.Should().Be(table);
    }

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
        double memory = Memory().Match(options) is { Success: true } host ? double.Parse(host.Groups[1].Value, CultureInfo.InvariantCulture) * (1L << 30) : 0;
        var settings = On(cpus) with { Policy = new PolicySettings { Capacity = new ResourceVector(cpus, memory) } };
        var result = Simulator.Run(policy, jobs, settings);
        var text = new StringBuilder("| job | arrives | length | runs | ends | turnaround | wait |\n|---|---|---|---|---|---|---|\n");
        for (int i = 0; i < jobs.Count; i++)
        {
            string stays = string.Join(", ", result.Stays.Where(stay => stay.Job == i).OrderBy(stay => stay.From).ThenBy(stay => stay.Cpu)
                .Select(stay => $"{InMs(stay.From)}–{InMs(stay.To)}{(cpus > 1 ? $" on {stay.Cpu}" : "")}"));
            var outcome = result.Jobs[i];
            text.Append(CultureInfo.InvariantCulture, $"| {jobs[i].Name} | {InMs(jobs[i].Arrival)} | {InMs(jobs[i].Length)} | {stays} | {InMs(outcome.Finish)} | {InMs(outcome.Finish - jobs[i].Arrival)} | {InMs(outcome.Wait)} |\n");
        }

        return text.Append(CultureInfo.InvariantCulture, $"| mean | | | | | {result.Measures.Turnaround.Mean / Ms:0.00} | {result.Measures.Wait.Mean / Ms:0.00} |\n").ToString();
    }

    [GeneratedRegex(@"^`kvmsharp sched simulate --policy (?<policy>[a-z-]+) --jobs (?<jobs>\S+?)(?<rest> [^`]*)?`\n\n(?<table>(?:\|.*\n)*)", RegexOptions.Multiline)]
    private static partial Regex Example();

    [GeneratedRegex(@"--cpus (\d+)")]
    private static partial Regex CpuCount();

    [GeneratedRegex(@"memory=(\d+)G")]
    private static partial Regex Memory();
}
