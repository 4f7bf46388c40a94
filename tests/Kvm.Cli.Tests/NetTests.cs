using System.Text;

namespace Kvm.Cli.Tests;

/// <summary>Networks as models on the command line: looked at, asked, served.</summary>
public sealed class NetTests
{
    private const int SigTerm = 15;

    private static string File(string name, string more = "") => Guests.Bytes($"{name}.json", Encoding.UTF8.GetBytes($$"""
        {
          "name": "{{name}}", "subnet": "10.40.0.0/24", {{more}}
          "machines": [ { "name": "web1", "labels": ["web"], "address": "10.40.0.11", "mac": "52:54:00:00:00:11" }, { "name": "db1", "labels": ["db"] } ],
          "services": [ { "name": "pg", "port": "tcp/5432", "backends": "label=db" } ],
          "rules": [ "allow from label=web to label=db tcp/5432" ]
        }
        """));

    [SkippableFact]
    public void Check_says_who_is_where()
    {
        Published.Require();
        var ended = Published.Run("net", "check", File("checked"));
        ended.ExitCode.Should().Be(0, ended.Error);
        ended.Output.Should().Contain("checked  10.40.0.0/24  uplink none  server 10.40.0.2").And.MatchRegex("web1 +10.40.0.11 +52:54:00:00:00:11 +1 web")
            .And.MatchRegex("pg +10.40.0.3 +tcp/5432 +db1").And.Contain("1 rules, then deny");
        var json = Published.Run("net", "check", File("checked"), "--json").Json;
        json.GetProperty("machines")[1].GetProperty("address").GetString().Should().Be("10.40.0.1", "it is the lowest that nobody has: there is no gateway");
        json.GetProperty("default").GetString().Should().Be("deny");
    }

    [SkippableFact]
    public void Why_says_which_rule_decides()
    {
        Published.Require();
        Published.Run("net", "why", File("asked"), "web1", "pg", "tcp/5432").Output.Should()
            .Be("allowed: web1 to db1 by tcp/5432: rule 1, 'allow from label=web to label=db tcp/5432', is the first about it: web1 has the label web, db1 has the label db\n");
        var decision = Published.Run("net", "why", File("asked"), "db1", "web1", "icmp", "--json").Json.GetProperty("decisions")[0];
        (decision.GetProperty("allowed").GetBoolean(), decision.GetProperty("rule").ValueKind).Should().Be((false, System.Text.Json.JsonValueKind.Null));
    }

    [SkippableFact]
    public void Mistakes_are_named()
    {
        Published.Require();
        Published.Run("net").ShouldFail(2, "KVM0002", "check, why, serve, define, ls, inspect, start, stop, autostart, rm");
        Published.Run("net", "chekc", "x").ShouldFail(2, "KVM0001", "chekc");
        Published.Run("net", "why", File("wrong"), "web1", "db1").ShouldFail(2, "KVM0002", "net why lab.json web1 db1 tcp/5432");
        Published.Run("net", "why", File("wrong"), "web1", "db1", "tcp").ShouldFail(2, "KVM0003", "tcp/PORT");
        Published.Run("net", "why", File("wrong"), "web", "db1", "tcp/1").ShouldFail(2, "KVM0001", "did you mean 'web1'?");
        Published.Run("net", "check", "/nowhere.json").ShouldFail(3, "KVM0190", "/nowhere.json");
        Published.Run("net", "check", File("wrong", "\"uplnik\": \"user\",")).ShouldFail(3, "KVM0190", "line 2, column", "'uplnik' in the network; did you mean 'uplink'?");
        Published.Run("run", Guests.Six, "--engine", "soft", "--net", $"model={File("wrong")}", "--name", "web").ShouldFail(3, "KVM0190", "no machine 'web'", "did you mean 'web1'?");
    }

    [SkippableFact]
    public void A_network_is_served_once_until_a_signal_and_a_guest_joins_it()
    {
        Published.Require();
        string file = File("served");
        var server = Published.Start("net", "serve", file, "--json");
        server.StandardError.ReadLine().Should().Contain("the network served is there");
        Published.Run("net", "serve", file).ShouldFail(4, "KVM0184", "another process has it");
        Published.Run("run", Guests.Six, "--engine", "soft", "--net", $"model={file}", "--name", "web1").ExitCode.Should().Be(0);
        Published.Signal(server, SigTerm);
        var ended = Published.Finish(server);
        ended.ExitCode.Should().Be(128 + SigTerm, ended.Error);
        ended.Json.GetProperty("counters").GetProperty("allow from label=web to label=db tcp/5432").GetInt64().Should().Be(0);
    }
}
