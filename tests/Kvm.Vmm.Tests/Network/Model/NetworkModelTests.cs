using System.Text;
using Kvm.Devices.Net;
using Kvm.Devices.Net.Policy;
using Kvm.Vmm.Network.Model;

namespace Kvm.Vmm.Tests.Network.Model;

/// <summary>What a network's file means, and what is wrong with it.</summary>
public sealed class NetworkModelTests
{
    internal const string Lab = """
        {
          "name": "lab",
          "subnet": "10.20.0.0/24",
          "uplink": "user",
          "domain": "lab",
          "mtu": 1400,
          "dhcp": { "first": "10.20.0.100", "last": "10.20.0.199", "lease_seconds": 600 },
          "machines": [
            { "name": "web1", "labels": ["web"], "address": "10.20.0.11", "mac": "52:54:00:00:00:11", "weight": 300 },
            { "name": "db1", "labels": ["db"] },
            { "name": "db2", "labels": ["db"], "isolated": true },
            { "name": "other", "vlan": 7, "isolation_group": "red" }
          ],
          "names": { "printer": "10.20.0.9" },
          "rules": [
            "allow from label=web to label=db tcp/5432",
            "allow from uplink to vm=web1 tcp/80",
            "allow from any to uplink"
          ],
          "services": [ { "name": "pg", "address": "10.20.0.50", "port": "tcp/5432", "backends": "label=db", "weights": { "db2": 3 } } ],
          "publish": [ { "host": "8080", "to": "web1", "port": "tcp/80" } ],
          "allow_host": ["8000", "53/udp"]
        }
        """;

    private static NetworkModel Parse(string text) => NetworkModel.Parse(Encoding.UTF8.GetBytes(text), "lab.json");

    private static string Wrong(string text) => FluentActions.Invoking(() => Parse(text)).Should().Throw<VmmException>().Which.Message;

    /// <summary>A small network with something added behind its subnet.</summary>
    private static string With(string more) => $$"""{ "name": "n", "subnet": "10.1.0.0/24", {{more}} }""";

    [Fact]
    public void A_description_says_who_is_where_and_gives_addresses_to_who_has_none()
    {
        var model = Parse(Lab);
        (model.Name, model.Uplink, model.SubnetText, model.AllowByDefault).Should().Be(("lab", ModelUplinkKind.User, "10.20.0.0/24", false));
        model.Machines.Select(m => (m.Name, NetworkModel.TextOf(m.Address), m.Vlan, m.Isolated, m.Weight)).Should().Equal(
            ("web1", "10.20.0.11", 1, false, 300), ("db1", "10.20.0.4", 1, false, 100), ("db2", "10.20.0.5", 1, true, 100), ("other", "10.20.0.6", 7, false, 100));
        model.Machines.Select(m => m.IsolationGroup).Should().Equal("", "", "", "red");
        model.Machines[0].Mac.ToString().Should().Be("52:54:00:00:00:11");
        model.Machines.Select(m => m.Mac).Should().OnlyHaveUniqueItems().And.OnlyContain(mac => mac.IsUsable);
        Parse(Lab).Machines[1].Mac.Should().Be(model.Machines[1].Mac, "a card's address is always the same");
        var plan = model.Plan;
        (NetworkModel.TextOf(plan.Gateway), NetworkModel.TextOf(plan.Server), NetworkModel.TextOf(plan.Nameserver)).Should().Be(("10.20.0.1", "10.20.0.2", "10.20.0.3"));
        (plan.LeaseTime, plan.Mtu, plan.Domain).Should().Be((TimeSpan.FromMinutes(10), 1400, "lab"));
        plan.Names.Should().Contain("printer", 0x0a14_0009).And.Contain("pg", 0x0a14_0032);
        model.Services.Should().ContainSingle().Which.Backends.Select(b => (b.Name, b.Weight)).Should().Equal(("db1", 1), ("db2", 3));
        model.Published.Should().ContainSingle().Which.Host.ToString().Should().Be("8080:80");
        model.AllowHost.Select(p => p.ToString()).Should().Equal("8000", "53/udp");
    }

