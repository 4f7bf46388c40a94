using Kvm.Devices.Limits;
using Kvm.Devices.Net;
using Kvm.Devices.Net.Switch;
using Kvm.Vmm.Configuration;
using Kvm.Vmm.Network;
using Kvm.Vmm.Network.Switching;

namespace Kvm.Vmm.Tests.Network;

public sealed class NetConfigTests
{
    private static readonly MacAddress s_mac = new(0x5254_0012_3456);

    [Fact]
    public void Card_is_understood_with_all_its_parts()
    {
        NetConfig.Parse("tap=tap0,mac=52:54:00:12:34:56,fixed-mac,mtu=9000,queues=4", out var net).Should().BeNull();
        net.Should().Be(new NetConfig { Kind = NetKind.Tap, Name = "tap0", Mac = s_mac, FixedMac = true, Mtu = 9000, Queues = 4 });
        NetConfig.Parse("fd=3", out net).Should().BeNull();
        net.Should().Be(new NetConfig { Kind = NetKind.Descriptor, Descriptor = 3 });
        NetConfig.Parse("none", out net).Should().BeNull();
        net.Should().Be(new NetConfig { Kind = NetKind.None });
    }

    [Fact]
    public void User_network_says_what_of_the_host_is_reached_and_served()
    {
        NetConfig.Parse("user,allow-host=8000,allow-host=53/udp,allow-host=80/tcp", out var net).Should().BeNull();
        net.Kind.Should().Be(NetKind.User);
        net.AllowHost.Should().Equal(new AllowedPort(8000, false), new AllowedPort(53, true), new AllowedPort(80, false));
        NetConfig.Parse("user", out net).Should().BeNull();
        net.Should().Be(new NetConfig { Kind = NetKind.User });
    }

    [Fact]
    public void Switch_with_a_user_network_says_what_of_the_host_is_reached()
    {
        NetConfig.Parse("switch=lab,allow-host=8000,uplink=user,allow-host=53/udp", out var net).Should().BeNull();
        net.AllowHost.Should().Equal(new AllowedPort(8000, false), new AllowedPort(53, true));
        var port = net.Port.Allowing(net.AllowHost);
        port.ToString().Should().Contain(",uplink=user,allow-host=8000,allow-host=53/udp");
        SwitchPortConfig.Parse(port.ToString())!.Uplink!.AllowHost.Should().Equal(net.AllowHost, "so it reaches the process that serves the switch");
        SwitchPortConfig.Parse(",allow-host=80").Should().BeNull();
        net.Port.Allowing([]).Should().Be(net.Port);
    }

    [Theory]
    [InlineData("8080:80", "127.0.0.1", 8080, 80, false, "8080:80")]
    [InlineData("8080:80/tcp", "127.0.0.1", 8080, 80, false, "8080:80")]
    [InlineData("53:5353/udp", "127.0.0.1", 53, 5353, true, "53:5353/udp")]
    [InlineData("0.0.0.0:1:65535", "0.0.0.0", 1, 65535, false, "0.0.0.0:1:65535")]
    [InlineData("[::1]:8080:80", "::1", 8080, 80, false, "[::1]:8080:80")]
    [InlineData("[::]:53:53/udp", "::", 53, 53, true, "[::]:53:53/udp")]
    [InlineData("[2001:db8:0::5]:80:80/tcp", "2001:db8::5", 80, 80, false, "[2001:db8::5]:80:80")]
    public void Published_port_is_understood_and_written(string text, string address, int host, int guest, bool udp, string written)
    {
        PublishedPort.Parse(text, out var port).Should().BeNull();
        port.Should().Be(new PublishedPort(System.Net.IPAddress.Parse(address), (ushort)host, (ushort)guest, udp));
        port.ToString().Should().Be(written);
    }

