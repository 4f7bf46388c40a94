using FsCheck;
using FsCheck.Fluent;
using Kvm.Devices.Net.Policy;
using Kvm.Tests.Support;

namespace Kvm.Devices.Tests.Net.Policy;

/// <summary>Rules as texts, what they decide and why.</summary>
public sealed class CompiledPolicyTests
{
    private static readonly PolicyEndpoint[] s_endpoints =
    [
        new("web1", ["web", "front"]), new("web2", ["web"]), new("db1", ["db"]), new("other", []), new("uplink", [], IsUplink: true),
    ];

    private static PolicyRule Rule(string text)
    {
        PolicyRule.Parse(text, out var rule).Should().BeNull();
        return rule;
    }

    private static CompiledPolicy Policy(bool allow, params string[] rules) => new([.. rules.Select(Rule)], allow, s_endpoints);

    [Theory]
    [InlineData("allow from label=web to label=db tcp/5432")]
    [InlineData("deny from any to uplink")]
    [InlineData("allow from vm=web1 to any tcp/80-90,udp/53,icmp,tcp")]
    public void A_rule_is_written_as_it_is_read(string text) => Rule(text).ToString().Should().Be(text);

    [Theory]
    [InlineData("", "is not")]
    [InlineData("allow label=web to any", "is not")]
    [InlineData("permit from any to any", "is not")]
    [InlineData("allow from any to any tcp/80 udp/1", "is not")]
    [InlineData("allow from tag=x to any", "names 'tag=x'")]
    [InlineData("allow from label= to any", "names 'label='")]
    [InlineData("allow from any to any tcp/0", "names the ports 'tcp/0'")]
    [InlineData("allow from any to any tcp/90-80", "names the ports")]
    [InlineData("allow from any to any tcp/65536", "names the ports")]
    [InlineData("allow from any to any icmp/8", "names the ports")]
    [InlineData("allow from any to any sctp", "names the ports")]
    [InlineData("allow from any to any tcp/1-2-3", "names the ports")]
    [InlineData("allow from any to any ,", "names the ports")]
    public void A_text_that_is_no_rule_is_refused_and_why(string text, string why) => PolicyRule.Parse(text, out _).Should().StartWith(why);

    [Fact]
    public void Seventeen_ranges_are_too_many() =>
        PolicyRule.Parse("allow from any to any " + string.Join(',', Enumerable.Repeat("tcp/1", 17)), out _).Should().Contain("more than 16");

    [Fact]
    public void The_first_rule_about_a_flow_decides_and_says_why()
    {
        var policy = Policy(false, "deny from vm=web2 to any", "allow from label=web to label=db tcp/5432", "deny from any to label=db");
        policy.Why("web1", "db1", 6, 5432).Should().Be(new PolicyReason(true, 1,
            "web1 to db1 by tcp/5432: rule 2, 'allow from label=web to label=db tcp/5432', is the first about it: web1 has the label web, db1 has the label db"));
        policy.Why("web2", "db1", 6, 5432).Should().Be(new PolicyReason(false, 0,
            "web2 to db1 by tcp/5432: rule 1, 'deny from vm=web2 to any', is the first about it: web2 is named, db1 is anybody"));
        policy.Why("web1", "other", 17, 53)!.Should().Be(new PolicyReason(false, -1, "web1 to other by udp/53: none of 3 rules is about it, and the default is deny"));
        policy.Why("web1", "nobody", 6, 1).Should().BeNull();
        Policy(true).Why("web1", "db1", 1, 0)!.Reason.Should().Be("web1 to db1 by icmp: there is no rule, and the default is allow");
    }

    [Fact]
    public void Icmp_is_that_of_both_versions_and_a_stranger_is_anybody()
    {
        var policy = Policy(false, "allow from any to label=db icmp", "allow from label=web to any tcp");
        policy.Allows(policy.Find(3, 2, PacketHeaders.Icmp6, 5)).Should().BeTrue();
        policy.Allows(policy.Find(CompiledPolicy.Stranger, 2, PacketHeaders.Icmp, 5)).Should().BeTrue();
        policy.Allows(policy.Find(CompiledPolicy.Stranger, 3, PacketHeaders.Tcp, 5)).Should().BeFalse();
        policy.Allows(policy.Find(99, 3, PacketHeaders.Tcp, 5)).Should().BeFalse("who is not in the list is a stranger");
    }