    [Fact]
    public void Why_says_which_rule_decides_of_a_service_for_each_of_its_machines()
    {
        var model = Parse(Lab);
        model.Why("web1", "db1", PacketHeaders.Tcp, 5432).Should().ContainSingle().Which.Should().Be(new PolicyReason(true, 0,
            "web1 to db1 by tcp/5432: rule 1, 'allow from label=web to label=db tcp/5432', is the first about it: web1 has the label web, db1 has the label db"));
        model.Why("other", "pg", PacketHeaders.Tcp, 5432).Select(r => r.Allowed).Should().Equal(false, false);
        model.Why("other", "uplink", PacketHeaders.Udp, 53).Should().ContainSingle().Which.Allowed.Should().BeTrue();
        model.Why("nobody", "db1", PacketHeaders.Tcp, 1).Should().BeEmpty();
    }

    [Fact]
    public void A_network_without_rules_allows_and_one_with_rules_allows_no_more_than_they_do()
    {
        Parse(With("\"uplink\": \"none\"")).AllowByDefault.Should().BeTrue();
        Parse(With("\"rules\": [\"deny from any to any icmp\"]")).AllowByDefault.Should().BeFalse();
        Parse(With("\"default\": \"allow\", \"rules\": [\"deny from any to any icmp\"]")).AllowByDefault.Should().BeTrue();
        var tap = Parse(With("\"uplink\": \"tap=lab0\", \"nameserver\": \"9.9.9.9\", \"gateway\": \"10.1.0.254\", \"server\": \"10.1.0.253\""));
        (tap.TapName, NetworkModel.TextOf(tap.Plan.Gateway), NetworkModel.TextOf(tap.Plan.Nameserver), NetworkModel.TextOf(tap.Plan.Server)).Should().Be(("lab0", "10.1.0.254", "9.9.9.9", "10.1.0.253"));
    }

    [Theory]
    [InlineData("{", "not valid JSON")]
    [InlineData("[]", "a network is an object")]
    [InlineData("{} x", "not valid JSON")]
    [InlineData("""{ "nmae": "lab" }""", "line 1, column 3 (offset 2): 'nmae' in the network; did you mean 'name'?")]
    [InlineData("""{ "x": 1 }""", "known: name, subnet")]
    [InlineData("""{ "name": "a", "name": "b" }""", "'name' stands there twice in the network")]
    [InlineData("""{ "machines": [ { "lables": [] } ] }""", "'lables' in 'machines'; did you mean 'labels'?")]
    [InlineData("""{ "dhcp": { "frist": "" } }""", "did you mean 'first'?")]
    [InlineData("""{ "names": { "a": "1", "a": "2" } }""", "'a' stands there twice in 'names'")]
    [InlineData("""{ "mtu": "x" }""", "'mtu' has a value of another type")]
    [InlineData("""{ "machines": 5 }""", "'machines' has a value of another type")]
    [InlineData("""{ "rules": [[[[[[[[[[]]]]]]]]]] }""", "not valid JSON")]
    [InlineData("""{ "name": "\ud800" }""", "'name' has a value of another type")]
    public void A_file_that_is_no_description_is_refused_with_its_place(string text, string why) => Wrong(text).Should().Contain("lab.json").And.Contain(why);

    [Theory]
    [InlineData("{}", "has no name in 'name'")]
    [InlineData("""{ "name": "n" }""", "has no 'subnet'")]
    [InlineData("""{ "name": "N", "subnet": "10.1.0.0/24" }""", "has the name 'N' in 'name'")]
    [InlineData("""{ "name": "n", "subnet": "10.1.0.0" }""", "one is written 10.20.0.0/24")]
    [InlineData("""{ "name": "n", "subnet": "10.1.0.0/30" }""", "8 to 29 bits")]
    [InlineData("""{ "name": "n", "subnet": "10.1.0.1/24" }""", "whose first address is 10.1.0.0")]
    [InlineData("""{ "name": "n", "subnet": "127.0.0.0/8" }""", "a meaning of their own")]
    [InlineData("""{ "name": "n", "subnet": "169.254.1.0/24" }""", "a meaning of their own")]
    [InlineData("""{ "name": "n", "subnet": "10.1/24" }""", "no IPv4 address")]
    public void A_network_has_a_name_and_a_subnet_that_can_be(string text, string why) => Wrong(text).Should().Contain(why);