    [Theory]
    [InlineData("")]
    [InlineData("80")]
    [InlineData(":80")]
    [InlineData("80:")]
    [InlineData("0:80")]
    [InlineData("80:65536")]
    [InlineData("80:80/sctp")]
    [InlineData("80:80/udp/tcp")]
    [InlineData("host:80:80")]
    [InlineData("::1:80:80")]
    [InlineData("[::1:80:80")]
    [InlineData("[]:80:80")]
    [InlineData("[127.0.0.1]:80:80")]
    [InlineData("[[::1]]:80:80")]
    [InlineData("[fe80::1]:80:80")]
    [InlineData("[fe80::1%1]:80:80")]
    [InlineData("[::1%1]:80:80")]
    [InlineData("[::ffff:127.0.0.1]:80:80")]
    public void Text_that_publishes_nothing_is_refused(string text) => PublishedPort.Parse(text, out _).Should().NotBeNull();

    [Fact]
    public void Port_is_published_once()
    {
        static PublishedPort Port(string text) => PublishedPort.Parse(text, out var port) is null ? port : throw new InvalidOperationException(text);
        static IReadOnlyList<string> Problems(params string[] ports) =>
            new VmConfig { KernelPath = "k", Networks = [new NetConfig { Kind = NetKind.User, Publish = [.. ports.Select(Port)] }] }.Validate();
        Problems("80:80", "80:80/udp", "81:80", "127.0.0.2:80:80", "[::1]:80:80").Should().BeEmpty();
        Problems("0.0.0.0:80:80", "[::]:80:80").Should().BeEmpty("whoever listens at [::] does so for IPv6 alone");
        Problems("[::1]:80:80", "[::]:80:81").Should().ContainSingle();
        Problems("80:80", "80:81").Should().ContainSingle().Which.Should().Be("port 80 is published twice");
        Problems("80:80", "0.0.0.0:80:81").Should().ContainSingle();
        var cards = new[] { "80:80", "80:81" }.Select(p => new NetConfig { Kind = NetKind.User, Publish = [Port(p)] }).ToArray();
        new VmConfig { KernelPath = "k", Networks = cards }.Validate().Should().ContainSingle().Which.Should().Be("network cards 0 and 1 both publish port 80");
    }

    [Theory]
    [InlineData("", "begins with ''")]
    [InlineData("tap", "begins with 'tap'")]
    [InlineData("fd=x", "begins with 'fd=x'")]
    [InlineData("fd=-1", "begins with 'fd=-1'")]
    [InlineData("tap=", "has the interface's name ''")]
    [InlineData("tap=a/b", "has the interface's name 'a/b'")]
    [InlineData("tap=tap%d", "has the interface's name 'tap%d'")]
    [InlineData("tap=..", "has the interface's name '..'")]
    [InlineData("tap=0123456789abcdef", "has the interface's name '0123456789abcdef'")]
    [InlineData("switch=", "has the switch's name ''")]
    [InlineData("switch=../x", "has the switch's name '../x'")]
    [InlineData("switch=a,vlan=4095", "has the VLAN 4095")]
    [InlineData("switch=a,vlan=0", "has the VLAN 0")]
    [InlineData("switch=a,vlan=-1", "has the part 'vlan=-1'")]
    [InlineData("switch=a,trunk=", "has the part 'trunk='")]
    [InlineData("switch=a,trunk=9-3", "has the part 'trunk=9-3'")]
    [InlineData("switch=a,trunk=4095", "has the part 'trunk=4095'")]
    [InlineData("switch=a,weight=0", "has a weight of 0")]
    [InlineData("switch=a,uplink=tap=a/b", "has the part 'uplink=tap=a/b'")]
    [InlineData("switch=a,uplink=none", "has the part 'uplink=none'")]
    [InlineData("switch=a,queues=2", "has 2 queues")]
    [InlineData("switch=a,allow-host=80", "has ports to allow")]
    [InlineData("switch=a,uplink=tap=b,allow-host=80", "has ports to allow")]
    [InlineData("user,isolated", "has settings of a switch's port")]
    [InlineData("none,mac=52:54:00:12:34", "has the part 'mac=52:54:00:12:34'")]
    [InlineData("none,mac=ff:ff:ff:ff:ff:ff", "has the address ff:ff:ff:ff:ff:ff")]
    [InlineData("none,mtu=67", "has an MTU of 67")]
    [InlineData("none,mtu=65536", "has an MTU of 65536")]
    [InlineData("none,queues=2", "has 2 queues")]
    [InlineData("tap=t,queues=17", "has 17 queues")]
    [InlineData("none,allow-host=80", "has ports to allow")]
    [InlineData("user,allow-host=0", "has the part 'allow-host=0'")]
    [InlineData("user,allow-host=80/sctp", "has the part 'allow-host=80/sctp'")]
    [InlineData("user,mtu=65521", "has an MTU of 65521")]
    [InlineData("user,queues=2", "has 2 queues")]
    [InlineData("user,via=qemu", "has the part 'via=qemu'")]
    [InlineData("none,via=passt", "says who makes a user network")]
    [InlineData("none,speed=1", "has the part 'speed=1'")]
    [InlineData("none,bps=1M", "has the part 'bps=1M'")]
    [InlineData("none,rx-iops=1", "has the part 'rx-iops=1'")]
    [InlineData("none,rx-bps=0", "has the limit 'rx-bps=0'")]
    [InlineData("none,tx-pps=1k", "has the limit 'tx-pps=1k'; bps and bps-burst are sizes such as 100M, pps and pps-burst whole numbers")]
    [InlineData("none,rx-bps=1M,tx-bps-burst=1M", "has bps-burst without bps")]
    [InlineData("none,tx-pps-burst=1", "has pps-burst without pps")]
    public void Text_that_is_no_card_says_why(string text, string why) => NetConfig.Parse(text, out _).Should().StartWith(why);