    [Fact]
    public void Those_that_rules_do_not_tell_apart_are_one_class() =>
        new CompiledPolicy([Rule("allow from label=web to label=db")], false, [.. Enumerable.Range(0, 250).Select(i => new PolicyEndpoint($"vm{i}", i % 2 == 0 ? ["web"] : ["db"]))])
            .Classes.Should().Be(3);

    /// <summary>The rules as somebody would read them: one after the other.</summary>
    private static bool Naive(IReadOnlyList<PolicyRule> rules, bool byDefault, PolicyEndpoint from, PolicyEndpoint to, byte protocol, ushort port)
    {
        static bool Is(EndpointSelector who, PolicyEndpoint endpoint) => who.ToString() switch
        {
            "any" => true,
            "uplink" => endpoint.IsUplink,
            ['l', 'a', 'b', 'e', 'l', '=', .. var label] => endpoint.Labels.Contains(label),
            ['v', 'm', '=', .. var name] => endpoint.Name == name && !endpoint.IsUplink,
            _ => throw new InvalidOperationException(),
        };
        foreach (var rule in rules)
        {
            if (Is(rule.From, from) && Is(rule.To, to) && (rule.Ports.Count == 0 || rule.Ports.Any(p => (p.Protocol == protocol || (p.Protocol == 1 && protocol == 58)) && port >= p.First && port <= p.Last)))
                return rule.Allow;
        }

        return byDefault;
    }

    [Fact]
    public void Worked_out_rules_decide_as_rules_read_one_after_the_other()
    {
        var who = Gen.Elements("any", "uplink", "label=web", "label=db", "label=front", "vm=web1", "vm=other", "vm=nobody");
        var ports = Gen.Elements("", " tcp", " udp/53", " tcp/80-90", " icmp,tcp/5432", " udp,tcp/1-1000");
        var rule = from allow in Gen.Elements("allow", "deny") from a in who from b in who from p in ports select $"{allow} from {a} to {b}{p}";
        var flow = from a in Gen.Choose(0, 4)
                   from b in Gen.Choose(0, 4)
                   from protocol in Gen.Elements<byte>(1, 6, 17, 58, 47)
                   from port in Gen.Elements<ushort>(0, 1, 53, 80, 85, 91, 1000, 5432)
                   select (a, b, protocol, port);
        Check.One(Config.QuickThrowOnFailure.WithMaxTest(300), Prop.ForAll(
            (from count in Gen.Choose(0, 8) from rules in rule.ArrayOf(count) from flows in flow.ArrayOf(60) from allow in Gen.Elements(true, false) select (rules, flows, allow)).ToArbitrary(),
            x =>
            {
                var policy = Policy(x.allow, x.rules);
                return x.flows.All(f =>
                    policy.Allows(policy.Find(f.a, f.b, f.protocol, f.port)) == Naive(policy.Rules, x.allow, s_endpoints[f.a], s_endpoints[f.b], f.protocol, f.port)
                    && policy.Why(s_endpoints[f.a].Name, s_endpoints[f.b].Name, f.protocol, f.port)!.Allowed == policy.Allows(policy.Find(f.a, f.b, f.protocol, f.port))
                    && (policy.Always(f.a, f.b) is not { } always || policy.Allows(always) == policy.Allows(policy.Find(f.a, f.b, f.protocol, f.port)))
                    && (policy.MaySend(f.a, f.b) || !policy.Allows(policy.Find(f.a, f.b, f.protocol, f.port))));
            }));
    }

    [Fact]
    public void Nothing_is_allocated_by_a_decision()
    {
        var policy = Policy(false, "deny from vm=web2 to any udp", "allow from label=web to label=db tcp/5432");
        Allocation.Of(_ => policy.Find(0, 2, 6, 5432)).Should().Be(0);
    }
}
