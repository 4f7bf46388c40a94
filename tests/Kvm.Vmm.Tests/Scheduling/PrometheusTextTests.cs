using System.Globalization;
using System.Text.RegularExpressions;
using Kvm.Sched;
using Kvm.Vmm.Scheduling;

namespace Kvm.Vmm.Tests.Scheduling;

/// <summary>The text format 0.0.4 of Prometheus, read back by its grammar: a family is its help, its type and then its samples, all in one place.</summary>
public sealed partial class PrometheusTextTests
{
    private static readonly ServiceView s_service = new(3, 1 << 30, 4, new AdmissionLimits(1L << 32, 64), 1, null);

    [Fact]
    public void The_text_of_a_scheduler_follows_the_format()
    {
        var samples = Parse(PrometheusText.Of(View("rr", "web"), s_service));

        var queued = samples.Single(s => s.Name == "kvmsharp_sched_queued");
        queued.Value.Should().Be(3);
        queued.Labels.Should().Equal(("policy", "rr"), ("cpus", "0-1"));
        var failures = samples.Single(s => s.Name == "kvmsharp_sched_vcpu_affinity_failures_total");
        failures.Value.Should().Be(7);
        failures.Labels.Should().Contain(("vm", "web"));
        samples.Single(s => s.Name == "kvmsharp_sched_revoke_seconds_count").Value.Should().Be(2);
        samples.Single(s => s.Name == "kvmsharp_sched_estimate_error_ratio").Value.Should().Be(0.25);
    }

    [Fact]
    public void Two_schedulers_have_each_family_once_and_samples_that_differ()
    {
        string merged = PrometheusText.Merge([PrometheusText.Of(View("rr", "web"), s_service), PrometheusText.Of(View("fcfs", "web"), s_service)]);

        var samples = Parse(merged);

        samples.Where(s => s.Name == "kvmsharp_sched_guests").Select(s => s.Labels.First(label => label.Name == "policy").Value).Should().Equal("rr", "fcfs");
    }

    [Theory]
    [InlineData("a\"b")]
    [InlineData("a\\b")]
    [InlineData("a\nb")]
    [InlineData("{},=")]
    [InlineData("ä\u001b[0m")]
    public void A_name_that_would_end_a_label_does_not(string name)
    {
        var samples = Parse(PrometheusText.Of(View("rr", name), s_service));

        samples.Where(s => s.Name == "kvmsharp_sched_vcpu_ran_seconds_total").Should().ContainSingle()
            .Which.Labels.First(label => label.Name == "vm").Value.Should().Be(Vmm.Configuration.VisibleText.Escape(name));
    }

    private static SchedulingView View(string policy, string name) => new()
    {
        Settings = new DispatcherSettings { Policy = policy, Topology = CpuTopology.Flat(2) },
        Vms = [new VmView(name, 42, new JobSpec(), "", 5, "", [new VcpuView(0, "running", 1, 1_500_000_000, 2, 3, 4, 5, 6, 7, "")])],
        RevokeLatency = (2, 30_000, 10_000, 20_000, 20_000),
        EstimateError = 0.25,
    };

    private static List<(string Name, (string Name, string Value)[] Labels, double Value)> Parse(string text)
    {
        text.Should().EndWith("\n").And.NotContain("\n\n").And.NotContain("\r");
        var samples = new List<(string, (string, string)[], double)>();
        var seen = new HashSet<string>();
        string family = "", type = "";
        foreach (string line in text.TrimEnd('\n').Split('\n'))
        {
            if (Help().Match(line) is { Success: true } help)
            {
                family = help.Groups[1].Value;
                type = "";
                seen.Add(family).Should().BeTrue($"{family} is one group");
            }
            else if (Type().Match(line) is { Success: true } typed)
            {
                typed.Groups[1].Value.Should().Be(family);
                type.Should().BeEmpty("a family has one type, before its samples");
                type = typed.Groups[2].Value;
            }
            else
            {
                var sample = Sample().Match(line);
                sample.Success.Should().BeTrue(line);
                string name = sample.Groups["name"].Value;
                type.Should().NotBeEmpty();
                (name == family || (type == "summary" && (name == family + "_sum" || name == family + "_count"))).Should().BeTrue(line);
                if (type == "counter")
                    name.Should().EndWith("_total");
                (string, string)[] labels = [.. Label().Matches(sample.Groups["labels"].Value).Select(label => (label.Groups[1].Value, Unquoted(label.Groups[2].Value)))];
                samples.Add((name, labels, double.Parse(sample.Groups["value"].Value, NumberStyles.Float, CultureInfo.InvariantCulture)));
            }
        }

        samples.Select(s => s.Item1 + string.Join(',', s.Item2)).Should().OnlyHaveUniqueItems();
        return samples;
    }

    private static string Unquoted(string text) => Regex.Replace(text, @"\\(.)", m => m.Groups[1].Value == "n" ? "\n" : m.Groups[1].Value);

    [GeneratedRegex("^# HELP ([a-zA-Z_:][a-zA-Z0-9_:]*) .+$")]
    private static partial Regex Help();

    [GeneratedRegex("^# TYPE ([a-zA-Z_:][a-zA-Z0-9_:]*) (counter|gauge|histogram|summary|untyped)$")]
    private static partial Regex Type();

    [GeneratedRegex("""^(?<name>[a-zA-Z_:][a-zA-Z0-9_:]*)\{(?<labels>[a-zA-Z_][a-zA-Z0-9_]*="(\\[\\"n]|[^\\"\n])*"(,[a-zA-Z_][a-zA-Z0-9_]*="(\\[\\"n]|[^\\"\n])*")*)\} (?<value>[-+0-9.eE]+|NaN|[+-]Inf)$""")]
    private static partial Regex Sample();

    [GeneratedRegex(@"([a-zA-Z_][a-zA-Z0-9_]*)=""((?:\\[\\""n]|[^\\""\n])*)""")]
    private static partial Regex Label();
}
