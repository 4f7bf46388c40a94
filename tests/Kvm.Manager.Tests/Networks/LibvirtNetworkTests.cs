using System.Text;
using Kvm.Manager.Networks;
using Kvm.Vmm;
using Kvm.Vmm.Network.Model;

namespace Kvm.Manager.Tests.Networks;

public sealed class LibvirtNetworkTests
{
    private const string Default = """
        <network connections='1'>
          <name>default</name>
          <uuid>a3cb1d3a-0000-4000-8000-000000000000</uuid>
          <forward mode='nat'/>
          <bridge name='virbr0' stp='on' delay='0'/>
          <mac address='52:54:00:aa:bb:cc'/>
          <domain name='lab' localOnly='yes'/>
          <dns><host ip='192.168.122.9'><hostname>printer</hostname></host></dns>
          <ip address='192.168.122.1' netmask='255.255.255.0'>
            <dhcp>
              <range start='192.168.122.100' end='192.168.122.199'/>
              <host mac='52:54:00:00:00:11' name='web1' ip='192.168.122.11'/>
            </dhcp>
          </ip>
        </network>
        """;

    [Fact]
    public void The_usual_network_is_read()
    {
        var model = Read(Default);
        model.Name.Should().Be("default");
        model.SubnetText.Should().Be("192.168.122.0/24");
        model.Uplink.Should().Be(ModelUplinkKind.User);
        NetworkModel.TextOf(model.Plan.Gateway).Should().Be("192.168.122.1");
        model.Plan.Domain.Should().Be("lab");
        NetworkModel.TextOf(model.Plan.FirstLease).Should().Be("192.168.122.100");
        model.Plan.Names.Should().ContainKey("printer");
        model.Machines.Should().ContainSingle().Which.Should().Match<ModelMachine>(machine => machine.Name == "web1" && machine.Mac.ToString() == "52:54:00:00:00:11");
    }

    [Fact]
    public void An_isolated_network_has_no_way_out()
    {
        var model = Read("<network><name>inner</name><ip address='10.9.0.1' prefix='16'/></network>");
        model.Uplink.Should().Be(ModelUplinkKind.None);
        model.SubnetText.Should().Be("10.9.0.0/16");
        NetworkModel.TextOf(model.Plan.Server).Should().Be("10.9.0.1");
    }

    [Theory]
    [InlineData("<forward mode='nat'/>", "<forward mode='bridge'/>", "<forward mode='bridge'>")]
    [InlineData("<forward mode='nat'/>", "<forward mode='nat' dev='eth0'/>", "dev= of <forward>")]
    [InlineData("<forward mode='nat'/>", "<forward mode='nat'><nat><port start='1' end='2'/></nat></forward>", "<nat> in <forward>")]
    [InlineData("<dhcp>", "<tftp root='/x'/><dhcp>", "<tftp> in <ip>")]
    [InlineData("<dhcp>", "<dhcp><range start='192.168.122.20' end='192.168.122.30'/>", "several <range>")]
    [InlineData("<uuid>", "<vlan trunk='yes'/><uuid>", "<vlan> in <network>")]
    [InlineData("<uuid>", "<bandwidth/><uuid>", "<bandwidth> in <network>")]
    [InlineData("<uuid>", "<ip family='ipv6' address='fd00::1' prefix='64'/><uuid>", "<ip family='ipv6'>")]
    public void What_is_not_done_here_is_named(string from, string to, string named) =>
        Refused(Default.Replace(from, to, StringComparison.Ordinal), "KVM0663", named);

    [Theory]
    [InlineData("<!DOCTYPE network [<!ENTITY a 'b'>]><network><name>&a;</name></network>")]
    [InlineData("<network><name>x</name>")]
    [InlineData("<domain/>")]
    [InlineData("<network><name>x</name></network>")]
    [InlineData("<network><name>x</name><ip address='1.2.3' prefix='8'/></network>")]
    public void What_is_no_network_is_refused(string xml) => Refused(xml, "KVM0190", "x.xml");

    [Fact]
    public void What_is_too_large_or_too_deep_is_refused()
    {
        Refused($"<network><name>{new string('x', 2 << 20)}</name></network>", "KVM0190", "x.xml");
        Refused(string.Concat(Enumerable.Repeat("<network>", 10_000)), "KVM0190", "levels");
    }

    private static NetworkModel Read(string xml) => NetworkModel.Parse(LibvirtNetwork.Convert(Encoding.UTF8.GetBytes(xml), "x.xml"), "x.xml");

    private static void Refused(string xml, string id, string part)
    {
        var error = FluentActions.Invoking(() => Read(xml)).Should().Throw<VmmException>().Which;
        error.Error.Id.Should().Be(id, error.Message);
        error.Message.Contains(part, StringComparison.Ordinal).Should().BeTrue(error.Message);
    }
}