    [Theory]
    [InlineData("\"uplink\": \"wan\"", "has the uplink 'wan'")]
    [InlineData("\"uplink\": \"tap=a/b\"", "has an uplink that")]
    [InlineData("\"nameserver\": \"9.9.9.9\"", "no uplink to reach it by")]
    [InlineData("\"uplink\": \"user\", \"nameserver\": \"9.9.9.9\"", "by itself")]
    [InlineData("\"uplink\": \"user\", \"gateway\": \"10.1.0.2\"", "gives the network's server and the gateway the same address 10.1.0.2")]
    [InlineData("\"server\": \"10.2.0.1\"", "which is no machine's address in 10.1.0.0/24")]
    [InlineData("\"server\": \"10.1.0.255\"", "which is no machine's address")]
    [InlineData("\"dhcp\": { \"first\": \"10.1.0.9\" }", "'dhcp.last' missing")]
    [InlineData("\"dhcp\": { \"first\": \"10.1.0.9\", \"last\": \"10.1.0.8\" }", "not 1 to 4096 addresses")]
    [InlineData("\"dhcp\": { \"lease_seconds\": 5 }", "has 'dhcp.lease_seconds' 5, not 60 to")]
    [InlineData("\"mtu\": 100", "has 'mtu' 100")]
    [InlineData("\"domain\": \"a..b\"", "has the domain 'a..b'")]
    [InlineData("\"default\": \"maybe\"", "not allow or deny")]
    [InlineData("\"machines\": [null]", "nothing (null) among 'machines'")]
    [InlineData("\"machines\": [{ \"name\": \"a\" }, { \"name\": \"a\" }]", "calls two things a")]
    [InlineData("\"machines\": [{ \"name\": \"uplink\" }]", "what rules call the way out")]
    [InlineData("\"machines\": [{ \"name\": \"-a\" }]", "has the name '-a'")]
    [InlineData("\"machines\": [{ \"name\": \"a\", \"labels\": [\"x y\"] }]", "has the label 'x y'")]
    [InlineData("\"machines\": [{ \"name\": \"a\", \"isolation_group\": \"\" }]", "has the isolation group ''")]
    [InlineData("\"machines\": [{ \"name\": \"a\", \"mac\": \"01:00:00:00:00:01\" }]", "no card's address")]
    [InlineData("\"machines\": [{ \"name\": \"a\", \"mac\": \"52:54:00:00:00:01\" }, { \"name\": \"b\", \"mac\": \"52:54:00:00:00:01\" }]", "gives b and a the same card's address")]
    [InlineData("\"machines\": [{ \"name\": \"a\", \"address\": \"10.1.0.9\" }, { \"name\": \"b\", \"address\": \"10.1.0.9\" }]", "gives b and a the same address 10.1.0.9")]
    [InlineData("\"machines\": [{ \"name\": \"a\", \"vlan\": 4095 }]", "'machines[0].vlan' 4095, not 1 to 4094")]
    [InlineData("\"machines\": [{ \"name\": \"a\", \"weight\": 0 }]", "'machines[0].weight' 0")]
    [InlineData("\"machines\": [{ \"name\": \"a\" }], \"names\": { \"a\": \"10.1.0.9\" }", "calls two things a")]
    [InlineData("\"names\": { \"a\": \"x\" }", "'names.a' 'x', which is no IPv4 address")]
    [InlineData("\"rules\": [\"allow all\"]", "has the rule 'allow all', which is not")]
    [InlineData("\"machines\": [{ \"name\": \"web1\" }], \"rules\": [\"allow from vm=web to any\"]", "no machine called 'web'; did you mean 'web1'?")]
    [InlineData("\"rules\": [\"allow from label=x to any\"]", "no machine with the label 'x'")]
    [InlineData("\"rules\": [\"allow from any to any\", \"allow  from any to any\"]", "has the rule 'allow from any to any' twice")]
    [InlineData("\"services\": [{ \"name\": \"s\", \"port\": \"tcp\", \"backends\": \"vm=a\" }]", "which is no port such as tcp/80")]
    [InlineData("\"services\": [{ \"name\": \"s\", \"port\": \"tcp/80\" }]", "'services[0].backends' missing")]
    [InlineData("\"services\": [{ \"name\": \"s\", \"port\": \"tcp/80\", \"backends\": \"vm=a\" }]", "the service 's', but no machine called 'a'")]
    [InlineData("\"publish\": [{ \"host\": \"80\", \"to\": \"a\", \"port\": \"tcp/80\" }]", "its uplink has to be user")]
    [InlineData("\"uplink\": \"user\", \"publish\": [{ \"host\": \"80\", \"to\": \"a\", \"port\": \"tcp/80\" }]", "nobody's name")]
    [InlineData("\"uplink\": \"user\", \"allow_host\": [\"x\"]", "which is no port such as 8000")]
    public void What_cannot_be_is_refused_and_said(string more, string why) => Wrong(With(more)).Should().Contain(why);