    [Fact]
    public void Limits_are_of_one_direction_each_and_go_through_the_configuration_file()
    {
        NetConfig.Parse("none,rx-bps=100M,tx-pps=1000,tx-pps-burst=50,tx-bps=1M", out var card).Should().BeNull();
        card.ReceiveLimits.Should().Be(new IoLimits(RateLimit.PerSecond(100 << 20)));
        card.SendLimits.Should().Be(new IoLimits(RateLimit.PerSecond(1 << 20), RateLimit.PerSecond(1000, 50)));
        var settings = new RunSettings { Machine = new VmConfig { KernelPath = "k", Networks = [card] } };
        var again = ConfigFile.Parse(System.Text.Encoding.UTF8.GetBytes(ConfigFile.Write(settings)), "again").Machine.Networks.Should().ContainSingle().Subject;
        (again.ReceiveLimits, again.SendLimits).Should().Be((card.ReceiveLimits, card.SendLimits));
    }

    [Fact]
    public void Configuration_file_says_limits_as_Firecracker_does()
    {
        var settings = ConfigFile.Parse("""
            {"boot-source": {"kernel_image_path": "k"}, "network-interfaces": [
              {"iface_id": "eth0", "host_dev_name": "tap0",
               "rx_rate_limiter": {"bandwidth": {"size": 1000000, "one_time_burst": 7, "refill_time": 100}, "ops": null},
               "tx_rate_limiter": {"ops": {"size": 10, "refill_time": 1000}, "bandwidth": {"size": 0, "refill_time": 1}}}]}
            """u8, "vm.json");
        var card = settings.Machine.Networks[0];
        card.ReceiveLimits.Should().Be(new IoLimits(new RateLimit(1_000_000, 100_000_000, 7)));
        card.SendLimits.Should().Be(new IoLimits(Operations: new RateLimit(10, 1_000_000_000)));
    }

    [Fact]
    public void Machine_has_each_address_and_interface_once_and_none_of_them_where_a_run_is_to_repeat()
    {
        static VmConfig With(params NetConfig[] cards) => new() { KernelPath = "k", Networks = cards };
        var tap = new NetConfig { Kind = NetKind.Tap, Name = "t" };
        var none = new NetConfig { Kind = NetKind.None };
        With(tap, none, none).Validate().Should().BeEmpty();
        With(tap, tap).Validate().Should().ContainSingle().Which.Should().Be("network cards 0 and 1 have the same interface");
        With(none with { Mac = s_mac }, none with { Mac = s_mac }).Validate().Should().ContainSingle().Which.Should().Be("network cards 0 and 1 have the same address");
        With(none with { Id = "a" }, none with { Id = "a" }).Validate().Should().ContainSingle().Which.Should().Be("network cards 0 and 1 have the same name");
        With([.. Enumerable.Repeat(none, NetConfig.MaxCards + 1)]).Validate().Should().ContainSingle().Which.Should().Contain("8 at most");
        (With(none) with { Deterministic = true }).Validate().Should().ContainSingle().Which.Should().Contain("would not repeat");
    }

