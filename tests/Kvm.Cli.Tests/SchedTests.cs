using System.Text;

namespace Kvm.Cli.Tests;

public class SchedTests
{
    private const string Header = "name,arrival,length,priority,weight\n";

    private static string Sample => Path.Combine(Published.Root(), "docs/scheduling/jobs.csv");

    private static string Jobs(string text) => Guests.Bytes("jobs.csv", Encoding.UTF8.GetBytes(text));

    [SkippableFact]
    public void The_textbook_jobs_have_the_textbook_waits()
    {
        Published.Require();
        string file = Jobs(Header + "P1,0,24,1,1\nP2,0,3,3,1\nP3,0,3,2,1\n");
        var policies = Published.Run("sched", "simulate", "--policy", "fcfs,sjf,priority,rr,tsp,rap,rrp", "--jobs", file, "--json").Json.GetProperty("policies");
        policies.GetProperty("fcfs").GetProperty("meanWait").GetDouble().Should().Be(17);
        policies.GetProperty("sjf").GetProperty("meanWait").GetDouble().Should().Be(3);
        policies.GetProperty("sjf").GetProperty("meanTurnaround").GetDouble().Should().Be(13);
        policies.GetProperty("priority").GetProperty("p99Wait").GetDouble().Should().Be(6);
        policies.GetProperty("rr").GetProperty("p50Wait").GetDouble().Should().Be(6);
        policies.GetProperty("rr").GetProperty("meanWait").GetDouble().Should().BeApproximately(17.0 / 3, 1e-9);
    }

    [SkippableFact]
    public void The_sample_of_the_documents_is_compared_in_a_table_with_charts()
    {
        Published.Require();
        string svg = Jobs("");
        var ended = Published.Run("sched", "simulate", "--policy", "fcfs,sjf,priority,rr,tsp,rap,rrp", "--jobs", Sample, "--gantt", "--svg", svg);
        ended.ExitCode.Should().Be(0, ended.Error);
        foreach (string policy in "fcfs sjf priority rr tsp rap rrp".Split(' '))
            ended.Output.Should().MatchRegex($"(?m)^{policy} +[0-9.]+").And.Contain($"\n{policy}: a character is");
        System.Xml.Linq.XDocument.Load(svg).Root!.Name.LocalName.Should().Be("svg");
    }

    [SkippableTheory]
    [InlineData("", "line 1: there is no header")]
    [InlineData("name,arrival,length,priority\nA,0,1,1\n", "line 1, column weight: is missing")]
    [InlineData("name,arrival,length,priority,weight,colour\n", "line 1, column colour: there is no such column")]
    [InlineData(Header + "A,0,1,1,1\nB,0,1,1\n", "line 3, column weight: is missing")]
    [InlineData(Header + "A,0,1,1,1,9\n", "line 2: has more than the header's 5 fields")]
    [InlineData(Header + "A,0,0,1,1\n", "line 2, column length: '0' is not above 0")]
    [InlineData(Header + "A,-1,1,1,1\n", "line 2, column arrival: '-1'")]
    [InlineData(Header + "A,0,long,1,1\n", "line 2, column length: 'long' is not a number of milliseconds")]
    [InlineData(Header + "A,0,1,1,0\n", "line 2, column weight: '0' is not a number from 0.001")]
    [InlineData(Header + "A,0,1,1,-2\n", "line 2, column weight: '-2'")]
    [InlineData(Header + "A,0,1,high,1\n", "line 2, column priority: 'high'")]
    [InlineData(Header + "A,0,inf,1,1\n", "job A never ends")]
    [InlineData(Header + "A,0,9999999999999999,1,1\n", "line 2, column length")]
    public void A_wrong_file_is_3_and_the_place_is_named(string text, string part)
    {
        Published.Require();
        Published.Run("sched", "simulate", "--policy", "rr", "--jobs", Jobs(text)).ShouldFail(3, "KVM0027", part).Output.Should().BeEmpty();
    }

    [SkippableTheory]
    [InlineData("sched", "KVM0002", "sched needs a word: simulate")]
    [InlineData("sched stimulate", "KVM0001", "stimulate")]
    [InlineData("sched simulate --jobs x", "KVM0002", "--policy")]
    [InlineData("sched simulate --policy rr", "KVM0002", "--jobs")]
    [InlineData("sched simulate --policy lifo --jobs x", "KVM0003", "'lifo' is not one of host, fcfs")]
    [InlineData("sched simulate --policy rr,rr --jobs x", "KVM0003", "rr twice")]
    [InlineData("sched simulate --policy rr --jobs x --slice 1ns", "KVM0003", "'1ns' is not from 10us to 1h")]
    [InlineData("sched simulate --policy rr --jobs x --slice 8760h", "KVM0003", "'8760h' is not from 10us to 1h")]
    [InlineData("sched simulate --policy rr --jobs x --slice 4", "KVM0003", "'4' is not a duration")]
    [InlineData("sched simulate --policy rr --jobs x --cpus 0", "KVM0003", "1 to 10000")]
    [InlineData("sched simulate --policy rr --jobs x --topology 2,2", "KVM0003", "four numbers")]
    [InlineData("sched simulate --policy rr --jobs x --cpus 2 --topology 1,1,2,1", "KVM0005", "--topology")]
    [InlineData("sched simulate --policy rr --jobs x --capacity memory=lots", "KVM0003", "memory=lots")]
    [InlineData("sched simulate --policy rr --jobs x --seed -1", "KVM0003", "--seed")]
    public void Wrong_usage_is_2(string line, string id, string part)
    {
        Published.Require();
        Published.Run(line.Split(' ')).ShouldFail(2, id, part);
    }

    [SkippableFact]
    public void The_same_seed_has_the_same_output_and_another_has_another()
    {
        Published.Require();
        string file = Jobs("name,arrival,length,priority,weight,burst,halt\nA,0,500,1,1,7,3\nB,0,500,1,1,5,9\n");
        string Run(string seed) => Published.Run("sched", "simulate", "--policy", "rr,rap", "--jobs", file, "--seed", seed, "--json").Output;
        Run("7").Should().Be(Run("7")).And.NotBe(Run("8").Replace("\"seed\": 8", "\"seed\": 7"));
    }
}