    [Fact]
    public void A_service_s_machines_ports_and_published_ports_have_to_fit()
    {
        const string machines = "\"uplink\": \"user\", \"machines\": [{ \"name\": \"a\", \"labels\": [\"x\"] }, { \"name\": \"b\", \"labels\": [\"x\"], \"vlan\": 5 }, { \"name\": \"c\" }], ";
        string Service(string rest) => With(machines + "\"services\": [{ \"name\": \"s\", \"port\": \"tcp/80\", " + rest);
        Wrong(Service("\"backends\": \"label=x\" }]")).Should().Contain("of different VLANs");
        Wrong(Service("\"backends\": \"vm=a\", \"weights\": { \"c\": 2 } }]")).Should().Contain("a weight for 'c', which does not serve 's'");
        Wrong(Service("\"backends\": \"vm=a\", \"weights\": { \"a\": 0 } }]")).Should().Contain("'services[0].weights.a' 0");
        Wrong(Service("\"backends\": \"vm=a\", \"address\": \"10.1.0.2\" }]")).Should().Contain("gives s and the network's server the same address");
        const string one = "\"backends\": \"vm=a\", \"address\": \"10.1.0.80\" }";
        Wrong(Service(one + ", { \"name\": \"t\", \"port\": \"tcp/80\", " + one + "]")).Should().Contain("two services at 10.1.0.80 tcp/80");
        Parse(Service(one + ", { \"name\": \"t\", \"port\": \"udp/80\", " + one + "]")).Services.Should().HaveCount(2);
        string Publish(string list, string rules = "") => With(machines + rules + "\"publish\": [" + list + "]");
        Parse(Publish("{ \"host\": \"8080\", \"to\": \"a\", \"port\": \"tcp/80\" }")).Published.Should().ContainSingle("without rules all is allowed");
        Wrong(Publish("{ \"host\": \"8080\", \"to\": \"a\", \"port\": \"tcp/80\" }, { \"host\": \"8080\", \"to\": \"c\", \"port\": \"tcp/80\" }")).Should().Contain("publishes port 8080 twice");
        Wrong(Publish("{ \"host\": \"x\", \"to\": \"a\", \"port\": \"tcp/80\" }")).Should().Contain("not [ADDRESS:]PORT");
        Wrong(Publish("{ \"host\": \"8080\", \"to\": \"a\", \"port\": \"tcp/80\" }", "\"rules\": [\"allow from vm=a to vm=b\"], ")).Should().Contain("no rule lets anybody in").And.Contain("allow from uplink to vm=a");
    }

    [Fact]
    public void A_subnet_has_room_for_everybody_or_says_who_has_none()
    {
        string machines = string.Join(", ", Enumerable.Range(0, 6).Select(i => $$"""{ "name": "m{{i}}" }"""));
        Wrong($$"""{ "name": "n", "subnet": "10.1.0.0/29", "machines": [{{machines}}] }""").Should().Contain("no address left for m5 in 10.1.0.0/29");
    }

    [Fact]
    public void Networks_of_one_name_or_with_addresses_in_common_are_not_there_together()
    {
        var one = Parse("""{ "name": "a", "subnet": "10.1.0.0/16" }""");
        Parse("""{ "name": "b", "subnet": "10.1.7.0/24" }""").Conflict(one).Should().Be("its subnet 10.1.7.0/24 overlaps 10.1.0.0/16 of the network a");
        Parse("""{ "name": "a", "subnet": "10.2.0.0/16" }""").Conflict(one).Should().Be("there is a network called a already");
        Parse("""{ "name": "c", "subnet": "10.2.0.0/16" }""").Conflict(one).Should().BeNull();
    }

    [Fact]
    public void A_file_is_read_and_one_that_is_not_there_or_too_long_is_refused()
    {
        string path = Path.GetTempFileName();
        try
        {
            File.WriteAllText(path, "\uFEFF" + Lab);
            NetworkModel.Load(path).Name.Should().Be("lab");
            File.WriteAllText(path, new string(' ', (1 << 20) + 1));
            FluentActions.Invoking(() => NetworkModel.Load(path)).Should().Throw<VmmException>().Which.Message.Should().Contain("more than 1048576 bytes");
        }
        finally
        {
            File.Delete(path);
        }

        FluentActions.Invoking(() => NetworkModel.Load(path)).Should().Throw<VmmException>().Which.Error.Should().Be(Kvm.Vmm.Network.NetworkErrors.BadModel);
    }
}