    [Fact]
    public void Configuration_file_says_cards_as_Firecracker_does_or_by_a_backend()
    {
        var settings = ConfigFile.Parse("""
            {"boot-source": {"kernel_image_path": "k"}, "network-interfaces": [
              {"iface_id": "eth0", "host_dev_name": "tap0", "guest_mac": "06:00:c0:a8:00:02", "rx_rate_limiter": null},
              {"iface_id": "eth1", "backend": "fd=7", "fixed_mac": true, "mtu": 1400, "guest_mac": null}]}
            """u8, "vm.json");
        settings.Machine.Networks.Should().BeEquivalentTo((NetConfig[])[
            new NetConfig { Id = "eth0", Kind = NetKind.Tap, Name = "tap0", Mac = new MacAddress(0x0600_c0a8_0002) },
            new NetConfig { Id = "eth1", Kind = NetKind.Descriptor, Descriptor = 7, FixedMac = true, Mtu = 1400 }], o => o.ComparingByMembers<NetConfig>());
        ConfigFile.Parse(System.Text.Encoding.UTF8.GetBytes(ConfigFile.Write(settings)), "again").Machine.Networks.Should().BeEquivalentTo(settings.Machine.Networks, o => o.ComparingByMembers<NetConfig>());
    }

    [Fact]
    public void Card_on_a_switch_is_understood_with_all_its_parts_and_written_again()
    {
        NetConfig.Parse("switch=lan-1,vlan=0,trunk=10+20-22+4094,isolated,isolated=red,weight=300,label=web,uplink=tap=br0,mac=52:54:00:12:34:56", out var net).Should().BeNull();
        var port = new SwitchPortConfig { Vlan = 0, Trunk = new VlanSet([22, 21, 20, 10, 4094]), Isolated = true, IsolationGroup = "red", Weight = 300, Label = "web", Uplink = new SwitchUplink("br0") };
        net.Should().Be(new NetConfig { Kind = NetKind.Switch, Name = "lan-1", Port = port, Mac = s_mac });
        port.ToString().Should().Be(",vlan=0,trunk=10+20-22+4094,isolated,isolated=red,weight=300,label=web,uplink=tap=br0");
        SwitchPortConfig.Parse(port.ToString()).Should().Be(port);
        var settings = ConfigFile.Parse("""
            {"boot-source": {"kernel_image_path": "k"}, "network-interfaces": [
              {"backend": "switch=lan-1", "vlan": 0, "trunk": "10+20-22+4094", "isolated": true, "isolation_group": "red", "weight": 300, "label": "web", "uplink": "tap=br0"},
              {"backend": "switch=a", "trunk": null, "isolation_group": null, "label": null, "uplink": "user"}]}
            """u8, "vm.json");
        foreach (var read in (RunSettings[])[settings, ConfigFile.Parse(System.Text.Encoding.UTF8.GetBytes(ConfigFile.Write(settings)), "again")])
            read.Machine.Networks.Select(n => (n.Kind, n.Name, n.Port)).Should().Equal((NetKind.Switch, "lan-1", port), (NetKind.Switch, "a", new SwitchPortConfig { Uplink = new SwitchUplink((string?)null) }));
    }

    [Fact]
    public void Card_of_a_switch_is_called_as_its_machine_where_nothing_is_said()
    {
        new SwitchPortConfig().CalledAlso("web-1").Label.Should().Be("web-1");
        new SwitchPortConfig { Label = "db" }.CalledAlso("web-1").Label.Should().Be("db");
        new SwitchPortConfig().CalledAlso("a,vlan=7").Label.Should().BeEmpty();
    }

