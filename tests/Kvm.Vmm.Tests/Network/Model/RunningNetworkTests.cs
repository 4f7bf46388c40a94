using System.Net;
using System.Net.Sockets;
using System.Text;
using Kvm.Devices.Net;
using Kvm.Interop.Slirp;
using Kvm.Vmm.Network;
using Kvm.Vmm.Network.Model;
using Kvm.Vmm.Network.Switching;
using Kvm.Vmm.Tests.Network.Switching;

namespace Kvm.Vmm.Tests.Network.Model;

/// <summary>Networks that are served and joined, by processes that are registries here.</summary>
public sealed class RunningNetworkTests : IDisposable
{
    private const string Web = "52:54:00:00:01:01", Db = "52:54:00:00:01:02";

    private readonly string _folder = Directory.CreateTempSubdirectory("kvmsharp-model").FullName;
    private readonly List<IDisposable> _ends = [];

    public void Dispose()
    {
        for (int i = _ends.Count - 1; i >= 0; i--)
            _ends[i].Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    private static NetworkModel Model(string rules, string subnet = "10.30.0.0/24", string name = "lab", string more = "") => NetworkModel.Parse(Encoding.UTF8.GetBytes($$"""
        { "name": "{{name}}", "subnet": "{{subnet}}", {{more}}
          "machines": [ { "name": "web1", "labels": ["web"], "mac": "{{Web}}", "vlan": 5 }, { "name": "db1", "labels": ["db"], "mac": "{{Db}}", "vlan": 5, "weight": 7, "isolated": false } ],
          "rules": [ {{rules}} ] }
        """), "lab.json");

    private T Kept<T>(T end)
        where T : IDisposable
    {
        _ends.Add(end);
        return end;
    }

    private RunningNetwork Enter(NetworkModel model, SwitchRegistry process) => Kept(RunningNetwork.Enter(model, message => throw new InvalidOperationException(message), null, process));

    /// <summary>A machine's card, as run makes it.</summary>
    private SwitchCard Join(RunningNetwork network, SwitchRegistry process, string machine, int number)
    {
        var card = network.Model.Settle(new NetConfig { Kind = NetKind.Switch, Model = "lab.json", Port = new SwitchPortConfig { Label = machine } });
        (card.Mac, card.FixedMac, card.Name, card.Model).Should().Be((SwitchCard.MacOf(number), true, network.Model.Name, null));
        return Kept(new SwitchCard(process.Join(card.Name, card.Port, card.Mac, message => throw new InvalidOperationException(message), null), number));
    }

    [Fact]
    public void The_first_process_serves_the_others_join_and_rules_hold_for_all_until_they_change()
    {
        var (one, other) = (new SwitchRegistry(_folder), new SwitchRegistry(_folder));
        var model = Model("\"allow from label=web to label=db\"");
        var served = Enter(model, one);
        var joined = Enter(model, other);
        (served.IsServedHere, joined.IsServedHere).Should().Be((true, false));
        joined.Counters.Should().BeEmpty();
        var web = Join(served, one, "web1", 1);
        var db = Join(joined, other, "db1", 2);
        web.Send(0, "hello").Should().Be(SendOutcome.Sent);
        db.Receive().Should().Be("hello");
        served.Counters.Should().Contain(("allow from label=web to label=db", 1));
        db.Send(1, "not allowed");
        web.Until(() => served.Counters.Contains(("refusedOther", 1)), "it was refused");
        web.Take().Should().BeNull();
        served.ChangeRules(Model("\"allow from label=db to label=web\", \"deny from any to any\""));
        db.Send(1, "allowed now");
        web.Receive().Should().Be("allowed now");
        web.Send(2, "not any more");
        served.Counters.Should().Contain(("refusedOther", 2));
        FluentActions.Invoking(() => joined.ChangeRules(model)).Should().Throw<InvalidOperationException>();
    }

    [Fact]
    public void A_network_is_served_once_and_again_when_it_has_ended()
    {
        var (one, other) = (new SwitchRegistry(_folder), new SwitchRegistry(_folder));
        var model = Model("");
        var first = Enter(model, one);
        var second = Enter(model, one);
        first.Dispose();
        first.Dispose();
        second.IsServedHere.Should().BeTrue("somebody of this process has it still");
        Enter(model, other).IsServedHere.Should().BeFalse();
        second.Dispose();
        Enter(model, new SwitchRegistry(_folder)).IsServedHere.Should().BeTrue();
    }

    [Fact]
    public void Networks_of_one_process_have_no_addresses_in_common_and_one_name_is_one_network()
    {
        var process = new SwitchRegistry(_folder);
        Enter(Model(""), process);
        FluentActions.Invoking(() => Enter(Model("", "10.30.0.0/25", "lab2"), process)).Should().Throw<VmmException>().Which.Message.Should().Contain("overlaps 10.30.0.0/24 of the network lab");
        FluentActions.Invoking(() => Enter(Model("", "10.31.0.0/24"), process)).Should().Throw<VmmException>().Which.Message.Should().Contain("is there already, with the subnet 10.30.0.0/24");
        Enter(Model("", "10.31.0.0/24", "lab2"), process).IsServedHere.Should().BeTrue();
    }

    [Fact]
    public void A_card_gets_what_the_model_says_of_its_machine_and_a_stranger_joins_where_there_are_addresses_for_others()
    {
        var model = Model("");
        NetConfig Card(string label) => new() { Kind = NetKind.Switch, Model = "lab.json", Port = new SwitchPortConfig { Label = label } };
        var db = model.Settle(Card("db1")).Port;
        (db.Vlan, db.Weight, db.Isolated, db.Label).Should().Be((5, 7, false, "db1"));
        FluentActions.Invoking(() => model.Settle(Card("db"))).Should().Throw<VmmException>().Which.Message.Should().Contain("no machine 'db' and no addresses for others (dhcp); did you mean 'db1'?");
        FluentActions.Invoking(() => model.Settle(Card(""))).Should().Throw<VmmException>().Which.Message.Should().Contain("without a name (--name, label=)");
        var open = Model("", more: "\"dhcp\": { \"first\": \"10.30.0.100\", \"last\": \"10.30.0.110\" },");
        open.Settle(Card("somebody")).FixedMac.Should().BeFalse();
    }

    [SkippableFact]
    public void Nobody_but_the_description_allows_ports_of_the_host()
    {
        Skip.IfNot(SlirpStack.IsInstalled, "libslirp.so.0 is not installed");
        var process = new SwitchRegistry(_folder);
        Enter(Model("", more: "\"uplink\": \"user\", \"allow_host\": [\"8000\"],"), process);
        SwitchCard Stranger(string port) => Kept(SwitchCard.Join(process, "lab", 3, $",uplink=user,allow-host={port}"));
        FluentActions.Invoking(() => Stranger("8001")).Should().Throw<VmmException>().Which.Message.Should().Contain("the network does not allow port 8001 of the host");
        FluentActions.Invoking(() => Stranger("8000")).Should().NotThrow();
    }

    [SkippableFact]
    public void Port_is_published_where_the_machine_is_whatever_its_vlan()
    {
        Skip.IfNot(SlirpStack.IsInstalled, "libslirp.so.0 is not installed");
        using var probe = new UdpClient(new IPEndPoint(IPAddress.Loopback, 0));
        int port = ((IPEndPoint)probe.Client.LocalEndPoint!).Port;
        probe.Close();
        var process = new SwitchRegistry(_folder);
        var network = Enter(Model("\"allow from uplink to vm=web1 udp/7\"", more: $$"""
            "uplink": "user", "publish": [ { "host": "{{port}}", "to": "web1", "port": "udp/7" } ],
            """), process);
        network.Model.VlanOf("web1").Should().Be(5);
        var web = Join(network, process, "web1", 1);
        using var client = new UdpClient();
        // Who has the machine's address is asked in its VLAN, which has no tag at its card.
        web.Until(() =>
        {
            client.Send("is somebody there?"u8, new IPEndPoint(IPAddress.Loopback, port));
            return web.Take() is { } frame && frame.Length >= NetHeader.Size + 42 && frame[NetHeader.Size + 12] == 8 && frame[NetHeader.Size + 13] == 6
                && System.Buffers.Binary.BinaryPrimitives.ReadUInt32BigEndian(frame.AsSpan(NetHeader.Size + 38)) == network.Model.Machines[0].Address;
        }, "the stack asks for the machine");
    }

    [Fact]
    public void A_card_is_written_as_it_is_read()
    {
        NetConfig.Parse("model=/tmp/lab.json,label=web1", out var net).Should().BeNull();
        (net.Kind, net.Model, net.Port.Label, net.BackendText).Should().Be((NetKind.Switch, "/tmp/lab.json", "web1", "model=/tmp/lab.json"));
        NetConfig.Parse("model=", out _).Should().Contain("begins with 'model='");
    }
}