    [Fact]
    public void Capture_has_a_file_and_a_size()
    {
        CaptureConfig.Parse("a,,b.pcapng,size=2M", out var capture).Should().BeNull();
        capture.Should().Be(new CaptureConfig("a,b.pcapng", 2 << 20));
        CaptureConfig.Parse(capture.ToString(), out var again).Should().BeNull();
        again.Should().Be(capture);
        CaptureConfig.Parse("x", out capture).Should().BeNull();
        capture.MaxBytes.Should().Be(1 << 30);
        foreach (string wrong in (string[])["", ",size=1M", "x,size=", "x,size=10", "x,length=1M"])
            CaptureConfig.Parse(wrong, out _).Should().NotBeNull(wrong);
        var settings = ConfigFile.Parse("""
            {"boot-source": {"kernel_image_path": "k"}, "network-interfaces": [{"backend": "none"}], "run": {"capture": "/tmp/x,size=1M"}}
            """u8, "vm.json");
        settings.Machine.Capture.Should().Be(new CaptureConfig("/tmp/x", 1 << 20));
        (settings.Machine with { Networks = [] }).Validate().Should().ContainSingle().Which.Should().Contain("no network card");
    }

    [Fact]
    public void Configuration_file_says_ports_of_a_user_network()
    {
        var settings = ConfigFile.Parse("""
            {"boot-source": {"kernel_image_path": "k"},
             "network-interfaces": [{"backend": "user", "via": "slirp", "allow_host": ["8000", "53/udp"], "publish": ["8080:80", "0.0.0.0:53:53/udp"]}]}
            """u8, "vm.json");
        foreach (var read in (RunSettings[])[settings, ConfigFile.Parse(System.Text.Encoding.UTF8.GetBytes(ConfigFile.Write(settings)), "again")])
        {
            var card = read.Machine.Networks.Should().ContainSingle().Subject;
            card.Via.Should().Be(UserStack.Slirp);
            card.AllowHost.Select(p => p.ToString()).Should().Equal("8000", "53/udp");
            card.Publish.Select(p => p.ToString()).Should().Equal("8080:80", "0.0.0.0:53:53/udp");
        }
    }

    [Theory]
    [InlineData("""[{"backend": "user", "publish": ["80"]}]""", "'publish' has the element '80'")]
    [InlineData("""[{"backend": "user", "allow_host": [80]}]""", "'allow_host' is not a text")]
    [InlineData("""[{"backend": "none", "allow_host": ["80"]}]""", "has ports to allow")]
    [InlineData("""[{"iface_id": "eth0"}]""", "'network-interfaces' begins with ''")]
    [InlineData("""[{"host_dev_name": "a/b"}]""", "has the interface's name 'a/b'")]
    [InlineData("""[{"host_dev_name": "t", "backend": "none"}]""", "both host_dev_name and backend")]
    [InlineData("""[{"backend": "none", "guest_mac": "1:2"}]""", "'guest_mac' is no address")]
    [InlineData("""[{"backend": "none,mtu=1400"}]""", "begins with 'none,mtu=1400'")]
    [InlineData("""[{"backend": "none", "queues": 0}]""", "'queues'")]
    [InlineData("""[{"host_dev_name": "t", "rx_rate_limiter": 5}]""", "'rx_rate_limiter' is not an object")]
    [InlineData("""[{"host_dev_name": "t", "tx_rate_limiter": {"bps": 1}}]""", "'bps' in tx_rate_limiter")]
    [InlineData("""{}""", "'network-interfaces' is not a list")]
    public void Configuration_file_that_is_wrong_says_where(string text, string why)
    {
        byte[] bytes = System.Text.Encoding.UTF8.GetBytes($$"""{"boot-source": {"kernel_image_path": "k"}, "network-interfaces": {{text}}}""");
        FluentActions.Invoking(() => ConfigFile.Parse(bytes, "vm.json")).Should().Throw<VmmException>().WithMessage($"*{why}*");
    }
}
